"""What `kinema evaluate` does with a model: load it, once or for each checkpoint, and compute flow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from kinema.apps.evaluate_config import EvaluateConfig
from kinema.apps.used_weights import used_weights
from kinema.data import FlowDataset
from kinema.data.sample import FlowTruth
from kinema.errors import InputError, UsageError
from kinema.evaluation.flow_scoring import score_flow
from kinema.evaluation.processes import Processes
from kinema.evaluation.records import FlowProtocol, OcclusionEstimate
from kinema.evaluation.scoring import Scorer

ZERO = "zero"
"""Name of the flow that is zero everywhere, for use in place of a model's."""

FlowFunction: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Two (H, W, 3) uint8 frames to (H, W, 2) float32 pixels."""

_OCCLUSION_SHRINK = 4  # UFlow judges by flows of a quarter of the size: its thresholds are in their pixels

_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True)
class FlowModel:
    """A model ready to be evaluated.

    Attributes:
        name: of the model.
        flow: computes the flow of a pair.
        settings: what makes its numbers what they are, for the result.
    """

    name: str
    flow: FlowFunction
    settings: dict[str, object] = field(default_factory=dict)


def load_model(config: EvaluateConfig, *, weights: str | None, processes: Processes) -> FlowModel:
    """Make the model of an evaluation.

    Args:
        config: the command's arguments.
        weights: the file to load, or as `kinema.load` takes it.
        processes: who computes: each takes an accelerator of its own where there are several.

    Returns:
        The model.

    Raises:
        UsageError: when a name is unknown or options contradict each other.
        InputError: when the weights cannot be used.
    """
    if config.model is None:
        raise UsageError("MODEL is missing")
    if config.model == ZERO:
        if config.model_options() or config.preset or config.weights or config.refine != "none":
            raise UsageError(
                "zero has no settings: leave out --preset, --weights, --refine, --scales, --warps,"
                " --iterations"
            )
        return FlowModel(ZERO, lambda image1, _: np.zeros((*image1.shape[:2], 2), np.float32))
    from kinema.inference.loading import load  # here: scoring files needs no torch

    predictor = load(
        config.model,
        weights=weights,
        device=_own_device(config.device, processes),
        precision=config.precision,
        preset=config.preset,
        options=config.model_options(),
        refine=config.refine,
    )
    settings: dict[str, object] = {
        "preset": predictor.origin.preset,
        **used_weights(weights, predictor.origin.weights),
        "device": str(predictor.device),
        "precision": config.precision,
        **({} if predictor.origin.refine == "none" else {"refine": predictor.origin.refine}),
        **predictor.origin.options,
    }
    return FlowModel(config.model, predictor.flow, settings)


def checkpoints_in(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Find the files of weights in a folder and below it, such as the folder of a training run.

    Args:
        folder: to be searched.

    Returns:
        The files in the order of the numbers in their names, each content once; and sentences about what was
        left out.

    Raises:
        InputError: when there is none, or one is damaged.
    """
    from kinema.io.checkpoints import tensor_facts  # here: it needs torch
    from kinema.weights.checkpoint import sha256_of

    states, twins = 0, list[str]()
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.safetensors"), key=lambda path: _natural(path.relative_to(folder))):
        if path.name.startswith("."):
            continue
        _, metadata = tensor_facts(path)
        if {"state", "digest"} <= metadata.keys():
            states += 1
        elif (content := sha256_of(path)) in found:
            twins.append(f"{path.relative_to(folder)} equals {found[content].relative_to(folder)}")
        else:
            found[content] = path
    if not found:
        raise InputError(f"--weights {folder}: holds no file of weights (.safetensors)")
    notes = [f"left out, since it is the same: {twin}" for twin in twins]
    notes += [f"left out {states} saved states of training"] if states else []
    return list(found.values()), tuple(notes)


def score_pair(
    model: FlowModel, dataset: FlowDataset, protocol: FlowProtocol
) -> Callable[[Scorer, int], None]:
    """Make the function that computes and scores one pair.

    Args:
        model: computes the flow.
        dataset: the pairs.
        protocol: how to score.

    Returns:
        For `kinema.evaluation.processes.score_together`.
    """

    def score(scorer: Scorer, index: int) -> None:
        sample = dataset[index]
        start = time.perf_counter()
        flow = model.flow(sample.image1, sample.image2)
        seconds = time.perf_counter() - start
        occluded = None
        if protocol.occlusion != "none" and model.name != ZERO and _has_mask(sample):
            occluded = _hidden(flow, model.flow(sample.image2, sample.image1), protocol.occlusion)
        scorer.add_score(sample.name, score_flow(flow, sample, protocol, occluded=occluded), seconds=seconds)

    return score


def _has_mask(truth: FlowTruth) -> bool:
    return truth.occluded is not None or truth.valid_noc is not None


def _hidden(flow: np.ndarray, backward: np.ndarray, method: OcclusionEstimate) -> np.ndarray:
    """(H, W), 0 to 1: what the flows of both directions say is hidden."""
    import torch

    from kinema.ops.occlusion import estimate_occlusion
    from kinema.ops.resize import resize_flow, resize_image

    size_hw = (flow.shape[0], flow.shape[1])
    small_hw = (max(size_hw[0] // _OCCLUSION_SHRINK, 1), max(size_hw[1] // _OCCLUSION_SHRINK, 1))
    both = torch.from_numpy(np.stack((flow, backward))).float().movedim(-1, 1)
    small = resize_flow(both, small_hw)
    hidden = estimate_occlusion(small[:1], small[1:], method=method)
    enlarged: np.ndarray = resize_image(hidden, size_hw, antialias=False)[0, 0].numpy()
    return enlarged


def _own_device(name: str, processes: Processes) -> str:
    """Of several accelerators each process takes its own."""
    if processes.count == 1 or ":" in name or name == "cpu":
        return name
    from kinema.inference.device import available_devices

    others = [device for device in available_devices() if device != "cpu"]
    kind = others[0].partition(":")[0] if name == "auto" and others else name
    alike = [device for device in others if device.partition(":")[0] == kind]
    return alike[int(os.environ.get("LOCAL_RANK", "0")) % len(alike)] if alike else name


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in _NUMBER.split(path.as_posix())]
