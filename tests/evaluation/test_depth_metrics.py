"""Depth by hand, and equal to the numbers of the published evaluation."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from kinema.errors import InputError
from kinema.evaluation.depth_metrics import crop_window, resized_depth, score_depth, scored_pixels
from kinema.evaluation.protocols import get_protocol

SEVEN = ("abs_rel", "sq_rel", "rmse", "rmse_log", "a1", "a2", "a3")


def means(tallies):
    return {name: tally.total / tally.count for name, tally in tallies.items()}


def scored(predicted, truth, protocol):
    return means(score_depth(np.float32(predicted), np.float32(truth), protocol, name="x").tallies)


def test_seven_numbers_by_hand():
    found = scored([[1, 2, 2]], [[1, 2, 4]], get_protocol("depth-metric"))
    assert found == pytest.approx(
        {
            "abs_rel": 0.5 / 3,
            "sq_rel": 1 / 3,
            "rmse": math.sqrt(4 / 3),
            "rmse_log": math.log(2) / math.sqrt(3),
            "a1": 200 / 3,
            "a2": 200 / 3,
            "a3": 200 / 3,
        }
    )


def test_ratios_at_the_limits_do_not_pass():
    # ratios 1, 1.25, 1.25² and 1.25³: "below" leaves the limit itself out.
    found = scored([[4, 5, 25, 125]], [[4, 4, 16, 64]], get_protocol("depth-metric"))
    assert (found["a1"], found["a2"], found["a3"]) == (25.0, 50.0, 75.0)


def test_the_median_scales_each_prediction():
    truth, predicted = [[2, 4, 6]], [[20, 40, 90]]
    found = scored(predicted, truth, get_protocol("depth"))
    assert found["scale"] == pytest.approx(4 / 40)
    assert found["abs_rel"] == pytest.approx((3 / 6) / 3)
    unscaled = scored(predicted, truth, get_protocol("depth-metric"))
    assert unscaled["abs_rel"] == pytest.approx((9 + 9 + 14) / 3)
    assert "scale" not in unscaled


def test_unknown_truth_and_truth_beyond_the_limits_do_not_count():
    truth = np.float32([[0, np.nan, 79.9, 80.0, 5]])
    near = replace(get_protocol("eigen-80"), crop="none")
    assert scored_pixels(truth, near).tolist() == [[False, False, True, False, True]]
    all_known = get_protocol("kitti-stereo-depth")
    assert scored_pixels(truth, all_known).tolist() == [[False, False, True, True, True]]


def test_predictions_are_limited_after_scaling():
    # The median of truth is 40, of the prediction 1: 1 becomes 40, 3 becomes 120 and then 80.
    protocol = replace(get_protocol("eigen-80"), crop="none")
    found = scored([[1, 1, 3]], [[40, 40, 79]], protocol)
    assert found["rmse"] == pytest.approx(1 / math.sqrt(3))


@pytest.mark.parametrize(
    ("size_hw", "garg", "eigen"),
    [
        ((375, 1242), (153, 371, 44, 1197), (124, 342, 44, 1197)),
        ((370, 1224), (151, 366, 43, 1180), None),
        ((376, 1241), (153, 372, 44, 1196), None),
        ((370, 1226), (151, 366, 44, 1181), (122, 337, 44, 1181)),
        ((374, 1238), (152, 370, 44, 1193), None),
    ],
)
def test_crops_are_the_published_ones(size_hw, garg, eigen):
    def bounds(crop):
        rows, columns = crop_window(size_hw, crop)
        return rows.start, rows.stop, columns.start, columns.stop

    assert bounds("garg") == garg
    assert eigen is None or bounds("eigen") == eigen


def test_depth_or_its_inverse_is_interpolated():
    depth = np.float32([[1, 1], [1, 1], [3, 3], [3, 3]])
    # To half the height: the middle of rows 1 and 1, and of 3 and 3; from 4 rows to 1: between rows 1 and 2.
    assert resized_depth(depth, (1, 2), get_protocol("eigen-80")).tolist() == [[2.0, 2.0]]
    inverse = resized_depth(depth, (1, 2), get_protocol("eigen-80-inverse"))
    np.testing.assert_allclose(inverse, 1 / ((1 + 1 / 3) / 2), rtol=1e-6)
    assert resized_depth(depth, (4, 2), get_protocol("eigen-80")).dtype == np.float64


def test_a_picture_without_scored_pixels_adds_no_average():
    score = score_depth(np.ones((2, 2)), np.zeros((2, 2)), get_protocol("depth"), name="x")
    assert {tally.count for tally in score.tallies.values()} == {0}


def test_what_is_no_depth_is_counted_or_refused():
    truth = np.float32([[1, 2, 3]])
    assert score_depth(np.float32([[1, np.nan, 3]]), truth, get_protocol("depth"), name="x").bad == 1
    with pytest.raises(InputError, match=r"frame 7: the median of the predicted depth is -2"):
        score_depth(-truth, truth, get_protocol("depth"), name="frame 7")
    with pytest.raises(InputError, match="shape"):
        score_depth(truth[..., None], truth, get_protocol("depth"), name="x")


def test_constant_depth_stands_beside():
    score = score_depth(np.float32([[2, 4, 6]]), np.float32([[2, 4, 6]]), get_protocol("depth"), name="x")
    assert means(score.tallies)["rmse"] == 0.0
    assert means(score.yardstick)["rmse"] == pytest.approx(math.sqrt(8 / 3))


def test_equal_to_the_published_evaluation_on_a_real_frame(shared):
    """Trivial predictions for a real laser scan; the reference was computed in float32."""
    golden = shared / "fixtures" / "geonet" / "golden"
    reference = json.loads((golden / "depth_metrics_ref.json").read_text())
    assert reference["metrics_order"] == ["abs_rel", "sq_rel", "rms", "log_rms", "d1", "d2", "d3"]
    (truth,) = np.load(golden / "depth_gt_object_000001.npz").values()
    rows = np.arange(truth.shape[0], dtype=np.float64)[:, None]
    plane = np.broadcast_to(1 / np.maximum(rows - 172.854, 1), truth.shape)
    cases = {
        "const_pred": (np.ones_like(truth), "eigen-80"),
        "ground_plane_pred_1_over_max(row-172.854,1)": (plane, "eigen-80"),
        "ground_plane_cap50": (plane, "eigen-50"),
    }
    for name, (predicted, protocol) in cases.items():
        score = score_depth(predicted, truth, get_protocol(protocol), name=name)
        found = means(score.tallies)
        numbers = [found[m] / (100 if m.startswith("a") and m != "abs_rel" else 1) for m in SEVEN]
        assert numbers == pytest.approx(reference[name], rel=2e-5), name
    count = score_depth(np.ones_like(truth), truth, get_protocol("eigen-80"), name="x").tallies["rmse"].count
    assert count == reference["counts"]["valid_in_garg_crop_cap80"]
