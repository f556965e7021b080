"""REDS and Vid4: sharp clips and their low twins."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from kinema.data.procedural.file_effects import through_video
from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.film import film_worlds
from kinema.data.synth.plan import SynthPlan
from kinema.data.synth.rig import Rig, Shots
from kinema.io.images import write_image
from kinema.ops.resize import matlab_bicubic

VID4_CLIPS = ("calendar", "city", "foliage", "walk")

_SAMPLES = 16
_QUANTISER = 6  # of the compressed frames: blocks are just visible
_SIGMA, _TAPS = 1.6, 13
_VALIDATION_EVERY = 9  # clips; the third one is the first of them


def film_config(plan: SynthPlan, *, blur: bool) -> WorldConfig:
    """What clips to restore are made of: hand-held, sharp and without noise.

    Args:
        plan: size and textures.
        blur: whether blurred frames are asked for.

    Returns:
        The config.
    """
    return film_worlds(plan.size_hw, textures=plan.textures, blur_samples=_SAMPLES if blur else 0)


def reds_clip(index: int) -> tuple[str, str]:
    """Name a REDS clip: 240 of 270 are for training, every ninth one for validation.

    Args:
        index: of the clip, below 270.

    Returns:
        Part and name, such as ``train`` and ``000``.
    """
    rounds, rest = divmod(index, _VALIDATION_EVERY)
    if rest == 2:
        return "val", f"{rounds:03d}"
    return "train", f"{rounds * (_VALIDATION_EVERY - 1) + rest - (rest > 2):03d}"


def write_reds_clip(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one REDS clip in all its kinds.

    Args:
        plan: what is written.
        index: of the clip.
        folder: that the layout begins in.
    """
    shots = Rig(film_config(plan, blur=True), plan.render_seed, index, frames=plan.frames).left
    part, clip = reds_clip(index)
    for kind, frames in _reds_kinds(shots).items():
        scaled = "X4" if kind.endswith("bicubic") else ""
        _write_frames(folder / part / f"{part}_{kind}" / scaled / clip, frames)


def _reds_kinds(shots: Shots) -> dict[str, list[np.ndarray]]:
    assert shots.blurred is not None  # the config asks for it
    sharp, blurred = list(shots.images), list(shots.blurred)
    return {
        "sharp": sharp,
        "sharp_bicubic": [matlab_bicubic(frame, scale=0.25) for frame in sharp],
        "blur": blurred,
        "blur_comp": through_video(blurred, quantiser=_QUANTISER),
        "blur_bicubic": [matlab_bicubic(frame, scale=0.25) for frame in blurred],
    }


def write_vid4_clip(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one Vid4 clip with both low twins.

    Args:
        plan: what is written.
        index: of the clip.
        folder: that the layout begins in.
    """
    shots = Rig(film_config(plan, blur=False), plan.render_seed, index, frames=plan.frames).left
    clip = VID4_CLIPS[index]
    _write_frames(folder / "GT" / clip, list(shots.images))
    _write_frames(folder / "BIx4" / clip, [matlab_bicubic(frame, scale=0.25) for frame in shots.images])
    _write_frames(folder / "BDx4" / clip, [blurred_fourth(frame) for frame in shots.images])


def blurred_fourth(frame: np.ndarray) -> np.ndarray:
    """Blur a frame by a Gaussian of 1.6 pixels (13 taps) and keep every fourth pixel from the first on.

    Args:
        frame: (H, W, 3) uint8; sides are multiples of 4.

    Returns:
        (H / 4, W / 4, 3) uint8.
    """
    smooth = cv2.GaussianBlur(
        frame.astype(np.float64), (_TAPS, _TAPS), _SIGMA, borderType=cv2.BORDER_REFLECT_101
    )
    kept: np.ndarray = np.ascontiguousarray(np.rint(smooth[::4, ::4]).clip(0, 255).astype(np.uint8))
    return kept


def _write_frames(folder: Path, frames: list[np.ndarray]) -> None:
    for number, frame in enumerate(frames):
        write_image(folder / f"{number:08d}.png", frame)
