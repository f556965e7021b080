"""The synthetic frames that the values of the original UFlow were computed on."""

import torch
from torch import Tensor

from kinema.ops.resize import resize_flow
from kinema.outputs import TwoWayFlow


def wavy_frame(t: int, size_hw: tuple[int, int] = (64, 96)) -> Tensor:
    """(1, 3, H, W): frame t of a pattern of waves."""
    y, x = grid(size_hw)
    planes = [0.5 + 0.5 * torch.sin(0.155 * (y + t) * (c + 1) + 0.17 * (x + 2 * t) + c) for c in range(3)]
    return torch.stack(planes)[None]


def wavy_flows(size_hw: tuple[int, int] = (64, 96)) -> tuple[Tensor, Tensor]:
    """(1, 2, H, W) each: flow and backward flow, which do not quite agree and do not fit the frames."""
    y, x = grid(size_hw)
    flow = torch.stack((-2 + torch.cos(0.08 * y - 0.03 * x), 1.5 + torch.sin(0.1 * x + 0.05 * y)))[None]
    return flow, -flow + 0.4 * torch.stack((torch.sin(0.15 * y), torch.cos(0.2 * x)))[None]


def coarse_flows(size_hw: tuple[int, int] = (64, 96)) -> tuple[Tensor, Tensor]:
    """`wavy_flows` at a quarter of the size."""
    flow, backward = wavy_flows(size_hw)
    quarter = (size_hw[0] // 4, size_hw[1] // 4)
    return resize_flow(flow, quarter), resize_flow(backward, quarter)


def enlarged(flow: Tensor, backward: Tensor) -> TwoWayFlow:
    """Coarse flows doubled twice, as UFlow's training does."""
    return TwoWayFlow(_twice(_twice(flow)), _twice(_twice(backward)), flow, backward)


def grid(size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rows and columns of every pixel."""
    y, x = torch.meshgrid(*(torch.arange(float(size)) for size in size_hw), indexing="ij")
    return y, x


def _twice(flow: Tensor) -> Tensor:
    return resize_flow(flow, (2 * flow.shape[-2], 2 * flow.shape[-1]))
