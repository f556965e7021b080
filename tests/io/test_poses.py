from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import InputError, KinemaError, OutputError, UsageError
from kinema.io.formats.quaternion import quaternions_from_rotations, rotations_from_quaternions
from kinema.io.poses import (
    Trajectory,
    invert_poses,
    read_colmap,
    read_kitti_poses,
    read_poses,
    read_times,
    read_tum,
    write_colmap,
    write_kitti_poses,
    write_times,
    write_tum,
)

QUARTER_TURN_RIGHT = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # z ahead turns to x: about y, by 90 degrees


def pose(R, *t):
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


def random_path(count=20, seed=0):
    generator = np.random.default_rng(seed)
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, :3, :3] = rotations_from_quaternions(generator.normal(size=(count, 4)))
    T[:, :3, 3] = generator.normal(size=(count, 3)) * 100
    return Trajectory(T, np.cumsum(generator.uniform(0.01, 1, count)))


def test_quaternions_of_known_rotations():
    half = np.sqrt(0.5)
    R = np.array([np.eye(3), QUARTER_TURN_RIGHT, np.diag([1, -1, -1]), np.diag([-1, -1, 1])], float)
    expected = [[0, 0, 0, 1], [0, half, 0, half], [1, 0, 0, 0], [0, 0, 1, 0]]
    np.testing.assert_allclose(quaternions_from_rotations(R), expected, atol=1e-15)
    np.testing.assert_allclose(rotations_from_quaternions(np.array(expected)), R, atol=1e-15)


@given(st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 1e-3))
def test_rotation_to_quaternion_and_back_at_every_angle(q):
    R = rotations_from_quaternions(np.array([q]))
    np.testing.assert_allclose(R @ np.swapaxes(R, 1, 2), np.eye(3)[None], atol=4e-15)
    assert np.linalg.det(R)[0] == pytest.approx(1)
    xyzw = quaternions_from_rotations(R)
    assert xyzw[0, 3] >= 0
    assert np.linalg.norm(xyzw) == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(rotations_from_quaternions(xyzw), R, atol=2e-15)


