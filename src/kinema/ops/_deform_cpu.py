"""Modulated deformable convolution on a CPU: compiled loops fetch columns, matrix products do the rest.

The columns of a 3x3 kernel are nine maps. They are made for some hundred places at a time, as many as stay in
the caches beside the processor, multiplied, and forgotten: memory does not grow with the map. The gradient
makes them again. bfloat16 maps have bfloat16 columns and products with float32 sums; positions and shares are
always float32.

In the gradient each job owns some units of one deformable group of one image, so that no two add to one
number: every run gives the same. Which jobs there are does not depend on the number of threads; how many
places are done at once does, and sums over places differ in the last bits when it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.ops import _deform_cpu_loops as loops
from kinema.ops._deform_cpu_lanes import LANES
from kinema.ops._deform_cpu_loops import Shape
from kinema.ops._deform_eager import Geometry, empty_result
from kinema.ops._threads import map_rows

COLUMN_BYTES = 1 << 20  # of columns per thread: about what its second-level cache holds
MAP_BYTES = 1 << 25  # of packed maps at once; one image's where that is more
_WORK = 8  # multiply-adds that one number of a column is worth, for the choice of how many threads
MIN_JOBS = 8  # per image in the gradient, where there are so many units of eight channels


class _Images(NamedTuple):
    """Some images of the batch, prepared for the loops."""

    maps: Any  # packed, flat
    offset: tuple[Any, tuple[int, ...]]  # flat, and its strides
    strength: tuple[Any, tuple[int, ...]]
    shape: Shape
    places: int  # of the result, over all these images


def forward(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    modulation: Tensor | None,
    geometry: Geometry,
) -> Tensor:
    """`kinema.ops.deform.deform_conv2d` for float32 and bfloat16 on the CPU."""
    shape = _shape(x, offset, weight, geometry)
    matrix = _matrix(weight, shape, geometry)
    out = empty_result(x, weight.shape[0], (offset.shape[2], offset.shape[3]))
    columns = _columns(x, shape, matrix)
    for part in _some_images(x, shape):
        images = _prepare(x, offset, modulation, part, shape)
        for start, end in _blocks(images.places, len(columns)):
            block = _fetched(columns, images, start, end)
            _write_places(out[part], start, _product(block, matrix, bias))
    return out


def backward(
    grad: Tensor, x: Tensor, offset: Tensor, weight: Tensor, modulation: Tensor | None, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `forward`, laid out like its inputs; the last is empty without modulation."""
    shape = _shape(x, offset, weight, geometry)
    matrix = _matrix(weight, shape, geometry)
    of_x = empty_result(x, x.shape[1], (x.shape[2], x.shape[3]))
    of_offset = empty_result(offset, offset.shape[1], (offset.shape[2], offset.shape[3]))
    of_modulation = (
        offset.new_empty(0)
        if modulation is None
        else empty_result(modulation, modulation.shape[1], (modulation.shape[2], modulation.shape[3]))
    )
    of_matrix = torch.zeros_like(matrix, dtype=torch.float32)
    length = len(_columns(x, shape, matrix))
    changes = torch.empty(shape.groups * _splits(shape) * shape.taps * 3 * length)
    for part in _some_images(x, shape):
        images = _prepare(x, offset, modulation, part, shape)
        slopes = torch.zeros(len(images.maps))
        results = of_offset[part], of_modulation if modulation is None else of_modulation[part]
        for start, end in _blocks(images.places, length):
            outer = _read_places(grad[part], start, end)
            columns = _product(outer, matrix.t(), None)
            _hand_back(columns, slopes, changes, results, images, start, end)
            of_matrix += _product(outer.t(), columns.t(), None)
        _unpack(of_x[part], slopes, shape)
    return of_x, of_offset, _weight_of(of_matrix, weight, shape, geometry), of_modulation


