"""Camera paths by hand, and equal to the numbers of the published tools."""

import json

import numpy as np
import pytest

from kinema.errors import InputError
from kinema.evaluation.pose_metrics import align, nearest_times, segment_errors, snippet_distance, step_errors
from kinema.evaluation.pose_scoring import score_path
from kinema.evaluation.protocols import get_protocol
from kinema.evaluation.scoring import Scorer
from kinema.io.poses import Trajectory, read_kitti_poses, read_tum


def path(points, yaws=0.0):
    points = np.float64(points)
    T = np.tile(np.eye(4), (len(points), 1, 1))
    T[:, :3, 3] = points
    c, s = np.cos(np.broadcast_to(yaws, len(points))), np.sin(np.broadcast_to(yaws, len(points)))
    T[:, 0, 0], T[:, 0, 2], T[:, 2, 0], T[:, 2, 2] = c, s, -s, c
    return T


def forward(count, speed=1.0):
    return path([(0, 0, speed * n) for n in range(count)])


def scored(predicted, true, protocol, name="p", times=None):
    scorer = Scorer(get_protocol(protocol))
    guess, goal = (Trajectory(T, times) for T in (predicted, true))
    for label, score in score_path(name, guess, goal, scorer.protocol):
        scorer.add_score(label, score)
    return scorer


def test_snippet_ate_by_hand():
    true = np.float64([(0, 0, 0), (0, 0, 1), (0, 0, 2)])
    predicted = np.float64([(0, 0, 0), (0.1, 0, 0.5), (0, 0, 1)])
    # scale = (0.5 + 2) / (0.01 + 0.25 + 1); the published number divides by N, not by its root.
    assert snippet_distance(predicted, true) / 3 == pytest.approx(0.0664016, abs=5e-8)
    for factor in (1e-6, 7.0, 1e9):
        assert snippet_distance(factor * predicted, true) == pytest.approx(snippet_distance(predicted, true))
    assert snippet_distance(np.zeros((3, 3)), true) == pytest.approx(np.sqrt(5)), (
        "no motion: defined, not NaN"
    )


def test_snippets_are_cut_from_a_path_and_see_the_first_camera():
    turned = path([(n, 0, 0) for n in range(6)], yaws=np.pi / 2)  # drives along its own z
    scorer = scored(forward(6), turned, "snippet-ate-5")
    assert [item.name for item in scorer.items()] == ["p/000000", "p/000001"]
    assert scorer.metrics()["ate"] == pytest.approx(0, abs=1e-12)
    assert scorer.counts()["snippets"] == 2
    assert scored(forward(3), forward(3, 2.0), "snippet-ate-3").items()[0].name == "p"


def test_mean_and_spread_over_snippets_beside_a_straight_line():
    # From (0, 0) one step ahead, then one to the side: only the second of two snippets is bent.
    true = path([(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 2)])
    scorer = scored(forward(4), true, "snippet-ate-3")
    # Truth (0,0,1), (1,0,1) from the second start; line (0,0,1), (0,0,2): scale 3/5, rest 1 + .16 + .04.
    bent = np.sqrt(0.4**2 + 1 + 0.2**2)
    assert scorer.metrics()["ate"] == pytest.approx(bent / 3 / 2)
    assert scorer.metrics()["ate_std"] == pytest.approx(bent / 3 / 2)
    assert scorer.metrics()["ate_rmse"] == pytest.approx(bent / np.sqrt(3) / 2)
    assert scorer.yardstick() == scorer.metrics()


def test_alignment_recovers_a_known_motion():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3))
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    motion = align(points, 2.5 * points @ turn.T + [1, -2, 3], scaled=True)
    np.testing.assert_allclose(motion.rotation, turn, atol=1e-12)
    np.testing.assert_allclose(motion.translation, [1, -2, 3], atol=1e-12)
    assert motion.scale == pytest.approx(2.5)
    mirrored = align(points, points * [1, 1, -1], scaled=False)
    assert np.linalg.det(mirrored.rotation) == pytest.approx(1), "a mirror image is no rotation"
    assert mirrored.scale == 1.0


