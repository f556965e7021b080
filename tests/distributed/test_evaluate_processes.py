"""`kinema evaluate` in several processes gives the numbers of one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from helpers import flow_trees
from kinema.evaluation.accumulators import Tally
from kinema.evaluation.processes import Processes, score_together
from kinema.evaluation.protocols import get_protocol
from kinema.evaluation.scoring import ItemScore, Scorer


def evaluate(*words, processes=1):
    launcher = ["-m", "kinema"]
    if processes > 1:
        meeting = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "localhost:0"]
        launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), *meeting, *launcher]
    return subprocess.run(
        [sys.executable, *launcher, "evaluate", *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def random_scenes(root, count):
    """Scenes of different sizes and shares of truth, so that the two averages differ."""
    rng = np.random.default_rng(0)
    for number in range(count):
        size_hw = (int(rng.integers(40, 60)), int(rng.integers(40, 60)))
        flow = rng.normal(0, 5, (*size_hw, 2)).astype(np.float32)
        flow[rng.random(size_hw) < 0.1 * number] = 1e10  # unknown
        flow_trees.write_flo(root / f"other-gt-flow/S{number}/flow10.flo", flow)
        for frame in (10, 11):
            noise = rng.integers(0, 255, (*size_hw, 3), np.uint8)
            flow_trees.write_picture(root / f"other-data/S{number}/frame{frame}.png", noise)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("model", ["zero", "tvnet"])
def test_two_processes_equal_one(tmp_path, model):
    root = random_scenes(tmp_path / "mb", 5)  # shares of 3 and 2
    words = [model, "--data", f"middlebury:{root},middlebury:{root}", "--device", "cpu"]
    if model == "tvnet":
        words += ["--scales", 1, "--warps", 1, "--iterations", 2]
    found = []
    for processes in (1, 2):
        target = tmp_path / f"{processes}.json"
        ended = evaluate(*words, "--json", target, processes=processes)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("protocol middlebury") == 2, "one process speaks, of two data sets"
        found.append(json.loads(target.read_text())["results"])
    for one, two in zip(*found, strict=True):
        assert one["counts"] == two["counts"]
        assert one["zero_flow"] == two["zero_flow"], "every bit"
        assert one["metrics"] == pytest.approx(two["metrics"], rel=1e-12)
        assert [pair["name"] for pair in one["pairs"]] == [pair["name"] for pair in two["pairs"]]


@pytest.mark.slow
def test_a_mistake_in_one_process_ends_both_with_one_line(tmp_path):
    root = random_scenes(tmp_path / "mb", 3)
    (root / "other-data/S1/frame11.png").write_bytes(b"\x89PNG broken")  # the second process's
    ended = evaluate("zero", "--data", f"middlebury:{root}", "--json", tmp_path / "r.json", processes=2)
    assert ended.returncode != 0
    lines = [line for line in ended.stderr.splitlines() if "kinema: error" in line]
    assert len(lines) == 1
    assert "S1/frame11.png" in lines[0]
    assert "Traceback" not in ended.stderr.split("torch/distributed")[0]
    assert not (tmp_path / "r.json").exists()


@pytest.mark.slow
def test_a_submission_by_two_processes(tmp_path):
    for number in range(1, 6):
        picture = flow_trees.frame((48, 64), 20 * number)
        flow_trees.write_picture(tmp_path / f"s/test/clean/wall/frame_{number:04d}.png", picture)
    words = ["zero", "--data", f"sintel-clean@test:{tmp_path / 's'}", "--submission", tmp_path / "out"]
    ended = evaluate(*words, processes=2)
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "out/clean/wall").iterdir())) == 4


def test_shares_cover_everything_once():
    for count in (1, 2, 3):
        for total in (0, 1, 2, 7):
            shares = [list(Processes(rank, count).share(total)) for rank in range(count)]
            assert sorted(index for share in shares for index in share) == list(range(total))


def test_scores_travel_to_the_bit():
    protocol = get_protocol("sintel")
    scorer = Scorer(protocol)
    values = [1 / 3, 1e-300, float("nan"), float("inf"), 2.0**60]
    for number, value in enumerate(values):
        tallies = {"epe": Tally(value, 2**53 - number)}
        scorer.add_score(str(number), ItemScore(tallies, tallies, bad=number), seconds=0.1)
    twin = Scorer.from_state(protocol, json.loads(json.dumps(scorer.state())))
    assert json.dumps(twin.state()) == json.dumps(scorer.state())


def test_items_keep_the_order_of_the_data():
    class Two(Processes):
        """The second of two, beside what the first has sent."""

        def exchange(self, record):
            first = Scorer(get_protocol("snippet-ate-3"))
            for name in ("b/000000", "b/000001"):
                first.add_score(name, ItemScore({"ate": Tally(1.0, 1)}))
            return [{"result": first.state()}, record]

    def score(scorer, index):
        assert index == 1
        scorer.add_score("a/000000", ItemScore({"ate": Tally(2.0, 1)}))

    whole = score_together(Two(1, 2), get_protocol("snippet-ate-3"), ["b", "a"], score)
    assert [item.name for item in whole.items()] == ["b/000000", "b/000001", "a/000000"]


MEETINGS = """
import torch.distributed as dist
from accelerate import Accelerator
from kinema.evaluation.processes import open_processes
run = Accelerator(cpu=True)  # a training run's own meeting, still on, and then over
for again in range(5):
    if again == 2:
        run.wait_for_everyone()
        dist.destroy_process_group()
    with open_processes() as processes:
        assert processes.exchange(["x" * processes.rank, again]) == [["", again], ["x", again]]
"""


@pytest.mark.slow
def test_processes_meet_again_after_and_during_training(tmp_path):
    (tmp_path / "meet.py").write_text(MEETINGS)
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--rdzv_backend", "c10d"]
    ended = subprocess.run(
        [sys.executable, *launcher, "--rdzv_endpoint", "localhost:0", str(tmp_path / "meet.py")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
