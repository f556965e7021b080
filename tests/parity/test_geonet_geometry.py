"""GeoNet's geometry and losses against numbers of the original graph (see the fixtures' README)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.losses.rigid_motion import published_rigid_loss
from kinema.losses.snippet import as_pairs, frames_at, published_difference, split_snippet, total_loss
from kinema.losses.snippet_flow import published_flow_loss
from kinema.ops.camera import intrinsics_pyramid, rigid_flow
from kinema.ops.occlusion import consistency_occlusion
from kinema.ops.pose import invert_pose, pose_from_vector
from kinema.ops.warp import backward_warp

SCALES = range(4)
SIZES = [(128 >> scale, 416 >> scale) for scale in SCALES]
IN_TIME = [1, 0, 2]  # the fixtures put the target first


class Golden:
    """The fixtures as this package lays tensors out: channels first, frames in time order, a batch of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        inputs, given = self.arrays("inputs"), self.arrays("loss_inputs")
        pictures = [channels_first(inputs[name])[0] / 255 for name in ("src_prev", "tgt", "src_next")]
        self.frames = torch.stack(pictures)[None]
        self.K = torch.from_numpy(inputs["K"])[None]
        self.K_scales = torch.from_numpy(inputs["K_ms"])
        self.vectors = torch.from_numpy(given["poses"])
        self.inverse_depths = [channels_first(given[f"disp{scale}"])[IN_TIME][None] for scale in SCALES]
        self.residual = [channels_first(given[f"resflow{scale}"]) for scale in SCALES]
        self.losses = json.loads((folder / "losses.json").read_text())

    def arrays(self, name: str) -> np.lib.npyio.NpzFile:
        return np.load(self.folder / f"{name}.npz", allow_pickle=False)

    def rigid_flows(self) -> list[tuple[Tensor, Tensor]]:
        """Per scale the flows of both sources, (2, 2, h, w): from the target, and to it."""
        T = pose_from_vector(self.vectors).flatten(0, 1)
        found = []
        for inverse, K in zip(self.inverse_depths, self.intrinsics(), strict=True):
            targets, sources = as_pairs(*split_snippet(1 / inverse))
            pair_K = K.repeat(2, 1, 1)
            there = rigid_flow(targets, T, pair_K, near=None)
            found.append((there, rigid_flow(sources, invert_pose(T), pair_K, near=None)))
        return found

    def intrinsics(self) -> list[Tensor]:
        return intrinsics_pyramid(self.K, SIZES, convention="plain")

    def images(self, scale: int) -> tuple[Tensor, Tensor]:
        """Targets and sources (2, 3, h, w) in [-1, 1]."""
        return as_pairs(*split_snippet(2 * frames_at(self.frames, SIZES[scale]) - 1))

    def whole_flows(self, kind: str, residual: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        forward, backward = [], []
        for rigid, change in zip(self.rigid_flows(), residual, strict=True):
            height, width = change.shape[-2:]
            flow = change * torch.tensor([width, height]).view(2, 1, 1)
            flow = flow + torch.cat(rigid) if kind == "residual" else flow
            forward.append(flow[:2][None])
            backward.append(flow[2:][None])
        return forward, backward


def channels_first(nhwc: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(nhwc, -1, 1))).float()


def furthest(found: Tensor, expected: np.ndarray) -> float:
    known = channels_first(expected)
    assert found.shape == known.shape
    return float((found.detach() - known).abs().max())


def off(found: Tensor, expected: Tensor) -> np.ndarray:
    """Differences as shares of the largest value; at bilinear kinks and mask edges single ones are large."""
    assert found.shape == expected.shape
    return ((found - expected).abs() / expected.abs().max()).numpy()


@pytest.fixture(scope="module")
def golden() -> Golden:
    from conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip("needs reference data: set KINEMA_SHARED")
    return Golden(SHARED / "fixtures" / "geonet" / "golden")


def test_intrinsics_of_the_scales(golden: Golden) -> None:
    for scale, K in enumerate(golden.intrinsics()):
        torch.testing.assert_close(K, golden.K_scales[:, scale], atol=1e-5, rtol=0)


def test_rigid_flow_of_both_directions(golden: Golden) -> None:
    known = golden.arrays("loss_rigid")
    for scale in (0, 3):
        for name, flow in zip(("fwd", "bwd"), golden.rigid_flows()[scale], strict=True):
            expected = known[f"{name}_rigid_flow{scale}"]
            assert furthest(flow, expected) < 5e-6 * np.abs(expected).max()


def test_pyramid_warps_and_similarity(golden: Golden) -> None:
    known = golden.arrays("loss_rigid")
    flows = golden.rigid_flows()
    for scale in (1, 3):
        assert furthest(golden.images(scale)[0][:1], known[f"tgt_pyr{scale}"]) < 1e-6
    targets, sources = golden.images(3)
    assert furthest(backward_warp(sources, flows[3][0], border="geonet"), known["fwd_warp3"]) < 4e-5
    assert furthest(backward_warp(targets, flows[3][1], border="geonet"), known["bwd_warp3"]) < 4e-5
    targets, sources = golden.images(1)
    warped = backward_warp(sources, flows[1][0], border="geonet")
    assert furthest(warped, known["fwd_warp1"]) < 1e-4
    assert furthest(published_difference(warped, targets), known["fwd_err1"]) < 1e-3  # SSIM of even windows
    error = (published_difference(warped, targets) - channels_first(known["fwd_err1"])).abs()
    assert error.mean() < 1e-5


