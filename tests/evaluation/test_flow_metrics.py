import math

import numpy as np
import pytest

from helpers.flow_trees import constant
from kinema.data.sample import FlowTruth
from kinema.errors import InputError
from kinema.evaluation.flow_metrics import FLOW_METRICS, flow_tallies, nonfinite_pixels


def truth_of(flow, **masks):
    masks.setdefault("valid", np.ones(flow.shape[:2], bool))
    return FlowTruth(name="t", flow=np.float32(flow), **masks)


def mean(predicted, truth, metric):
    tally = flow_tallies(np.float32(predicted), truth, metrics=[metric])[metric]
    return tally.total / tally.count


def row(*pairs):
    return np.float32([pairs])


def test_endpoint_error_by_hand():
    # (3, 4) off by 5 and (0, 0) off by 1.
    assert mean(row((4, 6), (0, -1)), truth_of(row((1, 2), (0, 0))), "epe") == 3.0


def test_only_valid_pixels_count_whatever_the_others_hold():
    true = row((1, 0), (1e10, np.nan), (2, 0))
    truth = truth_of(true, valid=np.array([[True, False, True]]))
    predicted = row((2, 0), (np.nan, np.inf), (2, 0))
    tally = flow_tallies(predicted, truth, metrics=["epe"])["epe"]
    assert (tally.total, tally.count) == (1.0, 2)
    assert nonfinite_pixels(predicted, truth) == 0


def test_an_outlier_needs_both_conditions():
    # errors 4, 4, 2, 3 at lengths 100, 10, 1, 1: over 3 px but 4 %; both; 200 % but only 2 px; exactly 3 px.
    true = row((100, 0), (10, 0), (1, 0), (1, 0))
    predicted = row((104, 0), (14, 0), (3, 0), (4, 0))
    assert mean(predicted, truth_of(true), "fl_all") == 25.0
    assert mean(predicted, truth_of(true), "out_3px") == 50.0
    # Written with "or" the first three would all be outliers: 75 %.


def test_five_percent_exactly_is_no_outlier_and_zero_motion_divides_nothing():
    assert mean(row((84, 0)), truth_of(row((80, 0))), "fl_all") == 0.0
    assert mean(row((0, 3.5)), truth_of(row((0, 0))), "fl_all") == 100.0


def test_rates_are_percent_of_errors_above_the_length():
    true = np.zeros((1, 8, 2), np.float32)
    predicted = row(*[(e, 0) for e in (0, 1, 1.5, 3, 3.5, 5, 6, 7)])
    assert [mean(predicted, truth_of(true), f"out_{n}px") for n in (1, 3, 5)] == [75.0, 50.0, 25.0]


def test_angular_error_by_hand():
    # (1, 0, 1) against (0, 0, 1): 45 degrees. The same direction: 0.
    assert mean(row((1, 0)), truth_of(row((0, 0))), "aae") == pytest.approx(45.0)
    assert mean(row((3, -7)), truth_of(row((3, -7))), "aae") == pytest.approx(0.0, abs=1e-5)


def test_speed_classes_close_below_and_open_above():
    true = row((0, 0), (9.5, 0), (10, 0), (39.5, 0), (0, 40), (300, 0))
    truth = truth_of(true)
    names = ["epe_s0_10", "epe_s10_40", "epe_s40plus"]
    tallies = flow_tallies(true + row(*[(0, n) for n in (1, 1, 2, 2, 3, 3)]), truth, metrics=names)
    assert [(tallies[n].total, tallies[n].count) for n in names] == [(2.0, 2), (4.0, 2), (6.0, 2)]


def test_masks_choose_pixels():
    true = constant((1, 4), 0, 0)
    predicted = row((1, 0), (2, 0), (4, 0), (8, 0))
    truth = truth_of(
        true,
        valid=np.array([[True, True, True, False]]),
        occluded=np.array([[True, False, False, True]]),
        valid_noc=np.array([[False, True, False, False]]),
        flagged=np.array([[False, False, True, False]]),
    )
    names = ("epe_occluded", "epe_nonoccluded", "epe_noc", "epe_reliable")
    means = {name: mean(predicted, truth, name) for name in names}
    assert means["epe_occluded"] == 1.0
    assert means["epe_nonoccluded"] == 3.0
    assert means["epe_noc"] == 2.0
    assert means["epe_reliable"] == 1.5


def test_pixels_that_leave_the_frame():
    # Width 4: from column 3 one pixel to the right is outside; onto the last column is inside.
    true = row((-0.5, 0), (2, 0), (0, 1), (1, 0))
    tally = flow_tallies(
        true + row((1, 0), (2, 0), (3, 0), (4, 0)), truth_of(true), metrics=["epe_out_of_frame"]
    )
    assert (tally["epe_out_of_frame"].total, tally["epe_out_of_frame"].count) == (8.0, 3)


def test_a_metric_without_its_mask_is_absent_not_zero():
    tallies = flow_tallies(
        row((0, 0)), truth_of(row((0, 0))), metrics=["epe", "epe_noc", "fl_noc", "epe_occluded"]
    )
    assert set(tallies) == {"epe"}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_no_number_spoils_every_metric_that_looks_at_it(bad):
    truth = truth_of(constant((2, 2), 50, 0))
    predicted = constant((2, 2), 50, 0)
    predicted[1, 1, 1] = bad
    tallies = flow_tallies(predicted, truth, metrics=FLOW_METRICS)
    assert nonfinite_pixels(predicted, truth) == 1
    assert "fl_all" in tallies
    for name, tally in tallies.items():
        assert tally.count == 0 or not math.isfinite(tally.total), name


def test_another_size_is_refused_with_both_sizes():
    with pytest.raises(InputError, match="predicted flow is 5x4 but the true flow is 6x4"):
        flow_tallies(constant((4, 5), 0, 0), truth_of(constant((4, 6), 0, 0)), metrics=["epe"])


def test_zero_flow_on_real_truth(shared):
    from kinema.data import open_dataset, parse_spec

    sample = open_dataset(parse_spec(f"sintel-clean:{shared / 'data' / 'sintel'}")[0])[0]
    # The known value counts flagged pixels too; without them it would be 2.982.
    assert mean(np.zeros_like(sample.flow), sample, "epe") == pytest.approx(2.983, abs=2e-4)
    assert mean(np.zeros_like(sample.flow), sample, "epe_reliable") == pytest.approx(2.98225, abs=1e-4)
