"""Validation of flow networks on labelled data, each by its named protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data import DataSpec, FlowDataset, FlowSample, open_flow, parse_spec
from kinema.data.transforms.pairs import channels_first
from kinema.engine.contracts import Term
from kinema.errors import KinemaError, UsageError
from kinema.evaluation.accumulators import Tally
from kinema.evaluation.flow_scoring import score_flow
from kinema.evaluation.protocols import DEFAULT_PROTOCOLS, get_flow_protocol
from kinema.evaluation.records import FlowProtocol
from kinema.viz import flow_prediction


@dataclass(frozen=True)
class ScoredSet:
    """A data set and how it is scored.

    Attributes:
        dataset: pairs with truth.
        protocol: how.
        prefix: of the names of its metrics; empty for the first set.
        places: of the pairs that are looked at.
    """

    dataset: FlowDataset
    protocol: FlowProtocol
    prefix: str
    places: tuple[int, ...]

    @property
    def metric(self) -> str:
        """The protocol's main number."""
        return f"{self.prefix}{self.protocol.metrics[0]}"


@dataclass(frozen=True)
class ProtocolValidation:
    """Scores a network on some data sets.

    Attributes:
        sets: at least one; the first one's main metric chooses the best weights.
    """

    sets: tuple[ScoredSet, ...]
    _kept: dict[tuple[int, int], FlowSample] = field(default_factory=dict, compare=False)

    @property
    def metric(self) -> str:
        """The metric that chooses."""
        return self.sets[0].metric

    def measure(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`.

        Args:
            network: gives an output with ``flow`` for two frames.
            rank: which share of the pairs.
            world: how many shares.

        Returns:
            Sums and counts of every metric of each set's protocol, as the protocol averages them, and
            ``zero_`` with its main one, for flow that is zero everywhere.
        """
        device = next(network.parameters()).device
        terms: dict[str, Term] = {}
        for number, scored in enumerate(self.sets):
            protocol = scored.protocol
            zero = f"zero_{protocol.metrics[0]}"
            sums = {name: np.zeros(2) for name in (*protocol.metrics, zero)}
            for place in scored.places[rank::world]:
                sample = self._sample(number, place)
                score = score_flow(predict(network, sample, device), sample, protocol)
                for name in protocol.metrics:
                    _add(sums, name, score.tallies.get(name), protocol)
                _add(sums, zero, score.yardstick.get(protocol.metrics[0]), protocol)
            for name, (total, count) in sums.items():
                pair = torch.tensor([total, count], dtype=torch.float32, device=device)
                terms[f"{scored.prefix}{name}"] = Term(*pair.unbind())
        return terms

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """See `kinema.engine.contracts.Draws.pictures`.

        Args:
            network: as in `measure`.

        Returns:
            The first pair with its estimate, truth and error.
        """
        sample = self._sample(0, self.sets[0].places[0])
        estimate = predict(network, sample, next(network.parameters()).device)
        eight_bits = sample.image1.dtype == np.uint8
        frame = sample.image1 if eight_bits else (sample.image1 // 257).astype(np.uint8)
        return {"flow": flow_prediction(frame, estimate, sample.flow, valid=sample.valid)}

    def _sample(self, number: int, place: int) -> FlowSample:
        """Read a pair, or, where it would have to be rendered again each time, keep it."""
        dataset = self.sets[number].dataset
        if dataset.spec.name != "procedural":
            return dataset[place]
        if (number, place) not in self._kept:
            self._kept[number, place] = dataset[place]
        return self._kept[number, place]


def open_validation(text: str, *, protocol: str = "", pairs: int) -> ProtocolValidation:
    """Open what a run is validated on.

    Args:
        text: data specs joined by commas.
        protocol: of all of them; empty for each family's own.
        pairs: how many pairs of each are looked at, at most: evenly spread over those there are.

    Returns:
        The validation. Metrics of all sets but the first are prefixed with the set's label.

    Raises:
        UsageError: when a name is unknown, a spec has a weight or comes twice.
        InputError: when nothing usable lies at a path.
    """
    sets: list[ScoredSet] = []
    for spec in parse_spec(text):
        if spec.weight != 1.0:
            raise UsageError(f"--validation {spec}: weights are for training; here every pair counts once")
        if any(str(spec) == str(other.dataset.spec) for other in sets):
            raise UsageError(f"--validation {spec} comes twice")
        dataset = _opened(spec)
        count = min(pairs, len(dataset))
        places = tuple(len(dataset) * number // count for number in range(count))
        named = get_flow_protocol(protocol or DEFAULT_PROTOCOLS.get(spec.name, "pixels"))
        sets.append(ScoredSet(dataset, named, _prefix(spec.label, sets), places))
    return ProtocolValidation(tuple(sets))


def _opened(spec: DataSpec) -> FlowDataset:
    try:
        return open_flow(spec)
    except KinemaError as error:  # the same words for all commands: here the option has another name
        error.args = (str(error).replace("--data ", "--validation ", 1),)
        raise


def _prefix(label: str, before: Sequence[ScoredSet]) -> str:
    if not before:
        return ""
    known = {scored.prefix for scored in before}
    names = (f"{label}_", *(f"{label}_{number}_" for number in range(2, len(before) + 2)))
    return next(name for name in names if name not in known)


def predict(network: nn.Module, sample: FlowSample, device: torch.device) -> np.ndarray:
    """Run a network on one pair.

    Args:
        network: gives an output with ``flow`` for two frames.
        sample: the pair.
        device: the network's.

    Returns:
        (H, W, 2) float32 pixels.
    """
    frames = [channels_first(image)[None].to(device) for image in (sample.image1, sample.image2)]
    floats = [frame.float() / 255 if frame.dtype == torch.uint8 else frame for frame in frames]
    flow: Tensor = network(*floats).flow[0].permute(1, 2, 0)
    return np.ascontiguousarray(flow.detach().float().cpu().numpy())


def _add(sums: dict[str, np.ndarray], name: str, tally: Tally | None, protocol: FlowProtocol) -> None:
    """One pair's part of a metric: its sum and count of pixels, or its mean and itself."""
    if tally is None or not tally.count:
        return
    per_image = protocol.averaging == "per-image"
    sums[name] += (tally.total / tally.count, 1) if per_image else (tally.total, tally.count)
