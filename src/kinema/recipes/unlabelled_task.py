"""Learning optical flow without labels: what a run trains, on which frames, towards what.

Two frames are compared through the flow of both directions (Jonschkowski et al. 2020, "What Matters in
Unsupervised Optical Flow"). The network looks at frames whose colours are changed; the losses compare the
frames as they are.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from kinema.engine.contracts import Batch, BatchSource, Term
from kinema.losses.unsupervised_flow import (
    Surround,
    UnsupervisedFlowLosses,
    UnsupervisedFlowSettings,
    collapse_report,
    random_shift,
    self_supervision_loss,
    self_supervision_weight,
    student_images,
    unsupervised_flow_losses,
)
from kinema.outputs import TwoWayFlow
from kinema.recipes.measured import Measured, Validation

_log = logging.getLogger(__name__)

_SHIFT = 7  # stream of random numbers

LOOKED_EVERY = 50
"""Steps between looks at what the loss alone would not tell."""

_SAID = {
    "non_finite": "a loss or a flow is not finite: lower --learning-rate",
    "all_occluded": "nearly all points are called hidden, and a mask that grows makes the loss small by "
    "itself: give a later --occluded-from, or --occlusion none",
    "all_outside": "the flow of nearly all points leaves the picture: lower --learning-rate",
    "static_frames": "both frames of the batch are the same: there is nothing to learn from them",
    "zero_flow": "the flow is zero although the frames differ: lower --smooth1 and --smooth2",
}


class TwoWayNetwork(Protocol):
    """A flow network that gives both directions from one look at each frame."""

    def forward_two_way(self, image1: Tensor, image2: Tensor) -> TwoWayFlow:
        """Flow from frame 1 to frame 2 and back."""


@dataclass(frozen=True, kw_only=True)
class SelfSupervision:
    """The network as its own teacher (section 3.3 of the paper; Liu et al. 2019, DDFlow).

    The teacher sees whole frames as they are, the student their middle with changed colours; the student
    learns the teacher's flow where the teacher is consistent and the student is not.

    Attributes:
        weight: of the term, when it is whole.
        after: how many steps are done when it begins.
        ramp: in how many further steps it becomes whole.
        crop: pixels that the student misses at each side.
        sides: which points are learned: ``gaussian``, as published, by degrees; ``ddflow`` by a limit.
        shift: by how many pixels the student's part moves, ±, from step to step.
        frozen: the teacher stays as it was when self-supervision began.
        seed: of the shifts.
    """

    weight: float = 0.6
    after: int = 500_000
    ramp: int = 100_000
    crop: int = 64
    sides: Literal["gaussian", "ddflow"] = "gaussian"
    shift: int = 0
    frozen: bool = False
    seed: int = 0

    def shift_at(self, step: int) -> tuple[int, int]:
        """Where the student's part lies.

        Args:
            step: from 0.

        Returns:
            (y, x) pixels from the middle.
        """
        if not self.shift:
            return 0, 0
        return random_shift(self.shift, np.random.default_rng((self.seed, _SHIFT, step)))

    def weight_at(self, step: int) -> float:
        """The weight of the term.

        Args:
            step: from 0.

        Returns:
            0 before it begins.
        """
        return self_supervision_weight(step, weight=self.weight, after=self.after, ramp=self.ramp)


@dataclass(frozen=True)
class UnlabelledFlowTask(Measured):
    """A flow network on pairs without truth.

    Attributes:
        network: any with ``forward_two_way``.
        source: of its pairs: ``image1`` and ``image2`` as the network sees them, ``clean1`` and ``clean2`` as
            they are; larger than the network's part by `margin_hw` on each side.
        settings: of the losses.
        occluded_from: before this step all points count as visible.
        teaching: the network as its own teacher; None for none.
        validation: what it is measured on.
        margin_hw: rows and columns around the network's part into which points may move (Stone et al. 2021,
            SMURF, "full-image warping"); 0, 0 for none.
    """

    network: nn.Module
    source: BatchSource
    settings: UnsupervisedFlowSettings
    validation: Validation
    occluded_from: int = 0
    teaching: SelfSupervision | None = None
    margin_hw: tuple[int, int] = (0, 0)
    _frozen: dict[str, nn.Module] = field(default_factory=dict, compare=False)

    def losses(self, network: nn.Module, batch: Batch, *, step: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.losses`."""
        seen, clean = self._frames(batch, "image"), self._frames(batch, "clean")
        flows = cast("TwoWayNetwork", network).forward_two_way(*seen)
        with torch.autocast(seen[0].device.type, enabled=False):
            found = unsupervised_flow_losses(
                *clean,
                flows,
                settings=self.settings,
                occlusion_active=step >= self.occluded_from,
                surround=self._surround(batch),
            )
        if step % LOOKED_EVERY == 0:
            _speak_up(found, flows, clean, step=step)
        terms = {name: self.settings.weight_of(name) * term for name, term in found.terms.items()}
        weight = self.teaching.weight_at(step) if self.teaching else 0.0
        if weight > 0:
            terms["selfsup"] = weight * self._taught(network, seen, clean, step=step)
        count = torch.tensor(float(len(seen[0])), device=seen[0].device)
        return {name: Term(term * count, count) for name, term in terms.items()}

    def _frames(self, batch: Batch, name: str) -> tuple[Tensor, Tensor]:
        """The network's part of both frames."""
        rows, columns = self.margin_hw
        height, width = batch[f"{name}1"].shape[-2:]
        inner = slice(rows, height - rows), slice(columns, width - columns)
        first, second = (batch[f"{name}{number}"][..., inner[0], inner[1]] for number in (1, 2))
        return first, second

    def _surround(self, batch: Batch) -> Surround | None:
        if self.margin_hw == (0, 0):
            return None
        return Surround(image1=batch["clean1"], image2=batch["clean2"], offset=self.margin_hw)

    def kept(self) -> tuple[Mapping[str, Tensor], Mapping[str, object]]:
        """See `kinema.engine.contracts.Keeps.kept`: the frozen teacher."""
        teacher = self._frozen.get("teacher")
        return ({} if teacher is None else teacher.state_dict()), {}

    def take_back(self, tensors: Mapping[str, Tensor], _values: Mapping[str, object]) -> None:
        """See `kinema.engine.contracts.Keeps.take_back`."""
        if tensors:
            self._freeze(self.network).load_state_dict(dict(tensors))

    def _taught(
        self, network: nn.Module, seen: tuple[Tensor, Tensor], clean: tuple[Tensor, Tensor], *, step: int
    ) -> Tensor:
        """The student's distance from the teacher, whose pass has no dropout and no gradient."""
        teaching = self.teaching or SelfSupervision()
        training = network.training
        wise = (self._frozen.get("teacher") or self._freeze(network)) if teaching.frozen else network
        with torch.no_grad():
            teacher = cast("TwoWayNetwork", wise.eval()).forward_two_way(*clean)
        network.train(training)
        shift = teaching.shift_at(step)
        part = student_images(*seen, crop=teaching.crop, shift=shift)
        student = cast("TwoWayNetwork", network).forward_two_way(*part)
        with torch.autocast(seen[0].device.type, enabled=False):
            return self_supervision_loss(
                teacher, student, crop=teaching.crop, shift=shift, mask=teaching.sides
            )

    def _freeze(self, network: nn.Module) -> nn.Module:
        """Keep the network as it is now; what is kept belongs to the state of the run."""
        teacher = copy.deepcopy(network).requires_grad_(requires_grad=False)
        self._frozen["teacher"] = teacher
        return teacher


def _speak_up(
    found: UnsupervisedFlowLosses, flows: TwoWayFlow, clean: tuple[Tensor, Tensor], *, step: int
) -> None:
    for name in collapse_report(found, flows, image1=clean[0], image2=clean[1]):
        _log.warning("step %d: %s", step, _SAID[name])
