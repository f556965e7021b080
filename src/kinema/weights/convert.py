"""Weights of other projects as kinema's own: recognised by their names, renamed, checked one by one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from kinema._version import __version__
from kinema.errors import InputError, UsageError
from kinema.io.checkpoints import TensorFact
from kinema.models import find_model
from kinema.weights import edvr_names as edvr
from kinema.weights import geonet_names as geonet
from kinema.weights import pwcnet_names as pwcnet
from kinema.weights.checkpoint import Checkpoint, sha256_of
from kinema.weights.identity import is_own

__all__ = ["FORMATS", "Converted", "Format", "convert", "expected_shapes", "misfit", "recognise"]


@dataclass(frozen=True)
class Format:
    """How one project writes the weights of one model.

    Attributes:
        title: for people.
        model: the model's name in kinema.
        clean: a name in its plain form, or None for what no computation uses.
        network: preset and options, from the tensors by clean name.
        foreign_name: the plain form of one of kinema's names.
        layout: brings a tensor into torch's order of dimensions.
    """

    title: str
    model: str
    clean: Callable[[str], str | None]
    network: Callable[[Mapping[str, TensorFact]], tuple[str, dict[str, object]]]
    foreign_name: Callable[[str], str]
    layout: Callable[[Tensor], Tensor] = lambda tensor: tensor


FORMATS: dict[str, Format] = {
    "nvlabs": Format(
        title="the authors' PyTorch checkpoints of PWC-Net",
        model="pwcnet",
        clean=pwcnet.clean_nvlabs,
        network=pwcnet.nvlabs_network,
        foreign_name=pwcnet.nvlabs_name,
    ),
    "sniklaus": Format(
        title="pytorch-pwc, the authors' weights under other names",
        model="pwcnet",
        clean=pwcnet.clean_sniklaus,
        network=pwcnet.nvlabs_network,
        foreign_name=pwcnet.sniklaus_name,
    ),
    "tfoptflow": Format(
        title="tfoptflow's checkpoints of PWC-Net (lg-6-2, sm-6-2)",
        model="pwcnet",
        clean=pwcnet.clean_tfoptflow,
        network=pwcnet.tfoptflow_network,
        foreign_name=pwcnet.tfoptflow_name,
        layout=pwcnet.from_tensorflow,
    ),
    "basicsr": Format(
        title="BasicSR's checkpoints of EDVR",
        model="edvr",
        clean=edvr.clean_basicsr,
        network=edvr.basicsr_network,
        foreign_name=edvr.basicsr_name,
    ),
    "edvr": Format(
        title="checkpoints of the authors' first code of EDVR",
        model="edvr",
        clean=edvr.clean_original,
        network=edvr.original_network,
        foreign_name=edvr.original_name,
    ),
    "mmagic": Format(
        title="MMagic's and MMEditing's checkpoints of EDVR",
        model="edvr",
        clean=edvr.clean_mmagic,
        network=edvr.mmagic_network,
        foreign_name=edvr.mmagic_name,
    ),
    "geonet": Format(
        title="the authors' checkpoints of GeoNet",
        model="geonet",
        clean=geonet.clean_geonet,
        network=geonet.geonet_network,
        foreign_name=geonet.geonet_name,
        layout=geonet.from_tensorflow,
    ),
}
"""Every format that can be converted, by the name for ``--from``."""


@dataclass(frozen=True)
class Converted:
    """Weights under kinema's names.

    Attributes:
        format: where they come from.
        model: the model's name.
        preset: of the model.
        options: over the preset.
        tensors: float32, by kinema's names.
        left_out: names in the file that no computation uses.
        metadata: for the file's header: `kinema.load` builds the right network from it.
    """

    format: str
    model: str
    preset: str
    options: Mapping[str, object]
    tensors: Mapping[str, Tensor]
    left_out: tuple[str, ...]
    metadata: Mapping[str, str]


def recognise(checkpoint: Checkpoint) -> str | None:
    """Find the format of a checkpoint by the names of its tensors.

    Args:
        checkpoint: the file.

    Returns:
        The one of `FORMATS` that knows most of them; None when no format knows one.
    """
    known = {}
    for name, form in FORMATS.items():
        clean = _clean(checkpoint, form)
        preset, options = form.network(_facts(checkpoint, clean))
        expected = {form.foreign_name(own) for own in expected_shapes(form.model, preset, options)}
        known[name] = len(expected & set(clean))
    best = max(known, key=lambda name: known[name])
    return best if known[best] else None


def convert(checkpoint: Checkpoint, *, source: str | None = None) -> Converted:
    """Rename, turn and check every tensor of a checkpoint.

    Args:
        checkpoint: the file.
        source: one of `FORMATS`; None to recognise it.

    Returns:
        The weights, whole: no tensor is missing, none is left over, all have the right shape.

    Raises:
        UsageError: the format is unknown, or there is nothing to convert.
        InputError: a tensor is missing, too many, of another shape, or not made of finite numbers.
    """
    name = _format_name(checkpoint, source)
    form = FORMATS[name]
    clean = _clean(checkpoint, form)
    preset, options = form.network(_facts(checkpoint, clean))
    foreign = {own: form.foreign_name(own) for own in expected_shapes(form.model, preset, options)}
    _check_names(checkpoint, name, expected=foreign.values(), present=clean)
    stored = checkpoint.read(clean.values())
    tensors = {own: form.layout(stored[clean[theirs]]) for own, theirs in foreign.items()}
    for own, shape in expected_shapes(form.model, preset, options).items():
        _check_values(checkpoint, clean[foreign[own]], tensors[own], shape)
    return Converted(
        format=name,
        model=form.model,
        preset=preset,
        options=options,
        tensors={own: tensor.float().contiguous() for own, tensor in tensors.items()},
        left_out=tuple(sorted(set(checkpoint.tensors) - set(clean.values()))),
        metadata={
            "model": form.model,
            "preset": preset,
            "options": json.dumps(options, sort_keys=True),
            "converted_from": name,
            "source": checkpoint.path.name,
            "source_sha256": sha256_of(checkpoint.path),
            "kinema": __version__,
        },
    )


def expected_shapes(
    model: str, preset: str | None, options: Mapping[str, object]
) -> dict[str, tuple[int, ...]]:
    """The state of a model that is built in this way; no memory is taken for it.

    Args:
        model: its name.
        preset: a named set of settings; None for the default.
        options: single settings over it.

    Returns:
        Shapes by name.

    Raises:
        UsageError: when it cannot be built so.
    """
    with torch.device("meta"):
        network = find_model(model).builder(preset, options)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def misfit(expected: Mapping[str, tuple[int, ...]], present: Mapping[str, tuple[int, ...]]) -> str | None:
    """Say in what tensors differ from what a network needs.

    Args:
        expected: shapes by name.
        present: shapes by name.

    Returns:
        The first kind of difference, with a count and the first name; None when they are the same.
    """
    missing = [name for name in expected if name not in present]
    if missing:
        return f"{len(missing)} of {len(expected)} tensors are missing (first: {missing[0]})"
    extra = [name for name in present if name not in expected]
    if extra:
        return f"{len(extra)} tensor{'s are' if len(extra) > 1 else ' is'} too many (first: {extra[0]})"
    for name, shape in expected.items():
        if present[name] != shape:
            return f"{name} is {_shown(present[name])}, not {_shown(shape)}"
    return None


def _format_name(checkpoint: Checkpoint, source: str | None) -> str:
    if is_own(checkpoint.metadata) or "state" in checkpoint.metadata:
        raise UsageError(f"{checkpoint.path} is kinema's own already: kinema weights info {checkpoint.path}")
    found = recognise(checkpoint)
    if found is None or (source is not None and source not in FORMATS):
        first = next(iter(checkpoint.tensors), "none")
        raise InputError(
            f"{checkpoint.path} has names of no format that is known ({', '.join(FORMATS)}); "
            f"its first of {len(checkpoint.tensors)} is {first}"
        )
    if source is not None and found != source:
        raise UsageError(
            f"--from {source}: {checkpoint.path} has the names of {found}: leave --from out, or write "
            f"--from {found}"
        )
    return found


def _clean(checkpoint: Checkpoint, form: Format) -> dict[str, str]:
    """The names in the file by their plain form."""
    pairs = ((form.clean(name), name) for name in checkpoint.tensors)
    return {clean: name for clean, name in pairs if clean is not None}


def _facts(checkpoint: Checkpoint, clean: Mapping[str, str]) -> dict[str, TensorFact]:
    return {name: checkpoint.tensors[stored] for name, stored in clean.items()}


def _check_names(
    checkpoint: Checkpoint, name: str, *, expected: Iterable[str], present: Mapping[str, str]
) -> None:
    none: tuple[int, ...] = ()
    reason = misfit(dict.fromkeys(expected, none), dict.fromkeys(present, none))
    if reason is not None:
        raise InputError(f"{checkpoint.path} is no whole checkpoint of {name}: {reason}")


def _check_values(checkpoint: Checkpoint, name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        stored = checkpoint.tensors[name].shape
        raise InputError(
            f"{checkpoint.path}: {name} is {_shown(stored)}: {math.prod(shape)} numbers belong there, in "
            f"torch's order {_shown(shape)}"
        )
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise InputError(f"{checkpoint.path}: {name} holds values that are no finite numbers")


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
