"""UFlow's photometric and geometric augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from kinema.data.transforms.colour import add_noise, turned_hue
from kinema.data.transforms.pairs import FlowPairs, Generators, with_float_images
from kinema.data.transforms.views import Framing, View, about_centre, chained, look, placed, whole

_SAME = (1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class UflowColours:
    """What changes the frames that the network sees, but not those that its loss compares.

    Attributes:
        permuted: whether the channels are rolled by 0 to 2 and half of the time reversed: any order.
        hue: turn of the hue of HSV, ± this part of a full turn.
        saturation: least and largest factor of the saturation of HSV.
        brightness: added, ±.
        contrast: least and largest factor of the distance to each channel's mean.
        noise: largest standard deviation of white noise; white is 1.
        own_contrast: as `contrast`, drawn for each frame.
        own_brightness: as `brightness`, drawn for each frame.
    """

    permuted: bool = True
    hue: float = 0.5
    saturation: tuple[float, float] = _SAME
    brightness: float = 0.0
    contrast: tuple[float, float] = _SAME
    noise: float = 0.0
    own_contrast: tuple[float, float] = _SAME
    own_brightness: float = 0.0


@dataclass(frozen=True, kw_only=True)
class UflowViews:
    """What moves the frames, for the network and its loss alike.

    Attributes:
        horizontal: probability that left and right change places.
        vertical: probability that top and bottom change places.
        scale: least and largest enlargement.
        rotation: ± degrees.
        second_scale: least and largest enlargement of frame 2 relative to frame 1.
        second_rotation: ± degrees of frame 2 relative to frame 1.
        second_offset: by how many whole pixels frame 2 is cropped elsewhere, ±.
        resized: whether the whole frame is resized to the crop's size first; otherwise the crop is cut out
            of it.
    """

    horizontal: float = 0.0
    vertical: float = 0.0
    scale: tuple[float, float] = _SAME
    rotation: float = 0.0
    second_scale: tuple[float, float] = _SAME
    second_rotation: float = 0.0
    second_offset: int = 0
    resized: bool = True


@dataclass(frozen=True, kw_only=True)
class UflowStyle:
    """UFlow's two sets together.

    Attributes:
        views: what moves the frames.
        colours: what changes them.
    """

    views: UflowViews = field(default_factory=UflowViews)
    colours: UflowColours = field(default_factory=UflowColours)

    def geometric(
        self, pairs: FlowPairs, size_hw: tuple[int, int], rngs: Generators, *, step: int
    ) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.geometric`."""
        drawn = [_drawn_views(self.views, pairs.size_hw, size_hw, rng) for rng in rngs]
        return look(pairs, [first for first, _ in drawn], size_hw, views2=[second for _, second in drawn])

    def photometric(self, pairs: FlowPairs, rngs: Generators, *, step: int) -> FlowPairs:
        """See `kinema.data.transforms.sets.Augmentation.photometric`."""
        pairs = with_float_images(pairs)
        drawn = [_drawn_colours(self.colours, rng) for rng in rngs]
        frames = torch.stack((pairs.image1, pairs.image2), 1)
        frames = torch.stack([one[:, list(draw.order)] for one, draw in zip(frames, drawn, strict=True)])
        frames = _hsv_changed(frames, drawn)
        common = [(draw.contrast,) * 2 for draw in drawn], [(draw.brightness,) * 2 for draw in drawn]
        frames = _shaded(frames, *common).clamp_(0, 1)
        first, second = frames.unbind(1)
        pairs = add_noise(replace(pairs, image1=first, image2=second), [draw.noise for draw in drawn], rngs)
        frames = torch.stack((pairs.image1, pairs.image2), 1)
        own = [draw.own_contrast for draw in drawn], [draw.own_brightness for draw in drawn]
        first, second = _shaded(frames, *own).clamp_(0, 1).unbind(1)
        return replace(pairs, image1=first.contiguous(), image2=second.contiguous())


def _drawn_views(
    views: UflowViews, source_hw: tuple[int, int], size_hw: tuple[int, int], rng: np.random.Generator
) -> tuple[View, View]:
    chances, scale = rng.random(2), rng.uniform(*views.scale)
    turn, second_turn = np.deg2rad(rng.uniform(-1, 1, 2) * (views.rotation, views.second_rotation))
    second_scale = rng.uniform(*views.second_scale)
    offset = rng.integers(-views.second_offset, views.second_offset + 1, 2)
    framing = Framing(
        zoom_xy=(scale, scale),
        angle=float(turn),
        mirrored_xy=(bool(chances[0] < views.horizontal), bool(chances[1] < views.vertical)),
    )
    if views.resized:
        first = chained(whole(source_hw, size_hw), placed(framing, size_hw, size_hw, rng))
    else:
        first = placed(framing, source_hw, size_hw, rng)
    change = about_centre(
        size_hw, zoom=second_scale, angle=float(second_turn), shift_xy=(float(offset[0]), float(offset[1]))
    )
    return first, chained(first, change)


