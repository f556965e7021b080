"""Deterministic weights that every implementation can draw anew, for PWC-Net's reference numbers."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor

from kinema.models.pwcnet import PWCNet


def nvlabs_weights(model: PWCNet) -> dict[str, Tensor]:
    """Weights seeded by the names of the authors' state dict."""
    return {name: _draw(name, tuple(p.shape), transposed=False) for name, p in model.named_parameters()}


def tfoptflow_weights(model: PWCNet) -> dict[str, Tensor]:
    """Weights seeded by tfoptflow's variable names and drawn in its layouts."""
    weights = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        native = shape if len(shape) == 1 else (shape[2], shape[3], shape[1], shape[0])
        values = _draw(tfoptflow_name(name), native, transposed=True)
        weights[name] = values if len(shape) == 1 else values.permute(3, 2, 0, 1).contiguous()
    return weights


def tfoptflow_name(name: str) -> str:
    """tfoptflow's name of a parameter."""
    layer, kind = name.replace(".0.", ".").split(".")
    kind = {"weight": "kernel", "bias": "bias"}[kind]
    if layer.startswith("predict_flow"):
        scope = f"predict_flow/flow{layer[-1]}"
    elif layer.startswith("deconv"):
        scope = f"upsample/up_flow{layer[-1]}"
    elif layer.startswith("upfeat"):
        scope = f"upsample/up_feat{layer[-1]}"
    elif layer.startswith("dc_conv"):
        digits = layer.removeprefix("dc_conv")
        scope = f"ctxt/dc_conv{digits if len(digits) == 2 else '2' + digits}"
    elif "_" in layer:
        scope = f"predict_flow/{layer}"
    else:
        scope = f"featpyr/{layer}"
    return f"pwcnet/{scope}/{kind}"


def _draw(name: str, shape: tuple[int, ...], *, transposed: bool) -> Tensor:
    """``shape`` is (out, in, h, w) or, of transposed convolutions, (in, out, h, w); TensorFlow's reversed."""
    normal = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF).standard_normal(shape)
    if len(shape) == 1:
        return torch.from_numpy(0.02 * normal).float()
    up = name.startswith(("deconv", "upfeat")) or "up_flow" in name or "up_feat" in name
    if transposed:  # (h, w, in, out), of transposed convolutions (h, w, out, in)
        inputs, area = (shape[3] if up else shape[2]), shape[0] * shape[1]
    else:
        inputs, area = (shape[0] if up else shape[1]), shape[2] * shape[3]
    fan = inputs * area / (4 if up else 1)
    head = 5 if name.startswith("predict_flow") or "predict_flow/flow" in name else 1
    return torch.from_numpy(normal * 1.4 * head / math.sqrt(fan)).float()
