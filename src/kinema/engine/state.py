"""The state of a run on disk: whole, verified, readable without running code, and never lost.

A run's folder holds::

    config.json                    recipe and settings, readable by people
    log.jsonl                      one line per logged step
    states/000012000.safetensors   everything that the next step depends on; the newest few
    last.safetensors               averaged weights of the newest state
    best.safetensors               averaged weights of the best validation
    best/000012000.safetensors     the same of the best few, where more than one is kept
    pictures/000012000-flow.png    what the averaged weights predicted

A state is one safetensors file. Its header carries a digest over names, shapes, numbers and settings, so that
one flipped bit is noticed; the state before it then stands in.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kinema.engine.config import CONFIG_FILE
from kinema.errors import InputError, OutputError
from kinema.io.checkpoints import load_tensors, save_tensors

__all__ = [
    "RunFolder",
    "TrainState",
    "load_optimizer",
    "load_state",
    "load_weights",
    "optimizer_tensors",
    "prefixed",
    "save_state",
    "save_weights",
    "without_prefix",
]

_log = logging.getLogger(__name__)
_FORMAT = "kinema-state-2"
_READS = (_FORMAT, "kinema-state-1")  # 1 had one best validation, and counted nothing that was skipped


@dataclass(frozen=True)
class TrainState:
    """A moment between two steps.

    Attributes:
        step: how many steps are done; also the position in the data, and the next step's number.
        tensors: by name: ``model.*``, ``ema.*``, ``optimizer.*``, ``random.*`` (first dimension: process),
            and ``task.*`` where the task keeps any.
        settings: of the optimiser's groups, of the best validation, ...; what JSON can hold.
        recipe: the recipe's name.
        config: its resolved settings.
        version: of kinema.
    """

    step: int
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, object] = field(default_factory=dict)
    recipe: str = ""
    config: Mapping[str, object] = field(default_factory=dict)
    version: str = ""


def save_state(path: Path, state: TrainState) -> None:
    """Write a state and read it back.

    Args:
        path: the file to be.
        state: what to write.

    Raises:
        OutputError: when it cannot be written, or what was read back differs.
    """
    record = {
        "format": _FORMAT,
        "step": state.step,
        "settings": state.settings,
        "recipe": state.recipe,
        "config": state.config,
        "version": state.version,
    }
    text = json.dumps(record, sort_keys=True)
    digest = _digest(state.tensors, text)
    save_tensors(path, state.tensors, metadata={"state": text, "digest": digest})
    try:
        load_state(path)
    except InputError as error:
        path.unlink(missing_ok=True)
        raise OutputError(
            f"{path} was written but reads back differently: check the disk ({error})"
        ) from None


def load_state(path: Path) -> TrainState:
    """Read a state; nothing in it is executed.

    Args:
        path: the file.

    Returns:
        The state, on the CPU.

    Raises:
        InputError: when the file is missing, damaged or something else.
    """
    tensors, metadata = load_tensors(path)
    text = metadata.get("state", "")
    if _digest(tensors, text) != metadata.get("digest"):
        raise InputError(f"{path} is damaged, or no saved state: its contents do not fit its digest")
    record = json.loads(text)
    if record["format"] not in _READS:
        raise InputError(f"{path} was saved as {record['format']}; this version reads {' and '.join(_READS)}")
    return TrainState(
        step=record["step"],
        tensors=tensors,
        settings=record["settings"],
        recipe=record["recipe"],
        config=record["config"],
        version=record["version"],
    )


def save_weights(path: Path, network: nn.Module, *, facts: Mapping[str, object]) -> None:
    """Write the weights of a network alone, for `kinema.load` and ``--init``.

    Args:
        path: the file to be.
        network: not wrapped.
        facts: kept in the header, as text; the model's name among them.

    Raises:
        OutputError: when it cannot be written.
    """
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    save_tensors(path, network.state_dict(), metadata=texts)


@runtime_checkable
class CompletesState(Protocol):
    """A network that can begin from the weights of a smaller sibling."""

    def complete_state(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add the weights that the sibling does not have."""


