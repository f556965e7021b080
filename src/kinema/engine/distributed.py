"""Devices, mixed precision and data-parallel training, all through Accelerate."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from torch.optim import Optimizer

from kinema.engine.contracts import Batch
from kinema.errors import UsageError
from kinema.inference.device import describe_device


class Devices:
    """This process's device and its place among the others.

    Args:
        device: ``auto``, ``cpu``, or the kind of the accelerator, as a check.
        precision: ``auto`` (bf16 on accelerators and on CPUs with AMX), ``fp32`` or ``bf16``.

    Raises:
        UsageError: when there is no such device.
    """

    def __init__(self, *, device: str = "auto", precision: str = "auto") -> None:
        # Accelerate keeps its settings for the whole process and would refuse a second run with others.
        AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
        wants_cpu = device == "cpu"
        self.precision = _precision(precision, cpu=wants_cpu or not torch.accelerator.is_available())
        self._accelerator = Accelerator(
            cpu=wants_cpu, mixed_precision="bf16" if self.precision == "bf16" else "no"
        )
        self.device: torch.device = self._accelerator.device
        self.rank: int = self._accelerator.process_index
        self.world: int = self._accelerator.num_processes
        if device not in ("auto", self.device.type):
            raise UsageError(
                f"--device {device}: this machine offers {self.device.type}; use auto, cpu or "
                f"{self.device.type}, and choose among several with the vendor's variable "
                "(CUDA_VISIBLE_DEVICES and its like)"
            )

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def slots(self, batch_size: int) -> range:
        """Say which samples of a batch are this process's.

        Args:
            batch_size: over all processes.

        Returns:
            Its slots; shares differ by one at most.

        Raises:
            UsageError: when there are more processes than samples.
        """
        if batch_size < self.world:
            raise UsageError(f"--batch-size {batch_size}: there are {self.world} processes, each needs one")
        return range(batch_size * self.rank // self.world, batch_size * (self.rank + 1) // self.world)

    def prepare(self, network: nn.Module, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """Wrap network and optimiser for training on all processes.

        Args:
            network: on this process's device.
            optimizer: of its parameters.

        Returns:
            Both, to be used in place of the originals.
        """
        return cast("tuple[nn.Module, Optimizer]", self._accelerator.prepare(network, optimizer))

    def autocast(self) -> AbstractContextManager[None]:
        """Make a context in which layers compute in the run's precision.

        Returns:
            The context.
        """
        return cast("AbstractContextManager[None]", self._accelerator.autocast())

    def to_device(self, batch: Batch, *, channels_last: bool) -> dict[str, Tensor]:
        """Copy a batch to the device.

        Args:
            batch: on any device.
            channels_last: whether (B, C, H, W) tensors get that memory layout.

        Returns:
            The tensors on the device.
        """
        moved = {}
        for name, given in batch.items():
            tensor = given.to(self.device, non_blocking=True)
            if channels_last and tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            moved[name] = tensor
        return moved

    def backward(self, loss: Tensor) -> None:
        """Compute gradients, averaged over all processes.

        Args:
            loss: scalar.
        """
        self._accelerator.backward(loss)

    def clip(self, network: nn.Module, *, norm: float) -> Tensor:
        """Shorten the gradient when it is too long.

        Args:
            network: whose gradients.
            norm: the longest.

        Returns:
            The length before, scalar; the same on all processes.
        """
        return cast("Tensor", self._accelerator.clip_grad_norm_(network.parameters(), norm))

    def sum(self, values: Tensor) -> Tensor:
        """Add up over all processes.

        Args:
            values: of this process.

        Returns:
            The sums, the same on all processes.
        """
        if self.world == 1:
            return values
        return cast("Tensor", self._accelerator.reduce(values.clone(), reduction="sum"))

    def any(self, flag: bool) -> bool:  # noqa: FBT001  the flag is the whole message
        """Agree on a wish that one process has.

        Args:
            flag: of this process.

        Returns:
            Whether any process has it.
        """
        if self.world == 1:
            return flag
        return bool(self.sum(torch.tensor([float(flag)], device=self.device)).item())

    def gather(self, values: Tensor) -> Tensor:
        """Collect a tensor from every process.

        Args:
            values: of this process, (N,); the same N on all.

        Returns:
            (processes, N) on the CPU, in the order of the ranks.
        """
        if self.world == 1:
            return values[None].cpu()
        return cast("Tensor", self._accelerator.gather(values[None].to(self.device))).cpu()

    def wait(self) -> None:
        """Wait until every process is here."""
        self._accelerator.wait_for_everyone()

    def describe(self) -> str:
        """Say in words what trains.

        Returns:
            Such as ``2 processes on NVIDIA H200 (cuda:0), bf16``.
        """
        count = f"{self.world} {'process' if self.world == 1 else 'processes'}"
        return f"{count} on {describe_device(self.device)}, {self.precision}"


def _precision(name: str, *, cpu: bool) -> str:
    if name != "auto":
        return name
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)  # private, and absent from some builds
    return "bf16" if not cpu or (probe is not None and probe()) else "fp32"