def _shape(x: Tensor, offset: Tensor, weight: Tensor, geometry: Geometry) -> Shape:
    count = geometry.deformable_groups
    return Shape(
        height=x.shape[2],
        width=x.shape[3],
        area=offset.shape[2] * offset.shape[3],
        out_width=offset.shape[3],
        taps=weight.shape[2] * weight.shape[3],
        kernel_width=weight.shape[3],
        groups=count,
        blocks=-(-x.shape[1] // count // LANES),
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
    )


def _matrix(weight: Tensor, shape: Shape, geometry: Geometry) -> Tensor:
    """(O, columns): the kernel in the order of the columns, 0 where a group does not reach."""
    outputs, each = weight.shape[:2]
    full = weight.detach().flatten(2)
    if geometry.groups > 1:
        spread = full.new_zeros(geometry.groups, outputs // geometry.groups, geometry.groups, *full.shape[1:])
        for group, kernel in enumerate(torch.unflatten(full, 0, (geometry.groups, -1))):
            spread[group, :, group] = kernel
        full = spread.reshape(outputs, geometry.groups * each, -1)
    by_group = torch.unflatten(full, 1, (shape.groups, -1)).transpose(2, 3)
    return F.pad(by_group, (0, shape.blocks * LANES - by_group.shape[-1])).reshape(outputs, -1).contiguous()


def _weight_of(matrix: Tensor, weight: Tensor, shape: Shape, geometry: Geometry) -> Tensor:
    """The way back from `_matrix`."""
    outputs, channels = weight.shape[0], weight.shape[1] * geometry.groups
    by_group = matrix.view(outputs, shape.groups, shape.taps, -1)[..., : channels // shape.groups]
    full = by_group.transpose(2, 3).reshape(geometry.groups, -1, geometry.groups, weight.shape[1], shape.taps)
    own = torch.stack([full[group, :, group] for group in range(geometry.groups)])
    return own.reshape(weight.shape).to(weight.dtype)


def _columns(x: Tensor, shape: Shape, matrix: Tensor) -> Tensor:
    """Room for the columns of one block of places."""
    bytes_each = matrix.shape[1] * x.element_size()
    length = max(loops.RUN, COLUMN_BYTES * torch.get_num_threads() // bytes_each)
    return x.new_empty(min(length, len(x) * shape.area), matrix.shape[1])


def _some_images(x: Tensor, shape: Shape) -> Iterator[slice]:
    bytes_each = shape.groups * shape.blocks * LANES * x[0, 0].numel() * x.element_size()
    count = max(1, MAP_BYTES // bytes_each)
    return (slice(first, min(first + count, len(x))) for first in range(0, len(x), count))


def _blocks(places: int, length: int) -> Iterator[tuple[int, int]]:
    return ((start, min(start + length, places)) for start in range(0, places, length))


def _prepare(x: Tensor, offset: Tensor, modulation: Tensor | None, part: slice, shape: Shape) -> _Images:
    """Pack the maps eight channels at a time; a row of zeros above, two below, a column on either side."""
    some = torch.unflatten(x[part].detach(), 1, (shape.groups, -1))
    if some.shape[2] % LANES:
        some = F.pad(some, (0, 0, 0, 0, 0, -some.shape[2] % LANES))
    packed = some.new_zeros(_packed_shape(len(some), shape))
    _inner(packed).copy_(torch.unflatten(some, 2, (shape.blocks, LANES)))
    if modulation is None:
        strength: tuple[Any, tuple[int, ...]] = (_flat(offset.new_ones(1)), (0, 0, 0, 0))
    else:
        strength = _strided(modulation[part])
    return _Images(_flat(packed), _strided(offset[part]), strength, shape, len(some) * shape.area)


def _unpack(x: Tensor, packed: Tensor, shape: Shape) -> None:
    """Write packed maps to ``x``."""
    inner = _inner(packed.view(_packed_shape(len(x), shape)))
    groups = torch.unflatten(x, 1, (shape.groups, -1))
    if groups.shape[2] % LANES:
        groups.copy_(inner.flatten(2, 3)[:, :, : groups.shape[2]])
    else:
        torch.unflatten(groups, 2, (shape.blocks, LANES)).copy_(inner)


def _packed_shape(count: int, shape: Shape) -> tuple[int, ...]:
    return count, shape.groups, shape.blocks, shape.height + 3, shape.width + 2, LANES


def _inner(packed: Tensor) -> Tensor:
    """(B, G, units, LANES, H, W): packed maps without their border, channels first."""
    return packed[..., 1:-2, 1:-1, :].permute(0, 1, 2, 5, 3, 4)


def _strided(tensor: Tensor) -> tuple[Any, tuple[int, ...]]:
    """All numbers of a tensor of any layout as a flat array from its first one on, and its strides."""
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    flat = tensor.detach().as_strided((last + 1,), (1,), tensor.storage_offset())
    return _flat(flat), tensor.stride()


def _flat(tensor: Tensor) -> Any:
    tensor = tensor.detach().view(-1)
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _fetched(columns: Tensor, images: _Images, start: int, end: int) -> Tensor:
    """The columns of some places, in the room for them."""
    block = columns[: end - start]
    array = _flat(block)

    def run(_: int, first: int, last: int) -> None:
        loops.fetch(
            array,
            images.maps,
            images.offset,
            images.strength,
            images.shape,
            start,
            start + first,
            start + last,
        )

    map_rows(run, 1, end - start, _WORK * columns.shape[1])
    return block


def _hand_back(
    columns: Tensor,
    slopes: Tensor,
    changes: Tensor,
    results: tuple[Tensor, Tensor],
    images: _Images,
    start: int,
    end: int,
) -> None:
    """Hand the gradients of columns to maps, offsets and modulation; ``columns`` become the columns."""
    shape, length = images.shape, end - start
    splits, parts = _splits(shape), changes.numpy()
    arrays = (_flat(columns), images.maps, slopes.numpy(), parts, images.offset, images.strength, shape)
    jobs = torch.tensor(list(_jobs(shape, splits, start, end))).numpy()

    def run(_: int, first: int, last: int) -> None:
        loops.hand_back(*arrays, jobs[first:last], start, length)

    map_rows(run, 1, len(jobs), 3 * _WORK * columns.numel() // len(jobs))
    targets = [_strided(t) if t.dim() == 4 else (_flat(t), (0, 0, 0, 0)) for t in results]

    def gather(_: int, first: int, last: int) -> None:
        loops.gather_changes(*targets, parts, shape, splits, start, length, start + first, start + last)

    map_rows(gather, 1, length, shape.groups * shape.taps * _WORK)


def _splits(shape: Shape) -> int:
    """Into how many parts the units of each group are divided, whatever the number of threads."""
    return min(shape.blocks, -(-MIN_JOBS // shape.groups))


def _jobs(shape: Shape, splits: int, start: int, end: int) -> Iterator[tuple[int, ...]]:
    """What has to be done by one thread alone: places of one image, units of one group; see `hand_back`."""
    for n in range(start // shape.area, (end - 1) // shape.area + 1):
        first, last = max(start, n * shape.area), min(end, (n + 1) * shape.area)
        for part in range(shape.groups * splits):
            g, i = divmod(part, splits)
            units = [shape.blocks * edge // splits for edge in (i, i + 1)]
            yield first, last, g, *units, part


@lru_cache(maxsize=1)
def _onednn() -> Callable[..., Tensor] | None:
    """The matrix product of oneDNN: on processors that are not Intel's, MKL leaves half of float32 unused."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _product(left: Tensor, right: Tensor, bias: Tensor | None) -> Tensor:
    """``left @ right.T + bias``."""
    linear = _onednn()
    if linear is None:
        return F.linear(left, right, bias)
    return linear(left, right, bias, "none", [], "")


def _places(images: Tensor, start: int, end: int) -> Iterator[tuple[slice, Tensor]]:
    """The places of images one by one as (place, channel), and where in the block they are."""
    area = images.shape[2] * images.shape[3]
    for n in range(start // area, (end - 1) // area + 1):
        first, last = max(start, n * area), min(end, (n + 1) * area)
        places = images[n].permute(1, 2, 0).flatten(0, 1)
        yield slice(first - start, last - start), places[first - n * area : last - n * area]


def _write_places(images: Tensor, start: int, block: Tensor) -> None:
    for part, places in _places(images, start, start + len(block)):
        places.copy_(block[part])


def _read_places(images: Tensor, start: int, end: int) -> Tensor:
    return torch.cat([places for _, places in _places(images, start, end)])