@dataclass(frozen=True)
class _Colours:
    order: tuple[int, ...]
    turn: float
    saturation: float
    brightness: float
    contrast: float
    noise: float
    own_contrast: tuple[float, float]
    own_brightness: tuple[float, float]


def _drawn_colours(colours: UflowColours, rng: np.random.Generator) -> _Colours:
    roll, reverse = int(rng.integers(3)), rng.random() < 0.5
    order = np.roll(np.arange(3), roll)[:: -1 if reverse else 1] if colours.permuted else np.arange(3)
    hue, brightness, *own = rng.uniform(-1, 1, 4)
    own_contrast = rng.uniform(*colours.own_contrast, 2)
    return _Colours(
        order=tuple(int(channel) for channel in order),
        turn=float(hue * colours.hue),
        saturation=rng.uniform(*colours.saturation),
        brightness=float(brightness * colours.brightness),
        contrast=rng.uniform(*colours.contrast),
        noise=rng.uniform(0, colours.noise),
        own_contrast=(float(own_contrast[0]), float(own_contrast[1])),
        own_brightness=(float(own[0] * colours.own_brightness), float(own[1] * colours.own_brightness)),
    )


def _hsv_changed(frames: Tensor, drawn: Sequence[_Colours]) -> Tensor:
    """Both frames of a pair alike."""
    turns, factors = (
        torch.tensor([getattr(draw, name) for draw in drawn]).to(frames).repeat_interleave(2)
        for name in ("turn", "saturation")
    )
    if not turns.any() and bool((factors == 1).all()):
        return frames
    return turned_hue(frames.flatten(0, 1), turns, factors).view_as(frames)


def _shaded(
    frames: Tensor, contrasts: Sequence[Sequence[float]], lights: Sequence[Sequence[float]]
) -> Tensor:
    """Contrast around each channel's mean, then brightness; one number per pair and frame."""
    factor, added = (torch.tensor(n).to(frames)[..., None, None, None] for n in (contrasts, lights))
    mean = frames.mean((3, 4), keepdim=True)
    return torch.add(frames * factor, mean * (1 - factor) + added)


def uflow() -> UflowStyle:
    """UFlow's default: frames resized to the training size, any order of channels, hue ±0.5 of a turn.

    Returns:
        The set.
    """
    return UflowStyle()


def uflow_sintel() -> UflowStyle:
    """UFlow on Sintel: as `uflow`, and top and bottom change places half of the time.

    Returns:
        The set.
    """
    return UflowStyle(views=UflowViews(vertical=0.5))


def uflow_all() -> UflowStyle:
    """Everything that UFlow has a switch for, at its ranges.

    Left-right and top-bottom half of the time, scale 0.9 to 1.5, frame 2 relative to frame 1 by 0.95 to 1.05,
    rotation ±15 degrees, of frame 2 ±3, its crop ±5 pixels; frames are cropped, not resized. Channels in any
    order, hue ±0.5, saturation 0.8 to 1.2, brightness ±0.1, contrast 0.8 to 1.2, noise of sigma up to 0.02;
    for each frame contrast 0.95 to 1.05 and brightness ±0.02.

    What differs: a turned crop is placed wherever it lies inside the frame, not only in the largest upright
    window without empty borders.

    Returns:
        The set.
    """
    views = UflowViews(
        horizontal=0.5,
        vertical=0.5,
        scale=(0.9, 1.5),
        rotation=15.0,
        second_scale=(0.95, 1.05),
        second_rotation=3.0,
        second_offset=5,
        resized=False,
    )
    colours = UflowColours(
        saturation=(0.8, 1.2),
        brightness=0.1,
        contrast=(0.8, 1.2),
        noise=0.02,
        own_contrast=(0.95, 1.05),
        own_brightness=0.02,
    )
    return UflowStyle(views=views, colours=colours)


def uflow_scaled() -> UflowStyle:
    """Kinema's own for rendered frames: windows of frames at half to whole size, in any colours.

    Scale 0.5 to 1, left-right half of the time, top-bottom a tenth; channels in any order, hue ±0.5 of a
    turn, and for each frame contrast 0.95 to 1.05 and brightness ±0.02.

    Returns:
        The set.
    """
    views = UflowViews(horizontal=0.5, vertical=0.1, scale=(0.5, 1.0), resized=False)
    return UflowStyle(views=views, colours=UflowColours(own_contrast=(0.95, 1.05), own_brightness=0.02))


def adapt() -> UflowStyle:
    """Kinema's own for footage that a network adapts to: little, so that the footage stays what it is.

    Scale 0.8 to 1.3, left-right half of the time; the hue turns by ±0.05, and for each frame contrast is 0.97
    to 1.03 and brightness ±0.01.

    Returns:
        The set.
    """
    views = UflowViews(horizontal=0.5, scale=(0.8, 1.3), resized=False)
    colours = UflowColours(permuted=False, hue=0.05, own_contrast=(0.97, 1.03), own_brightness=0.01)
    return UflowStyle(views=views, colours=colours)
