"""Deformable convolution: by hand, reference numbers, fast paths against the reference, gradients, types."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.compiled import run_compiled
from kinema.errors import UsageError
from kinema.ops import _deform_cpu
from kinema.ops._deform_eager import Geometry
from kinema.ops.deform import deform_conv2d, deform_conv2d_reference, deform_conv_gridsample

PATHS = (deform_conv2d, deform_conv2d_reference, deform_conv_gridsample)
LAYOUTS = (torch.contiguous_format, torch.channels_last)
NAMES = ("x", "offset", "weight", "bias", "modulation")


class Case(NamedTuple):
    """Tensors by name, and the settings of the convolution."""

    tensors: dict[str, torch.Tensor]
    settings: dict

    def to(self, dtype: torch.dtype, *, positions: torch.dtype | None = None) -> Case:
        kinds = dict.fromkeys(("offset", "modulation"), positions or dtype)
        return self._replace(tensors={n: t.to(kinds.get(n, dtype)) for n, t in self.tensors.items()})

    def laid_out(self, layout: torch.memory_format) -> Case:
        maps = ("x", "offset", "modulation")
        return self._replace(
            tensors={
                n: t.contiguous(memory_format=layout) if n in maps else t for n, t in self.tensors.items()
            }
        )

    def run(self, path) -> torch.Tensor:
        t = self.tensors
        return path(
            t["x"],
            t["offset"],
            t["weight"],
            t.get("bias"),
            modulation=t.get("modulation"),
            **self.settings,
        )

    def gradients(self, path, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
        leaves = {n: t.detach().clone(memory_format=torch.preserve_format) for n, t in self.tensors.items()}
        for leaf in leaves.values():
            leaf.requires_grad_()
        result = self._replace(tensors=leaves).run(path)
        slopes = torch.autograd.grad(result, list(leaves.values()), cotangent.to(result.dtype))
        return dict(zip(leaves, slopes, strict=True))


def geometry_of(settings: dict) -> Geometry:
    defaults = {"stride": 1, "padding": 0, "dilation": 1} | settings
    stride, padding, dilation = (
        (value, value) if isinstance(value, int) else value
        for value in (defaults[name] for name in ("stride", "padding", "dilation"))
    )
    return Geometry(
        stride, padding, dilation, settings.get("groups", 1), settings.get("deformable_groups", 1)
    )


def case(
    seed: int = 0,
    *,
    batch: int = 2,
    size_hw: tuple[int, int] = (7, 9),
    kernel_hw: tuple[int, int] = (3, 3),
    each: int = 2,
    outputs: int = 3,
    reach: float = 2.0,
    optional: bool = True,
    **settings,
) -> Case:
    """Random tensors in float64; ``each`` channels per group and deformable group."""
    geometry = geometry_of(settings)
    channels = each * geometry.groups * geometry.deformable_groups
    taps = geometry.deformable_groups * kernel_hw[0] * kernel_hw[1]
    h, w = geometry.output_hw(size_hw, kernel_hw)
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=g, dtype=torch.float64)

    tensors = {
        "x": draw(batch, channels, *size_hw),
        "offset": reach * draw(batch, 2 * taps, h, w),
        "weight": draw(outputs * geometry.groups, channels // geometry.groups, *kernel_hw),
    }
    if optional:
        tensors |= {"bias": draw(outputs * geometry.groups), "modulation": draw(batch, taps, h, w).sigmoid()}
    return Case(tensors, settings)


def by_hand(c: Case, *, stride: int, padding: int, dilation: int, groups: int) -> torch.Tensor:
    """Number by number, from the formula of the specification; one ordinary group."""
    x, offset, weight = (c.tensors[n] for n in ("x", "offset", "weight"))
    height, width = x.shape[2:]
    kh, kw = weight.shape[2:]
    each = x.shape[1] // groups

    def pixel(n: int, ch: int, y: int, xx: int) -> float:
        return x[n, ch, y, xx].item() if 0 <= y < height and 0 <= xx < width else 0.0

    result = torch.zeros(len(x), len(weight), *offset.shape[2:], dtype=torch.float64)
    for n, o, oy, ox in np.ndindex(*result.shape):
        total = c.tensors["bias"][o].item()
        for ch, i, j in np.ndindex(x.shape[1], kh, kw):
            g, k = ch // each, i * kw + j
            y = stride * oy - padding + dilation * i + offset[n, 2 * (g * kh * kw + k), oy, ox].item()
            xx = stride * ox - padding + dilation * j + offset[n, 2 * (g * kh * kw + k) + 1, oy, ox].item()
            top, left = int(np.floor(y)), int(np.floor(xx))
            dy, dx = y - top, xx - left
            sample = (
                (1 - dy) * (1 - dx) * pixel(n, ch, top, left)
                + (1 - dy) * dx * pixel(n, ch, top, left + 1)
                + dy * (1 - dx) * pixel(n, ch, top + 1, left)
                + dy * dx * pixel(n, ch, top + 1, left + 1)
            )
            strength = c.tensors["modulation"][n, g * kh * kw + k, oy, ox].item()
            total += weight[o, ch, i, j].item() * strength * sample
        result[n, o, oy, ox] = total
    return result


@pytest.mark.parametrize("path", PATHS)
def test_the_formula(path) -> None:
    setting = {"stride": 2, "padding": 1, "dilation": 2}
    c = case(batch=1, size_hw=(6, 7), kernel_hw=(2, 3), each=1, deformable_groups=2, **setting)
    expected = by_hand(c, **setting, groups=2)
    torch.testing.assert_close(c.run(path), expected, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(c.to(torch.float32).run(path).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("groups", [1, 2])
def test_without_offsets_it_is_a_convolution(path, groups: int) -> None:
    c = case(
        size_hw=(9, 11), each=4, groups=groups, stride=(2, 1), padding=(1, 2), dilation=(1, 2), reach=0.0
    )
    t = c.tensors
    t["modulation"].fill_(1)
    expected = F.conv2d(
        t["x"], t["weight"], t["bias"], stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=groups
    )
    torch.testing.assert_close(c.run(path), expected)
    torch.testing.assert_close(c.to(torch.float32).run(path), expected.float(), atol=1e-5, rtol=1e-5)
    t["modulation"].fill_(0.5)
    half = (expected + t["bias"][:, None, None]) / 2
    torch.testing.assert_close(c.run(path), half)


def test_dy_comes_before_dx() -> None:
    """One tap that looks one pixel down, then one to the right."""
    x = torch.arange(12.0).view(1, 1, 3, 4)
    weight = torch.ones(1, 1, 1, 1)
    down, right = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    for offset, expected in ((down, F.pad(x[:, :, 1:], (0, 0, 0, 1))), (right, F.pad(x[..., 1:], (0, 1)))):
        moved = deform_conv2d(x, offset.view(1, 2, 1, 1).expand(1, 2, 3, 4), weight)
        assert torch.equal(moved, expected)


GOLDEN = "fixtures/edvr/golden_dcn"


def golden(shared: Path, number: int) -> tuple[Case, dict[str, torch.Tensor]]:
    """A case of the reference numbers, and what it must give: ``y``, ``cotangent`` and ``grad_*``."""
    about = json.loads((shared / f"{GOLDEN}.json").read_text())[number]
    with np.load(shared / f"{GOLDEN}.npz") as arrays:
        own = {
            k.removeprefix(f"c{number}_"): torch.from_numpy(arrays[k]) for k in arrays if k[1] == str(number)
        }
    tensors = {name: own[name if name != "modulation" else "mask"].double() for name in NAMES}
    settings = {"stride": about["stride"], "padding": about["pad"], "dilation": about["dilation"]}
    return Case(tensors, {**settings, "deformable_groups": about["offset_groups"]}), own


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("path", PATHS)
def test_reference_numbers(path, number: int, shared: Path) -> None:
    c, wanted = golden(shared, number)
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        exact = c.to(dtype)
        result = exact.run(path).double()
        torch.testing.assert_close(result, wanted["y"], atol=tolerance, rtol=tolerance)
        slopes = exact.gradients(path, wanted["cotangent"])
        for name, slope in slopes.items():
            # Case 5 reads whole pixels alone, where the derivative jumps: the way through the coordinates of
            # grid_sample may end on either side.
            if name == "offset" and number == 5 and path is deform_conv_gridsample:
                continue
            expected = wanted["grad_" + name.replace("modulation", "mask")]
            torch.testing.assert_close(slope.double(), expected, atol=5 * tolerance, rtol=5 * tolerance)


def test_derivative_at_whole_pixels_is_that_beyond_them() -> None:
    """A ramp that bends at every pixel: 0, 1, 3, 6, 10; at pixel 2 it rises by 3, not by 2."""
    x = torch.tensor([0.0, 1.0, 3.0, 6.0, 10.0]).view(1, 1, 1, 5)
    weight = torch.ones(1, 1, 1, 1)
    for dtype in (torch.float32, torch.float64):
        for path in (deform_conv2d, deform_conv2d_reference):
            offset = torch.zeros(1, 2, 1, 5, dtype=dtype, requires_grad=True)
            path(x.to(dtype), offset, weight.to(dtype)).sum().backward()
            assert offset.grad[0, 1, 0].tolist() == [1.0, 2.0, 3.0, 4.0, -10.0]
            assert offset.grad[0, 0, 0].tolist() == [0.0, -1.0, -3.0, -6.0, -10.0]
    edge = torch.tensor([0.0, -1.0]).view(1, 2, 1, 1).requires_grad_()
    deform_conv2d(x[..., 1:2], edge, weight).backward()  # exactly one pixel out: 0, but on its way to 1
    assert edge.grad.flatten().tolist() == [0.0, 1.0]


pairs = st.tuples(st.integers(1, 2), st.integers(1, 2))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    batch=st.integers(1, 3),
    size=st.tuples(st.integers(5, 19), st.integers(5, 37)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    each=st.sampled_from((1, 3, 8, 13, 16)),
    groups=st.integers(1, 2),
    deformable=st.sampled_from((1, 2, 4)),
    stride=pairs,
    dilation=pairs,
    reach=st.sampled_from((0.0, 1.0, 6.0, 1e3, 1e12)),
    optional=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
)
def test_the_fast_path_equals_the_reference(
    seed, batch, size, kernel, each, groups, deformable, stride, dilation, reach, optional, layout
) -> None:
    c = case(
        seed, batch=batch, size_hw=size, kernel_hw=kernel, each=each, reach=reach, optional=optional,
        groups=groups, deformable_groups=deformable, stride=stride, padding=(1, 2), dilation=dilation,
    ).to(torch.float32).laid_out(layout)  # fmt: skip
    before = {name: t.clone() for name, t in c.tensors.items()}
    fast, expected = c.run(deform_conv2d), c.to(torch.float64).run(deform_conv2d_reference)
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(fast.double(), expected, atol=2e-5 * scale, rtol=0)
    assert fast.stride() == c.run(deform_conv2d_reference).stride()
    cotangent = torch.randn(
        expected.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    slopes = c.gradients(deform_conv2d, cotangent)
    for name, wanted in c.to(torch.float64).gradients(deform_conv2d_reference, cotangent).items():
        scale = max(1.0, float(wanted.abs().max()))
        torch.testing.assert_close(slopes[name].double(), wanted, atol=3e-5 * scale, rtol=0, msg=name)
    assert all(torch.equal(t, before[name]) for name, t in c.tensors.items())


@pytest.mark.parametrize("positions", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bfloat16_is_close(positions: torch.dtype, layout) -> None:
    """Maps, columns and results have 8 bits; positions have what they come with, sums more."""
    c = case(size_hw=(13, 35), each=16, outputs=11, deformable_groups=4, padding=1).laid_out(layout)
    c = c.to(torch.bfloat16, positions=positions)
    exact = c.to(torch.float64)
    expected = exact.run(deform_conv2d_reference)
    for path in PATHS:
        result = c.run(path)
        assert result.dtype == torch.bfloat16
        assert float((result.double() - expected).std() / expected.std()) < 0.004
    cotangent = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1)).bfloat16().double()
    slopes = c.gradients(deform_conv2d, cotangent)
    for name, wanted in exact.gradients(deform_conv2d_reference, cotangent).items():
        assert slopes[name].dtype == c.tensors[name].dtype
        assert float((slopes[name].double() - wanted).std() / wanted.std()) < 0.008, name


def test_gradients_in_float64() -> None:
    setting = {"padding": (0, 1), "stride": (1, 2), "groups": 2, "deformable_groups": 2}
    c = case(batch=1, size_hw=(3, 4), kernel_hw=(2, 2), each=1, outputs=1, **setting)
    tensors = [c.tensors[name].requires_grad_() for name in NAMES]
    for path in (deform_conv2d, deform_conv2d_reference):

        def run(*values: torch.Tensor, path=path) -> torch.Tensor:
            return c._replace(tensors=dict(zip(NAMES, values, strict=True))).run(path)

        assert torch.autograd.gradcheck(run, tensors)


def test_half_precision_elsewhere_takes_the_plain_way() -> None:
    c = case().to(torch.float16)
    result = c.run(deform_conv2d)
    assert result.dtype == torch.float16
    expected = c.to(torch.float64).run(deform_conv2d_reference)
    torch.testing.assert_close(result.double(), expected, atol=1e-2, rtol=2e-3)


def test_offsets_that_are_no_numbers_read_nothing_and_reach_nothing() -> None:
    for dtype in (torch.float32, torch.float64):
        c = case(batch=1, padding=1, each=8).to(dtype)
        bad = c.tensors["offset"].clone()
        for channel, value in enumerate((float("nan"), float("inf"), -float("inf"), 3e38)):
            bad[0, 2 * channel, 3, 4] = value
        silent = c.tensors["modulation"].clone()
        silent[0, :4, 3, 4] = 0
        result = c._replace(tensors={**c.tensors, "offset": bad}).run(deform_conv2d)
        expected = c._replace(tensors={**c.tensors, "modulation": silent}).run(deform_conv2d)
        torch.testing.assert_close(result, expected)
        slopes = c._replace(tensors={**c.tensors, "offset": bad}).gradients(
            deform_conv2d, torch.ones_like(result)
        )
        assert all(slope.isfinite().all() for slope in slopes.values())
        assert not slopes["offset"][0, :8, 3, 4].any()


def test_what_is_far_outside_does_not_see_bad_pixels() -> None:
    c = case(batch=1, each=8).to(torch.float32)
    c.tensors["x"][0, :, 0, 0] = float("nan")
    c.tensors["offset"].fill_(-100)
    for path in (deform_conv2d, deform_conv2d_reference):
        assert torch.equal(c.run(path), c.tensors["bias"][:, None, None].expand(1, 3, 5, 7))


def test_results_repeat_and_hardly_depend_on_threads() -> None:
    c = case(batch=2, size_hw=(40, 50), each=8, outputs=16, deformable_groups=4, padding=1).to(torch.float32)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 2, 3):
            torch.set_num_threads(threads)
            result = c.run(deform_conv2d)
            results.append([result, *c.gradients(deform_conv2d, result.detach()).values()])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(results[1], results[2], strict=True))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert float((a - b).abs().max()) <= 2e-5 * float(a.abs().max())


def test_small_blocks_and_parts_of_the_batch_give_the_same(monkeypatch) -> None:
    c = case(batch=5, size_hw=(11, 13), each=8, outputs=4, deformable_groups=2, padding=1).to(torch.float32)
    whole = c.run(deform_conv2d)
    slopes = c.gradients(deform_conv2d, whole)
    monkeypatch.setattr(_deform_cpu, "COLUMN_BYTES", 1)  # sixteen places at once, over the ends of rows
    monkeypatch.setattr(_deform_cpu, "MAP_BYTES", 2 * 16 * 11 * 13 * 4)  # two images at once
    torch.testing.assert_close(c.run(deform_conv2d), whole)
    for name, slope in c.gradients(deform_conv2d, whole).items():
        torch.testing.assert_close(slope, slopes[name], atol=1e-4, rtol=1e-5, msg=name)


def test_views_and_expanded_tensors() -> None:
    c = case(batch=2, size_hw=(9, 8), each=8, padding=1).to(torch.float32)
    t = dict(c.tensors)
    x = torch.randn(2, 16, 12, 10)[:, ::2, 1:10, 1:9]
    offset = t["offset"][:1].expand(2, -1, -1, -1)
    weight = t["weight"].transpose(2, 3)
    moved = Case({**t, "x": x, "offset": offset, "weight": weight}, c.settings)
    plain = moved._replace(tensors={name: value.contiguous() for name, value in moved.tensors.items()})
    torch.testing.assert_close(
        moved.run(deform_conv2d), plain.run(deform_conv2d_reference), atol=1e-4, rtol=1e-5
    )
    leaf = x.clone().requires_grad_()
    moved._replace(tensors={**moved.tensors, "x": leaf}).run(
        deform_conv2d
    ).sum().backward()  # expanded gradient
    other = x.clone().requires_grad_()
    plain._replace(tensors={**plain.tensors, "x": other}).run(deform_conv2d_reference).sum().backward()
    torch.testing.assert_close(leaf.grad, other.grad, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS)
def test_no_images_give_no_results(path) -> None:
    c = case(batch=0, each=4, padding=1, deformable_groups=2).to(torch.float32)
    assert c.run(path).shape == (0, 3, 7, 9)
    assert not c.gradients(path, torch.zeros(0, 3, 7, 9))["weight"].any()


def test_memory_does_not_grow_with_the_columns() -> None:
    """The columns of this call would be 9 maps of 64 channels; what is made at once is a small part."""
    c = case(batch=1, size_hw=(96, 96), each=8, deformable_groups=8, padding=1).to(torch.float32)
    room = []
    real = _deform_cpu._product
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            _deform_cpu, "_product", lambda *a: room.append(max(t.nbytes for t in a[:2])) or real(*a)
        )
        c.gradients(deform_conv2d, c.run(deform_conv2d))
    assert max(room) <= _deform_cpu.COLUMN_BYTES * torch.get_num_threads()
    assert sum(room) > 96 * 96 * 576 * 4


def test_autocast_computes_as_a_convolution_does() -> None:
    c = case(size_hw=(9, 10), each=8, padding=1).to(torch.float32)
    expected = c.to(torch.bfloat16, positions=torch.float32).run(deform_conv2d)
    for path in PATHS:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = c.run(path)
            slopes = c.gradients(path, torch.ones_like(result))
        assert result.dtype == torch.bfloat16
        torch.testing.assert_close(result, expected, atol=0.1, rtol=0.02)
        assert all(slope.dtype == torch.float32 for slope in slopes.values())
    wide = c.to(torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(wide.run(deform_conv2d), wide.run(deform_conv2d_reference))
        assert wide.run(deform_conv2d).dtype == torch.float64


def operands(c: Case) -> tuple:
    t = [c.tensors.get(name) for name in NAMES]
    geometry = [[1, 1], [c.settings["padding"]] * 2, [1, 1], 1, c.settings["deformable_groups"]]
    return *t, *geometry


def test_operator_is_well_formed() -> None:
    for layout, optional in zip(LAYOUTS, (True, False), strict=True):
        c = case(each=2, padding=1, deformable_groups=2, optional=optional, reach=0.7)
        c = c.to(torch.float32).laid_out(layout)
        for tensor in c.tensors.values():
            tensor.requires_grad_()
        torch.library.opcheck(torch.ops.kinema.deform_conv2d.default, operands(c))
        x, offset, weight, _, modulation, *rest = operands(c)
        inputs = [None if t is None else t.detach() for t in (x, offset, weight, modulation)]
        grad = torch.randn(2, 3, 7, 9).contiguous(memory_format=layout)
        torch.library.opcheck(torch.ops.kinema.deform_conv2d_backward.default, (grad, *inputs, *rest))


@pytest.mark.slow
def test_operator_compiles_into_a_graph_forward_and_backward() -> None:
    run_compiled("""
        from kinema.ops.deform import deform_conv2d, deform_conv_gridsample
        def make(path):
            return lambda x, offset, weight, bias, strength: 2 * path(
                x, offset, weight, bias, modulation=strength, padding=1, deformable_groups=2
            )
        shapes = (1, 16, 9, 11), (1, 36, 9, 11), (5, 16, 3, 3), (5,), (1, 18, 9, 11)
        tensors = [torch.randn(shape) for shape in shapes]
        check(make(deform_conv2d), *tensors)
        check(make(deform_conv_gridsample), *tensors)
        results = []
        run = make(deform_conv2d)
        for path in (run, torch.compile(run, backend="aot_eager", fullgraph=True)):
            leaves = [t.clone().requires_grad_() for t in tensors]
            path(*leaves).square().sum().backward()
            results.append([leaf.grad for leaf in leaves])
        torch.testing.assert_close(results[1], results[0])
    """)


@pytest.mark.slow
def test_both_ways_to_export_keep_free_sizes() -> None:
    """One program for any size: with the operator as one node, and with grid_sample alone."""
    run_compiled("""
        from kinema.ops.deform import deform_conv2d, deform_conv_gridsample

        class Align(torch.nn.Module):
            def __init__(self, path):
                super().__init__()
                self.path, self.guide = path, torch.nn.Conv2d(16, 54, 3, padding=1)
                self.weight = torch.nn.Parameter(torch.randn(4, 16, 3, 3))
            def forward(self, x):
                offset, strength = self.guide(x).split((36, 18), 1)
                return self.path(
                    x, offset, self.weight, modulation=strength.sigmoid(), padding=1, deformable_groups=2
                )

        free = {2: torch.export.Dim("h", min=4, max=512), 3: torch.export.Dim("w", min=4, max=512)}
        for path, kind in ((deform_conv2d, "kinema.deform_conv2d"), (deform_conv_gridsample, "grid_sampler")):
            model = Align(path).eval()
            program = torch.export.export(model, (torch.randn(1, 16, 12, 16),), dynamic_shapes=(free,))
            assert any(kind in str(node.target) for node in program.graph.nodes), kind
            x = torch.randn(1, 16, 9, 21)
            torch.testing.assert_close(program.module()(x), model(x), atol=1e-4, rtol=1e-4)
    """)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(4, 7, 9)}, r"x is \(4, 7, 9\), but has to be \(B, C, H, W\)"),
        ({"offset": torch.zeros(2, 72, 7, 8)}, r"offset is \(2, 72, 7, 8\), but has to be \(2, 72, 7, 9\)"),
        ({"offset": torch.zeros(2, 36, 7, 9)}, "each tap and deformable group"),
        ({"modulation": torch.zeros(2, 72, 7, 9)}, r"modulation .* has to be \(2, 36, 7, 9\)"),
        ({"bias": torch.zeros(4)}, r"bias is \(4,\), but has to be \(3,\)"),
        ({"weight": torch.zeros(3, 4, 3, 3)}, r"weight .* does not fit 8 channels in 1 groups"),
        ({"weight": torch.zeros(0, 8, 3, 3)}, "no channels or taps"),
        ({"weight": torch.zeros(3, 8, 3, 3).double()}, "weight is torch.float64, but x is torch.float32"),
        ({"offset": torch.zeros(2, 72, 7, 9).double()}, "offset is torch.float64"),
        ({"stride": 0}, r"stride is \(0, 0\)"),
        ({"padding": (1, -1)}, r"padding is \(1, -1\)"),
        ({"dilation": 9}, "the result would be empty"),
        ({"groups": 3}, "groups is 3, which does not divide the 8 channels"),
        ({"deformable_groups": 0}, "deformable_groups is 0"),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_wrong_arguments_are_explained(path, change: dict, words: str) -> None:
    c = case(each=2, padding=1, deformable_groups=4).to(torch.float32)
    tensors = {name: change.get(name, tensor) for name, tensor in c.tensors.items()}
    settings = {**c.settings, **{k: v for k, v in change.items() if k not in NAMES}}
    with pytest.raises(UsageError, match=words):
        Case(tensors, settings).run(path)


needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None
    or not (torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"),
    reason="needs Triton with a GPU, or TRITON_INTERPRET=1",
)


@needs_triton
@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "setting",
    [
        {"batch": 1, "size_hw": (3, 3), "kernel_hw": (1, 1), "each": 1},
        {"size_hw": (5, 14), "each": 3, "groups": 2, "padding": 1, "reach": 5.0},
        {"batch": 3, "each": 9, "deformable_groups": 2, "stride": (2, 1), "padding": 2, "dilation": (1, 2)},
    ],
)
def test_triton_kernels_equal_the_reference(setting: dict, layout, optional: bool, monkeypatch) -> None:
    from kinema.ops import _deform_triton

    monkeypatch.setattr(_deform_triton, "COLUMN_BYTES", 2**14)  # several blocks of places
    device = "cuda" if torch.cuda.is_available() else "cpu"
    c = case(optional=optional, **setting).to(torch.float32).laid_out(layout)
    c = c._replace(tensors={name: tensor.to(device) for name, tensor in c.tensors.items()})

    geometry = geometry_of(c.settings)
    x, offset, weight, bias, modulation = (c.tensors.get(name) for name in NAMES)
    expected = c.run(deform_conv2d_reference)
    result = _deform_triton.forward(x, offset, weight, bias, modulation, geometry)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)
    assert result.stride() == expected.stride()
    grad = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2)).to(device)
    wanted = c.gradients(deform_conv2d_reference, grad)
    slopes = _deform_triton.backward(grad, x, offset, weight, modulation, geometry)
    for name, slope in zip(("x", "offset", "weight", "modulation"), slopes, strict=True):
        if name in wanted:
            torch.testing.assert_close(slope, wanted[name], atol=2e-4, rtol=1e-4, msg=name)