def test_inverse_and_seen_from():
    path = random_path()
    np.testing.assert_allclose(
        invert_poses(path.T_world_from_camera), np.linalg.inv(path.T_world_from_camera), atol=1e-12
    )
    seen = path.seen_from(3)
    np.testing.assert_allclose(seen[3], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(path.T_world_from_camera[3] @ seen[7], path.T_world_from_camera[7], atol=1e-10)


def test_kitti_lines_are_the_first_three_rows(tmp_path):
    (tmp_path / "p.txt").write_text("1 0 0 2.5 0 1 0 -3 0 0 1 4\n\n0 0 1 0 0 1 0 0 -1 0 0 0\n")
    T = read_kitti_poses(tmp_path / "p.txt").T_world_from_camera
    np.testing.assert_array_equal(T[0], pose(np.eye(3), 2.5, -3, 4))
    np.testing.assert_array_equal(T[1], pose(QUARTER_TURN_RIGHT, 0, 0, 0))


def test_kitti_poses_come_back_to_the_bit(tmp_path):
    T = random_path(50).T_world_from_camera
    T[0, :3, 3] = [1e-300, -0.0, 1 / 3]
    write_kitti_poses(tmp_path / "p.txt", T)
    back = read_kitti_poses(tmp_path / "p.txt").T_world_from_camera
    assert back.tobytes() == T.tobytes()


def test_times_come_back_to_the_bit(tmp_path):
    times = random_path().times
    write_times(tmp_path / "times.txt", times)
    assert read_times(tmp_path / "times.txt").tobytes() == times.tobytes()


def test_tum_lines(tmp_path):
    half = np.sqrt(0.5)
    (tmp_path / "p.txt").write_text(f"# a comment\n0.5 1 2 3 0 0 0 1\n\n1.5 0 0 0 0 {half} 0 {half}\n")
    path = read_tum(tmp_path / "p.txt")
    np.testing.assert_array_equal(path.times, [0.5, 1.5])
    np.testing.assert_array_equal(path.T_world_from_camera[0], pose(np.eye(3), 1, 2, 3))
    np.testing.assert_allclose(path.T_world_from_camera[1], pose(QUARTER_TURN_RIGHT, 0, 0, 0), atol=1e-15)


def test_tum_comes_back_to_the_bit_but_for_the_last_digit_of_rotations(tmp_path):
    path = random_path(200)
    write_tum(tmp_path / "p.txt", path)
    back = read_tum(tmp_path / "p.txt")
    assert back.times.tobytes() == path.times.tobytes()
    positions = back.T_world_from_camera[:, :3, 3]
    assert positions.tobytes() == path.T_world_from_camera[:, :3, 3].tobytes()
    np.testing.assert_allclose(back.T_world_from_camera, path.T_world_from_camera, rtol=0, atol=2e-15)


def test_tum_needs_times(tmp_path):
    with pytest.raises(UsageError, match="TUM files need times"):
        write_tum(tmp_path / "p.txt", Trajectory(np.eye(4)[None]))
    assert not list(tmp_path.iterdir())


def test_the_kind_follows_from_the_length_of_a_line(tmp_path):
    file = tmp_path / "p.txt"
    path = random_path(3)
    write_tum(file, path)
    assert read_poses(file).times is not None
    write_kitti_poses(file, path.T_world_from_camera)
    np.testing.assert_array_equal(read_poses(file).T_world_from_camera, path.T_world_from_camera)
    file.write_text("".join(" ".join(map(repr, T.ravel().tolist())) + "\n" for T in path.T_world_from_camera))
    np.testing.assert_array_equal(read_poses(file).T_world_from_camera, path.T_world_from_camera)


def test_colmap_holds_the_inverse_and_counts_pixels_from_the_corner(tmp_path):
    K = np.array([[500.0, 0, 319.5], [0, 510, 239.5], [0, 0, 1]])
    T = pose(QUARTER_TURN_RIGHT, 1, 2, 3)[None]
    write_colmap(tmp_path, T, names=("my frame.png",), K=K, size_hw=(480, 640))
    assert (tmp_path / "cameras.txt").read_text().splitlines()[1] == (
        "1 PINHOLE 640 480 500.0 510.0 320.0 240.0"
    )
    line = (tmp_path / "images.txt").read_text().splitlines()[1].split(maxsplit=9)
    half = np.sqrt(0.5)
    # x_camera = R' (x_world - t): R' turns left; -R' (1, 2, 3) = (3, -2, -1).
    np.testing.assert_allclose(
        [float(word) for word in line[1:8]], [half, 0, -half, 0, 3, -2, -1], atol=1e-15
    )
    assert (line[0], line[8], line[9]) == ("1", "1", "my frame.png")
    assert (tmp_path / "points3D.txt").is_file()


def test_colmap_comes_back_in_order_of_names(tmp_path):
    path = random_path(4)
    names = ("d.png", "a.png", "c c.png", "b.png")
    write_colmap(tmp_path, path.T_world_from_camera, names=names, K=np.eye(3), size_hw=(4, 6))
    back, found = read_colmap(tmp_path)
    assert found == ("a.png", "b.png", "c c.png", "d.png")
    np.testing.assert_allclose(back.T_world_from_camera, path.T_world_from_camera[[1, 3, 2, 0]], atol=1e-12)


def test_colmap_passes_over_points_and_other_orders_of_images(tmp_path):
    (tmp_path / "images.txt").write_text(
        "# comment\n7 1 0 0 0 1 2 3 1 b.png\n10.5 20.5 -1 11.5 3 4\n2 1 0 0 0 0 0 5 1 a.png\n\n"
    )
    path, names = read_colmap(tmp_path)
    assert names == ("a.png", "b.png")
    np.testing.assert_array_equal(path.T_world_from_camera[:, :3, 3], [[0, 0, -5], [-1, -2, -3]])


def test_colmap_writes_all_files_or_none(tmp_path):
    (tmp_path / "points3D.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"points3D\.txt exists"):
        write_colmap(tmp_path, np.eye(4)[None], names=("a",), K=np.eye(3), size_hw=(2, 2), overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["points3D.txt"]
    with pytest.raises(UsageError, match="1 poses but 2 image names"):
        write_colmap(tmp_path, np.eye(4)[None], names=("a", "b"), K=np.eye(3), size_hw=(2, 2))


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (read_kitti_poses, "1 0 0 0 0 1 0 0 0 0 1\n", "line 1 has 11 values; expected 12 numbers"),
        (read_kitti_poses, "1 0 0 0 0 1 0 0 0 0 1 x\n", "line 1: 'x' is no number"),
        (read_kitti_poses, "1 0 0 nan 0 1 0 0 0 0 1 0\n", "line 1: nan is not finite"),
        (read_kitti_poses, "1 0 0 0 0 1 0 0 0 0 1 0\n2 0 0 0 0 1 0 0 0 0 1 0\n", "pose 2 is no rigid"),
        (read_kitti_poses, "-1 0 0 0 0 1 0 0 0 0 1 0\n", "pose 1 is no rigid motion"),
        (read_kitti_poses, "# none\n", "line 1 has 2 values"),
        (read_kitti_poses, "\n\n", "holds no numbers"),
        (read_kitti_poses, "", "is empty"),
        (read_tum, "0 0 0 0 0 0 0 0.5\n", "quaternion of pose 1 is not of length 1"),
        (read_tum, "0 0 0 0 0 0 0 1e300\n", "quaternion of pose 1 is not of length 1"),
        (read_tum, "0 0 0 0 0 0 0 1\n0 1 0 0 0 0 0 1\n", "time does not increase after pose 1"),
        (read_tum, "1 0 0 0 0 0 0 1\n0 0 0 1\n", "line 2 has 4 values; expected 8 numbers"),
        (read_times, "0\n0.1\n0.05\n", "time does not increase after pose 2"),
        (read_poses, "1 2 3\n", "line 1 has 3 values; expected 8 or 12 or 16 numbers"),
        (read_poses, " ".join(["1 0 0 0 0 1 0 0 0 0 1 0 0 0 1 1\n"]), "pose 1 is no rigid motion"),
    ],
)
def test_what_is_no_path_is_refused_with_its_place(tmp_path, reader, text, message):
    file = tmp_path / "p.txt"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        reader(file)
    assert str(file) in str(caught.value)


def test_a_broken_colmap_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_colmap(tmp_path)
    for text, message in (
        ("# nothing\n", "holds no image"),
        ("1 1 0 0 0 0 0 0 1\n\n", "line 1 does not read ID QW"),
        ("1 1 0 0 0 0 0 nan 1 a.png\n\n", "not finite"),
        ("1 2 0 0 0 0 0 0 1 a.png\n\n", "not of length 1"),
    ):
        (tmp_path / "images.txt").write_text(text)
        with pytest.raises(InputError, match=message):
            read_colmap(tmp_path)


def test_what_is_no_rigid_path_is_not_written(tmp_path):
    scaled = np.diag([2.0, 2, 2, 1])[None]
    for write in (
        lambda: write_kitti_poses(tmp_path / "p.txt", scaled),
        lambda: write_colmap(tmp_path, scaled, names=("a",), K=np.eye(3), size_hw=(2, 2)),
        lambda: Trajectory(scaled),
        lambda: Trajectory(np.eye(4)),
        lambda: Trajectory(np.eye(4)[None], np.zeros(2)),
        lambda: Trajectory(np.full((1, 4, 4), np.nan)),
    ):
        with pytest.raises(InputError):
            write()
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_kept(tmp_path):
    (tmp_path / "p.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        write_kitti_poses(tmp_path / "p.txt", np.eye(4)[None], overwrite=False)
    assert (tmp_path / "p.txt").read_text() == "mine"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_our_errors(tmp_path, data):
    file = tmp_path / "images.txt"
    file.write_bytes(data)
    for reader in (read_kitti_poses, read_tum, read_times, read_poses, lambda f: read_colmap(f.parent)):
        with suppress(KinemaError):
            reader(file)


@given(
    st.lists(
        st.lists(st.sampled_from(["0", "1", "-1", "1e300", "1e-300", "0.5", "#", "nan"]), max_size=17),
        max_size=3,
    )
)
@pytest.mark.filterwarnings("error")
def test_no_numbers_raise_anything_but_our_errors(tmp_path, lines):
    file = tmp_path / "images.txt"
    file.write_text("".join(" ".join(line) + "\n" for line in lines))
    for reader in (read_kitti_poses, read_tum, read_times, read_poses, lambda f: read_colmap(f.parent)):
        with suppress(KinemaError):
            reader(file)


def test_real_paths_come_back_to_the_bit(shared, tmp_path):
    files = [
        *sorted((shared / "fixtures/geonet/kitti_odom/gt_poses").glob("*.txt")),
        *sorted((shared / "fixtures/geonet/kitti_odom/pred_kitti_odom_eval/example_1").glob("*.txt")),
        *sorted((shared / "data/kitti_odometry/poses").glob("*.txt")),
    ]
    assert len(files) == 9
    for file in files:
        path = read_kitti_poses(file)
        write_kitti_poses(tmp_path / "p.txt", path.T_world_from_camera)
        back = read_kitti_poses(tmp_path / "p.txt")
        assert back.T_world_from_camera.tobytes() == path.T_world_from_camera.tobytes()
    assert len(read_kitti_poses(shared / "fixtures/geonet/kitti_odom/gt_poses/09.txt")) == 1591


def test_lengths_of_real_paths(shared):
    for name, length in (("09", 1705.05), ("10", 919.52)):
        T = read_kitti_poses(shared / f"fixtures/geonet/kitti_odom/gt_poses/{name}.txt").T_world_from_camera
        steps = np.diff(T[:, :3, 3], axis=0)
        assert np.linalg.norm(steps, axis=1).sum() == pytest.approx(length, abs=0.01)


def test_real_tum_files_are_written_as_they_were(shared, tmp_path):
    """The digits of a file with seven decimals come back, up to the sign of a quaternion."""
    file = shared / "fixtures/geonet/tum/freiburg1_xyz-ORB_kf_mono.txt"
    path = read_tum(file)
    write_tum(tmp_path / "p.txt", path, decimals=7)
    theirs, ours = np.loadtxt(file), np.loadtxt(tmp_path / "p.txt")
    theirs[:, 4:] *= np.where(theirs[:, 7:] < 0, -1, 1)
    np.testing.assert_allclose(
        ours, theirs, atol=1.5e-7
    )  # their quaternions are rounded, and so not of length 1
    np.testing.assert_array_equal(ours[:, 1:4], theirs[:, 1:4])
    counts = {"groundtruth": 3000, "rgbdslam": 788, "ORB_kf_mono": 32}
    for name, count in counts.items():
        assert len(read_tum(shared / f"fixtures/geonet/tum/freiburg1_xyz-{name}.txt")) == count


@pytest.mark.parametrize("frames", [3, 5])
@pytest.mark.parametrize("first", [0, 1, 100, 500])
def test_snippets_are_written_as_the_original_does(shared, tmp_path, frames, first):
    """GeoNet's text format: every frame's pose in the camera of the first, six decimals, with its time."""
    folder = shared / "fixtures/geonet/kitti_odom"
    part = slice(first, first + frames)
    whole = Trajectory(
        read_kitti_poses(folder / "gt_poses/06.txt").T_world_from_camera[part],
        read_times(folder / "times/06.txt")[part],
    )
    theirs = np.loadtxt(folder / f"snippets_gt_ref/06_len{frames}/{first:06d}.txt")
    write_tum(tmp_path / "p.txt", Trajectory(whole.seen_from(0), whole.times), decimals=6)
    ours = np.loadtxt(tmp_path / "p.txt")
    # The last digit, and seven micrometres at five metres: the original's angles have seven digits.
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=1.5e-6)


def test_colmap_of_a_real_path(shared, tmp_path):
    T = read_kitti_poses(shared / "fixtures/geonet/kitti_odom/gt_poses/10.txt").T_world_from_camera
    names = tuple(f"{number:06d}.png" for number in range(len(T)))
    write_colmap(tmp_path, T, names=names, K=np.diag([718.0, 718, 1]), size_hw=(376, 1241))
    back, found = read_colmap(tmp_path)
    assert found == names
    # The file's matrices have seven digits and are orthonormal within 1e-6; quaternions are so exactly.
    np.testing.assert_allclose(back.T_world_from_camera, T, atol=2e-3)
    np.testing.assert_allclose(back.T_world_from_camera[:, :3, :3], T[:, :3, :3], atol=2e-6)
