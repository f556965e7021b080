"""Deterministic weights of GeoNet's reference numbers, drawn from the names of the original's variables."""

from __future__ import annotations

import math
import zlib

import numpy as np
import torch
from torch import Tensor

from kinema.models.geonet import GeoNet
from kinema.weights.geonet_names import geonet_name


def reference_network(preset: str = "faithful", **options: object) -> GeoNet:
    """A published network filled with them, in evaluation mode."""
    with torch.device("meta"):  # nothing is drawn that would be overwritten
        network = GeoNet(preset, **options)
    network.load_state_dict(reference_weights(network), assign=True)
    return network.eval()


def reference_weights(network: GeoNet) -> dict[str, Tensor]:
    """A state dict."""
    weights = {}
    for own, tensor in network.state_dict().items():
        shape = tuple(tensor.shape)
        native = shape if len(shape) == 1 else (shape[2], shape[3], shape[1], shape[0])
        values = draw(geonet_name(own), native)
        weights[own] = values if len(shape) == 1 else values.permute(3, 2, 0, 1).contiguous()
    return weights


def draw(name: str, shape: tuple[int, ...]) -> Tensor:
    """The values of a variable in the original's layout, (h, w, in, out) or (out,)."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("/weights"):
        values = random.randn(*shape) * math.sqrt(1.2 / math.prod(shape[:3]))
    elif name.endswith("/biases"):
        values = 0.05 * random.randn(*shape)
    elif name.endswith("/moving_variance"):
        values = 0.5 + random.rand(*shape)
    else:
        values = 0.1 * random.randn(*shape)
    return torch.from_numpy(values.astype(np.float32))
