"""Clips with sharp twins: do low and sharp frames belong together, frame by frame and pixel by pixel?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from kinema.data.checks.clips import compare_neighbours
from kinema.data.checks.finding import Finding, below, error, warning
from kinema.data.checks.reading import is_same, spread, tried
from kinema.data.frame_list import FrameList, frames_in
from kinema.data.restoration_sample import RestorationClip, RestorationDataset
from kinema.ops.resize import matlab_bicubic

SCALES = {
    ("reds", "bicubic"): 4,
    ("reds", "blur"): 1,
    ("reds", "blur_comp"): 1,
    ("reds", "blur_bicubic"): 4,
    ("vid4", "bix4"): 4,
    ("vid4", "bdx4"): 4,
    ("vimeo90k", "bix4"): 4,
    ("vimeo90k", "bdx4"): 4,
}
"""By family and variant: how many times larger the sharp frames are."""

BICUBIC = frozenset({("reds", "bicubic"), ("vid4", "bix4"), ("vimeo90k", "bix4")})
"""Low frames made by MATLAB's bicubic from the sharp ones."""

DEFAULTS = {"reds": "bicubic", "vid4": "bix4", "vimeo90k": "bix4"}

_EVERY = 3  # frames of a clip that are looked at when not all are
_BICUBIC_LEVELS = 1.5  # levels of 255, mean: another rounding stays far below, another kernel does not
_UNLIKE = 0.5  # of the contrast: blurred twins stay below a third
_BETTER = 0.8
_SHIFT = {"bdx4": 0.375}  # pixels of the low frame by which every fourth pixel lies beside the middle
_SHIFT_SLACK = 0.4
_BLUR_SLACK = 0.8  # the middle of a blurred frame is not always that of the sharp one
_REMEDY = "make the low frames from these sharp frames again, or copy both again"


def check_clips(
    dataset: RestorationDataset,
    indices: Sequence[int],
    *,
    root: Path,
    whole: bool,
    advance: Callable[[], None],
) -> list[Finding]:
    """Read some frames of some clips and look whether low and sharp ones fit.

    Args:
        dataset: the clips.
        indices: which.
        root: the folder that is checked.
        whole: whether to read every frame of a clip.
        advance: told after each clip.

    Returns:
        What was found.
    """
    family = dataset.spec.name
    key = (family, dataset.spec.variant or DEFAULTS.get(family, ""))
    findings: list[Finding] = []
    for index in indices:
        clip = dataset.clips[index]
        findings += _twins(clip, root, middle_only=len(clip.targets) == 1)
        findings += _Clip(clip, root, key).findings(whole=whole)
        advance()
    return findings


def _twins(clip: RestorationClip, root: Path, *, middle_only: bool) -> Iterator[Finding]:
    """Frames that only one of the two folders has, whatever part of them is used."""
    if clip.low.packed or clip.sharp.packed:
        return
    low, sharp = (frames_in(Path(frames.folder)) for frames in (clip.low, clip.sharp))
    low_stems, sharp_stems = ({f.stem(i) for i in range(len(f))} for f in (low, sharp))
    if len(low_stems) > 1 and not middle_only:
        yield from _lonely(sorted(low_stems - sharp_stems), low, "sharp", root)
    if len(sharp_stems) > 1:
        yield from _lonely(sorted(sharp_stems - low_stems), sharp, "low", root)


def _lonely(stems: Sequence[str], frames: FrameList, twin: str, root: Path) -> Iterator[Finding]:
    if stems:
        count = "1 frame has" if len(stems) == 1 else f"{len(stems)} frames have"
        yield error(
            "frames without twin",
            f"{below(frames.folder, root)}/",
            f"{count} no {twin} twin: {', '.join(stems[:4])}{' ...' if len(stems) > 4 else ''}",
            "copy the missing frames, or remove the others",
        )


