import numpy as np
import pytest

from helpers import driving_trees as trees
from kinema.data import DrivingDataset, open_driving, parse_spec
from kinema.data.family import OpenedSet
from kinema.data.kitti_lists import eigen_test_frames, static_frames
from kinema.errors import InputError, UsageError

AHEAD = np.array([[10.25, 0, 0, 0.5]], np.float32)


def opened(text):
    return open_driving(parse_spec(text)[0])


def names(dataset):
    return [dataset.name_of(index) for index in range(len(dataset))]


def shades(sample):
    assert (sample.frames == sample.frames[:, :1, :1, :1]).all()
    return sample.frames[:, 0, 0, 0].tolist()


def raw(root, **drives):
    trees.write_raw_calibration(root)
    for drive, numbers in drives.items():
        trees.write_drive(root, int(drive[1:]), numbers)
    return root


def test_raw_without_split_is_every_frame_of_both_cameras(tmp_path):
    dataset = opened(f"kitti_raw:{raw(tmp_path, d1=range(3))}")
    assert names(dataset) == [
        f"2011_09_26_drive_0001_{camera}/{n:010d}" for camera in ("02", "03") for n in range(3)
    ]
    assert dataset.notes == ("1 drive is present",)
    assert dataset.official_count is None
    assert isinstance(dataset, OpenedSet)
    sample = dataset[4]
    assert (shades(sample), sample.numbers, sample.target) == ([151], (1,), 0)
    np.testing.assert_array_equal(sample.K, [[9, 0, 4.5], [0, 9, 2.5], [0, 0, 1]])
    assert (sample.times, sample.T_world_from_camera, sample.depth) == (None, None, None)
    assert sample.T_target_from_camera is None


def test_snippets_have_the_target_in_the_middle_and_stay_in_their_drive_and_camera(tmp_path):
    dataset = opened(f"kitti_raw:{raw(tmp_path, d1=range(4), d2=range(5, 8))}")
    snippets = dataset.snippets(3)
    assert names(snippets) == [
        "2011_09_26_drive_0001_02/0000000001",
        "2011_09_26_drive_0001_02/0000000002",
        "2011_09_26_drive_0001_03/0000000001",
        "2011_09_26_drive_0001_03/0000000002",
        "2011_09_26_drive_0002_02/0000000006",
        "2011_09_26_drive_0002_03/0000000006",
    ]
    assert shades(snippets[1]) == [101, 102, 103]
    assert snippets[1].target == 1
    assert shades(snippets[5]) == [155, 156, 157]
    assert [path.name for path in snippets.paths_of(4).values()] == [
        "0000000005.png",
        "0000000006.png",
        "0000000007.png",
    ]
    assert list(snippets.paths_of(4)) == ["frame-1", "frame+0", "frame+1"]
    with pytest.raises(InputError, match="no frame has 2 frames before and behind it"):
        opened(f"kitti_raw:{tmp_path}").snippets(5)
    with pytest.raises(UsageError, match="no middle"):
        dataset.snippets(4)


def test_snippets_do_not_bridge_gaps_unless_asked_to(tmp_path):
    dataset = opened(f"kitti_raw:{raw(tmp_path, d1=[0, 1, 2, 5, 6, 7])}")
    assert [sample.numbers for sample in dataset.snippets(3)][:2] == [(0, 1, 2), (5, 6, 7)]
    bridged = dataset.snippets(3, gaps="bridge")
    assert [sample.numbers for sample in bridged][:4] == [(0, 1, 2), (1, 2, 5), (2, 5, 6), (5, 6, 7)]
    assert len(bridged) == 8


def test_a_snippet_reads_its_frames_and_no_other(tmp_path):
    dataset = opened(f"kitti_raw:{raw(tmp_path, d1=range(7))}").snippets(3)
    folder = tmp_path / "2011_09_26/2011_09_26_drive_0001_sync/image_02/data"
    for number in (0, 1, 5, 6):
        (folder / f"{number:010d}.png").write_bytes(b"")
    assert shades(dataset[2]) == [102, 103, 104]
    with pytest.raises(InputError):
        dataset[1]


def test_train_splits_leave_out_test_scenes_and_standing_cars(tmp_path):
    static = sorted(static_frames()["2011_09_26_drive_0017"])
    frames = [*range(static[-1] - 1, static[-1] + 4)]
    assert frames[:2] == static[-2:], "the first two stand still"
    # Drive 2 is a test scene of the Eigen split, 17 of the stereo split, 1 of neither.
    raw(tmp_path, d1=range(3), d2=range(3), d17=frames)
    eigen, stereo = opened(f"kitti_raw@eigen_train:{tmp_path}"), opened(f"kitti_raw@stereo_train:{tmp_path}")
    drives = {name.partition("/")[0] for name in names(eigen)}
    assert drives == {f"2011_09_26_drive_{d}_{c}" for d in ("0001", "0017") for c in ("02", "03")}
    assert {name.partition("/")[0] for name in names(stereo)} == {
        f"2011_09_26_drive_{d}_{c}" for d in ("0001", "0002") for c in ("02", "03")
    }
    kept = [number for number in frames if number not in static]
    assert len(kept) < len(frames)
    assert len(eigen) == 2 * (3 + len(kept))
    assert eigen.notes == (
        "2 drives are present",
        "1 test scenes of kitti_raw@eigen_train are left out",
        f"{2 * (len(frames) - len(kept))} frames in which the car stands still are left out",
    )
    with pytest.raises(InputError, match="1 drives, all of them test scenes"):
        opened(f"kitti_raw@eigen_train:{raw(tmp_path / 'other', d2=range(3))}")


