"""`kinema evaluate --predictions` for what is not flow."""

import json
import subprocess
import sys

import numpy as np
import pytest

from helpers.flow_trees import write_picture
from kinema.cli.evaluate import run
from kinema.errors import KinemaError
from kinema.io.poses import write_kitti_poses


def evaluated(*words, target):
    assert run([*map(str, words), "--json", str(target)]) == 0
    return json.loads(target.read_text())


def write_depth(path, metres):
    write_picture(path, np.round(np.float64(metres) * 256).astype(np.uint16))


def forward(count, speed=1.0):
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 2, 3] = speed * np.arange(count)
    return T


def test_depth(tmp_path, capsys):
    true = np.float64([[2, 4], [6, 0]])
    write_depth(tmp_path / "true/a.png", true)
    write_depth(tmp_path / "true/b.png", true)
    np.save(tmp_path / "mine.npy", np.stack([0.1 * true, np.ones((2, 2))]).astype(np.float32))
    words = ("--predictions", tmp_path / "mine.npy", "--truth", tmp_path / "true", "--protocol", "depth")
    result = evaluated(*words, target=tmp_path / "r.json")
    assert result["protocol"] == "depth"
    assert result["metrics"]["abs_rel"] == pytest.approx((0 + (2 / 2 + 0 + 2 / 6) / 3) / 2, abs=1e-6)
    assert result["metrics"]["a1"] == pytest.approx((100 + 100 / 3) / 2)
    assert result["metrics"]["scale"] == pytest.approx((10 + 4) / 2)
    assert result["metrics"]["scale_std"] == pytest.approx(3)
    assert result["counts"]["images"] == 2
    assert result["settings"]["scaling"] == "median"
    assert result["settings"]["depth_steps"] == 256
    assert result["constant_depth"]["abs_rel"] == pytest.approx((1 + 1 / 3) / 3)
    assert [image["name"] for image in result["images"]] == ["a", "b"]
    shown = capsys.readouterr().out
    assert "protocol depth (per-image), 2 images, 6 pixels with truth" in shown
    assert "constant depth" in shown


def test_poses(tmp_path, capsys):
    write_kitti_poses(tmp_path / "true/09.txt", forward(120))
    write_kitti_poses(tmp_path / "mine/09.txt", forward(120, 0.5))
    words = ("--predictions", tmp_path / "mine", "--truth", tmp_path / "true", "--protocol")
    found = evaluated(*words, "kitti-odometry", target=tmp_path / "a.json")
    assert found["metrics"]["t_err"] == pytest.approx(50.5)  # the first pose beyond 100 m is at 101 m
    assert found["counts"]["segments"] == 2
    found = evaluated(*words, "snippet-ate-5", target=tmp_path / "b.json")
    assert found["metrics"]["ate"] == pytest.approx(0)
    assert found["counts"]["snippets"] == 116
    assert found["straight_line"]["ate"] == pytest.approx(0)
    found = evaluated(*words, "trajectory-sim3", target=tmp_path / "c.json")
    assert found["metrics"]["scale"] == pytest.approx(2)
    assert "straight line" in capsys.readouterr().out


def test_restored_frames(tmp_path, capsys):
    for folder, value in (("true", 100), ("mine", 110)):
        write_picture(tmp_path / folder / "clip/0001.png", np.full((16, 16, 3), value, np.uint8))
    words = ("--predictions", tmp_path / "mine", "--truth", tmp_path / "true", "--protocol", "reds4")
    found = evaluated(*words, target=tmp_path / "r.json")
    assert found["metrics"]["psnr"] == pytest.approx(20 * np.log10(25.5))
    assert found["settings"]["border"] == 0
    same = ("--predictions", tmp_path / "true", *words[2:])
    found = evaluated(*same, target=tmp_path / "same.json")
    assert found["metrics"]["psnr"] is None, "JSON has no infinity"
    assert "whose PSNR is infinite" in " ".join(found["notes"])
    assert "inf" in capsys.readouterr().out


def test_a_data_set_as_truth(shared, tmp_path):
    root = shared / "data" / "vid4"
    words = ("--predictions", root / "GT" / "calendar", "--data", f"vid4:{root}")
    found = evaluated(*words, target=tmp_path / "r.json")
    assert found["protocol"] == "vid4-y"
    assert found["counts"]["official_clips"] == 4
    assert "1 of 4 official clips are present" in found["notes"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (
            ["--truth", "a", "--data", "vid4:a", "--predictions", "b"],
            "--truth and --data both name the truth",
        ),
        (["--truth", "a", "--protocol", "depth"], "--predictions missing"),
        (["--predictions", ".", "--data", "vid4:.,reds:."], "name one data set"),
        (["--predictions", ".", "--data", "sintel-clean:.", "--protocol", "reds4"], "no sharp twins"),
        (["--predictions", ".", "--data", "footage:."], "footage has no protocol of its own"),
        (["--predictions", ".", "--truth", ".", "--protocol", "reds4", "--submission", "x"], "--submission"),
        (["tvnet", "--data", "procedural", "--protocol", "eigen-80"], "scores depth, not flow"),
        (
            ["--predictions", ".", "--truth", ".", "--protocol", "depth", "--depth-steps", "0"],
            "--depth-steps",
        ),
    ],
)
def test_mistakes_are_one_line(words, text):
    with pytest.raises(KinemaError) as caught:
        run(words)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_scored_without_torch(tmp_path):
    write_depth(tmp_path / "a.png", np.ones((2, 2)))
    words = ["--predictions", str(tmp_path / "a.png"), "--truth", str(tmp_path / "a.png")]
    code = f"import sys\nfrom kinema.cli.evaluate import run\nrun({[*words, '--protocol', 'depth']})\n"
    code += "assert not {'torch', 'numba', 'scipy'} & sys.modules.keys(), 'loaded'"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "protocol depth" in done.stdout