def test_whole_paths_by_hand():
    true = path([(0, 0, 0), (0, 0, 1), (0, 0, 3)])
    doubled, shifted = true.copy(), true.copy()
    doubled[:, :3, 3] *= 2
    shifted[:, :3, 3] += [0, 4, 0]
    plain = scored(doubled, true, "trajectory").metrics()
    assert plain["ate_max"] == 3.0
    assert plain["ate_median"] == 1.0
    assert plain["ate_mean"] == pytest.approx(4 / 3)
    assert plain["ate_rmse"] == pytest.approx(np.sqrt(10 / 3))
    assert plain["rpe_trans"] == pytest.approx(np.sqrt((1 + 4) / 2))
    assert plain["rpe_rot"] == pytest.approx(0)
    aligned = scored(doubled, true, "trajectory-sim3").metrics()
    assert aligned["ate_max"] == pytest.approx(0, abs=1e-12)
    assert aligned["scale"] == pytest.approx(0.5)
    assert scored(shifted, true, "trajectory").metrics()["ate_rmse"] == pytest.approx(4)
    assert scored(shifted, true, "trajectory-se3").metrics()["ate_rmse"] == pytest.approx(0, abs=1e-12)
    assert scored(doubled, true, "trajectory-se3").metrics()["ate_rmse"] > 0.3


def test_relative_errors_know_small_angles():
    true = forward(3)
    turned = path([(0, 0, 0), (0, 0, 1), (0, 0, 2)], yaws=[0, 1e-9, 1e-9 + np.pi / 2])
    _, angles = step_errors(turned, true)
    assert angles == pytest.approx([np.degrees(1e-9), 90], rel=1e-6)


def test_drift_over_segments_by_hand():
    # 201 poses a metre apart. A stretch ends with the first pose *beyond* its length: 100 m at pose 101.
    true = forward(202)
    stretched = true.copy()
    stretched[:, 2, 3] *= 1.01
    shifts, angles = segment_errors(stretched, true, lengths=(100, 200, 300), step=10)
    # From poses 0, 10, ..., 100 over 100 m; from pose 0 over 200 m; none of 300 m.
    assert len(shifts) == 11 + 1
    assert shifts == pytest.approx([100 * 1.01 / 100] * 11 + [100 * 2.01 / 200])
    assert angles == pytest.approx(np.zeros(12))
    scorer = scored(stretched, true, "kitti-odometry")
    assert scorer.metrics()["t_err"] == pytest.approx(shifts.mean())
    assert scorer.counts()["segments"] == 12
    assert scored(stretched, true, "kitti-odometry-sim3").metrics()["t_err"] == pytest.approx(0, abs=1e-9)


def test_segments_of_all_sequences_are_pooled():
    scorer = scored(forward(102), forward(102), "kitti-odometry", name="a")  # 1 segment without error
    longer = forward(202)
    longer[:, 2, 3] *= 1.01
    for label, score in score_path("b", Trajectory(longer), Trajectory(forward(202)), scorer.protocol):
        scorer.add_score(label, score)
    own = scorer.items()[1].metrics["t_err"]
    assert scorer.metrics()["t_err"] == pytest.approx(own * 12 / 13)
    assert scorer.metrics()["t_err_per_sequence"] == pytest.approx(own / 2)


def test_a_turn_is_told_in_degrees_for_100_m():
    true = forward(152)
    turned = path(true[:, :3, 3], yaws=np.radians(np.linspace(0, 15.1, 152)))  # 0.1 degrees a metre
    _, angles = segment_errors(turned, true, lengths=(100,), step=10)
    assert angles == pytest.approx([10.1] * 6)


def test_times_are_matched_with_the_nearest():
    first, second = nearest_times(np.float64([0, 1, 2, 3]), np.float64([0.004, 1.996, 2.5]), tolerance=0.01)
    assert (first.tolist(), second.tolist()) == ([0, 2], [0, 1])
    first, second = nearest_times(np.float64([5.0]), np.float64([5.0]), tolerance=0.01)
    assert (first.tolist(), second.tolist()) == ([0], [0])


