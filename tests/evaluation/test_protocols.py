import numpy as np
import pytest

from helpers.flow_trees import constant, write_kitti
from kinema.data import FAMILIES
from kinema.data.sample import FlowTruth
from kinema.errors import InputError, UsageError
from kinema.evaluation.flow_files import read_prediction
from kinema.evaluation.flow_metrics import FLOW_METRICS
from kinema.evaluation.protocols import DEFAULT_PROTOCOLS, PROTOCOLS, get_protocol, round_prediction
from kinema.evaluation.scoring import FlowScorer


def random_pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    for i in range(count):
        size_hw = (int(rng.integers(3, 9)), int(rng.integers(3, 9)))
        valid = rng.random(size_hw) < 0.8
        valid[0, 0] = True
        true = rng.normal(0, 20, (*size_hw, 2)).astype(np.float32)
        truth = FlowTruth(name=f"{i}", flow=true, valid=valid, valid_noc=valid & (rng.random(size_hw) < 0.5))
        yield (true + rng.normal(0, 4, true.shape)).astype(np.float32), truth


def scored(pairs, protocol):
    scorer = FlowScorer(get_protocol(protocol))
    for predicted, truth in pairs:
        scorer.add(predicted, truth)
    return scorer


@pytest.mark.parametrize("protocol", ["sintel", "kitti12"])
def test_batches_of_one_of_four_and_merged_halves_are_equal(protocol):
    pairs = list(random_pairs(10))
    ones = scored(pairs, protocol)
    fours = FlowScorer(get_protocol(protocol))
    for begin in range(0, 10, 4):  # the last batch has two
        fours.merge(scored(pairs[begin : begin + 4], protocol))
    halves = scored(pairs[1::2], protocol)
    halves.merge(scored(pairs[::2], protocol))
    for other in (fours, halves):
        assert other.metrics() == ones.metrics()
        assert other.counts() == ones.counts()
        assert other.zero_flow() == ones.zero_flow()


def test_the_same_flow_has_two_epes():
    # A sparse image with large errors beside a dense one with small errors, as on KITTI.
    sparse = np.zeros((10, 10), bool)
    sparse[:2] = True
    truths = [
        FlowTruth(name="sparse", flow=constant((10, 10), 0, 0), valid=sparse),
        FlowTruth(name="dense", flow=constant((10, 10), 0, 0), valid=np.ones((10, 10), bool)),
    ]
    pairs = list(zip([constant((10, 10), 6, 8), constant((10, 10), 0, 1)], truths, strict=True))
    pooled, imaged = scored(pairs, "sintel").metrics(), scored(pairs, "sintel-per-image").metrics()
    assert pooled["epe"] == (20 * 10 + 100 * 1) / 120 == 2.5
    assert imaged["epe"] == (10 + 1) / 2
    assert pooled["fl_all"] == pytest.approx(100 * 20 / 120)
    assert imaged["fl_all"] == 50.0
    # Each names the other, so that neither can be taken for it.
    assert pooled["epe_per_image"] == imaged["epe"]
    assert imaged["epe_per_pixel"] == pooled["epe"]


def test_a_nan_is_counted_and_reported_not_averaged():
    pairs = list(random_pairs(4))
    pairs[2][0][0, 0] = np.nan
    scorer = scored(pairs, "kitti12")
    with pytest.raises(InputError, match=r"m: 1 of 4 predicted flows are NaN.*\(1 pixels; first: 2 with 1\)"):
        scorer.check(source="m")
    scored(pairs[:2], "kitti12").check(source="m")


def test_rounding_does_not_hide_infinity():
    pairs = list(random_pairs(2))
    pairs[1][0][0, 0, 1] = np.inf
    with pytest.raises(InputError, match="1 of 2"):
        scored(pairs, "kitti12").check(source="m")
    assert np.isinf(round_prediction(np.float32([[[np.inf, 0]]]), "kitti-png")[0, 0, 0])


def test_no_truth_at_all_is_an_error():
    nowhere = FlowTruth(name="x", flow=constant((2, 2), 0, 0), valid=np.zeros((2, 2), bool))
    with pytest.raises(InputError, match="not one pixel"):
        scored([(constant((2, 2), 0, 0), nowhere)], "sintel").check(source="m")


def test_kitti_rounding_is_what_its_files_do(tmp_path):
    flow = np.random.default_rng(1).normal(0, 30, (5, 7, 2)).astype(np.float32)
    write_kitti(tmp_path / "p.png", flow, np.ones((5, 7), bool))
    np.testing.assert_array_equal(read_prediction(tmp_path / "p.png"), round_prediction(flow, "kitti-png"))
    assert round_prediction(np.float32([[[600, -600]]]), "kitti-png").tolist() == [[[511.984375, -512.0]]]


def test_protocols_name_existing_metrics_and_families():
    for protocol in PROTOCOLS.values():
        assert protocol.metrics[0] == "epe"
        assert set(protocol.metrics) <= set(FLOW_METRICS)
        assert protocol.data.partition("@")[0] in FAMILIES
    assert set(DEFAULT_PROTOCOLS) == set(FAMILIES)
    for family, name in DEFAULT_PROTOCOLS.items():
        assert PROTOCOLS[name].data.startswith(family)


def test_an_unknown_protocol_lists_the_known_ones():
    with pytest.raises(UsageError, match="choose from middlebury, sintel"):
        get_protocol("sintle")