def test_the_eigen_test_set_has_published_order_and_depth(tmp_path):
    trees.write_raw_calibration(tmp_path)
    wanted = [number for drive, number in eigen_test_frames() if drive == "2011_09_26_drive_0002"]
    assert wanted[:3] == [69, 54, 42]
    folder = trees.write_drive(tmp_path, 2, range(80), cameras=("02",), points=AHEAD)
    trees.write_drive(tmp_path, 1, range(2), points=AHEAD)
    (folder / "velodyne_points/data/0000000054.bin").unlink()
    (folder / "image_02/data/0000000042.png").unlink()
    dataset = opened(f"kitti_raw@eigen_test:{tmp_path}")
    assert len(dataset) == len(wanted) - 2
    assert dataset.official_count == 697
    assert [int(name.rpartition("/")[2]) for name in names(dataset)] == [
        number for number in wanted if number not in (54, 42)
    ]
    sample = dataset[0]
    assert shades(sample) == [100 + 69 % 50]
    # 10.25 m ahead of the scanner is 10 m ahead of the camera; P_rect_02 shifts by 4.5 / 10 pixels: u = 4.95.
    assert np.argwhere(sample.depth).tolist() == [[1, 4]]
    assert sample.depth[1, 4] == np.float32(10)
    assert (sample.depth.dtype, sample.depth_value) == (np.float32, "camera_z")
    ahead = dataset.with_depth("velodyne_x")[0]
    assert (ahead.depth[1, 4], ahead.depth_value) == (np.float32(10.25), "velodyne_x")
    assert set(dataset.paths_of(0)) == {"frame+0", "depth"}
    assert dataset.with_depth(None)[0].depth is None


def test_training_frames_can_have_depth_too(tmp_path):
    raw(tmp_path, d1=range(3))
    with pytest.raises(InputError, match="this copy has no true depth"):
        opened(f"kitti_raw:{tmp_path}").with_depth("camera_z")
    trees.write_drive(tmp_path, 3, range(3), points=AHEAD)
    dataset = opened(f"kitti_raw:{tmp_path}").snippets(3).with_depth("camera_z")
    assert names(dataset) == [f"2011_09_26_drive_0003_{camera}/0000000001" for camera in ("02", "03")]
    assert dataset[0].depth.max() == np.float32(10)
    small = dataset.resized((3, 5))[0]
    assert small.frames.shape == (3, 3, 5, 3)
    assert small.depth.shape == trees.SIZE_HW, "truth stays as it was measured"


def test_raw_takes_grey_cameras_where_colour_is_absent(tmp_path):
    trees.write_raw_calibration(tmp_path)
    trees.write_drive(tmp_path, 1, range(2), cameras=("00", "01"))
    trees.write_drive(tmp_path, 2, range(2), cameras=("00", "02"), suffix=".jpg")
    dataset = opened(f"kitti_raw:{tmp_path}")
    assert [name.partition("/")[0][-7:] for name in names(dataset)] == ["0001_02"] * 2 + ["0001_03"] * 2 + [
        "0002_02"
    ] * 2
    assert shades(dataset[2]) == [50]
    assert dataset[2].K[0, 0] == 8
    assert dataset[4].K[0, 0] == 9
    assert "2 cameras have no colour frames: the grey camera beside them is read" in dataset.notes


def test_raw_without_calibration(tmp_path):
    trees.write_drive(tmp_path, 1, range(2))
    with pytest.raises(InputError, match=r"but no calib_cam_to_cam\.txt in the folder of their date"):
        opened(f"kitti_raw:{tmp_path}")
    trees.write_raw_calibration(tmp_path)
    other = tmp_path / "2011_09_28/2011_09_28_drive_0001_sync/image_02/data/0000000000.png"
    trees.write_frame(other, 0)
    assert opened(f"kitti_raw:{tmp_path}").notes[1] == (
        "1 cameras have no calib_cam_to_cam.txt and are left out (first: 2011_09_28_drive_0001_02)"
    )


def test_only_driving_sets_have_a_camera(tmp_path):
    with pytest.raises(UsageError, match="middlebury has no camera; choose from kitti_raw"):
        opened(f"middlebury:{tmp_path}")


def test_opening_reads_no_picture(tmp_path):
    raw(tmp_path, d1=range(3))
    for path in tmp_path.rglob("*.png"):
        path.write_bytes(b"")
    dataset = opened(f"kitti_raw:{tmp_path}")
    assert len(dataset) == 6
    with pytest.raises(InputError):
        dataset[0]


def test_slices_are_data_sets(tmp_path):
    dataset = opened(f"kitti_raw:{raw(tmp_path, d1=range(4))}").snippets(3)
    part = dataset[1:3]
    assert isinstance(part, DrivingDataset)
    assert names(part) == names(dataset)[1:3]
    assert names(dataset)[-1] == dataset.name_of(-1)
    with pytest.raises(IndexError):
        dataset[4]
