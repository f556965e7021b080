"""What TVNet makes of frames before it looks for motion: grey levels, stretched, smoothed, in a pyramid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kinema.models.tvnet_settings import ChannelOrder
from kinema.ops.resize import resize_image

# Pixel-integrated Gaussian of sigma 0.8 on 5x5 pixels, as the six rounded constants of the published code.
_A, _B, _C, _D, _E, _F = 0.219833, 0.110656, 0.0557, 0.01386, 0.006976, 0.000874
_SMOOTHING = (
    (_F, _E, _D, _E, _F),
    (_E, _C, _B, _C, _E),
    (_D, _B, _A, _B, _D),
    (_E, _C, _B, _C, _E),
    (_F, _E, _D, _E, _F),
)


class TVNetFrames(nn.Module):
    """Prepares two frames; nothing in it is learned.

    Args:
        faithful: as the published network does it, border defects included.
        channel_order: see `kinema.models.tvnet.TVNet`.
    """

    smoothing: Tensor

    def __init__(self, *, faithful: bool, channel_order: ChannelOrder) -> None:
        super().__init__()
        self.faithful, self.channel_order = faithful, channel_order
        self.register_buffer("smoothing", torch.tensor(_SMOOTHING)[None, None], persistent=False)

    def forward(
        self,
        image1: Float[Tensor, "b 3 h w"],
        image2: Float[Tensor, "b 3 h w"],
        grey_range: Float[Tensor, "b 2"] | None = None,
    ) -> tuple[Float[Tensor, "b 1 h w"], Float[Tensor, "b 1 h w"]]:
        """Grey levels, jointly stretched to 0..255 per sample, and lightly smoothed.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1].
            image2: (B, 3, H, W) RGB in [0, 1].
            grey_range: darkest and lightest level; None for those of the frames.

        Returns:
            Both frames.
        """
        frames = torch.stack([self._grey(image1), self._grey(image2)], 1)
        limits = self.grey_range(image1, image2) if grey_range is None else grey_range
        low, high = limits.to(frames)[:, :, None, None, None, None].unbind(1)
        spread = torch.where(high > low, high - low, torch.full_like(high, 255.0))
        frames = torch.where(high > low, 255 * (frames - low) / spread, frames)
        first, second = frames.unbind(1)
        return self._smooth(first), self._smooth(second)

    def grey_range(
        self, image1: Float[Tensor, "b 3 h w"], image2: Float[Tensor, "b 3 h w"]
    ) -> Float[Tensor, "b 2"]:
        """The darkest and the lightest grey level of both frames.

        Args:
            image1: (B, 3, H, W) RGB in [0, 1].
            image2: (B, 3, H, W) RGB in [0, 1].

        Returns:
            (B, 2) in 0..255.
        """
        frames = torch.stack([self._grey(image1), self._grey(image2)], 1).flatten(1)
        return torch.stack([frames.amin(1), frames.amax(1)], 1)

    def resample(
        self, image: Float[Tensor, "b 1 h w"], size_hw: tuple[int, int]
    ) -> Float[Tensor, "b 1 h2 w2"]:
        """A level of the pyramid, always made from the full-size frame.

        Args:
            image: (B, 1, H, W) prepared frame.
            size_hw: of the level.

        Returns:
            (B, 1, h, w).
        """
        if image.shape[-2:] == size_hw:
            return image
        if self.faithful:
            return resize_image(image, size_hw, antialias=False, sampling="corner_aligned")
        return resize_image(image, size_hw, antialias=True)

    def _grey(self, image: Tensor) -> Tensor:
        """(B, 1, H, W) luminance in 0..255; the reference has integers, which stop gradients to the image."""
        red, green, blue = (255 * image[:, c : c + 1] for c in range(3))
        if not self.faithful:
            return 0.299 * red + 0.587 * green + 0.114 * blue
        if self.channel_order == "rgb":
            red, blue = blue, red
        return (0.114 * blue.round() + 0.587 * green.round() + 0.299 * red.round()).floor()

    def _smooth(self, image: Tensor) -> Tensor:
        kernel = self.smoothing.to(image.dtype)
        if self.faithful:
            return F.conv2d(image, kernel, padding=2)
        return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="replicate"), kernel / kernel.sum())
