"""What can be written in which layout, in numbers; importing it imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from kinema.errors import UsageError

LayoutName = Literal[
    "sintel",
    "flyingchairs",
    "flyingthings",
    "middlebury",
    "kitti2012",
    "kitti2015",
    "kitti-raw",
    "kitti-odometry",
    "reds",
    "vid4",
]
LAYOUT_NAMES: tuple[LayoutName, ...] = get_args(LayoutName)

SMALLEST_SIDE, LARGEST_SIDE = 64, 2048

_FIRST_SEED = 1 << 20


@dataclass(frozen=True, kw_only=True)
class LayoutFacts:
    """What a layout takes and gives.

    Attributes:
        unit: what is counted.
        size_hw: official height and width, taken when nothing is said.
        frames: of a sample when nothing is said.
        frames_range: fewest and most frames of a sample.
        most: largest count, where official names end; None where they do not.
        multiple: both sides must be a multiple of it.
        largest_side: of a frame in pixels.
        specs: what reads the written folder, without its path.
        holds: what is written, in one line.
    """

    unit: Literal["pair", "clip"]
    size_hw: tuple[int, int]
    frames: int
    frames_range: tuple[int, int]
    specs: tuple[str, ...]
    holds: str
    most: int | None = None
    multiple: int = 1
    largest_side: int = LARGEST_SIDE


FACTS: dict[LayoutName, LayoutFacts] = {
    "sintel": LayoutFacts(
        unit="clip",
        size_hw=(436, 1024),
        frames=10,
        frames_range=(2, 9999),
        specs=("sintel-clean", "sintel-final"),
        holds="clean and final frames, flow, occlusion and invalid masks",
    ),
    "flyingchairs": LayoutFacts(
        unit="pair",
        size_hw=(384, 512),
        frames=2,
        frames_range=(2, 2),
        specs=("flyingchairs",),
        holds="pairs of planar scenes with flow",
        most=22872,
        largest_side=1024,
    ),
    "flyingthings": LayoutFacts(
        unit="clip",
        size_hw=(540, 960),
        frames=10,
        frames_range=(2, 9000),
        specs=("flyingthings-clean", "flyingthings-final"),
        holds="clean and final frames of two cameras, flow into the future and the past, disparity",
    ),
    "middlebury": LayoutFacts(
        unit="pair",
        size_hw=(480, 640),
        frames=2,
        frames_range=(2, 2),
        specs=("middlebury",),
        holds="pairs of planar scenes with small motion and flow",
        largest_side=1024,
    ),
    "kitti2012": LayoutFacts(
        unit="pair",
        size_hw=(375, 1242),
        frames=2,
        frames_range=(2, 21),
        specs=("kitti2012", "kitti_stereo"),
        holds="grey and colour frames of two cameras, flow_occ, flow_noc, disp_occ, disp_noc, calibration",
        most=1_000_000,
    ),
    "kitti2015": LayoutFacts(
        unit="pair",
        size_hw=(375, 1242),
        frames=2,
        frames_range=(2, 21),
        specs=("kitti2015", "kitti_stereo"),
        holds="colour frames of two cameras, flow, disparity of both moments, moving things, calibration",
        most=1_000_000,
    ),
    "kitti-raw": LayoutFacts(
        unit="clip",
        size_hw=(375, 1242),
        frames=20,
        frames_range=(1, 100_000),
        specs=("kitti_raw",),
        holds="colour frames of two cameras, points of a laser scanner, times, calibration",
        most=9000,
    ),
    "kitti-odometry": LayoutFacts(
        unit="clip",
        size_hw=(376, 1241),
        frames=20,
        frames_range=(1, 271),
        specs=("kitti_odometry",),
        holds="colour frames of two cameras, calibration, times, poses",
        most=11,
    ),
    "reds": LayoutFacts(
        unit="clip",
        size_hw=(720, 1280),
        frames=20,
        frames_range=(1, 100),
        specs=("reds-bicubic", "reds-blur", "reds-blur_comp", "reds-blur_bicubic"),
        holds="sharp frames, and them bicubic at a quarter, blurred, blurred and compressed, blurred bicubic",
        most=270,
        multiple=4,
    ),
    "vid4": LayoutFacts(
        unit="clip",
        size_hw=(576, 720),
        frames=10,
        frames_range=(1, 34),
        specs=("vid4-bix4", "vid4-bdx4"),
        holds="sharp frames, and them at a quarter: bicubic (BIx4), Gaussian blur and every fourth (BDx4)",
        most=4,
        multiple=4,
    ),
}
"""By name of the layout."""


@dataclass(frozen=True)
class SynthPlan:
    """What every sample is a pure function of, beside its number.

    Attributes:
        layout: which tree is written.
        seed: of the data set, 0 or more.
        size_hw: of a frame.
        frames: of a sample.
        textures: a folder of pictures to take textures from, or None.
    """

    layout: LayoutName
    seed: int
    size_hw: tuple[int, int]
    frames: int
    textures: Path | None = None

    @property
    def render_seed(self) -> int:
        """The renderer's seed: no two layouts show the same scenes, nor do rendered training scenes."""
        return _FIRST_SEED + len(LAYOUT_NAMES) * self.seed + LAYOUT_NAMES.index(self.layout)

    @property
    def facts(self) -> LayoutFacts:
        """What the layout takes and gives."""
        return FACTS[self.layout]


def plan_synth(
    layout: LayoutName,
    *,
    count: int,
    seed: int = 0,
    size_hw: tuple[int, int] | None = None,
    frames: int | None = None,
    textures: Path | None = None,
) -> SynthPlan:
    """Fill in what was not said, and check it against the layout.

    Args:
        layout: which tree is written.
        count: of samples, 1 or more.
        seed: of the data set, 0 or more.
        size_hw: of a frame; None is the official size.
        frames: of a sample; None is the layout's own number.
        textures: a folder of pictures, or None.

    Returns:
        The plan.

    Raises:
        UsageError: when the layout does not have such a size, count or number of frames.
    """
    facts = FACTS[layout]
    size_hw = size_hw or facts.size_hw
    frames = facts.frames if frames is None else frames
    fewest, most = facts.frames_range
    if not fewest <= frames <= most:
        span = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise UsageError(f"--frames {frames}: a {facts.unit} of {layout} has {span} frames")
    if facts.most is not None and count > facts.most:
        raise UsageError(f"--count {count}: {layout} has names for {facts.most} {facts.unit}s")
    sides_fit = all(SMALLEST_SIDE <= side <= facts.largest_side for side in size_hw)
    if not sides_fit or any(side % facts.multiple for side in size_hw):
        step = f", in multiples of {facts.multiple}" if facts.multiple > 1 else ""
        raise UsageError(
            f"--size {size_hw[0]}x{size_hw[1]}: {SMALLEST_SIDE} to {facts.largest_side} pixels a side{step}"
        )
    if seed < 0:
        raise UsageError(f"--seed {seed}: 0 or more")
    return SynthPlan(layout, seed, size_hw, frames, textures)