class _Clip:
    """One clip while it is looked at."""

    def __init__(self, clip: RestorationClip, root: Path, key: tuple[str, str]) -> None:
        self.clip, self.root, self.key = clip, root, key

    def findings(self, *, whole: bool) -> list[Finding]:
        """Frame after frame; a fault that is the same in all frames is told once."""
        found: list[Finding] = []
        targets = spread(len(self.clip.targets), None if whole else _EVERY)
        for place in targets:
            told = self._frame(place, found)
            if told:
                found.append(told)
                break
        self._neighbours(found, whole=whole)
        return found

    def _frame(self, place: int, found: list[Finding]) -> Finding | None:
        number = self.clip.targets[place]
        stem = self.clip.low.stem(number)
        sample = tried(
            lambda: self.clip.read((number,), (number,)),
            name=f"{self.clip.name}/{stem}",
            paths={"low": self.clip.low.path(number), "sharp": self.clip.sharp.path(place)},
            root=self.root,
            findings=found,
        )
        if sample is None:
            return None
        name, low, sharp = sample.name + f"/{stem}", sample.low[0], sample.sharp[0]
        wanted = SCALES.get(self.key)
        if wanted not in (None, sample.scale):
            what = (
                f"the sharp frames are {sample.scale} times larger; of {'-'.join(self.key)} they are {wanted}"
            )
            return error("wrong scale", name, what, "check which folder is which")
        if sample.scale == 1 and is_same(low, sharp):
            return warning("low equals sharp", name, "low and sharp frame are the same picture", _REMEDY)
        return self._fit(name, low, sharp, number)

    def _fit(self, name: str, low: np.ndarray, sharp: np.ndarray, number: int) -> Finding | None:
        small = _moved(_shrunk(sharp, low.shape[:2]), _SHIFT.get(self.key[1], 0.0))
        apart = _apart(low, small)
        better = self._nearer_frame(small, number, apart)
        if better:
            side = "later" if better < 0 else "earlier"
            what = f"the low frame fits the sharp frame {abs(better)} {side} best"
            return error("frames shifted", name, f"{what}: the two folders are numbered differently", _REMEDY)
        if apart > _UNLIKE:
            what = f"low and sharp frame show different things (difference {apart:.2f} of the contrast)"
            return error("frames mixed up", name, what, "check that both folders hold the same clips")
        shift = _shift(low, small)
        slack = (_BLUR_SLACK if "blur" in self.key[1] else _SHIFT_SLACK) if self.key in SCALES else 1.0
        if np.abs(shift).max() > slack and apart > 0.05:
            what = f"the low frame lies {shift[0]:.1f}, {shift[1]:.1f} pixels beside the sharp one"
            return error("frames displaced", name, what, _REMEDY)
        return self._kernel(name, low, sharp) if self.key in BICUBIC else None

    def _nearer_frame(self, small: np.ndarray, number: int, apart: float) -> int:
        """How many frames earlier or later a low frame lies that fits better; 0 for none."""
        best, step = apart, 0
        for other in (-2, -1, 1, 2):
            if 0 <= number + other < len(self.clip.low):
                now = self._read_apart(number + other, small)
                if now is not None and now < _BETTER * apart and now < best:
                    best, step = now, other
        return step

    def _read_apart(self, number: int, small: np.ndarray) -> float | None:
        sample = tried(lambda: self.clip.low.read(number), name="", paths={}, root=self.root, findings=[])
        return None if sample is None or sample.shape != small.shape else _apart(sample, small)

    def _kernel(self, name: str, low: np.ndarray, sharp: np.ndarray) -> Finding | None:
        made = matlab_bicubic(sharp, size_hw=(low.shape[0], low.shape[1]))
        apart = float(np.abs(made.astype(np.float32) - low).mean()) * 255 / np.iinfo(low.dtype).max
        if apart <= _BICUBIC_LEVELS:
            return None
        what = f"low frames are not MATLAB's bicubic of the sharp ones ({apart:.1f} levels apart)"
        return warning(
            "another kernel",
            name,
            what,
            "numbers will not compare with published ones; make them by kinema.ops.resize.matlab_bicubic",
        )

    def _neighbours(self, found: list[Finding], *, whole: bool) -> None:
        """Repeats and cuts among the sharp frames."""
        frames = self.clip.sharp
        places = spread(len(frames) - 1, None if whole else _EVERY) if len(frames) > 1 else []
        found += compare_neighbours(
            lambda place: frames.read(place),
            [(place, place + 1) for place in places],
            name_of=lambda place: (
                below(frames.path(place), self.root) if not frames.packed else frames.stem(place)
            ),
        )


def _shrunk(sharp: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    small: np.ndarray = cv2.resize(sharp, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)
    return small


def _moved(picture: np.ndarray, by: float) -> np.ndarray:
    """The picture that many pixels further to the right and down."""
    if by == 0.0:
        return picture
    height, width = picture.shape[:2]
    matrix = np.array([[1, 0, by], [0, 1, by]])
    moved: np.ndarray = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return moved


def _apart(low: np.ndarray, small: np.ndarray) -> float:
    """Mean difference of two pictures of one size in units of their contrast, in coarse."""
    a, b = (cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.5) for picture in (low, small))
    a, b = a - a.mean((0, 1)), b - b.mean((0, 1))
    contrast = (float(np.abs(a).mean()) + float(np.abs(b).mean())) / 2
    return float(np.abs(a - b).mean()) / max(contrast, 2.0)


def _shift(low: np.ndarray, small: np.ndarray) -> np.ndarray:
    """How far the low picture lies to the right of and below the other, in quarters of a pixel, 3 at most."""
    target, moved = (picture.mean(axis=2, dtype=np.float32) for picture in (low, small))
    best = np.zeros(2)
    if min(target.shape) < 16:
        return best
    for reach, step in ((2, 1.0), (3, 0.25)):
        offsets = step * np.arange(-reach, reach + 1)
        choices = [best + np.array([x, y]) for y in offsets for x in offsets]
        best = min(choices, key=lambda shift: _apart_after(target, moved, shift))
    return best


def _apart_after(target: np.ndarray, moved: np.ndarray, shift: np.ndarray) -> float:
    height, width = target.shape
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    there = cv2.warpAffine(moved, matrix, (width, height), flags=cv2.INTER_CUBIC)
    return float(np.abs(there - target)[4:-4, 4:-4].mean())
