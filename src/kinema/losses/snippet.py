"""What objectives on short sequences share: the frame in the middle, its neighbours, and sums with counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from kinema.errors import UsageError
from kinema.ops.resize import resize_image
from kinema.ops.smoothness import edge_weights
from kinema.ops.ssim import dissimilarity_map

_FEWEST = 0.01  # share of pixels that a masked mean divides by at least: a handful must not rule a step


@dataclass(frozen=True)
class Part:
    """One term of a loss, not yet divided, so that it can be summed over devices first.

    Attributes:
        total: scalar; weighted sum, differentiable.
        count: scalar without gradient, above 0; what to divide by.
    """

    total: Tensor
    count: Tensor


def total_loss(parts: Mapping[str, Part]) -> Float[Tensor, ""]:
    """The loss of one device: the sum of all parts, each divided by its count.

    Args:
        parts: by name, at least one.

    Returns:
        A scalar.
    """
    return torch.stack([part.total / part.count for part in parts.values()]).sum()


def split_snippet(stack: Float[Tensor, "b n *rest"]) -> tuple[Float[Tensor, "b *rest"], Tensor]:
    """The target in the middle, and the sources around it in time order.

    Args:
        stack: (B, N, ...) oldest first, N at least 2; of an even number, the earlier one of the middle is the
            target.

    Returns:
        The target (B, ...) and the sources (B, N - 1, ...).

    Raises:
        UsageError: for a single frame.
    """
    count = stack.shape[1]
    if count < 2:
        raise UsageError(f"a snippet has 2 frames or more, not {count}")
    middle = (count - 1) // 2
    return stack[:, middle], torch.cat((stack[:, :middle], stack[:, middle + 1 :]), dim=1)


def as_pairs(
    target: Float[Tensor, "b *rest"], sources: Float[Tensor, "b s *rest"]
) -> tuple[Float[Tensor, "p *rest"], Float[Tensor, "p *rest"]]:
    """The target repeated beside each of its sources.

    Args:
        target: (B, ...).
        sources: (B, S, ...).

    Returns:
        Two batches of B S: targets and sources.
    """
    return target[:, None].expand_as(sources).flatten(0, 1), sources.flatten(0, 1)


def frames_at(frames: Float[Tensor, "b n c h w"], size_hw: tuple[int, int]) -> Float[Tensor, "b n c h2 w2"]:
    """Frames of another size, by area.

    Args:
        frames: (B, N, C, H, W).
        size_hw: height and width.

    Returns:
        (B, N, C, H2, W2).
    """
    resized = resize_image(frames.flatten(0, 1), size_hw, antialias=False, mode="area")
    return resized.view(*frames.shape[:3], *size_hw)


def mean_part(values: Tensor, weight: float) -> Part:
    """A mean over all values.

    Args:
        values: any shape.
        weight: of the term.

    Returns:
        Sum and count.
    """
    return Part(weight * values.sum(), values.new_tensor(float(values.numel())))


def masked_part(
    values: Float[Tensor, "b 1 h w"],
    valid: Float[Tensor, "b 1 h w"],
    weight: float,
    *,
    fewest: float = _FEWEST,
) -> Part:
    """A mean over valid pixels.

    Args:
        values: (B, 1, H, W), finite also where not valid.
        valid: (B, 1, H, W) 1 = counts.
        weight: of the term.
        fewest: the mean divides by no less than this share of all pixels, and never by less than 1.

    Returns:
        Sum and count.
    """
    count = valid.detach().sum().clamp(min=max(fewest * valid.numel(), 1.0))
    return Part(weight * (values * valid).sum(), count)


def smoothness_part(
    values: Float[Tensor, "b c h w"], image: Float[Tensor, "b 3 h w"], weight: float, *, edges: float
) -> Part:
    """Mean slope along x plus mean slope along y, forgiven at the edges of the image (GeoNet, equation 4).

    Args:
        values: (B, C, H, W); channels are averaged.
        image: (B, 3, H, W) in [0, 1].
        weight: of the term.
        edges: how quickly an edge of the image forgives; 2 is GeoNet, whose images lie in [-1, 1].

    Returns:
        Sum and count of samples.
    """
    along_x = values[..., 1:] - values[..., :-1]
    along_y = values[..., 1:, :] - values[..., :-1, :]
    weight_x, weight_y = edge_weights(image, constant=edges)
    slopes = (along_x * weight_x).abs().mean((1, 2, 3)) + (along_y * weight_y).abs().mean((1, 2, 3))
    return mean_part(slopes, weight)


def published_difference(
    first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], *, alpha: float = 0.85
) -> Float[Tensor, "b 3 h w"]:
    """GeoNet's similarity (equation 3): alpha SSIM' + (1 - alpha) |a - b|, with images in [-1, 1].

    Args:
        first: (B, 3, H, W) in [-1, 1].
        second: (B, 3, H, W) in [-1, 1].
        alpha: share of the structural part.

    Returns:
        (B, 3, H, W), 0 = equal. Differentiable.
    """
    structure = dissimilarity_map(first, second, edges="average")
    return alpha * structure + (1 - alpha) * (first - second).abs()


def photometric_difference(
    first: Float[Tensor, "b 3 h w"], second: Float[Tensor, "b 3 h w"], *, alpha: float = 0.85
) -> Float[Tensor, "b 1 h w"]:
    """How different two images look (Godard et al. 2019, equation 2), with windows mirrored at the edges.

    Args:
        first: (B, 3, H, W) in [0, 1].
        second: (B, 3, H, W) in [0, 1].
        alpha: share of the structural part.

    Returns:
        (B, 1, H, W), 0 = equal, at most 1. Differentiable.
    """
    structure = dissimilarity_map(first, second, edges="reflect")
    return (alpha * structure + (1 - alpha) * (first - second).abs()).mean(1, keepdim=True)
