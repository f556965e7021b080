"""Which weights made a number, folders of checkpoints, and files for benchmark servers."""

import hashlib
import json

import numpy as np
import pytest
import torch

from helpers import flow_trees
from kinema.apps.evaluate import evaluate_weights
from kinema.cli.evaluate import run
from kinema.cli.main import main
from kinema.errors import InputError, OutputError, UsageError
from kinema.io.checkpoints import save_tensors
from kinema.io.flow import read_flow, write_flow
from kinema.models import find_model
from kinema.weights.bundled import bundled_name

SIZE = (64, 64)
OPTIONS = {"finest_level": 3}


def save_pwcnet(path, *, seed, preset="tfoptflow"):
    torch.manual_seed(seed)
    network = find_model("pwcnet").builder(preset, OPTIONS)
    for weights in network.parameters():
        weights.data.mul_(1 + seed)
    facts = {"model": "pwcnet", "preset": preset, "options": json.dumps(OPTIONS)}
    save_tensors(path, network.state_dict(), metadata=facts)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def scenes(tmp_path):
    root = flow_trees.middlebury(tmp_path / "mb", {"A": flow_trees.constant(SIZE, 3, 4)})
    rng = np.random.default_rng(0)
    for number in (10, 11):
        noise = rng.integers(0, 255, (*SIZE, 3), np.uint8)
        flow_trees.write_picture(root / f"other-data/A/frame{number}.png", noise)
    return f"middlebury:{root}"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "run").mkdir()
    save_pwcnet(tmp_path / "run" / "step-1000.safetensors", seed=1)
    return tmp_path / "run" / "step-1000.safetensors"


def test_the_preset_of_the_file_and_its_fingerprint_are_told(scenes, weights, tmp_path):
    words = ["pwcnet", "--data", scenes, "--device", "cpu", "--weights", str(weights)]
    assert run([*words, "--json", str(tmp_path / "r.json"), "-q"]) == 0
    settings = json.loads((tmp_path / "r.json").read_text())["settings"]
    assert settings["preset"] == "tfoptflow", "the model's default is another one"
    assert settings["finest_level"] == 3
    assert settings["weights"] == str(weights)
    assert settings["weights_sha256"] == sha256(weights)


