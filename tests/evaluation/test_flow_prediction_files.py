import numpy as np
import pytest

from helpers.flow_trees import constant, write_flo, write_kitti, write_picture
from kinema.errors import InputError
from kinema.evaluation.file_tasks import open_files
from kinema.evaluation.flow_files import read_prediction
from kinema.evaluation.protocols import get_protocol
from kinema.evaluation.scoring import Scorer
from kinema.evaluation.truths import flow_truths

FLOW = constant((4, 6), 1, 2)
EVERYWHERE = np.ones((4, 6), bool)


def opened(predictions, truth, protocol="pixels"):
    return open_files(predictions, truth, get_protocol(protocol))


def scored(task, protocol="pixels"):
    scorer = Scorer(get_protocol(protocol))
    for index in range(len(task.names)):
        task.score(scorer, index)
    return scorer


def test_two_files_match_whatever_their_names(tmp_path):
    write_flo(tmp_path / "a.flo", constant((4, 6), 4, 6))
    write_kitti(tmp_path / "b.png", FLOW, EVERYWHERE)
    task = opened(tmp_path / "a.flo", tmp_path / "b.png")
    assert task.names == ("b",)
    assert scored(task).metrics()["epe"] == 5.0


def test_folders_match_by_relative_stem_and_the_rest_is_told(tmp_path):
    for name in ("alley/frame_1.flo", "alley/frame_2.flo", "market/frame_1.flo"):
        write_flo(tmp_path / "truth" / name, FLOW)
    write_kitti(tmp_path / "mine/alley/frame_1.png", FLOW, EVERYWHERE)
    write_flo(tmp_path / "mine/market/frame_1_flow.flo", FLOW)
    write_flo(tmp_path / "mine/cave/frame_1.flo", FLOW)
    (tmp_path / "mine/log.txt").touch()
    task = opened(tmp_path / "mine", tmp_path / "truth")
    assert task.names == ("alley/frame_1", "market/frame_1")
    assert task.matched.without_prediction == ("alley/frame_2",)
    assert task.matched.without_truth == ("cave/frame_1",)


def test_a_colour_picture_beside_the_numbers_is_not_taken(tmp_path):
    write_flo(tmp_path / "truth/000000_flow.flo", FLOW)
    write_flo(tmp_path / "mine/000000_flow.flo", FLOW)
    write_picture(tmp_path / "mine/000000_flow.png", np.zeros((4, 6, 3), np.uint8))
    assert scored(opened(tmp_path / "mine", tmp_path / "truth")).metrics()["epe"] == 0.0


def test_official_masks_beside_the_truth_are_used(tmp_path):
    root = tmp_path / "training"
    write_kitti(root / "flow_occ/000001_10.png", FLOW, EVERYWHERE)
    write_kitti(root / "flow_noc/000001_10.png", FLOW, np.eye(4, 6, dtype=bool))
    write_flo(root / "flow/alley/frame_0001.flo", FLOW)
    write_picture(root / "occlusions/alley/frame_0001.png", 255 * np.eye(4, 6, dtype=np.uint8))
    (kitti,) = (truth.read() for truth in flow_truths(root / "flow_occ").by_name.values())
    assert kitti.valid_noc is not None
    assert kitti.valid_noc.sum() == 4
    for place in (root / "flow", root / "flow/alley", root / "flow/alley/frame_0001.flo"):
        (sintel,) = (truth.read() for truth in flow_truths(place).by_name.values())
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
    for name in ("a", "b"):
        write_flo(tmp_path / f"truth/{name}.flo", FLOW)
    write_flo(tmp_path / "mine/c.flo", FLOW)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no prediction in .*mine has the name .*: c against a, b;"):
        opened(tmp_path / "mine", tmp_path / "truth")
    with pytest.raises(InputError, match="no flow file"):
        opened(tmp_path / "empty", tmp_path / "truth")
    with pytest.raises(InputError, match="--predictions: no such file or folder"):
        opened(tmp_path / "gone", tmp_path / "truth")
    with pytest.raises(InputError, match="--truth: no such file or folder"):
        opened(tmp_path / "mine", tmp_path / "gone")
    with pytest.raises(InputError, match=r"is a folder but --truth .* is a file"):
        opened(tmp_path / "mine", tmp_path / "truth/a.flo")
    with pytest.raises(InputError, match=r"is a file but --truth .* is a folder"):
        opened(tmp_path / "mine/c.flo", tmp_path / "truth")
