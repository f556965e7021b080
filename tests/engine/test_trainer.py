"""The loop as a whole: it learns, it stops cleanly, and it says what went wrong."""

from __future__ import annotations

import pytest
import torch

from helpers import runs
from helpers.tiny_flow import build_task, tiny_flow
from kinema.engine.contracts import Term
from kinema.engine.session import DivergedError
from kinema.engine.state import RunFolder, load_state
from kinema.engine.trainer import train


def config(**changes):
    return tiny_flow().model_copy(update=changes)


def trained(folder, **changes):
    settings = config(**changes)
    torch.manual_seed(settings.seed)
    return train(settings, build_task(settings), RunFolder(folder), recipe="tiny-flow")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_learns_to_see_motion(tmp_path, precision):
    outcome = trained(
        tmp_path,
        precision=precision,
        steps=700,
        batch_size=8,
        decay_steps=150,
        ema_decay=0.98,
        log_every=100,
        checkpoint_every=700,
        validate_every=350,
        validation_pairs=16,
    )
    assert outcome.metrics["zero_epe"] > 2
    assert outcome.metrics["epe"] < 0.35 * outcome.metrics["zero_epe"]
    assert outcome.best == {"step": 700, "value": outcome.metrics["epe"]}


def test_two_runs_are_equal_and_another_seed_is_not(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        trained(tmp_path / name, steps=2, seed=seed)
    a, b, c = (runs.final(tmp_path / name) for name in "abc")
    assert runs.differing(a, b) == []
    assert runs.differing(a, c) != []


def test_the_log_adds_up(tmp_path):
    trained(tmp_path, steps=6, log_every=2, warmup_steps=0)
    lines = runs.lines(tmp_path)
    assert [line["step"] for line in lines] == [2, 4, 6]
    for line in lines:
        assert line["loss"] == pytest.approx(line["epe"] + line["outer"], rel=1e-5)
        assert line["ms"] == pytest.approx(line["data_ms"] + line["compute_ms"])
        assert line["lr"] == 2e-3
    assert [line["step"] for line in runs.lines(tmp_path, "validation")] == [4, 6]


def test_not_a_number_stops_and_saves_the_state_before(tmp_path):
    with pytest.raises(DivergedError, match=r"step 4: loss nan \(epe nan, outer nan\)") as caught:
        trained(tmp_path, steps=6, poison=4, checkpoint_every=100)
    state = load_state(RunFolder(tmp_path).state(4))
    assert f"step 4 is saved: once the cause is gone, kinema train --resume {tmp_path}" in str(caught.value)
    assert "--init" in str(caught.value)
    trained(tmp_path / "good", steps=4)
    good = runs.final(tmp_path / "good")
    assert [name for name in runs.differing(state, good) if name != "settings"] == []  # one was validated


def test_an_infinite_gradient_stops_too(tmp_path):
    settings = config(steps=3, log_every=1)
    task = build_task(settings)

    class Steep(type(task)):
        def losses(self, network, batch, *, step):
            terms = super().losses(network, batch, step=step)
            root = (
                (terms["epe"].total - terms["epe"].total.detach()).clamp(min=0).sqrt()
            )  # slope: infinite at 0
            return {**terms, "root": Term(root, torch.tensor(1))}

    steep = Steep(task.network, task.source, task.pairs)
    with pytest.raises(DivergedError, match=r"gradient (nan|inf)"):
        train(settings, steep, RunFolder(tmp_path), recipe="tiny-flow")


def test_terms_are_divided_by_their_counts(tmp_path):
    """Plain gradient descent on a loss that is known: one step by hand."""

    class Line(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.tensor([2.0]))

        def forward(self, x):
            return self.slope * x

    class Source:
        def batch(self, step, slots):
            return {"x": torch.tensor([1.0, 2.0, 3.0])}

    class LineTask:
        network, source, metric = Line(), Source(), "none"

        def losses(self, network, batch, *, step):
            y = network(batch["x"])
            return {"a": Term(y.sum(), torch.tensor(3)), "b": Term(2 * y[:1].sum(), torch.tensor(1))}

        def validate(self, network, *, rank, world):
            return {}

    settings = config(
        steps=1,
        batch_size=3,
        optimizer="sgd",
        learning_rate=0.1,
        weight_decay=0.0,
        warmup_steps=0,
        clip_norm=1e9,
    )
    train(settings, LineTask(), RunFolder(tmp_path), recipe="line")
    # d/dslope (mean(slope x) + 2 slope) = 2 + 2
    assert LineTask.network.slope.item() == pytest.approx(2.0 - 0.1 * 4)
    (line,) = runs.lines(tmp_path)
    assert (line["a"], line["b"], line["loss"], line["grad_norm"]) == (4.0, 4.0, 8.0, 4.0)


def test_long_gradients_are_clipped(tmp_path):
    for name, clip in (("long", 1e-6), ("short", 1e9)):
        trained(
            tmp_path / name,
            steps=1,
            optimizer="sgd",
            learning_rate=1.0,
            clip_norm=clip,
            warmup_steps=0,
            weight_decay=0.0,
        )
    torch.manual_seed(0)
    start = build_task(config()).network.state_dict()
    moved = {
        name: max(
            float((tensor - start[key.removeprefix("model.")]).norm())
            for key, tensor in runs.final(tmp_path / name).tensors.items()
            if key.startswith("model.") and key.endswith("weight")
        )
        for name in ("long", "short")
    }
    assert 0 < moved["long"] <= 1e-6 * 1.01 < moved["short"]


def test_validation_changes_nothing(tmp_path):
    trained(tmp_path / "often", steps=6, validate_every=1)
    trained(tmp_path / "once", steps=6, validate_every=6)
    often, once = runs.final(tmp_path / "often"), runs.final(tmp_path / "once")
    for name, tensor in once.tensors.items():
        assert torch.equal(tensor, often.tensors[name]), name


def test_only_the_network_computes_in_reduced_precision_when_validated(tmp_path):
    settings = config(steps=1, precision="bf16", picture_every=0)
    task = build_task(settings)
    seen = []

    class Watched(type(task)):
        def validate(self, network, *, rank, world):
            seen.append(torch.is_autocast_enabled("cpu"))  # data are rendered here: in full precision
            hook = lambda *_: seen.append(torch.is_autocast_enabled("cpu"))  # noqa: E731
            network.network.features.register_forward_pre_hook(hook)
            return super().validate(network, rank=rank, world=world)

    watched = Watched(task.network, task.source, task.pairs)
    train(settings, watched, RunFolder(tmp_path), recipe="tiny-flow")
    assert seen == [False, True, True]
