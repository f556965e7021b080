from pathlib import Path

import numpy as np
import pytest

from helpers.flow_trees import constant, write_kitti
from kinema.data import FAMILIES
from kinema.data.sample import FlowTruth
from kinema.errors import InputError, UsageError
from kinema.evaluation.flow_files import read_prediction
from kinema.evaluation.flow_scoring import FlowScorer, round_prediction
from kinema.evaluation.protocols import DEFAULT_PROTOCOLS, PROTOCOLS, get_flow_protocol, get_protocol
from kinema.evaluation.results import fact_of


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
    scorer = FlowScorer(get_flow_protocol(protocol))
    for predicted, truth in pairs:
        scorer.add(predicted, truth)
    return scorer


@pytest.mark.parametrize("protocol", ["sintel", "kitti12"])
def test_batches_of_one_of_four_and_merged_halves_are_equal(protocol):
    pairs = list(random_pairs(10))
    ones = scored(pairs, protocol)
    fours = FlowScorer(get_flow_protocol(protocol))
    for begin in range(0, 10, 4):  # the last batch has two
        fours.merge(scored(pairs[begin : begin + 4], protocol))
    halves = scored(pairs[1::2], protocol)
    halves.merge(scored(pairs[::2], protocol))
    for other in (fours, halves):
        assert other.metrics() == ones.metrics()
        assert other.counts() == ones.counts()
        assert other.yardstick() == ones.yardstick()


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
        names = {*protocol.metrics, *(f"{name}_std" for name in protocol.spread)}
        names |= {f"{name}_{protocol.other_averaging.replace('-', '_')}" for name in protocol.both}
        assert all(fact_of(protocol, name).meaning for name in names)
        assert {*protocol.both, *protocol.spread} <= set(protocol.metrics)
        family, _, split = protocol.data.partition("@")
        assert not family or family in FAMILIES
        assert not split or split in FAMILIES[family].splits
    scored = {"flow", "restoration", "driving"}
    usual = {name for name, family in FAMILIES.items() if family.kind in scored} - {"snippets"}
    assert set(DEFAULT_PROTOCOLS) == usual
    for family, name in DEFAULT_PROTOCOLS.items():
        assert not PROTOCOLS[name].data or PROTOCOLS[name].data.startswith(family)


def test_every_protocol_has_its_section_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text()
    assert [name for name in PROTOCOLS if f"`{name}`" not in text] == []


def two_images():
    """One of 10 pixels, 4 known, all off by 5; one of 20, 10 known: off by 1, and by 90 at hidden ones."""
    known = np.zeros((2, 5), bool)
    known[0, :4] = True
    first = FlowTruth(name="first", flow=constant((2, 5), 3, 0), valid=known, valid_noc=known)
    second_known = np.zeros((4, 5), bool)
    second_known[:2] = True
    visible = second_known.copy()
    visible[0, :2] = False
    second = FlowTruth(name="second", flow=constant((4, 5), 100, 0), valid=second_known, valid_noc=visible)
    wrong = constant((4, 5), 101, 0)
    wrong[0, :2] = (190, 0)
    return [(constant((2, 5), 6, 4), first), (wrong, second)]


@pytest.mark.parametrize(
    ("protocol", "metrics"),
    [
        # All: 4 pixels of 5, 8 of 1, 2 of 90. Outliers: the 4 (5 px, 167 %) and the 2 (90 px, 90 %).
        (
            "kitti15",
            {
                "epe": (4 * 5 + 8 + 180) / 14,
                "epe_per_image": (5 + 18.8) / 2,
                "epe_noc": (20 + 8) / 12,
                "fl_all": 100 * 6 / 14,
                "fl_noc": 100 * 4 / 12,
                "out_3px_noc": 100 * 4 / 12,
                "out_1px": 100 * 6 / 14,
            },
        ),
        (
            "kitti12",
            {
                "epe": (5 + 18.8) / 2,
                "epe_noc": (5 + 1) / 2,
                "fl_all": (100 + 20) / 2,
                "fl_noc": (100 + 0) / 2,
                "epe_per_pixel": (4 * 5 + 8 + 180) / 14,
            },
        ),
        (
            "geonet-kitti15",
            {"epe_noc": 3.0, "epe": 11.9, "fl_noc": 50.0, "fl_all": 60.0},
        ),
        ("uflow-kitti15", {"epe": 11.9, "epe_noc": 3.0, "fl_all": 60.0, "fl_noc": 50.0}),
        ("uflow-sintel", {"epe": 11.9, "fl_all": 60.0}),
        ("uflow-chairs", {"epe": 11.9, "fl_all": 60.0}),
        ("chairs-val", {"epe": 208 / 14, "fl_all": 600 / 14}),
        ("middlebury", {"epe": 11.9, "fl_all": 60.0}),
        ("rendered", {"epe": 11.9, "epe_s0_10": 5.0, "epe_s10_40": None, "epe_s40plus": 18.8}),
        ("pixels", {"epe": 208 / 14, "epe_s0_10": 5.0, "epe_s40plus": 18.8}),
        ("sintel", {"epe": 208 / 14, "epe_s40plus": 18.8, "epe_occluded": None}),
        ("sintel-per-image", {"epe": 11.9, "fl_all": 60.0, "out_5px": 10.0}),
        # Sums over known pixels, divided by all: 20 / 10 and 188 / 20.
        ("tfoptflow-legacy", {"epe": (2 + 9.4) / 2, "epe_per_pixel": 208 / 30}),
    ],
)
def test_the_same_flow_by_every_protocol(protocol, metrics):
    found = scored(two_images(), protocol).metrics()
    assert {name: found[name] for name in metrics} == pytest.approx(metrics)


def test_uflow_reports_no_epe_above_50():
    far = [
        (
            constant((2, 2), 100, 0),
            FlowTruth(name="x", flow=constant((2, 2), 0, 0), valid=np.ones((2, 2), bool)),
        )
    ]
    found = scored(far, "uflow-kitti15")
    assert found.metrics()["epe"] == 50.0
    assert found.metrics()["fl_all"] == 100.0
    assert scored(far, "geonet-kitti15").metrics()["epe"] == 100.0


def test_only_protocols_of_flow_score_flow():
    with pytest.raises(UsageError, match="eigen-80: scores depth, not flow; choose from middlebury"):
        get_flow_protocol("eigen-80")


def test_an_unknown_protocol_lists_the_known_ones():
    with pytest.raises(UsageError, match="choose from middlebury, sintel"):
        get_protocol("sintle")
