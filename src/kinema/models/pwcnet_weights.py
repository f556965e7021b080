"""Weights of PWC-Net: drawn anew, taken from a smaller sibling, cleared of what is never used."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn

from kinema.models.pwcnet_settings import CHANNELS, CONTEXT, ESTIMATOR, context_name


def complete_state(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add to the weights of a network that ends at level 3 what one that ends at level 2 needs.

    Args:
        own: the state dict of the network that ends at level 2.
        tensors: a state dict.

    Returns:
        The second, completed; as it is when it is not of the very network of the first without level 2.
    """
    siblings = _finest_layers()
    finest = tuple(f"{name}." for name in siblings)
    shared = {name: tensor.shape for name, tensor in own.items() if not name.startswith(finest)}
    if len(shared) == len(own) or {name: tensor.shape for name, tensor in tensors.items()} != shared:
        return dict(tensors)
    completed = {**own, **tensors}
    for fine, coarse in siblings.items():
        features = CHANNELS[3 if fine == "upfeat3" else 2]
        for kind in ("weight", "bias"):
            source, target = tensors.get(f"{coarse}.{kind}"), own[f"{fine}.{kind}"]
            if source is not None:
                completed[f"{fine}.{kind}"] = _without_features(source, target, features=features)
    return completed


def drop_unused(module: nn.Module, state_dict: dict[str, Tensor], *_: object) -> None:
    """Leave out ``deconv2`` of released weights: a parameter never used stops data-parallel training.

    Args:
        module: about to load a state dict.
        state_dict: changed in place.
    """
    for name in ("deconv2.weight", "deconv2.bias"):
        state_dict.pop(name, None)


def truncated_he_normal(weight: Tensor) -> None:
    """Draw from a normal of variance 2 / fan-in after its cut at two standard deviations.

    Args:
        weight: (out, in, h, w), changed in place.
    """
    kept = 0.87962566  # standard deviation of a unit normal cut at +-2
    deviation = math.sqrt(2 / weight[0].numel()) / kept
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def _finest_layers() -> dict[str, str]:
    """The layers that a network ending at level 3 does not have, each with its sibling one level up."""
    pairs = {f"conv2_{i}.0": f"conv3_{i}.0" for i in range(len(ESTIMATOR))}
    pairs |= {"predict_flow2": "predict_flow3", "deconv3": "deconv4", "upfeat3": "upfeat4"}
    for i in range(1, len(CONTEXT) + 2):
        inner = "" if i > len(CONTEXT) else ".0"
        pairs[context_name(2, i) + inner] = context_name(3, i) + inner
    return pairs


def _without_features(source: Tensor, target: Tensor, *, features: int) -> Tensor:
    """Weights of a layer at level 3 in the shape of its sibling, whose inputs have fewer features of frame 1.

    The inputs of an estimator's layer are: layers before, costs, features of frame 1, four channels of flow
    and features from above. Only the number of features differs between levels.
    """
    if source.shape == target.shape:
        return source
    axis = 1 if source.shape[0] == target.shape[0] else 0  # transposed convolutions have inputs first
    coarse, fine = source.movedim(axis, 0), target.movedim(axis, 0).clone()
    before, above = len(fine) - features - 4, 4
    fine[:before], fine[-above:] = coarse[:before], coarse[-above:]
    return fine.movedim(0, axis)
