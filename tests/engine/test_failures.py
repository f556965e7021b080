"""What goes wrong on the way: numbers that are none, samples that cannot be read, full disks, damage."""

from __future__ import annotations

import errno
import os
import re

import pytest
import torch

from helpers import runs
from helpers.tiny_flow import MovingTextures, build_task, tiny_flow
from kinema.engine.loading import batches
from kinema.engine.session import DivergedError
from kinema.engine.state import RunFolder
from kinema.engine.trainer import train
from kinema.errors import InputError, OutputError
from kinema.io import files


def trained(folder, *, state=None, change_task=lambda task: task, **changes):
    settings = tiny_flow().model_copy(update=changes)
    torch.manual_seed(settings.seed)
    task = change_task(build_task(settings))
    return train(settings, task, RunFolder(folder), recipe="tiny-flow", state=state)


def test_a_skipped_step_changes_nothing_and_is_counted(tmp_path):
    """With plain descent and no noise, a run that skips step 2 is one that never had its gradient."""
    words = {"optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0, "plain": True}
    trained(tmp_path / "skips", steps=3, poison=2, non_finite="skip", log_every=3, **words)
    trained(tmp_path / "two", steps=2, **words)
    skips, two = runs.final(tmp_path / "skips"), runs.final(tmp_path / "two")
    names = [name for name in skips.tensors if name.startswith(("model.", "ema."))]
    assert all(torch.equal(skips.tensors[name], two.tensors[name]) for name in names)
    (line,) = runs.lines(tmp_path / "skips")
    assert line["skipped"] == 1
    first_two = runs.lines(tmp_path / "two")
    assert line["loss"] == pytest.approx(sum(one["loss"] for one in first_two) / 2)  # of the steps that count
    assert skips.settings["skipped"] == 1


def test_a_skipped_step_leaves_statistics_alone(tmp_path):
    trained(tmp_path, steps=3, poison=1, non_finite="skip")
    state = runs.final(tmp_path)
    for name, tensor in state.tensors.items():
        assert torch.isfinite(tensor.float()).all(), name
    assert int(state.tensors["model.estimate.4.num_batches_tracked"]) == 2


def always_nan(task):
    class Bad(type(task)):
        def losses(self, network, batch, *, step):
            terms = super().losses(network, batch, step=step)
            return {
                n: type(t)(t.total * float("nan") if step >= 2 else t.total, t.count)
                for n, t in terms.items()
            }

    return Bad(task.network, task.source, task.pairs)


def test_too_many_in_a_row_stop_the_run(tmp_path):
    with pytest.raises(DivergedError, match=r"step 5: loss nan .* as in the 3 steps before it"):
        trained(tmp_path, steps=12, non_finite="skip", most_skipped=4, change_task=always_nan)
    state = runs.final(tmp_path)
    assert (state.step, state.settings["skipped"], state.settings["skipped_in_row"]) == (5, 3, 3)
    # The count goes on after a resume: it does not get another three.
    with pytest.raises(DivergedError, match=r"step 5"):
        trained(tmp_path, steps=12, non_finite="skip", most_skipped=4, change_task=always_nan, state=state)


def test_a_run_that_stopped_can_go_on_skipping(tmp_path):
    with pytest.raises(DivergedError):
        trained(tmp_path / "a", steps=6, poison=4)
    trained(tmp_path / "a", steps=6, poison=4, non_finite="skip", state=runs.final(tmp_path / "a"))
    trained(tmp_path / "b", steps=6, poison=4, non_finite="skip")
    a, b = runs.final(tmp_path / "a"), runs.final(tmp_path / "b")
    assert [n for n in runs.differing(a, b) if n != "settings"] == []  # one more validation


def test_fp16_finds_its_scale_and_learns(tmp_path):
    outcome = trained(tmp_path, precision="fp16", steps=14, loss_scale=2.0**20)
    lines = runs.lines(tmp_path)
    assert lines[0]["skipped"] >= 1  # far too large at first, whatever the policy is
    assert lines[0]["loss_scale"] == 2.0**19
    skipped = int(lines[-1]["skipped"])
    assert 1 <= skipped < 12
    assert lines[-1]["loss_scale"] == 2.0 ** (20 - skipped)
    assert outcome.step == 14
    learnt = [line["loss"] for line in lines if "loss" in line]
    assert len(learnt) == 14 - skipped
    state = runs.final(tmp_path)
    assert state.settings["scaler"]["scale"] == lines[-1]["loss_scale"]
    assert all(t.dtype == torch.float32 for n, t in state.tensors.items() if n.endswith("weight"))


def test_fp16_goes_on_with_its_scale(tmp_path):
    words = {"precision": "fp16", "loss_scale": 2.0**20, "checkpoint_every": 2}
    trained(tmp_path / "whole", steps=6, **words)
    trained(tmp_path / "cut", steps=2, **words)
    trained(tmp_path / "cut", steps=6, state=runs.final(tmp_path / "cut"), **words)
    whole, cut = runs.final(tmp_path / "whole"), runs.final(tmp_path / "cut")
    assert [n for n in runs.differing(whole, cut) if n != "settings"] == []
    assert whole.settings["scaler"] == cut.settings["scaler"]
    assert whole.settings["skipped"] == cut.settings["skipped"] > 0


def test_fp16_still_stops_for_a_loss_that_is_no_number(tmp_path):
    with pytest.raises(DivergedError, match="step 3: loss nan"):
        trained(tmp_path, precision="fp16", steps=6, poison=3, loss_scale=1024.0)
    state = runs.final(tmp_path)
    assert state.step == 3
    assert state.settings["scaler"]["scale"] == 1024.0
    trained(tmp_path, precision="fp16", steps=6, poison=3, non_finite="skip", state=state)
    assert runs.final(tmp_path).settings["skipped"] == 1


POOL = {"pool": 10, "broken": 7}


def test_an_unreadable_sample_stops_the_run_with_its_state(tmp_path):
    with pytest.raises(
        InputError, match=r"^pair_7.png cannot be read; copy it again; step \d is saved"
    ) as got:
        trained(tmp_path, steps=12, **POOL)
    assert runs.final(tmp_path).step == int(re.search(r"step (\d) is saved", str(got.value))[1])


def test_unreadable_samples_are_replaced_the_same_everywhere(tmp_path, caplog):
    for workers in (0, 2):
        trained(tmp_path / str(workers), steps=12, unreadable="skip", workers=workers, **POOL)
    none, two = (runs.final(tmp_path / str(workers)) for workers in (0, 2))
    assert runs.differing(none, two) == []
    assert runs.lines(tmp_path / "2")[-1]["replaced"] == 4  # once in each of four epochs of three steps
    assert "pair_7.png cannot be read; copy it again; another sample stands in" in caplog.text
    trained(tmp_path / "cut", steps=7, unreadable="skip", **POOL)
    state = runs.final(tmp_path / "cut")
    trained(tmp_path / "cut", steps=12, unreadable="skip", state=state, **POOL)
    cut = runs.final(tmp_path / "cut")
    assert [n for n in runs.differing(none, cut) if n != "settings"] == []
    assert cut.settings["replaced"] == none.settings["replaced"] == 4


def test_which_sample_stands_in():
    source = MovingTextures(3, pool=10, broken=7)
    step = next(s for s in range(3) if 7 in source.samples(s, range(4)))
    place = source.samples(step, range(4)).index(7)
    told = []
    words = {"start": step, "stop": step + 1, "workers": 0, "spare": 4, "on_replaced": told.append}
    (whole,) = batches(source, slots=range(4), **words)
    halves = [next(iter(batches(source, slots=part, **words))) for part in (range(2), range(2, 4))]
    for name, tensor in whole.items():
        # The same with any share of the batch, the others are untouched.
        assert torch.equal(tensor, torch.cat([half[name] for half in halves]))
        stand_in = source.batch(step, range(place + 4, place + 5))
        assert torch.equal(tensor[place], stand_in[name][0])
        for other in set(range(len(tensor))) - {place}:
            assert torch.equal(tensor[other], source.batch(step, range(other, other + 1))[name][0])
    assert told == ["pair_7.png cannot be read; copy it again"] * 2


class AllBroken:
    def batch(self, step, slots):
        raise InputError(f"slot {slots[0]} is broken")


def test_when_nothing_can_be_read_it_ends():
    got = batches(AllBroken(), slots=range(2), start=0, stop=3, workers=0, spare=2, on_replaced=print)
    with pytest.raises(InputError, match="slot 16 is broken"):
        next(got)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_the_state_before_stands_in(tmp_path, damage):
    """Whatever happens to the newest file, the run goes on from the one before and ends in the same bits."""
    words = {"steps": 12, "checkpoint_every": 3}
    trained(tmp_path / "whole", **words)
    trained(tmp_path / "hurt", **{**words, "steps": 9})
    folder = RunFolder(tmp_path / "hurt")
    newest = folder.states()[0]
    assert newest.stem == "000000009"
    data = bytearray(newest.read_bytes())
    match damage:
        case "flip":
            data[-100] ^= 1
            newest.write_bytes(data)
        case "cut":
            newest.write_bytes(data[: len(data) // 2])
        case "empty":
            newest.write_bytes(b"")
        case _:
            newest.unlink()
    state = folder.newest()
    assert state.step == 6
    trained(tmp_path / "hurt", state=state, **words)
    whole, hurt = runs.final(tmp_path / "whole"), runs.final(tmp_path / "hurt")
    assert [n for n in runs.differing(whole, hurt) if n != "settings"] == []
    assert [line["step"] for line in runs.lines(tmp_path / "hurt")] == list(range(1, 13))


def test_a_full_disk_ends_the_run_and_keeps_the_state_before(tmp_path, monkeypatch):
    flush = files._flush_to_disk

    def full(file):
        flush(file)
        if "000000006" in file.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_flush_to_disk", full)
    with pytest.raises(OutputError, match=r"no space left.*; step 3 is saved.*kinema train --resume") as got:
        trained(tmp_path, steps=9)
    assert "000000006.safetensors" in str(got.value)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "states").iterdir()] == ["000000003.safetensors"]
    trained(tmp_path, steps=9, state=RunFolder(tmp_path).newest())
    assert runs.final(tmp_path).step == 9
