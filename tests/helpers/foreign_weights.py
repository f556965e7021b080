"""PWC-Net's pseudo-weights as other projects would have saved them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.pseudo_weights import tfoptflow_name
from kinema.ops.correlation import correlation
from kinema.ops.warp import backward_warp

NUMBERS = ("One", "Two", "Thr", "Fou", "Fiv", "Six")
CHANNELS = (3, 16, 32, 64, 96, 128, 196)


def as_sniklaus(own: Mapping[str, Tensor], *, prefix: str = "net") -> dict[str, Tensor]:
    """By going through that project's modules in its own order; ``prefix`` is ``module`` in older files."""
    renamed = {}

    def put(theirs: str, ours: str) -> None:
        for kind in ("weight", "bias"):
            renamed[f"{theirs}.{kind}".replace("net", prefix)] = own[f"{ours}.{kind}"]

    for level, name in enumerate(NUMBERS, 1):
        parts = ("aa", "a", "b") if level == 6 else ("a", "aa", "b")
        for place, part in zip((0, 2, 4), parts, strict=True):
            put(f"netExtractor.net{name}.{place}", f"conv{level}{part}.0")
    for level, name in list(enumerate(NUMBERS, 1))[1:]:
        if level < 6:
            put(f"net{name}.netUpflow", f"deconv{level + 1}")
            put(f"net{name}.netUpfeat", f"upfeat{level + 1}")
        for layer, inner in enumerate(NUMBERS[:5]):
            put(f"net{name}.net{inner}.0", f"conv{level}_{layer}.0")
        put(f"net{name}.netSix.0", f"predict_flow{level}")
    for layer in range(1, 8):
        put(f"netRefiner.netMain.{2 * layer - 2}", f"dc_conv{layer}" + (".0" if layer < 7 else ""))
    return renamed


def as_tensorflow(own: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Under tfoptflow's names, in TensorFlow's order of dimensions."""
    arrays = {tfoptflow_name(name): tensor.numpy() for name, tensor in own.items()}
    return {
        name: np.ascontiguousarray(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array
        for name, array in arrays.items()
    }


class DecoderTwin(nn.Module):
    """One level, with the upsampling from the level above as a part of it."""

    def __init__(self, level: int) -> None:
        super().__init__()
        inputs = 81 + (0 if level == 6 else CHANNELS[level] + 4)
        if level < 6:
            above = 81 + (0 if level == 5 else CHANNELS[level + 1] + 4) + 448
            self.netUpflow = nn.ConvTranspose2d(2, 2, 4, stride=2, padding=1)
            self.netUpfeat = nn.ConvTranspose2d(above, 2, 4, stride=2, padding=1)
        self.level = level
        for name, width in zip(NUMBERS, (128, 128, 96, 64, 32), strict=False):
            self.add_module(f"net{name}", nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), leaky()))
            inputs += width
        self.netSix = nn.Sequential(nn.Conv2d(inputs, 2, 3, padding=1))

    def forward(
        self, first: Tensor, second: Tensor, above: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        if above is None:
            x = F.leaky_relu(correlation(first, second), 0.1)
        else:
            flow, features = self.netUpflow(above[0]), self.netUpfeat(above[1])
            warped = backward_warp(second, flow * (20 / 2**self.level), border="pwcnet")
            x = torch.cat([F.leaky_relu(correlation(first, warped), 0.1), first, flow, features], 1)
        for name in NUMBERS[:5]:
            x = torch.cat([self.get_submodule(f"net{name}")(x), x], 1)
        return self.netSix(x), x


class SniklausTwin(nn.Module):
    """PWC-Net with the modules of pytorch-pwc, to run its state dicts; (B, 3, H, W) BGR, multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.netExtractor = nn.Module()
        for before, after, name in zip(CHANNELS, CHANNELS[1:], NUMBERS, strict=False):
            layers = []
            for inputs, stride in ((before, 2), (after, 1), (after, 1)):
                layers += [nn.Conv2d(inputs, after, 3, stride=stride, padding=1), leaky()]
            self.netExtractor.add_module(f"net{name}", nn.Sequential(*layers))
        for level in range(2, 7):
            self.add_module(f"net{NUMBERS[level - 1]}", DecoderTwin(level))
        layers, inputs = [], 565
        for width, reach in ((128, 1), (128, 2), (128, 4), (96, 8), (64, 16), (32, 1), (2, 1)):
            layers += [nn.Conv2d(inputs, width, 3, padding=reach, dilation=reach), leaky()]
            inputs = width
        self.netRefiner = nn.Module()
        self.netRefiner.netMain = nn.Sequential(*layers[:-1])

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The flow of level 2, in twentieths of a pixel."""
        maps = [(first, second)]
        for name in NUMBERS:
            extract = self.netExtractor.get_submodule(f"net{name}")
            maps.append((extract(maps[-1][0]), extract(maps[-1][1])))
        above = None
        for level in range(6, 1, -1):
            above = self.get_submodule(f"net{NUMBERS[level - 1]}")(*maps[level], above)
        return above[0] + self.netRefiner.netMain(above[1])


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.1)
