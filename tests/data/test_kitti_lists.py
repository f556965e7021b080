from kinema.data.kitti_lists import (
    eigen_test_frames,
    eigen_test_scenes,
    static_frames,
    stereo_test_scenes,
)


def words(path):
    return path.read_text().split()


def test_counts():
    assert len(eigen_test_frames()) == 697
    assert len(set(eigen_test_frames())) == 697
    assert len(eigen_test_scenes()) == 28
    assert len(stereo_test_scenes()) == 29
    assert sum(len(frames) for frames in static_frames().values()) == 8051


def test_the_eigen_frames_are_the_published_ones_in_published_order(shared):
    lines = words(shared / "fixtures/geonet/splits/test_files_eigen.txt")
    ours = [
        f"{drive[:10]}/{drive}_sync/image_02/data/{frame:010d}.png" for drive, frame in eigen_test_frames()
    ]
    assert ours == lines


def test_the_scenes_are_the_published_ones(shared):
    splits = shared / "fixtures/geonet/splits"
    assert eigen_test_scenes() == set(words(splits / "test_scenes_eigen.txt"))
    assert stereo_test_scenes() == set(words(splits / "test_scenes_stereo.txt"))


def test_the_static_frames_are_the_published_ones(shared):
    lines = (shared / "fixtures/geonet/splits/static_frames.txt").read_text().splitlines()
    ours = {
        f"{drive[:10]} {drive}_sync {frame:010d}"
        for drive, frames in static_frames().items()
        for frame in frames
    }
    assert ours == set(lines)


def test_the_stereo_test_pictures_are_all_of_the_2015_training_part(shared):
    lines = words(shared / "fixtures/geonet/splits/test_files_stereo.txt")
    assert lines == [f"training/image_2/{number:06d}_10.png" for number in range(200)]
