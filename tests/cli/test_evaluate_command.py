import json

import cv2
import numpy as np
import pytest

from helpers import flow_trees
from kinema.cli.evaluate import run
from kinema.errors import InputError, KinemaError, OutputError, UsageError

SIZE = (20, 24)
CONTRACT = {"protocol", "model", "data", "metrics", "counts", "versions", "settings"}


@pytest.fixture
def scenes(tmp_path):
    flow = flow_trees.constant(SIZE, 3, 4)
    other = flow_trees.constant((10, 12), 0, 1)
    return flow_trees.middlebury(tmp_path / "mb", {"A": flow, "B": other})


def evaluated(*words, target):
    assert run([*map(str, words), "--json", str(target)]) == 0
    return json.loads(target.read_text())


def test_zero_flow_by_hand(scenes, tmp_path, capsys):
    result = evaluated("zero", "--data", f"middlebury:{scenes}", target=tmp_path / "r.json")
    assert set(result) >= CONTRACT
    assert result["protocol"] == "middlebury"
    assert result["metrics"]["epe"] == (5 + 1) / 2
    assert result["metrics"]["epe_per_pixel"] == pytest.approx((5 * 480 + 1 * 120) / 600)
    assert result["metrics"]["fl_all"] == 50.0
    assert result["metrics"] == result["zero_flow"]
    assert result["counts"]["pairs"] == 2
    assert result["counts"]["pixels"] == 600
    assert result["counts"]["official_pairs"] == 8
    assert result["settings"]["averaging"] == "per-image"
    assert [pair["name"] for pair in result["pairs"]] == ["A", "B"]
    shown = capsys.readouterr().out
    assert "protocol middlebury" in shown
    assert "2 of 8 official pairs" in shown
    assert "3.000" in shown


def test_a_model_is_better_than_zero_flow(tmp_path):
    y, x = np.mgrid[: 48 + 8, : 64 + 8].astype(np.float32)
    picture = 127 + 60 * np.sin(x / 3.1) * np.cos(y / 4.3) + 50 * np.sin((x + y) / 7.7)
    root = flow_trees.middlebury(tmp_path / "mb", {"Shift": flow_trees.constant((48, 64), 2, 1)})
    for number, (top, left) in ((10, (4, 4)), (11, (3, 2))):
        crop = picture[top : top + 48, left : left + 64].astype(np.uint8)
        flow_trees.write_picture(root / f"other-data/Shift/frame{number}.png", crop)
    words = ("tvnet", "--data", f"middlebury:{root}", "--device", "cpu")
    result = evaluated(*words, target=tmp_path / "r.json")
    assert result["zero_flow"]["epe"] == pytest.approx(5**0.5)
    assert result["metrics"]["epe"] < 0.5
    assert result["settings"]["precision"] == "fp32"
    assert result["seconds_per_pair"] > 0
    fewer = evaluated(*words, "--scales", 1, "--warps", 1, "--iterations", 1, target=tmp_path / "few.json")
    assert fewer["settings"]["iterations"] == 1
    assert fewer["metrics"]["epe"] > result["metrics"]["epe"]


def test_hidden_points_are_scored_where_the_protocol_asks(tmp_path):
    """The picture moves by (6, 0): the last six columns of frame 1 leave it."""
    y, x = np.mgrid[:64, :96].astype(np.float32)
    picture = 127 + 60 * np.sin(x / 3.1) * np.cos(y / 4.3) + 50 * np.sin((x + y) / 7.7)
    root = flow_trees.sintel(tmp_path / "s", {"shift": [1, 2]}, flow_trees.constant((64, 80), 6, 0))
    training = root / "training"
    for number, left in ((1, 6), (2, 0)):
        crop = picture[:, left : left + 80].astype(np.uint8)
        flow_trees.write_picture(training / f"clean/shift/frame_{number:04d}.png", crop)
    hidden = np.zeros((64, 80), np.uint8)
    hidden[:, -6:] = 255
    flow_trees.write_picture(training / "occlusions/shift/frame_0001.png", hidden)
    words = ("--data", f"sintel-clean:{root}", "--protocol", "uflow-sintel")
    found = evaluated("tvnet", *words, "--device", "cpu", target=tmp_path / "r.json")
    assert found["metrics"]["occl_f_max"] > 0.7
    assert 0 <= found["metrics"]["best_occl_thresh"] < 1
    assert found["zero_flow"]["occl_f_max"] is None
    assert found["settings"]["occlusion"] == "wang"
    zero = evaluated("zero", *words, target=tmp_path / "z.json")
    assert zero["metrics"]["occl_f_max"] is None


