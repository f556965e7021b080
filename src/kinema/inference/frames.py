"""Frames from callers turned into image tensors, with errors that say what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from kinema.errors import InputError
from kinema.io.images import check_unit_range, to_unit_float

if TYPE_CHECKING:
    from kinema.models.card import ModelCard


@runtime_checkable
class HasImage(Protocol):
    """A frame that carries its picture as `.image`: a `VideoFrame`, a `ClipFrame`."""

    @property
    def image(self) -> np.ndarray:
        """(H, W, 3) RGB, uint8 or uint16."""


Frame: TypeAlias = "np.ndarray | HasImage"
"""What predictors take as one frame: an (H, W, 3) RGB array, or an object with such an `.image`."""


def frame_tensor(frame: Frame, *, name: str) -> Float[Tensor, "1 3 h w"]:
    """Turn one frame into an image tensor.

    Args:
        frame: RGB array (H, W, 3): uint8, uint16, or floating point in [0, 1]; or an object with such an
            `.image`.
        name: what to call the frame in an error.

    Returns:
        float32 RGB in [0, 1], on the CPU.

    Raises:
        InputError: when shape, type or values are not those of an image.
    """
    image = frame if isinstance(frame, np.ndarray) else getattr(frame, "image", None)
    if not isinstance(image, np.ndarray):
        raise InputError(f"{name} is a {type(frame).__name__}: give an (H, W, 3) array{_way_out(frame)}")
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"{name} has shape {image.shape}: an RGB image is (H, W, 3)")
    unit = to_unit_float(image, name=name).transpose(2, 0, 1)
    return torch.from_numpy(np.array(unit, order="C"))[None]  # a copy: callers may reuse their memory


def check_image_tensor(image: Tensor, *, name: str) -> None:
    """Check that a tensor is a batch of images by the package's convention.

    Args:
        image: (B, 3, H, W), floating point, RGB in [0, 1].
        name: what to call it in an error.

    Raises:
        InputError: when shape, type or values are not.
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise InputError(f"{name} has shape {tuple(image.shape)}: an image tensor is (B, 3, H, W)")
    if not image.is_floating_point():
        raise InputError(
            f"{name} is {str(image.dtype).removeprefix('torch.')}: image tensors are float in [0, 1]"
        )
    if image.numel() == 0:
        raise InputError(f"{name} has shape {tuple(image.shape)}: it is empty")
    low, high = torch.aminmax(image.detach())
    check_unit_range(float(low), float(high), name=name)


def check_pair(size1_hw: tuple[int, int], size2_hw: tuple[int, int]) -> None:
    """Check that two frames have the same size.

    Args:
        size1_hw: of frame 1, in pixels.
        size2_hw: of frame 2, in pixels.

    Raises:
        InputError: when they differ.
    """
    if size1_hw != size2_hw:
        raise InputError(
            f"the two frames differ in size: {_size_text(size1_hw)} and {_size_text(size2_hw)} "
            "(width x height); resize or crop them to one size first"
        )


def check_smallest(size_hw: tuple[int, int], card: ModelCard) -> None:
    """Check that a frame is not too small for a model.

    Args:
        size_hw: of the frame as the model sees it, in pixels.
        card: of the model.

    Raises:
        InputError: when it is smaller than the model's smallest size.
    """
    if size_hw[0] < card.min_size_hw[0] or size_hw[1] < card.min_size_hw[1]:
        raise InputError(
            f"a frame of {_size_text(size_hw)} pixels (width x height) is too small for {card.name}: "
            f"the smallest is {_size_text(card.min_size_hw)}"
        )


def limited_size(size_hw: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """The size at which to compute when the longer side is limited.

    Args:
        size_hw: the frame's own size, in pixels.
        max_side: the longest side allowed, in pixels, or None for no limit.

    Returns:
        (height, width) with the aspect ratio kept to the nearest pixel, never larger than the frame.
    """
    longest = max(size_hw)
    if max_side is None or longest <= max_side:
        return size_hw
    scale = max_side / longest
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def pad_to_stride(image: Float[Tensor, "b c h w"], stride: int) -> Float[Tensor, "b c hp wp"]:
    """Extend an image to multiples of a stride, by repeating its last column and row.

    Args:
        image: any tensor of pictures.
        stride: in pixels.

    Returns:
        The same tensor when it fits already, otherwise the extended one; crop with `[..., :h, :w]`.
    """
    bottom, right = -image.shape[-2] % stride, -image.shape[-1] % stride
    return F.pad(image, (0, right, 0, bottom), mode="replicate") if bottom or right else image


def _way_out(frame: object) -> str:
    """What to do with something that is no array; the end of an error message."""
    if isinstance(frame, str | Path):
        return "; kinema.io.images.read_image reads one from a file"
    if isinstance(frame, Tensor):
        return "; batches of tensors (B, 3, H, W) go in pairs into flow()"
    return ""


def _size_text(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"