def test_kinema_flow_tells_them_too(weights, tmp_path):
    for number in (1, 2):
        flow_trees.write_picture(tmp_path / f"{number}.png", flow_trees.frame(SIZE, 50 * number))
    words = ["flow", tmp_path / "1.png", tmp_path / "2.png", "-o", tmp_path / "out.flo", "--model", "pwcnet"]
    words += ["--weights", weights, "--json", tmp_path / "r.json", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["preset"] == "tfoptflow"
    assert content["weights_sha256"] == sha256(weights)


def test_weights_that_come_with_kinema_are_named(scenes, tmp_path, monkeypatch):
    folder = tmp_path / "bundled"
    folder.mkdir()
    card = find_model("pwcnet").card
    file = folder / bundled_name("pwcnet", card.default_preset)
    save_pwcnet(file, seed=2, preset=card.default_preset)
    monkeypatch.setattr("kinema.weights.bundled.FOLDER", folder)
    (result,) = evaluate_weights("pwcnet", None, scenes, device="cpu")
    assert result.settings["weights"] == file.name
    assert result.settings["weights_sha256"] == sha256(file)


def test_a_model_without_weights_has_none(scenes):
    (result,) = evaluate_weights("tvnet", None, scenes, device="cpu")
    assert result.settings["weights"] is result.settings["weights_sha256"] is None


def test_a_folder_gives_one_table(scenes, weights, tmp_path, capsys):
    folder = weights.parent
    save_pwcnet(folder / "step-900.safetensors", seed=0)
    (folder / "best").mkdir()
    (folder / "best" / "step-1000.safetensors").write_bytes(weights.read_bytes())
    (folder / "states").mkdir()
    state = {"state": "{}", "digest": "0"}
    save_tensors(folder / "states" / "1.safetensors", {"x": torch.zeros(1)}, metadata=state)
    (folder / "log.jsonl").write_text("")
    words = ["pwcnet", "--data", scenes, "--device", "cpu", "--weights", str(folder)]
    assert run([*words, "--json", str(tmp_path / "r.json")]) == 0
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    # As people count, and each content once: best/step-1000 comes first.
    assert [result["model"] for result in results] == ["pwcnet best/step-1000", "pwcnet step-900"]
    for result, file in zip(results, ("step-1000", "step-900"), strict=True):
        alone = evaluate_weights("pwcnet", folder / f"{file}.safetensors", scenes, device="cpu")
        assert result["metrics"] == alone[0].metrics
    assert results[0]["metrics"]["epe"] != results[1]["metrics"]["epe"]
    shown = capsys.readouterr().out
    assert "2 checkpoints on middlebury" in shown
    best = min(results, key=lambda result: result["metrics"]["epe"])
    line = next(line for line in shown.splitlines() if best["model"] in line)
    assert f"{best['metrics']['epe']:.3f}*" in line
    assert "zero_flow" in shown
    assert "step-1000.safetensors equals best/step-1000.safetensors" in shown
    assert "1 saved states" in shown


def test_a_folder_of_one_still_gives_a_list(scenes, weights, tmp_path):
    words = ["pwcnet", "--data", scenes, "--device", "cpu", "--weights", str(weights.parent), "-q"]
    assert run([*words, "--json", str(tmp_path / "r.json")]) == 0
    assert len(json.loads((tmp_path / "r.json").read_text())["results"]) == 1


def test_a_folder_without_weights_and_a_damaged_file_are_one_line(scenes, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file of weights"):
        evaluate_weights("pwcnet", tmp_path / "empty", scenes)
    (weights.parent / "zz.safetensors").write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"zz\.safetensors"):
        evaluate_weights("pwcnet", weights.parent, scenes)


def sintel_test(root, passes=("clean", "final"), frames=(1, 2, 3)):
    for name in passes:
        for number in frames:
            picture = flow_trees.frame((48, 64), 20 * number)
            flow_trees.write_picture(root / "test" / name / "wall" / f"frame_{number:04d}.png", picture)
    return root


def test_sintel_files_for_the_bundler(tmp_path, capsys):
    root = sintel_test(tmp_path / "sintel")
    out = tmp_path / "out"
    data = f"sintel-clean@test:{root},sintel-final@test:{root}"
    words = ["zero", "--data", data, "--submission", str(out), "--json", str(tmp_path / "r.json")]
    assert run(words) == 0
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*.*")) == [
        f"{name}/wall/frame000{number}.flo" for name in ("clean", "final") for number in (1, 2)
    ]
    assert not read_flow(out / "clean/wall/frame0001.flo").flow.any()
    shown = capsys.readouterr().out
    assert "2 of 552 official pairs are present" in shown
    assert f"bundler {out}/clean {out}/final" in shown
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    assert results[0]["metrics"] == {}
    assert results[0]["counts"] == {"pairs": 2, "official_pairs": 552}
    with pytest.raises(OutputError, match=r"frame0001.flo exists \(4 of the files"):
        run(words[:-2])
    assert run([*words[:-2], "--overwrite", "-q"]) == 0


@pytest.mark.parametrize(("year", "folder"), [("2015", "flow/"), ("2012", "")])
def test_kitti_files_for_the_server(tmp_path, year, folder):
    root = flow_trees.kitti2015(tmp_path / "kitti", "000007", [10, 11], part="testing")
    out = tmp_path / "out"
    assert run(["zero", "--data", f"kitti{year}@testing:{root}", "--submission", str(out), "-q"]) == 0
    assert [str(path.relative_to(out)) for path in out.rglob("*.png")] == [f"{folder}000007_10.png"]
    field = read_flow(out / f"{folder}000007_10.png")
    assert field.valid.all()
    assert not field.flow.any()


def test_scores_and_a_submission_go_together(tmp_path, scenes):
    root = sintel_test(tmp_path / "sintel", passes=("clean",))
    words = ["zero", "--data", f"{scenes},sintel-clean@test:{root}", "--submission", str(tmp_path / "out")]
    assert run([*words, "--json", str(tmp_path / "r.json"), "-q"]) == 0
    results = json.loads((tmp_path / "r.json").read_text())["results"]
    assert [result["protocol"] for result in results] == ["middlebury", None]


def test_submissions_that_no_server_takes_are_refused(tmp_path, scenes):
    root = sintel_test(tmp_path / "sintel")
    kitti = flow_trees.kitti2015(tmp_path / "kitti", "000007", [10, 11], part="testing")
    out = ["--submission", str(tmp_path / "out")]
    with pytest.raises(UsageError, match="kept by its server; --submission DIR"):
        run(["zero", "--data", f"sintel-clean@test:{root}"])
    with pytest.raises(UsageError, match="names no test part"):
        run(["zero", "--data", scenes, *out])
    with pytest.raises(UsageError, match="one folder holds one submission"):
        run(["zero", "--data", f"sintel-clean@test:{root},kitti2015@testing:{kitti}", *out])
    assert not (tmp_path / "out").exists()


def test_a_prediction_that_is_not_a_number_is_no_submission(tmp_path):
    with pytest.raises(InputError):
        write_flow(tmp_path / "x.flo", np.full((2, 2, 2), np.nan, np.float32))
    assert not (tmp_path / "x.flo").exists()
