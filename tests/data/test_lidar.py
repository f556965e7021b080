import json

import numpy as np
import pytest

from kinema.data.kitti_calibration import matrix_of, read_calibration, rigid_matrix
from kinema.data.lidar import lidar_depth, read_velodyne
from kinema.errors import InputError

# Ahead of the scanner is the camera's z; f = 10, centre (5, 3) counted from 1, so pixel (4, 2).
P = np.array([[10.0, 0, 5, 0], [0, 10, 3, 0], [0, 0, 1, 0]]) @ np.array(
    [[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, -0.25], [0, 0, 0, 1]]
)


def points(*rows):
    return np.array([[*row, 0.5] for row in rows], np.float32)


def test_a_point_straight_ahead_falls_on_the_centre_counted_from_one():
    depth = lidar_depth(points((10.25, 0, 0)), P, (6, 9))
    assert depth[2, 4] == np.float32(10)
    assert np.count_nonzero(depth) == 1
    assert lidar_depth(points((10.25, 0, 0)), P, (6, 9), value="velodyne_x")[2, 4] == np.float32(10.25)


def test_left_of_the_scanner_is_left_in_the_picture_and_up_is_up():
    depth = lidar_depth(points((10.25, 2, 1)), P, (6, 9))  # u = 5 - 2, v = 3 - 1
    assert np.argwhere(depth).tolist() == [[1, 2]]


def test_the_nearest_of_several_points_in_one_pixel_stays():
    rows = [(10.25, 0, 0), (5.25, 0, 0), (20.25, 0, 0)]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        depth = lidar_depth(points(*(rows[index] for index in order)), P, (6, 9))
        assert depth[2, 4] == np.float32(5)


def test_points_behind_and_outside_do_not_count():
    rows = [(-5, 0, 0), (0.1, 0, 0), (10.25, 50, 0), (10.25, 0, -50), (10.25, -9, 0)]
    assert not lidar_depth(points(*rows), P, (6, 9)).any()
    # x >= 0 but behind the camera: the published rule keeps it where it falls, depth along z does not.
    kept = lidar_depth(points((0.2, 0, 0)), P, (6, 9), value="velodyne_x")
    assert kept[2, 4] == np.float32(0.2)


def test_no_points_and_odd_files(tmp_path):
    assert not lidar_depth(np.empty((0, 4), np.float32), P, (6, 9)).any()
    path = tmp_path / "a.bin"
    path.write_bytes(points((1, 2, 3), (4, 5, 6)).tobytes())
    np.testing.assert_array_equal(read_velodyne(path)[1], np.float32([4, 5, 6, 0.5]))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="31 bytes are no whole number of points"):
        read_velodyne(path)


def test_the_published_depth_of_a_real_frame(shared):
    """Depth as the published evaluation makes it, pixel by pixel."""
    folder = shared / "fixtures/geonet/kitti_object_000001"
    rows = read_calibration(folder / "calib.txt")
    R0 = matrix_of(rows, "R0_rect", path=folder, shape=(3, 3))
    T = np.vstack([matrix_of(rows, "Tr_velo_to_cam", path=folder), [0, 0, 0, 1]])
    projection = matrix_of(rows, "P2", path=folder) @ rigid_matrix(R0) @ T
    scan = read_velodyne(folder / "velodyne.bin")
    depth = lidar_depth(scan, projection, (375, 1242), value="velodyne_x")
    golden = shared / "fixtures/geonet/golden"
    np.testing.assert_array_equal(depth, np.load(golden / "depth_gt_object_000001.npz")["depth"])
    counts = json.loads((golden / "depth_metrics_ref.json").read_text())["counts"]
    assert len(scan) == counts["points"]
    assert np.count_nonzero(scan[:, 0] >= 0) == counts["front_x>=0"]
    assert np.count_nonzero(depth) == counts["valid_pixels"]
    crop = depth[153:371, 44:1197]
    inside = crop[(crop > 1e-3) & (crop < 80)]
    assert inside.size == counts["valid_in_garg_crop_cap80"]
    assert np.median(inside) == pytest.approx(12.805, abs=1e-3)
    along_z = lidar_depth(scan, projection, (375, 1242))
    known = (depth > 0) & (along_z > 0)
    assert np.abs(depth - along_z)[known].max() < 0.3, "the scanner sits 27 cm behind the camera"
    assert known.sum() > 18600


def test_real_calibrations_of_all_recording_days(shared):
    focal = {"2011_09_26": 721.5377, "2011_09_28": 707.0493, "2011_09_29": 718.3351}
    folder = shared / "fixtures/geonet/kitti_calib"
    for date in ("2011_09_26", "2011_09_28", "2011_09_29", "2011_09_30", "2011_10_03"):
        path = folder / f"calib_cam_to_cam_{date}.txt"
        rows = read_calibration(path)
        P_rect = matrix_of(rows, "P_rect_02", path=path)
        assert P_rect[0, 0] == pytest.approx(focal.get(date, P_rect[0, 0]), abs=1e-3)
        assert P_rect[2].tolist()[:3] == [0, 0, 1]
        assert "calib_time" not in rows
        R = matrix_of(rows, "R_rect_00", path=path, shape=(3, 3))
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-5)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty"), ("hello\n", "holds no calibration"), ("P1: 1 2 3\n", "has no line P2; found P1")],
)
def test_what_is_no_calibration_is_refused(tmp_path, text, message):
    path = tmp_path / "calib.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        matrix_of(read_calibration(path), "P2", path=path)


def test_a_row_of_the_wrong_length_is_refused(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text("P2: 1 2 3\n")
    with pytest.raises(InputError, match="P2 has 3 numbers; expected 12"):
        matrix_of(read_calibration(path), "P2", path=path)


def test_rows_without_names_take_them_in_order(tmp_path):
    path = tmp_path / "calib.txt"
    path.write_text("1 2 3\n4 5 6\n")
    rows = read_calibration(path, unnamed=("P0", "P1", "P2"))
    assert {name: row.tolist() for name, row in rows.items()} == {"P0": [1, 2, 3], "P1": [4, 5, 6]}
