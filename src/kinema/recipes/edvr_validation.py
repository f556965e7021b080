"""Validation of restoration networks: PSNR and SSIM by a named protocol, beside plain enlargement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from kinema.data import open_restoration, parse_spec
from kinema.data.clip_source import Clip
from kinema.data.procedural.rendered_set import VALIDATION_SEED
from kinema.data.procedural.world.config import RESERVED_WORLDS
from kinema.data.procedural.world.film import Film, FilmClip, film_worlds
from kinema.data.restoration_sample import RestorationSample
from kinema.data.spec import DataSpec
from kinema.data.transforms.pairs import channels_first
from kinema.data.windows import Border, window_indices
from kinema.engine.contracts import Term
from kinema.errors import UsageError
from kinema.evaluation.image_metrics import frame_tallies
from kinema.evaluation.protocols import DEFAULT_PROTOCOLS, PROTOCOLS
from kinema.evaluation.records import RestorationProtocol
from kinema.losses.restoration import offset_lengths
from kinema.models.edvr_parts import OFFSET_LEVELS
from kinema.ops.resize import matlab_bicubic
from kinema.recipes.edvr_base import RENDERED
from kinema.viz import side_by_side

_RENDERED_HW = (256, 320)
_CLIPS_PER_FAMILY = 4


@dataclass(frozen=True)
class RestoredSet:
    """A data set and how it is scored.

    Attributes:
        clips: low frames with sharp twins.
        protocol: how; its averaging over clips does not apply: every window counts once.
        prefix: of the names of its metrics; empty for the first set.
        border: what stands before the first and behind the last frame.
        places: of the windows that are looked at: clip and middle frame.
    """

    clips: Sequence[Clip]
    protocol: RestorationProtocol
    prefix: str
    border: Border
    places: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class RestoredValidation:
    """Scores a network on some data sets.

    Attributes:
        sets: at least one; the first one's PSNR chooses the best weights.
        frames: of a window.
        scale: of the network: what the yardstick is enlarged by.
    """

    sets: tuple[RestoredSet, ...]
    frames: int
    scale: int
    _kept: dict[tuple[int, int], RestorationSample] = field(default_factory=dict, compare=False)
    _plain: dict[tuple[int, int], float] = field(default_factory=dict, compare=False)

    @property
    def metric(self) -> str:
        """The metric that chooses; higher is better."""
        return f"{self.sets[0].prefix}psnr"

    def measure(self, network: nn.Module, *, rank: int, world: int) -> dict[str, Term]:
        """See `kinema.engine.contracts.Task.validate`.

        Args:
            network: gives an output with ``frame`` for a window.
            rank: which share of the windows.
            world: how many shares.

        Returns:
            Of each set ``psnr`` and ``ssim`` as its protocol scores a frame, and ``plain_psnr``, of bicubic
            enlargement (of the blurred frame itself, where nothing is enlarged); of the first window how many
            pixels alignment looks aside, at each level.
        """
        device = next(network.parameters()).device
        sums: dict[str, np.ndarray] = {}
        terms: dict[str, Term] = {}
        for number, chosen in enumerate(self.sets):
            names = (*chosen.protocol.metrics, "plain_psnr")
            sums.update({f"{chosen.prefix}{name}": np.zeros(2) for name in names})
            for place in range(rank, len(chosen.places), world):
                sample = self._sample(number, place)
                restored = restore(network, sample, device)
                scored = frame_tallies(restored, sample.sharp[0], chosen.protocol, name=sample.name)
                for name, tally in scored.items():
                    sums[f"{chosen.prefix}{name}"] += tally.total, tally.count
                sums[f"{chosen.prefix}plain_psnr"] += self._yardstick(number, place, sample), 1
        for name, pair in sums.items():
            terms[name] = Term(*torch.tensor(pair, dtype=torch.float32, device=device).unbind())
        return terms | self._offsets(network, device)

    def pictures(self, network: nn.Module) -> dict[str, np.ndarray]:
        """See `kinema.engine.contracts.Draws.pictures`.

        Args:
            network: as in `measure`.

        Returns:
            The middle frame of the first window enlarged, restored, and as it should be.
        """
        sample = self._sample(0, 0)
        restored = restore(network, sample, next(network.parameters()).device)
        frames = [enlarged(sample, self.scale), restored, _eight_bits(sample.sharp[0])]
        return {"restored": side_by_side(frames, ("enlarged", "restored", "truth"))}

    def _offsets(self, network: nn.Module, device: torch.device) -> dict[str, Term]:
        """The same on every process: a mean of equal numbers."""
        frames = _window(self._sample(0, 0), device)
        lengths = offset_lengths(network(frames, keep_offsets=True).offsets)
        one = torch.ones((), device=device)
        pairs = zip(OFFSET_LEVELS, lengths.unbind(), strict=True)
        return {f"offset_{level}": Term(length, one) for level, length in pairs}

    def _sample(self, number: int, place: int) -> RestorationSample:
        """Read a window, or, where it would have to be rendered again each time, keep it."""
        if (number, place) in self._kept:
            return self._kept[number, place]
        chosen = self.sets[number]
        clip, middle = chosen.clips[chosen.places[place][0]], chosen.places[place][1]
        indices = window_indices(middle, len(clip), frames=self.frames, border=chosen.border)
        sample = clip.read(indices, (middle,), name=f"{clip.name}/{middle:08d}")
        if isinstance(clip, FilmClip) or place == 0:
            self._kept[number, place] = sample
        return sample

    def _yardstick(self, number: int, place: int, sample: RestorationSample) -> float:
        if (number, place) not in self._plain:
            protocol = self.sets[number].protocol
            plain = frame_tallies(enlarged(sample, self.scale), sample.sharp[0], protocol, name=sample.name)
            self._plain[number, place] = plain["psnr"].total
        return self._plain[number, place]


def open_restored(
    text: str, *, protocol: str = "", windows: int, frames: int, scale: int
) -> RestoredValidation:
    """Open what a run is validated on.

    Args:
        text: data specs joined by commas; one may be `RENDERED`.
        protocol: of all of them; empty for each family's own.
        windows: how many of each are looked at, at most: evenly spread over all frames there are.
        frames: of a window.
        scale: of the network.

    Returns:
        The validation. Metrics of all sets but the first are prefixed with the set's label.

    Raises:
        UsageError: when a name is unknown, or a spec has a weight or comes twice.
        InputError: when nothing usable lies at a path.
    """
    specs, sets = parse_spec(text), list[RestoredSet]()
    for number, spec in enumerate(specs):
        if spec.weight != 1.0:
            raise UsageError(f"--validation {spec}: weights are for training; here every window counts once")
        if spec in specs[:number]:
            raise UsageError(f"--validation {spec} comes twice")
        clips = rendered_clips(frames) if spec.name == RENDERED else open_restoration(spec).clips
        places = [(index, middle) for index, clip in enumerate(clips) for middle in _middles(clip)]
        count = min(windows, len(places))
        sets.append(
            RestoredSet(
                clips=clips,
                protocol=protocol_of(spec, protocol),
                prefix=f"{spec.label}_" if number else "",
                border="replicate" if (spec.variant or "").startswith("blur") else "reflection_circle",
                places=tuple(places[len(places) * n // count] for n in range(count)),
            )
        )
    return RestoredValidation(tuple(sets), frames, scale)


def rendered_clips(frames: int) -> Sequence[Clip]:
    """Clips of worlds that are never learned from: of each reserved family some.

    Args:
        frames: of a clip.

    Returns:
        The clips; each is rendered when it is read.
    """
    films = (
        Film(film_worlds(_RENDERED_HW, family=family), VALIDATION_SEED, frames, _CLIPS_PER_FAMILY)
        for family in RESERVED_WORLDS
    )
    return [clip for film in films for clip in film]


def protocol_of(spec: DataSpec, name: str) -> RestorationProtocol:
    """Find how a set is scored.

    Args:
        spec: of the set.
        name: of the protocol; empty for the family's own.

    Returns:
        The protocol.

    Raises:
        UsageError: when there is none of this name for restored frames.
    """
    found = PROTOCOLS.get(name or DEFAULT_PROTOCOLS.get(spec.name, "frames-rgb"))
    if not isinstance(found, RestorationProtocol):
        known = [key for key, value in PROTOCOLS.items() if isinstance(value, RestorationProtocol)]
        raise UsageError(f"--protocol {name}: no protocol of restored frames; use one of {', '.join(known)}")
    return found


def restore(network: nn.Module, sample: RestorationSample, device: torch.device) -> np.ndarray:
    """Restore the middle frame of a window.

    Args:
        network: gives an output with ``frame``.
        sample: the window.
        device: the network's.

    Returns:
        (H, W, 3) uint8.
    """
    frame: Tensor = network(_window(sample, device)).frame[0].float().clamp(0, 1)
    return np.ascontiguousarray((frame * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())


def enlarged(sample: RestorationSample, scale: int) -> np.ndarray:
    """What there is without a network.

    Args:
        sample: a window.
        scale: 1 for the frame itself.

    Returns:
        The middle frame, bicubic, (H, W, 3) uint8.
    """
    frame = _eight_bits(sample.low[len(sample.low) // 2])
    return frame if scale == 1 else matlab_bicubic(frame, scale=float(scale))


def _middles(clip: Clip) -> Sequence[int]:
    """Frames to restore: of a clip that has to be rendered the one that has neighbours on both sides."""
    return (len(clip) // 2,) if isinstance(clip, FilmClip) else clip.targets


def _window(sample: RestorationSample, device: torch.device) -> Tensor:
    low = channels_first(sample.low)[None].to(device)
    return low.float() / 255 if low.dtype == torch.uint8 else low


def _eight_bits(frame: np.ndarray) -> np.ndarray:
    return frame if frame.dtype == np.uint8 else (frame // 257).astype(np.uint8)
