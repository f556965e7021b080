import numpy as np
import pytest

from helpers import driving_trees as trees
from helpers.flow_trees import write_picture
from kinema.data import open_driving, parse_spec
from kinema.data.driving_sample import DrivingSample, resize_sample
from kinema.data.family import OpenedSet
from kinema.errors import InputError, UsageError
from kinema.ops.resize import resize_image

AHEAD = np.array([[10.25, 0, 0, 0.5]], np.float32)


def opened(text):
    return open_driving(parse_spec(text)[0])


def names(dataset):
    return [dataset.name_of(index) for index in range(len(dataset))]


def shades(sample):
    assert (sample.frames == sample.frames[:, :1, :1, :1]).all()
    return sample.frames[:, 0, 0, 0].tolist()


def test_odometry_frames_have_times_poses_and_intrinsics(tmp_path):
    poses = trees.forward_poses(4)
    trees.write_sequence(tmp_path, "03", 4, camera=0, poses=poses)
    dataset = opened(f"kitti_odometry@03:{tmp_path}")
    assert names(dataset) == [f"03/{number:06d}" for number in range(4)]
    sample = dataset.snippets(3)[1]
    assert shades(sample) == [1, 2, 3]
    np.testing.assert_allclose(sample.times, [0.1, 0.2, 0.3])
    np.testing.assert_allclose(sample.T_world_from_camera, poses[1:], atol=1e-6)
    relative = sample.T_target_from_camera
    np.testing.assert_allclose(relative[1], np.eye(4), atol=1e-6)
    np.testing.assert_allclose(poses[2] @ relative[2], poses[3], atol=1e-6)
    np.testing.assert_array_equal(sample.K, [[8, 0, 4.5], [0, 8, 2.5], [0, 0, 1]])
    assert dataset.official_count == 801
    assert dataset.notes == (
        "sequences are read from the grey camera (image_0): 03",
        "sequences lack frames: 03 with 4 of 801",
    )


def test_poses_are_those_of_the_camera_whose_picture_is_read(tmp_path):
    poses = trees.forward_poses(3)
    trees.write_sequence(tmp_path, "04", 3, camera=2, poses=poses)
    sample = opened(f"kitti_odometry:{tmp_path}").snippets(3)[0]
    # P2 = K [I | (0.5, 0, 0)]: a point lies 0.5 m farther right for camera 2, which sits 0.5 m to the left.
    np.testing.assert_allclose(sample.T_world_from_camera[0][:3, 3], [-0.5, 0, 0], atol=1e-6)
    shift = np.eye(4)
    shift[0, 3] = -0.5
    np.testing.assert_allclose(sample.T_world_from_camera, poses @ shift, atol=1e-6)
    # Turning on the spot moves a camera that sits beside the axis.
    expected = np.linalg.inv(poses[1] @ shift) @ poses[2] @ shift
    np.testing.assert_allclose(sample.T_target_from_camera[2], expected, atol=1e-6)


def test_odometry_splits_and_what_a_copy_lacks(tmp_path):
    trees.write_sequence(tmp_path, "00", 3, poses=trees.forward_poses(2))
    trees.write_sequence(tmp_path, "09", 3, times=False)
    (tmp_path / "sequences/05").mkdir()
    trees.write_sequence(tmp_path, "06", 2)
    (tmp_path / "sequences/06/calib.txt").unlink()
    train, test = opened(f"kitti_odometry@train:{tmp_path}"), opened(f"kitti_odometry@test:{tmp_path}")
    assert [name[:2] for name in names(train)] == ["00"] * 3
    assert [name[:2] for name in names(test)] == ["09"] * 3
    assert (train.official_count, test.official_count) == (20409, 2792)
    assert train.notes == (
        "sequences lack frames: 00 with 3 of 4541",
        "sequences have poses for some frames only: 00 for 2 of 3",
        "sequences without frames are left out: 05",
        "sequences without calib.txt are left out: 06",
    )
    assert train[1].T_world_from_camera is not None
    assert train[2].T_world_from_camera is None
    assert train.snippets(3)[0].T_world_from_camera is None
    assert test[0].times is None
    assert opened(f"kitti_odometry:{tmp_path}").official_count == 23201
    with pytest.raises(InputError, match="sequences present: 00, 05, 06, 09; none of the split is usable"):
        opened(f"kitti_odometry@10:{tmp_path}")
    with pytest.raises(UsageError, match="unknown split '11'"):
        opened(f"kitti_odometry@11:{tmp_path}")


def test_numbers_of_snippets_are_the_published_ones(tmp_path):
    for name, count in (("09", 1591), ("10", 1201)):
        trees.write_sequence(tmp_path, name, 1)
        for number in range(1, count):
            (tmp_path / f"sequences/{name}/image_2/{number:06d}.png").touch()
        times = "".join(f"{number / 10}\n" for number in range(count))
        (tmp_path / f"sequences/{name}/times.txt").write_text(times)
        dataset = opened(f"kitti_odometry@{name}:{tmp_path}")
        assert len(dataset) == dataset.official_count == count
        assert (len(dataset.snippets(3)), len(dataset.snippets(5))) == (count - 2, count - 4)


