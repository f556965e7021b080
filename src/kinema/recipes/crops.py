"""Sizes of training samples, as recipes write them. No torch is imported here."""

from __future__ import annotations

import re
from typing import NamedTuple


class CropShare(NamedTuple):
    """A size of training samples, and its part of the training time."""

    height: int
    width: int
    share: float


def crop_shares(text: str, *, multiple: int) -> tuple[CropShare, ...]:
    """Read sizes with their shares.

    Args:
        text: such as ``384x448:2,448x768:1``.
        multiple: what all sides must be multiples of, in pixels.

    Returns:
        One record per size.

    Raises:
        ValueError: when it cannot be read.
    """
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)x(\d+):(\d+(?:\.\d+)?)", part.strip())
        if match is None:
            raise ValueError(f"{part.strip()!r} is no HEIGHTxWIDTH:SHARE, such as 384x448:2")
        height, width, share = int(match[1]), int(match[2]), float(match[3])
        if height % multiple or width % multiple or not height * width or not share:
            raise ValueError(f"{part.strip()!r}: sides are multiples of {multiple}, the share is above 0")
        found.append(CropShare(height, width, share))
    return tuple(found)


def crop_size(text: str, *, multiple: int) -> tuple[int, int]:
    """Read one size.

    Args:
        text: such as ``384x768``, height first.
        multiple: what both sides must be multiples of, in pixels.

    Returns:
        Height and width.

    Raises:
        ValueError: when it cannot be read.
    """
    match = re.fullmatch(r"(\d+)x(\d+)", text.strip())
    if match is None:
        raise ValueError(f"{text.strip()!r} is no HEIGHTxWIDTH, such as 384x768")
    size_hw = int(match[1]), int(match[2])
    if not all(size_hw) or any(side % multiple for side in size_hw):
        raise ValueError(f"{text.strip()!r}: both sides are multiples of {multiple}")
    return size_hw