def test_error_that_the_residual_network_sees(golden: Golden) -> None:
    targets, sources = golden.images(0)
    warped = backward_warp(sources, golden.rigid_flows()[0][0], border="geonet")
    length = (published_difference(warped, targets) + 1e-10).square().sum(1, keepdim=True).sqrt()
    expected = channels_first(golden.arrays("loss_flow_residual")["l2err0"])
    assert np.quantile(off(length, expected), 0.999) < 1e-4


@pytest.mark.parametrize(("key", "normalize"), [("rigid", False), ("rigid_scale_normalize", True)])
def test_rigid_loss_and_all_its_terms(golden: Golden, key: str, normalize: bool) -> None:
    known = golden.losses[key]
    T = pose_from_vector(golden.vectors)
    parts = published_rigid_loss(golden.frames, golden.inverse_depths, T, golden.K, scale_normalize=normalize)
    assert total_loss(parts).item() == pytest.approx(known["total"], rel=1e-5)
    for scale in SCALES:
        for ours, theirs, weight in (
            ("warp_forward", "fwd_rigid_err_mean", 1.0),
            ("warp_backward", "bwd_rigid_err_mean", 1.0),
            ("smoothness", "disp_smooth", 0.5 / 2**scale),
        ):
            part = parts[f"{ours}_{scale}"]
            found = (part.total / part.count).item()
            assert found == pytest.approx(weight * known[f"{theirs}_{scale}"], rel=1e-5), (ours, scale)


def test_gradients_of_the_rigid_loss(golden: Golden) -> None:
    known = golden.arrays("loss_rigid")
    vectors = golden.vectors.clone().requires_grad_()
    inverse = [one.clone().requires_grad_() for one in golden.inverse_depths]
    parts = published_rigid_loss(golden.frames, inverse, pose_from_vector(vectors), golden.K)
    found = torch.autograd.grad(total_loss(parts), [vectors, *inverse])
    assert off(found[0], torch.from_numpy(known["grad_pose"])).max() < 1e-4
    for scale in SCALES:
        expected = channels_first(known[f"grad_disp{scale}"])[IN_TIME][None]
        differences = off(found[1 + scale], expected)
        assert np.quantile(differences, 0.9999) < 2e-4, scale
        assert scale == 0 or differences.max() < 2e-4, scale


@pytest.mark.parametrize(
    ("key", "kind", "consistency"),
    [
        ("flow_residual", "residual", 0.2),
        ("flow_residual_noconsist", "residual", 0.0),
        ("flow_direct", "direct", 0.2),
    ],
)
def test_flow_loss_and_its_terms(golden: Golden, key: str, kind: str, consistency: float) -> None:
    known = golden.losses[key]
    forward, backward = golden.whole_flows(kind, golden.residual)
    parts = published_flow_loss(golden.frames, forward, backward, consistency_weight=consistency)
    assert total_loss(parts).item() == pytest.approx(known["total"], rel=1e-5)
    for scale in SCALES:
        for way, theirs in (("forward", "fwd"), ("backward", "bwd")):
            part = parts[f"smoothness_{way}_{scale}"]
            found = (part.total / part.count).item() * 2 ** (scale + 1) / 0.2
            assert found == pytest.approx(known[f"{theirs}_flow_smooth_{scale}"], rel=1e-5)
        if not consistency:
            part = parts[f"warp_forward_{scale}"]
            found = (part.total / part.count).item()
            assert found == pytest.approx(known[f"fwd_full_err_mean_{scale}"], rel=1e-5)
        else:
            for way, theirs in (("forward", "noc_tgt_frac"), ("backward", "noc_src_frac")):
                share = parts[f"consistency_{way}_{scale}"].count.item() / (2 * np.prod(SIZES[scale]))
                assert share == pytest.approx(known[f"{theirs}_{scale}"], abs=2 / np.prod(SIZES[scale]))


def test_masks_pixel_by_pixel(golden: Golden) -> None:
    known = golden.arrays("loss_flow_residual")
    forward, backward = golden.whole_flows("residual", golden.residual)
    for scale, names in ((0, ("noc_tgt0",)), (2, ("noc_tgt2", "noc_src2"))):
        there, back = forward[scale][0], backward[scale][0]
        for name, flow, opposite in zip(names, (there, back), (back, there), strict=False):
            seen = 1 - consistency_occlusion(flow, opposite, scale=2.0**scale)
            assert (seen != channels_first(known[name])).float().mean() < 1e-4, name


def test_gradients_of_the_flow_loss(golden: Golden) -> None:
    known = golden.arrays("loss_flow_residual")
    residual = [one.clone().requires_grad_() for one in golden.residual]
    forward, backward = golden.whole_flows("residual", residual)
    total = total_loss(published_flow_loss(golden.frames, forward, backward))
    for scale, found in enumerate(torch.autograd.grad(total, residual)):
        differences = off(found, channels_first(known[f"grad_resflow{scale}"]))
        assert np.quantile(differences, 0.9999) < 2e-4, scale
        assert scale < 2 or differences.max() < 2e-4, scale


def test_similarity_of_constant_images() -> None:
    light, dark = torch.full((1, 3, 5, 7), 0.5), torch.full((1, 3, 5, 7), -0.5)
    assert published_difference(light, dark).mean().item() == pytest.approx(0.99983, abs=5e-6)
    assert published_difference(light, dark, alpha=1.0).mean().item() == pytest.approx(0.9998, abs=5e-6)
    assert (published_difference(light, light) == 0).all()
