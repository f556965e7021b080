"""``kinema adapt``: a flow network learns from footage without labels, and is kept only if it got better."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from pydantic import ValidationError
from torch import nn

from kinema.apps.adapt_config import AdaptConfig
from kinema.apps.adapt_report import write_report
from kinema.apps.progress import Progress, Silent
from kinema.apps.versions import versions
from kinema.data.footage_clips import FootageClip, find_sources, look_through
from kinema.data.footage_split import FootageSplit, split_footage
from kinema.data.rewarped import noise_level
from kinema.data.transforms.pairs import channels_first
from kinema.data.working_frames import WorkingFrames, extract
from kinema.engine.randomness import seed_all
from kinema.engine.session import DivergedError
from kinema.engine.state import RunFolder, TrainState, load_weights
from kinema.engine.trainer import Outcome, train
from kinema.errors import InputError, OutputError, UsageError
from kinema.io.checkpoints import load_tensors, save_tensors, tensor_facts
from kinema.io.files import check_output, read_bytes, replacing, write_json
from kinema.models import find_model
from kinema.ops.occlusion import forward_backward_occlusion
from kinema.recipes.adapt import FRAMES, AdaptFlowConfig, crop_for
from kinema.recipes.adapt_task import AdaptTask
from kinema.weights.bundled import find_bundled
from kinema.weights.identity import stored_identity

_log = logging.getLogger(__name__)

RECIPE = "adapt"
MINUTES = 10.0
_MOST_TRAINING, _MOST_HELD_OUT = 240, 12
_WITHOUT_END = 10**7  # steps, when minutes decide
_WARM_UP = 50  # steps: the first of Adam's would undo more than they teach
_LOOKED_AT = 6  # pairs whose motion and noise are measured


@dataclass(frozen=True)
class AdaptResult:
    """How an adaptation ended.

    Attributes:
        out: the weights.
        folder: of the run.
        report: the page with pictures.
        step: how many steps were done.
        kept_step: from which step the weights are; 0 is the start.
        start: scores of the starting weights.
        end: scores of the weights that were kept.
        seconds: of all parts of the run.
        notes: about the footage.
        settings: of the run.
    """

    out: Path
    folder: Path
    report: Path
    step: int
    kept_step: int
    start: Mapping[str, float]
    end: Mapping[str, float]
    seconds: float
    notes: tuple[str, ...]
    settings: Mapping[str, object]

    @property
    def improved(self) -> bool:
        """Whether other weights than those of the start were kept."""
        return self.kept_step > 0

    def to_json(self) -> dict[str, object]:
        """The result for a file.

        Returns:
            What JSON can hold, with the versions of the software.
        """
        return {**vars(self), "improved": self.improved, "versions": versions()}


def run(config: AdaptConfig, *, progress: Progress | None = None) -> AdaptResult:
    """Adapt as told.

    Args:
        config: what to learn from, and for how long.
        progress: told about every pair that is read and every step.

    Returns:
        How it ended.

    Raises:
        UsageError: when options contradict each other, or there are no weights to begin from.
        InputError: when the footage cannot be used, or a run cannot be read.
        OutputError: when the weights exist already, or cannot be written.
        KeyboardInterrupt: when stopped; the state is saved, the note says how to go on.
    """
    began = time.monotonic()
    progress = progress or Silent()
    folder = RunFolder(config.run_folder)
    check_output(config.out, overwrite=config.overwrite or config.resume)
    adapted, notes = _go_on(config, folder) if config.resume else _begin(config, folder, progress)
    seed_all(adapted.seed)
    task = adapted.build()
    task.patience.began = began
    state = folder.newest() if config.resume and folder.states() else None
    if state is None:
        load_weights(_start_of(adapted), task.network)
        _prepare(task)
    outcome = _train(adapted, task, folder, state, progress)
    return _finish(config, adapted, task, folder, outcome, notes)


def _begin(
    config: AdaptConfig, folder: RunFolder, progress: Progress
) -> tuple[AdaptFlowConfig, tuple[str, ...]]:
    """Look through the footage, write its frames, and settle all that the run is made of."""
    if folder.config.exists() and not config.overwrite:
        raise OutputError(
            f"{folder.path} holds a run already: go on with it by --resume, or begin anew with --overwrite"
        )
    start = config.weights or find_bundled(config.model, find_model(config.model).card.default_preset)
    if start is None:
        raise UsageError(f"{config.model} comes without weights in this version: name some, --weights FILE")
    identity = stored_identity(start, tensor_facts(start)[1], model=config.model)
    if identity.model != config.model:
        raise UsageError(f"--weights {start} are of {identity.model}, not of {config.model}")
    if folder.config.exists():
        folder.clear()
    frames, split = _frames(config, folder.path / FRAMES, progress)
    crop = crop_for(frames.size_hw, config.model)
    adapted = AdaptFlowConfig(
        steps=config.steps or _WITHOUT_END,
        minutes=None if config.steps else config.minutes or MINUTES,
        model=config.model,
        preset=identity.preset or "",
        options={k: v for k, v in identity.options.items() if k != "dropout_rate"},
        init=start.absolute(),  # the run may go on from another folder
        out=folder.path,
        frames=frames.folder,
        crop_hw=crop,
        motions=(1.0,),
        noise=0.0,
        batch_size=config.batch_size,
        optimizer="adam",
        learning_rate=config.learning_rate,
        weight_decay=0.0,
        warmup_steps=_WARM_UP,
        ema_decay=0.98,
        workers=0,
        seed=config.seed,
        device=config.device,
        precision=config.precision,
        patience=config.patience,
        occlusion="brox",
        selfsup=0.0,
        log_every=config.validate_every,
        validate_every=config.validate_every,
        checkpoint_every=config.validate_every,
    )
    motions, noise = _measured(adapted, start, frames)
    adapted = adapted.model_copy(update={"motions": motions, "noise": noise})
    record = {"recipe": RECIPE, "notes": list(split.notes), "config": adapted.model_dump(mode="json")}
    write_json(folder.config, record)
    _log.info(
        "learning from %d pairs, measuring on %d, %g s apart, at %dx%d; typical motion %.1f px, noise %.3f",
        len(frames.training),
        len(frames.held_out),
        split.gap_seconds,
        frames.size_hw[1],
        frames.size_hw[0],
        float(np.median(motions)),
        noise,
    )
    return adapted, split.notes


def _go_on(config: AdaptConfig, folder: RunFolder) -> tuple[AdaptFlowConfig, tuple[str, ...]]:
    """Read the run's settings; only how long it takes may change."""
    if not folder.config.is_file():
        raise InputError(f"{folder.path} holds no run to go on with: leave out --resume, and name INPUT")
    try:
        record = json.loads(read_bytes(folder.config))
        saved = AdaptFlowConfig.model_validate(
            {**record["config"], "out": folder.path, "frames": folder.path / FRAMES}
        )
    except (ValueError, KeyError, TypeError, ValidationError):
        raise InputError(
            f"{folder.config} is damaged, or of another version: begin anew, --overwrite"
        ) from None
    if config.steps:
        saved = saved.model_copy(update={"steps": config.steps, "minutes": None})
    elif config.minutes:
        saved = saved.model_copy(update={"steps": _WITHOUT_END, "minutes": config.minutes})
    return saved, tuple(record.get("notes", ()))


