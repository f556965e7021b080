"""Every way back through the TV-L1 iterations against gradients computed by the original graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema.losses.supervised_flow import endpoint_error_loss
from kinema.models import tvnet
from kinema.models.tvnet import TVNet
from kinema.ops.variational import Unrolling, tvl1_iterations_reference

PATHS = {
    "fused": (torch.float32, Unrolling()),
    "fused, states kept": (torch.float32, Unrolling(keep="iterations")),
    "fused, cut at none": (torch.float32, Unrolling("truncated")),
    "eager": (torch.float64, Unrolling()),
    "eager, states kept": (torch.float64, Unrolling(keep="iterations")),
    "autograd": (torch.float32, None),
}
GRAPHS = ("orig_tf_grad_48x64_b2_s2w2i5", "orig_tf_init_48x64_b2_s1w2i5", "orig_tf_odd_45x61_s3w2i6")
KERNELS = tuple(f"divergence/div_p{i}_diff_{d}" for i in (1, 2) for d in "xy") + tuple(
    f"forward_gradient/u{i}_diff_{d}" for i in (1, 2) for d in "xy"
)


def by_autograd(*states: torch.Tensor, unrolling: Unrolling, **settings: Any) -> Any:
    del unrolling
    return tvl1_iterations_reference(*states, **settings)


def gradients(data: np.lib.npyio.NpzFile, path: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the endpoint error: to the starting flow, and to the kernels (level, warp, iteration, 8, 2)."""
    dtype, unrolling = PATHS[path]
    shape = tuple(int(data[name]) for name in ("scales", "warps", "iters"))
    model = TVNet(
        "reference", kernels="per_iteration", scales=shape[0], warps=shape[1], iterations=shape[2]
    ).to(dtype)
    model.unrolling = unrolling or Unrolling()
    image1, image2 = (
        torch.from_numpy(np.ascontiguousarray(data[f"img{i}_bgr"][..., ::-1])).movedim(-1, 1).to(dtype) / 255
        for i in (1, 2)
    )
    start, truth = (torch.from_numpy(data[n]).movedim(-1, 1).to(dtype) for n in ("init_flow", "gt"))
    start = start.contiguous().requires_grad_()
    endpoint_error_loss(model(image1, image2, initial_flow=start).flow, truth).backward()
    return start.grad.numpy(), model.kernels.taps.grad.view(*shape, 8, 2).numpy()


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("path", PATHS)
def test_gradients_of_the_original_graph(
    shared: Path, graph: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if PATHS[path][1] is None:
        monkeypatch.setattr(tvnet, "tvl1_iterations", by_autograd)
    data = np.load(shared / "fixtures" / "tvnet" / f"{graph}.npz", allow_pickle=False)
    start, kernels = gradients(data, path)
    scope, coarsest = "grad_epe|tvl1_flow/scale", int(data["scales"]) - 1
    expected = np.stack([data[f"{scope}{coarsest}/u{i}:0"][..., 0] for i in (1, 2)], 1)
    assert np.linalg.norm(start - expected) < 5e-4 * np.linalg.norm(expected)
    ours, theirs = [], []
    for level, warp, n in np.ndindex(kernels.shape[:3]):
        for found, name in zip(kernels[level, warp, n], KERNELS, strict=True):
            key = f"{scope}{level}/warping{warp}/iter{n}/{name}/kernel:0"
            if key in data:
                ours.append(found)
                theirs.append(data[key].reshape(2))
    assert len(ours) >= 76
    assert np.linalg.norm(np.stack(ours) - np.stack(theirs)) < 5e-4 * np.linalg.norm(theirs)