def test_fewer_times_than_frames_is_an_error(tmp_path):
    folder = trees.write_sequence(tmp_path, "00", 3)
    (folder / "times.txt").write_text("0\n0.1\n")
    with pytest.raises(InputError, match=r"times\.txt: has 2 times, but there is a frame 2"):
        opened(f"kitti_odometry:{tmp_path}")


def test_stereo_pictures_give_depth_by_the_published_focal_lengths(tmp_path):
    size = (2, 1242)
    disparity = np.zeros(size, np.uint16)
    disparity[1, 7] = 256 * 20
    for number in ("000003", "000001"):
        write_picture(tmp_path / f"training/disp_occ_0/{number}_10.png", disparity)
        trees.write_frame(tmp_path / f"training/image_2/{number}_10.png", 7, size_hw=size)
        trees.write_frame(tmp_path / f"training/image_2/{number}_11.png", 8, size_hw=size)
    write_picture(tmp_path / "training/disp_occ_0/000009_10.png", disparity)
    (tmp_path / "training/calib_cam_to_cam").mkdir()
    row = trees.row([721.5377, 0, 600, 44, 0, 721.5377, 170, 0, 0, 0, 1, 0])
    (tmp_path / "training/calib_cam_to_cam/000001.txt").write_text(f"P_rect_02: {row}\n")
    dataset = opened(f"kitti_stereo:{tmp_path}")
    assert names(dataset) == ["training/image_2/000001_10", "training/image_2/000003_10"]
    assert dataset.official_count == 200
    assert dataset.notes == (
        "1 of 3 disparities have no picture and are left out",
        "1 of 2 pictures have no calibration file",
    )
    sample = dataset[0]
    assert shades(sample) == [7]
    assert np.argwhere(sample.depth).tolist() == [[1, 7]]
    assert sample.depth[1, 7] == pytest.approx(721.5377 * 0.54 / 20, rel=1e-6)
    assert sample.K[0, 2] == 600
    assert dataset[1].K is None
    assert dataset.resized((4, 621))[1].K is None
    with pytest.raises(UsageError, match="cannot be velodyne_x"):
        dataset.with_depth("velodyne_x")[0]
    trees.write_frame(tmp_path / "training/image_2/000003_10.png", 7, size_hw=(2, 1000))
    write_picture(tmp_path / "training/disp_occ_0/000003_10.png", disparity[:, :1000])
    with pytest.raises(InputError, match="no focal length is known for a picture 1000 wide"):
        dataset[1]
    write_picture(tmp_path / "training/disp_occ_0/000003_10.png", disparity)
    with pytest.raises(InputError, match="is 1242x2 uint16; expected 16 bits and the picture's 1000x2"):
        dataset[1]


def strip(root, folder, frame, *, frames=3, width=20, suffix=".png"):
    picture = np.concatenate([np.full((6, width, 3), 10 * i + 5, np.uint8) for i in range(frames)], axis=1)
    write_picture(root / folder / f"{frame}{suffix}", picture)
    text = f"11.5,0.,{0.49 * width},0.,12.5,3.0,0.,0.,1."
    (root / folder / f"{frame}_cam.txt").write_text(text)


@pytest.mark.parametrize("frames", [1, 3, 5])
def test_strips_are_cut_into_their_frames(tmp_path, frames):
    strip(tmp_path, "2011_09_26_drive_0001_sync_02", "0000000007", frames=frames)
    dataset = opened(f"snippets:{tmp_path}")
    sample = dataset[0]
    assert names(dataset) == ["2011_09_26_drive_0001_sync_02/0000000007"]
    assert sample.frames.shape == (frames, 6, 20, 3)
    assert shades(sample) == [10 * index + 5 for index in range(frames)]
    np.testing.assert_array_equal(sample.K, [[11.5, 0, 0.49 * 20], [0, 12.5, 3], [0, 0, 1]])
    assert sample.numbers[sample.target] == 7
    assert isinstance(dataset, OpenedSet)


def test_five_frames_of_strips_serve_as_three_but_not_as_seven(tmp_path):
    strip(tmp_path, "09", "000002", frames=5)
    dataset = opened(f"snippets:{tmp_path}")
    three = dataset.snippets(3).resized((3, 10))[0]
    assert (shades(three), three.numbers) == ([15, 25, 35], (1, 2, 3))
    assert three.frames.shape == (3, 3, 10, 3)
    assert three.K[0, 0] == 5.75
    with pytest.raises(InputError, match="holds 5 frames, not 7"):
        dataset.snippets(7)[0]


def test_strips_follow_their_lists(tmp_path):
    for frame in ("000001", "000002", "000003"):
        strip(tmp_path, "00_02", frame)
    (tmp_path / "train.txt").write_text("00_02 000003\n00_02 000001\n00_02 000009\n")
    (tmp_path / "val.txt").write_text("00_02 000002\n")
    train = opened(f"snippets@train:{tmp_path}")
    assert names(train) == ["00_02/000003", "00_02/000001"]
    assert train.notes == ("1 of 3 snippets lack their strip or their intrinsics",)
    assert names(opened(f"snippets@val:{tmp_path}")) == ["00_02/000002"]
    assert len(opened(f"snippets:{tmp_path}")) == 3
    (tmp_path / "val.txt").write_text("00_02/000002\n")
    with pytest.raises(InputError, match=r"val\.txt: line 1 does not read FOLDER FRAME"):
        opened(f"snippets@val:{tmp_path}")
    (tmp_path / "val.txt").unlink()
    with pytest.raises(InputError, match=r"val\.txt: no such file"):
        opened(f"snippets@val:{tmp_path}")