def test_files_give_the_same_numbers_as_the_data_set(tmp_path):
    rng = np.random.default_rng(0)
    occ = rng.random(SIZE) < 0.7
    pairs = {}
    for number in ("000001", "000002"):
        flow = np.rint(rng.normal(0, 10, (*SIZE, 2)) * 64) / 64
        pairs[number] = (flow.astype(np.float32), occ, occ & (rng.random(SIZE) < 0.5))
        flow_trees.write_kitti(tmp_path / "mine" / f"{number}_10.png", 0 * flow, np.ones(SIZE, bool))
    root = flow_trees.kitti2012(tmp_path / "kitti", pairs)
    whole = evaluated("zero", "--data", f"kitti2012:{root}", target=tmp_path / "a.json")
    files = evaluated(
        *("--predictions", tmp_path / "mine", "--truth", root / "training/flow_occ", "--protocol", "kitti12"),
        target=tmp_path / "b.json",
    )
    assert files["metrics"] == whole["metrics"]
    assert files["metrics"]["epe_noc"] is not None
    assert files["metrics"]["epe_noc"] != files["metrics"]["epe"]
    assert files["counts"]["by_metric"] == whole["counts"]["by_metric"]
    assert files["counts"]["without_prediction"] == 0


def test_several_specs_give_several_results(scenes, tmp_path):
    flow_trees.sintel(tmp_path / "s", {"alley": [1, 2]}, flow_trees.constant(SIZE, 30, 0))
    data = f"middlebury:{scenes},sintel-clean:{tmp_path / 's'}"
    both = evaluated("zero", "--data", data, target=tmp_path / "r.json")["results"]
    assert [result["protocol"] for result in both] == ["middlebury", "sintel"]
    metrics = both[1]["metrics"]
    assert metrics["epe_s10_40"] == metrics["epe_occluded"] == 30.0
    assert metrics["epe_s40plus"] is None, "no pixel is that fast: no number, not zero"


def test_another_split_than_the_protocols_is_noted(tmp_path, capsys):
    root = flow_trees.flyingchairs(tmp_path, [1], flow_trees.constant(SIZE, 1, 0), split="1")
    assert run(["zero", "--data", f"flyingchairs@train:{root}"]) == 0
    shown = capsys.readouterr().out
    assert "the protocol chairs-val is defined on flyingchairs@val; these are flyingchairs@train" in shown


def test_unmatched_files_are_counted(tmp_path, capsys):
    for name in ("a", "b"):
        flow_trees.write_flo(tmp_path / "truth" / f"{name}.flo", flow_trees.constant(SIZE, 1, 0))
    flow_trees.write_flo(tmp_path / "mine/a.flo", flow_trees.constant(SIZE, 1, 1))
    words = ("--predictions", tmp_path / "mine", "--truth", tmp_path / "truth", "--protocol", "middlebury")
    result = evaluated(*words, target=tmp_path / "r.json")
    assert result["metrics"]["epe"] == 1.0
    assert result["counts"]["without_prediction"] == 1
    assert "1 true flow has no prediction and is not scored (b)" in capsys.readouterr().out


def test_sizes_that_differ_name_both_files(tmp_path):
    flow_trees.write_flo(tmp_path / "t.flo", flow_trees.constant((4, 6), 1, 0))
    flow_trees.write_flo(tmp_path / "p.flo", flow_trees.constant((4, 5), 1, 0))
    words = [
        "--predictions",
        str(tmp_path / "p.flo"),
        "--truth",
        str(tmp_path / "t.flo"),
        "--protocol",
        "sintel",
    ]
    with pytest.raises(InputError, match=r"5x4 but the true flow is 6x4.*p\.flo.*t\.flo"):
        run(words)


