"""Adapting a flow network to footage: what it learns from, and when it is enough."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kinema.data.flow_source import FlowSource
from kinema.data.frames import FrameDataset
from kinema.data.rewarped import Rewarp
from kinema.data.transforms.pairs import FlowPairs, channels_first, joined
from kinema.data.transforms.sets import Augmentation
from kinema.engine.contracts import Batch, Term
from kinema.losses.unsupervised_flow import UnsupervisedFlowSettings, unsupervised_flow_losses
from kinema.outputs import TwoWayFlow
from kinema.recipes.adapt_validation import AdaptValidation
from kinema.recipes.measured import Measured
from kinema.recipes.unlabelled_task import TwoWayNetwork

_KNOWN = 6  # stream of random numbers
_TOGETHER = 4  # pairs whose pictures make one pair with known flow
_HELD_PICTURES = 256
_EXPONENT, _EPSILON = 0.4, 0.01  # of the robust norm of an endpoint error, as PWC-Net's


@dataclass(frozen=True)
class AdaptSource:
    """Pairs of footage, and beside them as many with known flow, made of its pictures.

    Attributes:
        footage: gives ``image1``, ``image2``, ``clean1``, ``clean2``.
        frames: the pairs of the footage, for their pictures.
        rewarp: how the known flows are drawn.
        augmentation: changes the colours of the pairs with known flow.
    """

    footage: FlowSource
    frames: FrameDataset
    rewarp: Rewarp
    augmentation: Augmentation

    def batch(self, step: int, slots: range) -> dict[str, Tensor]:
        """See `kinema.engine.contracts.BatchSource.batch`.

        Args:
            step: from 0.
            slots: which of the step's samples.

        Returns:
            What `FlowSource.batch` gives, and ``known1``, ``known2``, ``known_flow``, ``known_valid`` of
            pairs with known flow.
        """
        made = []
        for slot in slots:
            rng = np.random.default_rng((self.footage.seed, _KNOWN, step, slot))
            places = rng.integers(len(self.frames), size=_TOGETHER)
            pair = self.rewarp.pair([_picture(self.frames, int(place)) for place in places], rng)
            made.append(self.augmentation.photometric(pair, [rng], step=step))
        known: FlowPairs = joined(made)
        parts = {"known1": known.image1, "known2": known.image2}
        parts |= {"known_flow": known.flow, "known_valid": known.valid}
        return self.footage.batch(step, slots) | parts


@lru_cache(maxsize=_HELD_PICTURES)
def _picture(frames: FrameDataset, place: int) -> Tensor:
    """The first frame of a pair; kept, because it comes again and again."""
    return channels_first(frames[place].frames[0]).float() / 255


@dataclass
class Patience:
    """When a run ends before its last step.

    Attributes:
        minutes: wall time that the run may take, everything included; None for as long as it needs.
        rounds: validations without a better score after which it ends; 0 for never.
        spent: seconds that earlier parts of the run have taken.
        reserve: seconds that the end of the run takes: a validation, and the report.
        best: lowest score so far.
        waited: validations since then.
        seen: the score of the last validation.
        began: when this part of the run began, by `time.monotonic`.
    """

    minutes: float | None = None
    rounds: int = 0
    spent: float = 0.0
    reserve: float = 0.0
    best: float = 1.0
    waited: int = 0
    seen: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Seconds of all parts of the run."""
        return self.spent + time.monotonic() - self.began

    def look(self, metrics: Mapping[str, float]) -> None:
        """Take a validation into account.

        Args:
            metrics: with ``score``; the same ones twice in a row count once.
        """
        value = metrics.get("score")
        if value is None or value == self.seen:
            return
        self.seen = value
        self.waited = 0 if value < self.best else self.waited + 1
        self.best = min(self.best, value)

    def over(self) -> str:
        """Why the run ends now; empty to go on."""
        if self.minutes is not None and self.elapsed + self.reserve > 60 * self.minutes:
            return f"{self.minutes:g} minutes are over"
        if self.rounds and self.waited >= self.rounds:
            return f"no better score in {self.waited} validations"
        return ""


@dataclass(frozen=True)
class AdaptTask(Measured):
    """A flow network that learns from footage.

    Attributes:
        network: any with ``forward_two_way``, with its starting weights.
        source: of the pairs.
        settings: of the losses without labels.
        known_weight: of the error where the flow is known.
        validation: what chooses the weights.
        patience: when to end.
    """

    network: nn.Module
    source: AdaptSource
    settings: UnsupervisedFlowSettings
    known_weight: float
    validation: AdaptValidation
    patience: Patience

    def losses(self, network: nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.losses`."""
        count = len(batch["image1"])
        seen = [torch.cat([batch[f"image{n}"], batch[f"known{n}"]]) for n in (1, 2)]
        flows = cast("TwoWayNetwork", network).forward_two_way(*seen)
        with torch.autocast(seen[0].device.type, enabled=False):
            found = unsupervised_flow_losses(
                batch["clean1"], batch["clean2"], _first(flows, count), settings=self.settings
            )
            known = robust_error(flows.flow[count:], batch["known_flow"], batch["known_valid"])
        terms = {name: self.settings.weight_of(name) * term for name, term in found.terms.items()}
        terms["known"] = self.known_weight * known
        samples = torch.tensor(float(count), device=seen[0].device)
        return {name: Term(term * samples, samples) for name, term in terms.items()}

    def validate(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`."""
        began = time.monotonic()
        terms = self.validation.measure(network, rank=rank, world=world)
        self.patience.reserve = 1.2 * (time.monotonic() - began)
        return terms

    def ending(self, _step: int, metrics: Mapping[str, float]) -> str:
        """See `kinema.engine.contracts.EndsEarly.ending`."""
        self.patience.look(metrics)
        return self.patience.over()

    def kept(self) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """See `kinema.engine.contracts.Keeps.kept`."""
        patience = self.patience
        values = {"elapsed": patience.elapsed, "best": patience.best, "waited": patience.waited}
        return {}, values | {"seen": patience.seen}

    def take_back(self, _tensors: Mapping[str, Tensor], values: Mapping[str, object]) -> None:
        """See `kinema.engine.contracts.Keeps.take_back`."""
        patience = self.patience
        patience.spent += float(cast("float", values["elapsed"]))
        patience.best, patience.waited = (
            float(cast("float", values["best"])),
            int(cast("int", values["waited"])),
        )
        patience.seen = cast("float | None", values["seen"])


def _first(flows: TwoWayFlow, count: int) -> TwoWayFlow:
    """The flows of the first samples of a batch."""
    return TwoWayFlow(
        flows.flow[:count], flows.backward[:count], flows.coarse[:count], flows.coarse_backward[:count]
    )


def robust_error(
    flow: Float[Tensor, "b 2 h w"], truth: Float[Tensor, "b 2 h w"], valid: Bool[Tensor, "b 1 h w"]
) -> Float[Tensor, ""]:
    """Mean of (|error| + 0.01)^0.4 in pixels, |.| the sum of both components (Sun et al. 2018, section 4).

    Args:
        flow: (B, 2, H, W) pixels.
        truth: as `flow`.
        valid: (B, 1, H, W) where the truth is known.

    Returns:
        A scalar.
    """
    error = ((flow - truth).abs().sum(1, keepdim=True) + _EPSILON) ** _EXPONENT
    return (error * valid).sum() / valid.sum().clamp(min=1)