def test_a_strip_that_fits_no_number_of_frames(tmp_path):
    strip(tmp_path, "a", "000001", frames=2)
    with pytest.raises(InputError, match="no odd number of frames up to 9 fits"):
        opened(f"snippets:{tmp_path}")[0]


def posed(root, count=3):
    for number in range(count):
        trees.write_frame(root / f"images/{number:05d}.png", number)
        write_picture(root / f"depth/{number:05d}.png", np.full(trees.SIZE_HW, 1500 + number, np.uint16))
    (root / "K.txt").write_text("8 0 4.5\n0 8 2.5\n0 0 1\n")
    lines = "".join(trees.row(T.ravel()) + "\n" for T in trees.forward_poses(count))
    (root / "poses.txt").write_text(lines)
    return root


def test_posed_folders(tmp_path):
    dataset = opened(f"posed:{posed(tmp_path)}")
    assert (len(dataset), dataset.notes, dataset.official_count) == (3, (), None)
    sample = dataset.snippets(3).with_depth("camera_z")[0]
    assert shades(sample) == [0, 1, 2]
    np.testing.assert_allclose(sample.T_world_from_camera, trees.forward_poses(3), atol=1e-6)
    assert (sample.depth == np.float32(1.501)).all()
    with pytest.raises(UsageError, match="hold camera_z"):
        dataset.with_depth("velodyne_x")[0]


def test_posed_folders_without_some_parts(tmp_path):
    posed(tmp_path)
    (tmp_path / "depth/00001.png").unlink()
    assert opened(f"posed:{tmp_path}").notes == ("1 of 3 pictures have no depth",)
    assert len(opened(f"posed:{tmp_path}").with_depth("camera_z")) == 2
    (tmp_path / "poses.txt").write_text((tmp_path / "poses.txt").read_text().split("\n")[0] + "\n")
    with pytest.raises(InputError, match="has 1 poses for 3 pictures"):
        opened(f"posed:{tmp_path}")
    (tmp_path / "poses.txt").unlink()
    dataset = opened(f"posed:{tmp_path}")
    assert dataset.notes[0] == "there is no poses.txt"
    assert dataset[0].T_world_from_camera is None
    (tmp_path / "K.txt").write_text("8 0 4.5\n0 8 2.5\n")
    with pytest.raises(InputError, match="is no camera matrix"):
        opened(f"posed:{tmp_path}")
    (tmp_path / "K.txt").unlink()
    with pytest.raises(InputError, match=r"there is no K\.txt"):
        opened(f"posed:{tmp_path}")


def test_resized_intrinsics_follow_either_rule():
    K = np.array([[100.0, 0, 49.5], [0, 80, 24.5], [0, 0, 1]])
    frames = np.zeros((1, 50, 100, 3), np.uint8)
    sample = DrivingSample(name="x", frames=frames, numbers=(0,), K=K)
    half = resize_sample(sample, (25, 25))
    np.testing.assert_allclose(half.K, [[25, 0, 12], [0, 40, 12], [0, 0, 1]])
    plain = resize_sample(sample, (25, 25), intrinsics="plain")
    np.testing.assert_allclose(plain.K, [[25, 0, 12.375], [0, 40, 12.25], [0, 0, 1]])
    assert half.frames.shape == (1, 25, 25, 3)
    assert half.frames.dtype == np.uint8


def test_resized_frames_are_the_packages_own_resizing():
    import torch

    generator = np.random.default_rng(0)
    for dtype in (np.uint8, np.uint16):
        largest = int(np.iinfo(dtype).max)
        frames = generator.integers(0, largest, (2, 9, 14, 3), endpoint=True).astype(dtype)
        resized = resize_sample(DrivingSample(name="x", frames=frames, numbers=(0, 1), K=None), (4, 5)).frames
        planes = torch.from_numpy(frames.astype(np.float64)).permute(0, 3, 1, 2)
        expected = resize_image(planes, (4, 5), antialias=True).permute(0, 2, 3, 1).numpy()
        assert resized.dtype == dtype
        assert np.abs(resized - expected).max() <= 0.5 + 1e-6 * largest


@pytest.mark.parametrize(
    "name", ["kitti_raw", "kitti_raw@eigen_test", "kitti_odometry", "kitti_stereo", "snippets", "posed"]
)
def test_nothing_usable_shows_expected_beside_found_in_one_line(tmp_path, name):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError) as caught:
        opened(f"{name}:{tmp_path}")
    message = str(caught.value)
    assert "\n" not in message
    assert "expected" in message
    assert "found notes.txt, train/{a.png}" in message
