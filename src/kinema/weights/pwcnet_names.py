"""What the parameters of PWC-Net are called elsewhere, and which of them are kept.

kinema's own names are those of the authors' state dict. Each function here turns one of them into another
project's name; what a name means in that project is thereby known too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from kinema.io.checkpoints import TensorFact

__all__ = [
    "PyramidNetwork",
    "clean_nvlabs",
    "clean_sniklaus",
    "clean_tfoptflow",
    "from_tensorflow",
    "nvlabs_name",
    "nvlabs_network",
    "sniklaus_name",
    "tfoptflow_name",
    "tfoptflow_network",
]

PyramidNetwork = tuple[str, dict[str, object]]
"""A preset of the model, and the options over it."""

_ORDINALS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")
_NAME = re.compile(
    r"conv(?P<pyramid>\d)(?P<part>a|aa|b)\.0"
    r"|conv(?P<estimator>\d)_(?P<layer>\d)\.0"
    r"|(?P<other>predict_flow|deconv|upfeat)(?P<level>\d)"
    r"|dc_conv(?P<context>[3-6]?)(?P<place>\d)(?:\.0)?"
)
_NO_DENSE_INPUTS = 32  # channels that a head sees without dense connections: those of the last layer


def clean_nvlabs(name: str) -> str | None:
    """Bring a name of an NVlabs checkpoint into its plain form.

    Args:
        name: as the file has it, perhaps from a network that was wrapped for several GPUs.

    Returns:
        The name in the authors' class; None for ``deconv2``, which no computation uses.
    """
    name = name.removeprefix("module.")
    return None if name.startswith("deconv2.") else name


def nvlabs_name(own: str) -> str:
    """Name a parameter as the authors do.

    Args:
        own: kinema's name.

    Returns:
        The same.
    """
    return own


def nvlabs_network(tensors: Mapping[str, TensorFact]) -> PyramidNetwork:
    """Say which network an NVlabs checkpoint is of.

    Args:
        tensors: of the checkpoint, by clean name.

    Returns:
        Preset and options: always the published network.
    """
    return "dc", {}


def clean_sniklaus(name: str) -> str | None:
    """Bring a name of a pytorch-pwc checkpoint into its present form.

    Args:
        name: as the file has it; older files say ``moduleExtractor`` for ``netExtractor``.

    Returns:
        The present name.
    """
    return re.sub(r"\bmodule(?=[A-Z])", "net", name.removeprefix("module."))


def sniklaus_name(own: str) -> str:
    """Name a parameter as pytorch-pwc does.

    A decoder is called after its level, and holds the transposed convolutions that bring flow and features
    down to it; in the authors' names these belong to the level above.

    Args:
        own: kinema's name.

    Returns:
        Such as ``netTwo.netUpflow.weight`` for ``deconv3.weight``.
    """
    found, kind = _parsed(own)
    if found["pyramid"]:
        level = int(found["pyramid"])
        order = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
        return f"netExtractor.{_net(level)}.{2 * order.index(found['part'])}.{kind}"
    if found["estimator"]:
        return f"{_net(int(found['estimator']))}.{_net(int(found['layer']) + 1)}.0.{kind}"
    if found["other"] == "predict_flow":
        return f"{_net(int(found['level']))}.netSix.0.{kind}"
    if found["other"]:
        up = {"deconv": "netUpflow", "upfeat": "netUpfeat"}[found["other"]]
        return f"{_net(int(found['level']) - 1)}.{up}.{kind}"
    return f"netRefiner.netMain.{2 * (int(found['place']) - 1)}.{kind}"


def clean_tfoptflow(name: str) -> str | None:
    """Leave out the variables of a tfoptflow checkpoint that only its training needs.

    Args:
        name: as the file has it.

    Returns:
        The name; None for moments of the optimiser, counters and rates.
    """
    slot = name.rpartition("/")[2]
    return None if not name.startswith("pwcnet/") or slot in ("Adam", "Adam_1", "Momentum") else name


def tfoptflow_name(own: str) -> str:
    """Name a parameter as tfoptflow does.

    Args:
        own: kinema's name.

    Returns:
        Such as ``pwcnet/upsample/up_flow3/kernel`` for ``deconv3.weight``.
    """
    found, kind = _parsed(own)
    end = {"weight": "kernel", "bias": "bias"}[kind]
    if found["pyramid"]:
        return f"pwcnet/featpyr/conv{found['pyramid']}{found['part']}/{end}"
    if found["estimator"]:
        return f"pwcnet/predict_flow/conv{found['estimator']}_{found['layer']}/{end}"
    if found["other"] == "predict_flow":
        return f"pwcnet/predict_flow/flow{found['level']}/{end}"
    if found["other"]:
        up = {"deconv": "up_flow", "upfeat": "up_feat"}[found["other"]]
        return f"pwcnet/upsample/{up}{found['level']}/{end}"
    return f"pwcnet/ctxt/dc_conv{found['context'] or 2}{found['place']}/{end}"


def tfoptflow_network(tensors: Mapping[str, TensorFact]) -> PyramidNetwork:
    """Say with which flags a tfoptflow checkpoint was made.

    Args:
        tensors: of the checkpoint, by clean name.

    Returns:
        Preset and options: ``use_dense_cx`` off is ``connections="plain"``, ``use_res_cx`` off is
        ``context="finest"``.
    """
    options: dict[str, object] = {}
    head = tensors.get("pwcnet/predict_flow/flow6/kernel")
    if head is not None and head.shape[2:3] == (_NO_DENSE_INPUTS,):
        options["connections"] = "plain"
    if not any(name.startswith("pwcnet/ctxt/dc_conv6") for name in tensors):
        options["context"] = "finest"
    return "tfoptflow", options


def from_tensorflow(tensor: Tensor) -> Tensor:
    """Bring a TensorFlow kernel into torch's layout.

    Args:
        tensor: (h, w, in, out) of a convolution, (h, w, out, in) of a transposed one, or (out,) of a bias.

    Returns:
        (out, in, h, w), or (in, out, h, w) of a transposed convolution: nothing is flipped; a bias as it is.
    """
    return tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor


def _net(number: int) -> str:
    return f"net{_ORDINALS[number - 1]}"


def _parsed(own: str) -> tuple[dict[str, str], str]:
    layer, _, kind = own.rpartition(".")
    match = _NAME.fullmatch(layer)
    if match is None:
        raise ValueError(f"{own} is no parameter of PWC-Net")
    return match.groupdict(default=""), kind