def test_an_existing_json_file_is_noticed_before_the_work(scenes, tmp_path):
    target = tmp_path / "r.json"
    target.write_text("kept")
    words = ["zero", "--data", f"middlebury:{scenes}", "--json", str(target)]
    with pytest.raises(OutputError, match="--overwrite"):
        run(words)
    assert target.read_text() == "kept"
    assert run([*words, "--overwrite", "-q"]) == 0
    assert json.loads(target.read_text())["model"] == "zero"


def test_quiet_prints_nothing_and_verbose_prints_every_pair(scenes, capsys):
    assert run(["zero", "--data", f"middlebury:{scenes}", "-q"]) == 0
    quiet = capsys.readouterr()
    assert (quiet.out, quiet.err) == ("", "")
    assert run(["zero", "--data", f"middlebury:{scenes}", "-v"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["A", "5.000"] for line in lines)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["tvnet"], "--data SPEC is missing"),
        (["--data", "middlebury:."], "MODEL"),
        (["--predictions", "a.flo"], "--truth and --protocol missing"),
        (["zero", "--predictions", "a", "--truth", "b", "--protocol", "sintel"], "MODEL cannot be used"),
        (["zero", "--data", "{mb}", "--protocol", "epe"], "--protocol epe: unknown"),
        (["tvnot", "--data", "{mb}"], "tvnot"),
        (["zero", "--data", "2*{mb}"], "weights are for training"),
        (["zero", "--data", "{mb},b"], "unknown data set 'b'"),
        (["zero", "--data", "{mb}", "--iterations", "0"], "--iterations must be at least 1"),
        (["zero", "--data", "{mb}", "--precision", "fp8"], "--precision"),
    ],
)
def test_mistakes_are_one_line_that_names_the_option(scenes, words, text):
    with pytest.raises(KinemaError) as caught:
        run([word.replace("{mb}", f"middlebury:{scenes}") for word in words])
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_zero_takes_no_model_settings(scenes):
    with pytest.raises(UsageError, match="zero has no settings"):
        run(["zero", "--data", f"middlebury:{scenes}", "--iterations", "3"])


def test_golden_zero_flow_on_real_data(shared, tmp_path):
    data = f"sintel-clean:{shared / 'data' / 'sintel'}"
    result = evaluated("zero", "--data", data, target=tmp_path / "r.json")
    assert result["metrics"]["epe"] == pytest.approx(2.983, abs=5e-4)
    assert result["counts"]["pixels"] == 436 * 1024
    assert "1 of 1041 official pairs are present" in result["notes"]


def test_golden_dis_flow_on_real_data_as_files(shared, tmp_path):
    """The endpoint errors of OpenCV's DIS (medium) are known from elsewhere."""
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    data = shared / "data" / "middlebury"
    known = {"Dimetrodon": 0.153, "Grove2": 0.324, "RubberWhale": 0.223, "Urban3": 1.986}
    for scene in known:
        grey = [
            cv2.imread(str(data / f"other-data/{scene}/frame{n}.png"), cv2.IMREAD_GRAYSCALE) for n in (10, 11)
        ]
        flow_trees.write_flo(tmp_path / f"dis/{scene}/flow10.flo", dis.calc(*grey, None))
    words = ("--predictions", tmp_path / "dis", "--truth", data / "other-gt-flow", "--protocol", "middlebury")
    result = evaluated(*words, target=tmp_path / "r.json")
    own = {pair["name"].split("/")[0]: pair["metrics"]["epe"] for pair in result["pairs"]}
    assert own == pytest.approx(known, abs=6e-4)
    assert result["metrics"]["epe"] == pytest.approx(sum(known.values()) / 4, abs=6e-4)


def test_a_json_file_that_cannot_be_written_is_noticed_before_the_work(scenes, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        # The unknown model would be the next complaint.
        run(["tvnot", "--data", f"middlebury:{scenes}", "--json", str(tmp_path / "file" / "r.json")])
    with pytest.raises(UsageError, match="tvnot"):
        run(["tvnot", "--data", f"middlebury:{scenes}", "--json", str(tmp_path / "r.json")])
    assert not [path for path in tmp_path.iterdir() if "json" in path.name], "nothing half-written"