def test_paths_that_do_not_belong_together_are_refused():
    with pytest.raises(InputError, match=r"p: 3 predicted poses but 4 true ones, and no times"):
        scored(forward(3), forward(4), "trajectory")
    with pytest.raises(InputError, match=r"2 poses in common .* needs 5 in a row"):
        scored(forward(2), forward(2), "snippet-ate-5")
    early, late = Trajectory(forward(3), np.arange(3.0)), Trajectory(forward(3), np.arange(3.0) + 60)
    with pytest.raises(InputError, match=r"0 of 3 predicted poses have a true one within 0.01 s"):
        list(score_path("p", early, late, get_protocol("trajectory")))
    short = scored(forward(50), forward(50), "kitti-odometry")
    with pytest.raises(InputError, match=r"x: not one segment .* the true path is long enough"):
        short.check(source="x")


@pytest.fixture
def driven(shared):
    root = shared / "fixtures" / "geonet" / "kitti_odom"

    def read(sequence):
        return (
            read_kitti_poses(root / "pred_kitti_odom_eval" / "example_1" / f"{sequence}.txt"),
            read_kitti_poses(root / "gt_poses" / f"{sequence}.txt"),
        )

    return read


@pytest.mark.parametrize("sequence", ["09", "10"])
@pytest.mark.parametrize("frames", [3, 5])
def test_snippet_ate_equals_the_published_evaluation(driven, shared, sequence, frames):
    golden = shared / "fixtures" / "geonet" / "golden" / "snippet_ate_reference.json"
    reference = json.loads(golden.read_text())
    guess, goal = (trajectory.T_world_from_camera for trajectory in driven(sequence))
    scorer = scored(guess, goal, f"snippet-ate-{frames}")
    for numbers, name in ((scorer.metrics(), "example_1"), (scorer.yardstick(), "straight_line")):
        known = reference[f"seq{sequence}_{name}_len{frames}"]
        assert len(scorer) == known["snippets"]
        assert numbers["ate"] == pytest.approx(known["ate_mean"], rel=1e-9)
        assert numbers["ate_std"] == pytest.approx(known["ate_std"], rel=1e-9)
    if frames == 5:
        known = reference[f"seq{sequence}_example_1_len5_true_rmse"]
        assert scorer.metrics()["ate_rmse"] == pytest.approx(known["mean"], rel=1e-9)
        assert scorer.metrics()["ate_rmse_std"] == pytest.approx(known["std"], rel=1e-9)


@pytest.mark.parametrize(("protocol", "kind"), [("", "none"), ("-se3", "se3"), ("-sim3", "sim3")])
def test_trajectory_errors_equal_those_of_evo(driven, shared, protocol, kind):
    root = shared / "fixtures" / "geonet"
    reference = json.loads((root / "golden" / "ape_reference_evo.json").read_text())
    pairs = {f"kitti_example_1_{sequence}": driven(sequence) for sequence in ("09", "10")}
    truth = read_tum(root / "tum" / "freiburg1_xyz-groundtruth.txt")
    for name in ("rgbdslam", "ORB_kf_mono"):
        pairs[f"freiburg1_xyz-{name}"] = (read_tum(root / "tum" / f"freiburg1_xyz-{name}.txt"), truth)
    for name, (guess, goal) in pairs.items():
        ((_, score),) = score_path(name, guess, goal, get_protocol(f"trajectory{protocol}"))
        assert score.tallies["ate_rmse"].count == reference[name]["pairs"]
        known = reference[name][kind]
        for number in ("rmse", "mean", "median", "max"):
            tally = score.tallies[f"ate_{number}"]
            assert tally.total / tally.count == pytest.approx(known[number], rel=1e-9), (name, number)
        if known["scale"] is not None:
            scale = score.tallies["scale"]
            assert scale.total / scale.count == pytest.approx(known["scale"], rel=1e-9)


@pytest.mark.parametrize(("sequence", "t_err", "r_err"), [("09", 2.53, 0.29), ("10", 2.22, 0.37)])
def test_odometry_errors_equal_the_published_evaluation(driven, sequence, t_err, r_err):
    guess, goal = (trajectory.T_world_from_camera for trajectory in driven(sequence))
    found = scored(guess, goal, "kitti-odometry-sim3").metrics()
    assert (round(found["t_err"], 2), round(found["r_err"], 2)) == (t_err, r_err)
