"""The reference preset against numbers computed by the original graph (see the fixtures' README)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kinema.losses.supervised_flow import endpoint_error_loss
from kinema.losses.unsupervised_flow import tvnet_unsupervised_loss
from kinema.models.tvnet import TVNet
from kinema.ops.variational import KERNEL_NAMES

# Order of the original's variables within one iteration, as `KERNEL_NAMES` has them.
ORIGINAL_NAMES = (
    "divergence/div_p1_diff_x",
    "divergence/div_p1_diff_y",
    "divergence/div_p2_diff_x",
    "divergence/div_p2_diff_y",
    "forward_gradient/u1_diff_x",
    "forward_gradient/u1_diff_y",
    "forward_gradient/u2_diff_x",
    "forward_gradient/u2_diff_y",
)
GRAPHS = ("orig_tf_grad_48x64_b2_s2w2i5", "orig_tf_init_48x64_b2_s1w2i5", "orig_tf_odd_45x61_s3w2i6")


def to_tensor(bgr: np.ndarray) -> torch.Tensor:
    rgb = np.ascontiguousarray(bgr[..., ::-1])
    return torch.from_numpy(rgb).movedim(-1, 1).float() / 255


def assert_close_flow(flow: torch.Tensor, expected: np.ndarray, *, mean: float, largest: float) -> None:
    difference = np.abs(flow.detach().movedim(1, -1).numpy() - expected)
    assert difference.mean() < mean
    assert difference.max() < largest


@pytest.fixture
def fixtures(shared: Path) -> Path:
    return shared / "fixtures" / "tvnet"


@pytest.mark.parametrize(
    ("name", "scales", "warps", "iterations"), [("s1_w5_i10", 1, 5, 10), ("s3_w2_i20", 3, 2, 20)]
)
def test_flow_and_loss_of_the_demo_pair(
    fixtures: Path, name: str, scales: int, warps: int, iterations: int
) -> None:
    expected = np.load(fixtures / f"orig_tf_{name}.npz", allow_pickle=False)
    image1, image2 = (to_tensor(cv2.imread(str(fixtures / f"img{i}.png"))[None]) for i in (1, 2))
    model = TVNet("reference", scales=scales, warps=warps, iterations=iterations)
    with torch.inference_mode():
        flow = model(image1, image2).flow
        loss = tvnet_unsupervised_loss(image1, image2, flow)
    assert_close_flow(flow, expected["flow"][None], mean=1e-5, largest=5e-4)
    assert loss.item() == pytest.approx(float(expected["unsup_loss"]), rel=1e-5)


def test_channel_order_matters(fixtures: Path) -> None:
    expected = np.load(fixtures / "orig_tf_s1_w5_i10.npz", allow_pickle=False)["flow"][None]
    image1, image2 = (to_tensor(cv2.imread(str(fixtures / f"img{i}.png"))[None]) for i in (1, 2))
    model = TVNet("reference", scales=1, warps=5, iterations=10, channel_order="rgb")
    with torch.inference_mode():
        flow = model(image1, image2).flow
    assert np.abs(flow.movedim(1, -1).numpy() - expected).mean() > 5e-3


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kernels", ["fixed", "per_iteration"])
def test_executed_graph_forward(fixtures: Path, graph: str, kernels: str) -> None:
    data = np.load(fixtures / f"{graph}.npz", allow_pickle=False)
    model, image1, image2, start = build(data, kernels)
    flow = model(image1, image2, initial_flow=start).flow
    assert_close_flow(flow, data["flow"], mean=1e-5, largest=1e-3)
    truth = torch.from_numpy(data["gt"]).movedim(-1, 1)
    assert endpoint_error_loss(flow, truth).item() == pytest.approx(float(data["epe_loss"]), rel=1e-5)
    loss = tvnet_unsupervised_loss(image1, image2, flow)
    assert loss.item() == pytest.approx(float(data["unsup_loss"]), rel=1e-5)


@pytest.mark.parametrize("objective", ["epe", "unsup"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_executed_graph_gradients(fixtures: Path, graph: str, objective: str) -> None:
    data = np.load(fixtures / f"{graph}.npz", allow_pickle=False)
    prefix = f"grad_{objective}|"
    if not any(key.startswith(prefix) for key in data):
        pytest.fail(f"{graph} holds no gradients of {objective}")
    model, image1, image2, start = build(data, "per_iteration")
    start.requires_grad_()
    flow = model(image1, image2, initial_flow=start).flow
    if objective == "epe":
        loss = endpoint_error_loss(flow, torch.from_numpy(data["gt"]).movedim(-1, 1))
    else:
        loss = tvnet_unsupervised_loss(image1, image2, flow)
    loss.backward()
    scope = f"{prefix}tvl1_flow/scale"
    coarsest = int(data["scales"]) - 1
    expected_start = np.stack([data[f"{scope}{coarsest}/u{i}:0"][..., 0] for i in (1, 2)], 1)
    assert relative_l2(start.grad.numpy(), expected_start) < 5e-4
    ours, theirs = [], []
    shape = model.scales, model.warps, model.iterations, 8, 2
    for (level, warp, n), ours_n in walk(model.kernels.taps.grad.view(shape)):
        for kernel, name in enumerate(ORIGINAL_NAMES):
            key = f"{scope}{level}/warping{warp}/iter{n}/{name}/kernel:0"
            if key in data:
                ours.append(ours_n[kernel].numpy())
                theirs.append(data[key].reshape(2))
    assert len(ours) >= 76
    assert relative_l2(np.stack(ours), np.stack(theirs)) < 5e-4


def walk(grad: torch.Tensor):
    scales, warps, iterations = grad.shape[:3]
    for level in range(scales):
        for warp in range(warps):
            for n in range(iterations):
                yield (level, warp, n), grad[level, warp, n]


def build(data: np.lib.npyio.NpzFile, kernels: str) -> tuple[TVNet, torch.Tensor, torch.Tensor, torch.Tensor]:
    settings = {"scales": int(data["scales"]), "warps": int(data["warps"]), "iterations": int(data["iters"])}
    model = TVNet("reference", kernels=kernels, **settings)
    start = torch.from_numpy(data["init_flow"]).movedim(-1, 1).contiguous()
    return model, to_tensor(data["img1_bgr"]), to_tensor(data["img2_bgr"]), start


def relative_l2(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_kernel_order_is_the_originals() -> None:
    assert [name.rsplit("/", 1)[1].replace("_diff", "") for name in ORIGINAL_NAMES] == list(KERNEL_NAMES)