def load_weights(path: Path, network: nn.Module) -> None:
    """Take weights alone into a network: from a file of weights, or the averaged ones of a state.

    Args:
        path: a safetensors file.
        network: not wrapped; changed in place.

    Raises:
        InputError: when the file cannot be read or holds another network.
    """
    tensors, metadata = load_tensors(path)
    if "state" in metadata:
        tensors = without_prefix(load_state(path).tensors, "ema")
    if isinstance(network, CompletesState):
        tensors = network.complete_state(tensors)
    own = network.state_dict()
    wrong = sorted(set(own) ^ set(tensors)) or sorted(
        name for name, tensor in own.items() if tensors[name].shape != tensor.shape
    )
    if wrong:
        raise InputError(
            f"{path} holds another network: {len(wrong)} of {len(own)} tensors do not fit (first: {wrong[0]})"
        )
    network.load_state_dict(tensors)


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Put names below a prefix.

    Args:
        tensors: by name.
        prefix: such as ``model``.

    Returns:
        The same tensors as ``model.name``.
    """
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the names below a prefix.

    Args:
        tensors: by name.
        prefix: such as ``model``.

    Returns:
        Those that begin with ``model.``, without it.
    """
    start = f"{prefix}."
    return {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    """Take an optimiser's state apart.

    Args:
        optimizer: any of torch's whose state is made of tensors.

    Returns:
        The tensors by ``parameter.name``, and the groups' settings for JSON.
    """
    record = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": value
        for index, values in record["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)  # SGD without momentum keeps a None
    }
    return tensors, record["param_groups"]


def load_optimizer(
    optimizer: Optimizer, tensors: Mapping[str, Tensor], groups: list[dict[str, object]]
) -> None:
    """Put an optimiser's state together again.

    Args:
        optimizer: built as the one that was saved; changed in place.
        tensors: from `optimizer_tensors`.
        groups: from `optimizer_tensors`.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        weight = weights[int(index)]
        if tensor.shape == weight.shape:
            # The weight's own memory layout: another one takes other vector instructions, which round
            # differently, and the run would not go on bit by bit.
            tensor = torch.empty_like(weight, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": groups})


@dataclass(frozen=True)
class RunFolder:
    """Where the parts of one run lie.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Recipe and settings."""
        return self.path / CONFIG_FILE

    @property
    def log(self) -> Path:
        """The numbers of every logged step."""
        return self.path / "log.jsonl"

    @property
    def last(self) -> Path:
        """Averaged weights of the newest state."""
        return self.path / "last.safetensors"

    @property
    def best(self) -> Path:
        """Averaged weights of the best validation."""
        return self.path / "best.safetensors"

    def ranked(self, step: int) -> Path:
        """Name the file of one of the best weights.

        Args:
            step: how many steps were done.

        Returns:
            The file.
        """
        return self.path / "best" / f"{step:09d}.safetensors"

    def prune_ranked(self, steps: Collection[int]) -> None:
        """Remove all but some of the best weights.

        Args:
            steps: of those that stay.
        """
        for path in (self.path / "best").glob("*.safetensors"):
            if not path.stem.isdecimal() or int(path.stem) not in steps:
                path.unlink(missing_ok=True)

    def picture(self, step: int, name: str) -> Path:
        """Name a picture's file.

        Args:
            step: how many steps were done.
            name: what it shows.

        Returns:
            The file.
        """
        return self.path / "pictures" / f"{step:09d}-{name}.png"

    def state(self, step: int) -> Path:
        """Name a state's file.

        Args:
            step: how many steps are done.

        Returns:
            The file.
        """
        return self.path / "states" / f"{step:09d}.safetensors"

    def states(self) -> list[Path]:
        """List the states.

        Returns:
            From the newest to the oldest, by step: `1000` is newer than `999`.
        """
        found = [p for p in (self.path / "states").glob("*.safetensors") if p.stem.isdecimal()]
        return sorted(found, key=lambda path: int(path.stem), reverse=True)

    def newest(self) -> TrainState:
        """Read the newest state that is whole.

        Returns:
            The state; damaged newer ones are told in the log.

        Raises:
            InputError: when there is none.
        """
        damaged = []
        for path in self.states():
            try:
                return load_state(path)
            except InputError as error:
                damaged.append(str(path))
                _log.warning("%s; going back to the state before it", error)
        found = f"all are damaged ({', '.join(damaged)})" if damaged else "none was found"
        raise InputError(f"{self.path} has no state to go on from: {found}; start again, or use --init")

    def clear(self) -> None:
        """Remove an earlier run: its states, weights, pictures and log, and nothing else that lies there."""
        self.prune(keep=0)
        self.prune_ranked(())
        for picture in (self.path / "pictures").glob("[0-9]*-*.png"):
            picture.unlink(missing_ok=True)
        for path in (self.log, self.last, self.best, self.config):
            path.unlink(missing_ok=True)

    def prune(self, *, keep: int) -> None:
        """Remove all but the newest states, and what killed processes have left half-written.

        Args:
            keep: how many stay.
        """
        for path in [*self.states()[keep:], *(self.path / "states").glob(".*.safetensors")]:
            path.unlink(missing_ok=True)


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """A checksum over everything that a state says."""
    sha = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