def _frames(config: AdaptConfig, folder: Path, progress: Progress) -> tuple[WorkingFrames, FootageSplit]:
    clips = list(_clips(config.inputs))
    split = split_footage(clips, stride=config.stride, span_seconds=(config.start, config.end or math.inf))
    for note in split.notes:
        _log.info("%s", note)
    progress.begin("reading frames", None)
    frames = extract(
        split,
        folder,
        most_training=_MOST_TRAINING,
        most_held_out=_MOST_HELD_OUT,
        longest_side=config.max_side,
        progress=progress.advance,
    )
    progress.end()
    return frames, split


def _clips(inputs: Sequence[str]) -> Iterator[FootageClip]:
    sources = [source for text in inputs for source in find_sources(Path(os.path.expanduser(text)))]  # noqa: PTH111
    if not sources:
        raise InputError(f"{' '.join(inputs)}: no video and no folder of frames in there")
    for source in sources:
        yield look_through(source, source.path.stem)


@torch.no_grad()
def _measured(config: AdaptFlowConfig, start: Path, frames: WorkingFrames) -> tuple[tuple[float, ...], float]:
    """Typical displacements of the footage, where both directions agree, and its noise."""
    network = config.network().eval()
    load_weights(start, network)
    motions, noises = [], []
    count = len(frames.training)
    for place in range(0, count, max(1, count // _LOOKED_AT)):
        window = frames.training[place]
        first, second = (channels_first(frame)[None].float() / 255 for frame in window.frames)
        flow, backward = network(first, second).flow, network(second, first).flow
        agrees = forward_backward_occlusion(flow, backward) < 0.5
        lengths = flow.norm(dim=1, keepdim=True)[agrees]
        if lengths.numel():
            motions += torch.quantile(
                lengths[:: max(1, lengths.numel() // 10_000)], torch.tensor([0.5, 0.9])
            ).tolist()
        noises.append(noise_level(first[0]))
    # Where the start sees nothing, some motion must be assumed; neither standstill nor leaps teach much.
    found = [float(np.clip(motion, 1.0, 0.12 * max(frames.size_hw))) for motion in motions] or [3.0]
    return tuple(found), float(min(np.median(noises), 0.05))


def _start_of(config: AdaptFlowConfig) -> Path:
    assert config.init is not None  # set when the run began
    if not config.init.is_file():
        raise InputError(f"{config.init}, the weights that this run began from, are gone")
    return config.init


def _prepare(task: AdaptTask) -> None:
    """Remember what the starting weights see and how good they are; they count as the best until beaten."""
    began = time.monotonic()
    task.validation.prepare(task.network.eval())
    task.patience.reserve = time.monotonic() - began
    task.network.train()


def _train(
    config: AdaptFlowConfig, task: AdaptTask, folder: RunFolder, state: TrainState | None, progress: Progress
) -> Outcome:
    if state is not None and state.step >= config.steps:
        _log.info("%s has done all its %d steps", folder.path, config.steps)
        return _outcome(state)
    progress.begin("adapting", config.steps if config.minutes is None else None)
    try:
        return train(
            config, task, folder, recipe=RECIPE, state=state, facts=config.facts(), on_step=progress.advance
        )
    except DivergedError as error:
        _log.warning("%s", str(error).partition(";")[0])
        _log.warning("learning ends here; a lower --learning-rate may go further")
        return _outcome(folder.newest())
    except KeyboardInterrupt as stop:
        out = folder.path.with_suffix(".safetensors")
        stop.__notes__ = [f"the run is saved; go on with: kinema adapt -o {out} --resume"]
        raise
    finally:
        progress.end()


def _outcome(state: TrainState) -> Outcome:
    """How a run ended whose newest state this is."""
    best = cast("list[dict[str, float]]", state.settings.get("best") or [])
    return Outcome(state.step, {}, best[0] if best else {})


def _finish(
    config: AdaptConfig,
    adapted: AdaptFlowConfig,
    task: AdaptTask,
    folder: RunFolder,
    outcome: Outcome,
    notes: tuple[str, ...],
) -> AdaptResult:
    """Keep the best weights if they beat the start, else those of the start; measure both, and tell."""
    start = task.validation.started_with()
    better = bool(outcome.best) and outcome.best["value"] < 1.0
    chosen = folder.best if better else _start_of(adapted)
    kept_step = int(outcome.best["step"]) if better else 0
    network, before = _loaded(adapted, chosen), _loaded(adapted, _start_of(adapted))
    terms = _means(task, network) if better else start
    report = write_report(
        folder.path / "report.html",
        task.validation,
        before=before,
        after=network,
        start=start,
        end=terms,
        log=folder.log,
        kept_step=kept_step,
    )
    tensors, metadata = load_tensors(chosen)
    facts = {
        **metadata,
        "model": adapted.model,
        "adapted": json.dumps({"start": start, "end": terms, "step": kept_step}),
    }
    with replacing(config.out, overwrite=True) as unfinished:
        save_tensors(unfinished, network.state_dict() if better else tensors, metadata=facts)
    result = AdaptResult(
        out=config.out,
        folder=folder.path,
        report=report,
        step=outcome.step,
        kept_step=kept_step,
        start=start,
        end=terms,
        seconds=task.patience.elapsed,
        notes=notes,
        settings=adapted.model_dump(mode="json"),
    )
    write_json(folder.path / "report.json", result.to_json())
    if config.json_file is not None:
        with replacing(config.json_file, overwrite=config.overwrite) as unfinished:
            write_json(unfinished, result.to_json())
    return result


def _loaded(config: AdaptFlowConfig, path: Path) -> nn.Module:
    network = config.network().eval()
    load_weights(path, network)
    return network


@torch.no_grad()
def _means(task: AdaptTask, network: nn.Module) -> dict[str, float]:
    terms = task.validation.measure(network, rank=0, world=1)
    return {name: float(term.total / term.count) for name, term in terms.items() if name != "score"}
