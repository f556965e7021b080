"""Names of GeoNet's variables in the checkpoints of its authors (TensorFlow 1).

Their convolutions are numbered in the order in which the graph was made: ``depth_net/Conv``,
``depth_net/Conv_1``, and so on. In a residual block: 1x1, 3x3, 1x1, shortcut; in a level of a decoder: the
one after doubling, the one after joining, the head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate

from torch import Tensor

from kinema.io.checkpoints import TensorFact

__all__ = ["clean_geonet", "from_tensorflow", "geonet_name", "geonet_network"]

_RESNET_NAME = re.compile(
    r"(?P<stem>stem)"
    r"|stage(?P<stage>[2-5])\.(?P<block>\d)\.(?P<part>reduce|spatial|expand|shortcut)"
    r"|(?P<kind>up|merge|head)(?P<level>[1-6])"
)
_VGG_NAME = re.compile(r"conv(?P<pair>[1-7])(?P<second>b?)|(?P<kind>upconv|iconv|disp)(?P<level>[1-7])")
_PARTS = ("reduce", "spatial", "expand", "shortcut")
_BLOCKS = (3, 4, 6, 3)  # of stages 2 to 5
_BEFORE = tuple(accumulate(_BLOCKS, initial=0))
_HEADS = 4  # coarsest level that predicts
_ENDS = {
    "conv.weight": "weights",
    "norm.bias": "BatchNorm/beta",
    "norm.running_mean": "BatchNorm/moving_mean",
    "norm.running_var": "BatchNorm/moving_variance",
    "weight": "weights",
    "bias": "biases",
}
_END = re.compile(rf"\.({'|'.join(re.escape(end) for end in _ENDS)})$")
_SLOTS = ("Adam", "Adam_1", "Momentum")
_INPUTS = 2  # place of the input channels in a kernel's shape


def clean_geonet(name: str) -> str | None:
    """Leave out the variables that only training needs.

    Args:
        name: as the file has it.

    Returns:
        The name; None for moments of the optimiser and counters.
    """
    scope, _, rest = name.partition("/")
    if scope not in ("depth_net", "pose_net", "flow_net") or name.rpartition("/")[2] in _SLOTS:
        return None
    return name if rest else None


def geonet_name(own: str) -> str:
    """Name a parameter as the authors' graph does.

    Args:
        own: kinema's name, of preset ``faithful``.

    Returns:
        Such as ``depth_net/Conv_3/weights`` for ``depth_net.stage2.0.expand.conv.weight``.
    """
    scope, _, rest = own.partition(".")
    found = _END.search(rest)
    if found is None:
        raise ValueError(f"{own} is no parameter of the published GeoNet")
    number = _pose_number(rest) if scope == "pose_net" else _number(rest[: found.start()])
    return f"{scope}/Conv{f'_{number}' if number else ''}/{_ENDS[found[1]]}"


def geonet_network(tensors: Mapping[str, TensorFact]) -> tuple[str, dict[str, object]]:
    """Say with which flags a checkpoint was made.

    Args:
        tensors: of the checkpoint, by clean name.

    Returns:
        Preset and options: its scopes tell ``networks``, its kernels ``encoder`` and ``frames``.
    """
    stem, pose = tensors.get("depth_net/Conv/weights"), tensors.get("pose_net/Conv/weights")
    if stem is None and "flow_net/Conv/weights" in tensors:
        return "faithful", {"networks": "direct"}
    has_flow = "flow_net/Conv/weights" in tensors
    options: dict[str, object] = {"networks": "residual" if has_flow else "rigid"}
    if stem is not None and stem.shape[-1] == 32:  # the ResNet's stem has 64
        options["encoder"] = "vgg"
    if pose is not None and len(pose.shape) == 4 and pose.shape[_INPUTS] == 15:
        options["frames"] = 5
    return "faithful", options


def from_tensorflow(tensor: Tensor) -> Tensor:
    """Bring a kernel into torch's layout.

    Args:
        tensor: (h, w, in, out) of a convolution, or (out,).

    Returns:
        (out, in, h, w), or the vector as it is.
    """
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor


def _number(layer: str) -> int:
    """How many convolutions of the depth or flow network were made before this one."""
    found = _RESNET_NAME.fullmatch(layer)
    if found is not None:
        if found["stem"]:
            return 0
        if found["stage"]:
            block = _BEFORE[int(found["stage"]) - 2] + int(found["block"])
            return 1 + 4 * block + _PARTS.index(found["part"])
        return _decoder_number(65, 6, int(found["level"]), ("up", "merge", "head").index(found["kind"]))
    found = _VGG_NAME.fullmatch(layer)
    if found is None:
        raise ValueError(f"{layer} is no layer of the published GeoNet")
    if found["pair"]:
        return 2 * (int(found["pair"]) - 1) + bool(found["second"])
    return _decoder_number(14, 7, int(found["level"]), ("upconv", "iconv", "disp").index(found["kind"]))


def _decoder_number(start: int, top: int, level: int, place: int) -> int:
    return start + 2 * (top - level) + max(_HEADS - level, 0) + place


def _pose_number(rest: str) -> int:
    layer = rest.partition(".")[0]
    return 7 if layer == "head" else int(layer.removeprefix("conv")) - 1
