import numpy as np
import pytest

from helpers.flow_trees import constant, write_flo, write_kitti, write_picture
from kinema.data.sample import load_truth
from kinema.errors import InputError
from kinema.evaluation.flow_files import match_flow_files, read_prediction

FLOW = constant((4, 6), 1, 2)
EVERYWHERE = np.ones((4, 6), bool)


def test_two_files_match_whatever_their_names(tmp_path):
    write_flo(tmp_path / "a.flo", FLOW)
    write_kitti(tmp_path / "b.png", FLOW, EVERYWHERE)
    match = match_flow_files(tmp_path / "a.flo", tmp_path / "b.png")
    assert [(p.predicted.name, p.truth.flow.name) for p in match.pairs] == [("a.flo", "b.png")]


def test_folders_match_by_relative_stem_and_the_rest_is_told(tmp_path):
    for name in ("alley/frame_1.flo", "alley/frame_2.flo", "market/frame_1.flo"):
        write_flo(tmp_path / "truth" / name, FLOW)
    write_kitti(tmp_path / "mine/alley/frame_1.png", FLOW, EVERYWHERE)
    write_flo(tmp_path / "mine/market/frame_1_flow.flo", FLOW)
    write_flo(tmp_path / "mine/cave/frame_1.flo", FLOW)
    (tmp_path / "mine/log.txt").touch()
    match = match_flow_files(tmp_path / "mine", tmp_path / "truth")
    assert [p.truth.name for p in match.pairs] == ["alley/frame_1", "market/frame_1"]
    assert match.without_prediction == ("alley/frame_2",)
    assert match.without_truth == ("cave/frame_1",)


def test_a_colour_picture_beside_the_numbers_is_not_taken(tmp_path):
    write_flo(tmp_path / "truth/000000_flow.flo", FLOW)
    write_flo(tmp_path / "mine/000000_flow.flo", FLOW)
    write_picture(tmp_path / "mine/000000_flow.png", np.zeros((4, 6, 3), np.uint8))
    assert match_flow_files(tmp_path / "mine", tmp_path / "truth").pairs[0].predicted.suffix == ".flo"


def test_official_masks_beside_the_truth_are_used(tmp_path):
    root = tmp_path / "training"
    write_kitti(root / "flow_occ/000001_10.png", FLOW, EVERYWHERE)
    write_kitti(root / "flow_noc/000001_10.png", FLOW, np.eye(4, 6, dtype=bool))
    write_flo(root / "flow/alley/frame_0001.flo", FLOW)
    write_picture(root / "occlusions/alley/frame_0001.png", 255 * np.eye(4, 6, dtype=np.uint8))
    write_flo(tmp_path / "k/000001_10.flo", FLOW)
    write_flo(tmp_path / "s/alley/frame_0001.flo", FLOW)
    kitti = load_truth(match_flow_files(tmp_path / "k", root / "flow_occ").pairs[0].truth)
    assert kitti.valid_noc is not None
    assert kitti.valid_noc.sum() == 4
    for truth in (root / "flow", root / "flow/alley"):
        predictions = tmp_path / "s" if truth.name == "flow" else tmp_path / "s/alley"
        sintel = load_truth(match_flow_files(predictions, truth).pairs[0].truth)
        assert sintel.occluded is not None
        assert sintel.occluded.sum() == 4
        assert sintel.flagged is None


def test_unknown_pixels_of_a_prediction_are_not_zero_motion(tmp_path):
    valid = EVERYWHERE.copy()
    valid[2, 3] = False
    write_kitti(tmp_path / "p.png", FLOW, valid)
    predicted = read_prediction(tmp_path / "p.png")
    assert np.isnan(predicted[2, 3]).all()
    assert np.isfinite(predicted).sum() == 46


def test_what_cannot_be_matched_is_one_clear_line(tmp_path):
    write_flo(tmp_path / "truth/a.flo", FLOW)
    write_flo(tmp_path / "mine/b.flo", FLOW)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no prediction in .*mine has the name .*: b against a;"):
        match_flow_files(tmp_path / "mine", tmp_path / "truth")
    with pytest.raises(InputError, match="no flow file"):
        match_flow_files(tmp_path / "empty", tmp_path / "truth")
    with pytest.raises(InputError, match="--predictions: no such file or folder"):
        match_flow_files(tmp_path / "gone", tmp_path / "truth")
    with pytest.raises(InputError, match=r"is a folder but --truth .* is a file"):
        match_flow_files(tmp_path / "mine", tmp_path / "truth/a.flo")
