import numpy as np
import pytest

from kinema.data import open_driving, parse_spec

AHEAD = np.array([[10.25, 0, 0, 0.5]], np.float32)


def opened(text):
    return open_driving(parse_spec(text)[0])


def names(dataset):
    return [dataset.name_of(index) for index in range(len(dataset))]


def shades(sample):
    assert (sample.frames == sample.frames[:, :1, :1, :1]).all()
    return sample.frames[:, 0, 0, 0].tolist()


def reprojected(K, depth, T_b_from_a, image_b):
    """Frame b fetched where the points of frame a are, by plain numpy; and which pixels land inside."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.linalg.inv(K) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    points = T_b_from_a[:3, :3] @ (rays * depth.ravel()) + T_b_from_a[:3, 3:]
    u, v, z = K @ points
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = u / z, v / z
    inside = (depth.ravel() > 0) & (z > 0) & (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    fetched = np.zeros((x.size, 3), np.float64)
    columns, rows = np.rint(u[inside]).astype(int), np.rint(v[inside]).astype(int)
    fetched[inside] = image_b[rows, columns]
    return fetched.reshape(height, width, 3), inside.reshape(height, width)


def test_real_poses_depth_and_intrinsics_explain_the_pictures(shared):
    """The next frame, fetched by depth and pose, looks more like this one than unmoved, or moved wrongly."""
    dataset = opened(f"posed:{shared / 'data/hololens'}").snippets(3).with_depth("camera_z")
    assert len(dataset) == 3
    sample = dataset[1]
    T_target_from_next = sample.T_target_from_camera[2]
    target, following = (sample.frames[index].astype(np.float64) for index in (1, 2))
    fetched, inside = reprojected(sample.K, sample.depth, np.linalg.inv(T_target_from_next), following)
    wrong, wrong_inside = reprojected(sample.K, sample.depth, T_target_from_next, following)
    assert inside.mean() > 0.7
    right = np.abs(fetched - target)[inside].mean()
    assert right < 0.7 * np.abs(following - target)[inside].mean()
    assert right < 0.7 * np.abs(wrong - target)[wrong_inside].mean()


def test_real_odometry_reads_grey_frames_and_short_calibrations(shared):
    dataset = opened(f"kitti_odometry:{shared / 'data/kitti_odometry'}")
    assert len(dataset) == 14
    assert [len(dataset.snippets(frames)) for frames in (3, 5)] == [3 + 7, 1 + 5]
    assert "sequences are read from the grey camera (image_0): 00, 01" in dataset.notes
    assert dataset.official_count == 23201
    for index in (0, 5):
        sample = dataset[index]
        assert sample.frames.shape == (1, 376, 1241, 3)
        assert sample.K[0, 0] == 718.856
        np.testing.assert_allclose(sample.T_world_from_camera[0], np.eye(4), atol=1e-6)
    steps = opened(f"kitti_odometry@01:{shared / 'data/kitti_odometry'}").snippets(3)[0].T_target_from_camera
    assert 0.9 < steps[2][2, 3] < 1.2, "a car drives ahead: z of the next camera is positive"


def test_real_stereo_pictures(shared):
    dataset = opened(f"kitti_stereo:{shared / 'data/kitti2012'}")
    assert names(dataset) == ["training/image_0/000074_10", "training/image_0/000138_10"]
    depth = dataset[0].depth
    assert 3 < depth[depth > 0].min() < depth.max() < 150
    assert dataset[0].K is not None


def test_real_velodyne_and_calibration_in_a_raw_tree(shared, tmp_path):
    """The published depth again, now through the raw layout: the object set's frame is from the same day."""
    calibration, frame = (
        shared / "fixtures/geonet/kitti_calib",
        shared / "fixtures/geonet/kitti_object_000001",
    )
    date = tmp_path / "2011_09_26"
    folder = date / "2011_09_26_drive_0001_sync"
    for place in ("image_02/data", "velodyne_points/data"):
        (folder / place).mkdir(parents=True)
    (date / "calib_cam_to_cam.txt").symlink_to(calibration / "calib_cam_to_cam_2011_09_26.txt")
    (date / "calib_velo_to_cam.txt").symlink_to(calibration / "calib_velo_to_cam_2011_09_26.txt")
    (folder / "image_02/data/0000000000.png").symlink_to(frame / "image_2.png")
    (folder / "velodyne_points/data/0000000000.bin").symlink_to(frame / "velodyne.bin")
    sample = opened(f"kitti_raw:{tmp_path}").with_depth("velodyne_x")[0]
    golden = np.load(shared / "fixtures/geonet/golden/depth_gt_object_000001.npz")["depth"]
    np.testing.assert_array_equal(sample.depth, golden)
    assert sample.K[0, 0] == pytest.approx(721.5377)


def test_real_snippets_are_prepared_as_the_original_does(shared, tmp_path):
    """GeoNet's inputs from the raw frames: bilinear with antialias, intrinsics by the plain product."""
    source = shared / "fixtures/geonet/kitti_raw_snippet"
    (tmp_path / "images").symlink_to(source, target_is_directory=True)
    fx, fy, cx, cy = np.loadtxt(source / "intrinsics_fx_fy_cx_cy.txt")
    (tmp_path / "K.txt").write_text(f"{fx} 0 {cx}\n0 {fy} {cy}\n0 0 1\n")
    dataset = opened(f"posed:{tmp_path}").resized((128, 416), intrinsics="plain")
    sample = dataset.snippets(3)[1]
    golden = np.load(shared / "fixtures/geonet/golden/inputs.npz")
    np.testing.assert_allclose(sample.K, golden["K"].reshape(3, 3), rtol=1e-6)
    expected = np.concatenate([golden["src_prev"], golden["tgt"], golden["src_next"]]).astype(int)
    difference = np.abs(sample.frames.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference == 0).mean() > 0.8
    assert dataset.snippets(5)[0].frames.shape == golden["frames5"].reshape(-1, 128, 416, 3).shape
