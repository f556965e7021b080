"""Two scores on held-out footage that cannot be gamed, and what they were before.

The photometric score looks at one fixed set of pixels, those that the starting weights call visible: a mask
of the network's own making would lower the loss by growing. The other score is a true endpoint error:
held-out pictures, cut out, laid over each other and moved by known flows (`kinema.data.rewarped`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data.frames import FrameWindow
from kinema.data.rewarped import Rewarp
from kinema.data.transforms.pairs import FlowPairs, channels_first
from kinema.data.working_frames import WorkingFrames
from kinema.engine.contracts import Term
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.ops.census import census_distance, grey_levels
from kinema.ops.occlusion import forward_backward_occlusion
from kinema.ops.robust import robust_power
from kinema.ops.warp import backward_warp
from kinema.viz import flow_to_rgb

_SEED = 2**41  # of the known flows; training takes small seeds
_TOGETHER = 4  # pairs whose pictures make one re-rendered pair


@dataclass(frozen=True)
class AdaptValidation:
    """Held-out pairs of footage, and pairs with known flow made of them.

    Attributes:
        frames: the footage.
        rewarp: how the known flows are drawn.
        rewarped_pairs: how many pairs with known flow there are.
        start: file of what the starting weights were: their masks and scores.
    """

    frames: WorkingFrames
    rewarp: Rewarp
    rewarped_pairs: int
    start: Path
    _masks: dict[str, Tensor] = field(default_factory=dict, compare=False)
    _pairs: dict[int, FlowPairs] = field(default_factory=dict, compare=False)

    @property
    def metric(self) -> str:
        """The score that chooses, see `measure`."""
        return "score"

    def prepare(self, network: nn.Module) -> dict[str, float]:
        """Keep the masks of visible pixels and the scores of the starting weights; once per run.

        Args:
            network: with the starting weights, in evaluation mode.

        Returns:
            The scores.
        """
        tensors, device = {}, next(network.parameters()).device
        with torch.no_grad():
            for place in range(len(self.frames.held_out)):
                first, second = self.held_pair(place, device)
                flow, backward = network(first, second).flow, network(second, first).flow
                visible = forward_backward_occlusion(flow.float(), backward.float()) < 0.5
                tensors[f"visible.{place:05d}"] = visible[0, 0].to(torch.uint8).cpu()
            self._masks.update(tensors)
            scores = self._scores(network, rank=0, world=1)
        means = {name: total / max(count, 1e-9) for name, (total, count) in scores.items()}
        tensors["scores"] = torch.tensor([means[name] for name in sorted(means)], dtype=torch.float64)
        save_tensors(self.start, tensors, metadata={"names": ",".join(sorted(means))})
        return means

    def started_with(self) -> dict[str, float]:
        """The scores of the starting weights.

        Returns:
            ``photometric`` and ``rewarped_epe``, and ``zero_epe`` of no motion at all.
        """
        tensors, metadata = self._load()
        return dict(zip(metadata["names"].split(","), tensors["scores"].tolist(), strict=True))

    def measure(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`.

        Args:
            network: gives an output with ``flow`` for two frames.
            rank: which share of the pairs.
            world: how many shares.

        Returns:
            ``photometric``: census distance of held-out pairs over the pixels that the starting weights call
            visible; ``rewarped_epe``: endpoint error in pixels where the flow is known; ``zero_epe``: of zero
            flow there; ``score``: see `score`. Lower is better.
        """
        device = next(network.parameters()).device
        sums = self._scores(network, rank=rank, world=world)
        start = self.started_with()
        terms = {name: Term(*torch.tensor(pair, device=device).unbind()) for name, pair in sums.items()}
        # One process measures all: a score of shares would not be the score of the whole.
        means = {name: total / max(count, 1e-9) for name, (total, count) in sums.items()}
        value = score(means, start)
        return terms | {"score": Term(*torch.tensor([value, 1.0], device=device).unbind())}

    def pictures(self, network: nn.Module) -> Mapping[str, np.ndarray]:
        """See `kinema.engine.contracts.Draws.pictures`.

        Args:
            network: gives an output with ``flow`` for two frames.

        Returns:
            The flow of the first held-out pair.
        """
        first, second = self.held_pair(0, next(network.parameters()).device)
        flow = network(first, second).flow[0].permute(1, 2, 0).float().cpu().numpy()
        return {"held-out": flow_to_rgb(flow)}

    def known_pair(self, number: int) -> FlowPairs:
        """One of the pairs with known flow.

        Args:
            number: from 0.

        Returns:
            A batch of one.
        """
        rng = np.random.default_rng((_SEED, number))
        places = rng.integers(len(self.frames.held_out), size=_TOGETHER)
        pictures = [_floats(self.frames.held_out[int(place)], 0)[0] for place in places]
        return self.rewarp.pair(pictures, rng)

    def _scores(self, network: nn.Module, *, rank: int, world: int) -> dict[str, tuple[float, float]]:
        sums = {name: np.zeros(2) for name in ("photometric", "rewarped_epe", "zero_epe")}
        device = next(network.parameters()).device
        for place in range(rank, len(self.frames.held_out), world):
            first, second = self.held_pair(place, device)
            flow = network(first, second).flow.float()
            error = self._distance(first, second, flow)
            visible = self._mask(place).to(error)
            sums["photometric"] += float((error * visible).sum()), float(visible.sum())
        for number in range(rank, self.rewarped_pairs, world):
            pair = self._known(number)
            flow = network(pair.image1.to(device), pair.image2.to(device)).flow.float().cpu()
            sums["rewarped_epe"] += float((flow - pair.flow).norm(dim=1).sum()), float(pair.valid.sum())
            sums["zero_epe"] += float(pair.flow.norm(dim=1).sum()), float(pair.valid.sum())
        return {name: (float(total), float(count)) for name, (total, count) in sums.items()}

    def _distance(self, first: Tensor, second: Tensor, flow: Tensor) -> Tensor:
        warped = backward_warp(grey_levels(second), flow)
        return robust_power(census_distance(grey_levels(first), warped))

    def _mask(self, place: int) -> Tensor:
        if not self._masks:
            self._masks.update(self._load()[0])
        return self._masks[f"visible.{place:05d}"].bool()[None, None]

    def held_pair(self, place: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """One of the held-out pairs.

        Args:
            place: from 0.
            device: where to.

        Returns:
            Both frames, (1, 3, H, W) in [0, 1].
        """
        window = self.frames.held_out[place]
        return _floats(window, 0).to(device), _floats(window, 1).to(device)

    def _known(self, number: int) -> FlowPairs:
        if number not in self._pairs:
            self._pairs[number] = self.known_pair(number)
        return self._pairs[number]

    def _load(self) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
        return load_tensors(self.start)


def score(now: Mapping[str, float], start: Mapping[str, float]) -> float:
    """How much of both errors is left: what chooses the weights to keep.

    Args:
        now: ``photometric`` and ``rewarped_epe``.
        start: the same of the starting weights.

    Returns:
        The geometric mean of both ratios to the start where neither error has grown; otherwise the larger
        ratio, which is above 1. 1 is the start.
    """
    ratios = [now[name] / max(start[name], 1e-9) for name in ("photometric", "rewarped_epe")]
    return max(ratios) if max(ratios) > 1 else math.sqrt(ratios[0] * ratios[1])


def _floats(window: FrameWindow, place: int) -> Tensor:
    return channels_first(window.frames[place])[None].float() / 255
