"""Devices, number formats, and what several processes say to each other, all through Accelerate.

The network is not wrapped: gradients are added up after the backward pass (`kinema.engine.gradients`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast
from torch import Tensor
from torch.optim import Optimizer

from kinema.engine.contracts import Batch
from kinema.errors import KinemaError, UsageError
from kinema.inference.device import available_devices, describe_device, is_fast_in_bf16


class Devices:
    """This process's device and its place among the others.

    Args:
        device: ``auto``, ``cpu``, or the kind of the accelerator, as a check.
        precision: ``auto`` (bf16 where `is_fast_in_bf16`, else fp32), ``fp32``, ``bf16`` or ``fp16``.
        loss_scale: of fp16, at first.

    Raises:
        UsageError: when there is no such device.
    """

    def __init__(self, *, device: str = "auto", precision: str = "auto", loss_scale: float = 65536.0) -> None:
        # Accelerate keeps its settings for the whole process and would refuse a second run with others.
        self._opened = not torch.distributed.is_initialized()
        AcceleratorState._reset_state(reset_partial_state=self._opened)
        wants_cpu = device == "cpu" or len(available_devices()) == 1
        auto = "bf16" if is_fast_in_bf16("cpu" if wants_cpu else "accelerator") else "fp32"
        self.precision = auto if precision == "auto" else precision
        own_fp16 = wants_cpu and self.precision == "fp16"  # Accelerate refuses it on a CPU; torch has it
        self._accelerator = Accelerator(
            cpu=wants_cpu,
            mixed_precision="no" if own_fp16 or self.precision == "fp32" else self.precision,
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
        self._own_autocast = own_fp16
        self._scaler = torch.amp.GradScaler("cpu") if own_fp16 else self._accelerator.scaler
        if self._scaler is not None:
            self._scaler.load_state_dict({**self._scaler.state_dict(), "scale": loss_scale})

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

    def autocast(self) -> AbstractContextManager[object]:
        """Make a context in which layers compute in the run's precision.

        Returns:
            The context.
        """
        if self._own_autocast:
            return torch.autocast("cpu", dtype=torch.float16)
        return cast("AbstractContextManager[object]", self._accelerator.autocast())

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
        """Add this process's gradients to those that are there; in fp16 scaled.

        Args:
            loss: scalar.
        """
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def clip(self, optimizer: Optimizer, *, norm: float) -> Tensor:
        """Undo fp16's scale, and shorten the gradient when it is too long.

        Args:
            optimizer: whose gradients.
            norm: the longest; 0 for no limit.

        Returns:
            The length before, scalar.
        """
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        return torch.nn.utils.clip_grad_norm_(weights, norm or math.inf)

    def apply(self, optimizer: Optimizer) -> None:
        """Take the optimiser's step; in fp16 none where a gradient is not finite, and the scale follows.

        Args:
            optimizer: with gradients that were clipped.
        """
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    @property
    def loss_scale(self) -> float:
        """By what losses are multiplied now; 1 but for fp16."""
        return 1.0 if self._scaler is None else float(self._scaler.get_scale())

    @property
    def scaler(self) -> dict[str, float]:
        """What has to be saved of fp16's scale; empty without it."""
        return {} if self._scaler is None else dict(self._scaler.state_dict())

    def restore_scaler(self, saved: dict[str, float]) -> None:
        """Take over a saved scale.

        Args:
            saved: from `scaler`.
        """
        if self._scaler is not None and saved:
            self._scaler.load_state_dict(saved)

    def sum(self, values: Tensor) -> Tensor:
        """Add up over all processes.

        Args:
            values: of this process.

        Returns:
            The sums, the same on all processes.
        """
        if self.world == 1:
            return values
        with _in_touch():
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

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's values.

        Args:
            tensors: the same shapes on all processes; changed in place.
        """
        if self.world == 1 or not tensors:
            return
        with torch.no_grad(), _in_touch():
            for kind in dict.fromkeys(tensor.dtype for tensor in tensors):  # one message for each type
                same = [tensor for tensor in tensors if tensor.dtype == kind]
                flat = torch.cat([tensor.detach().reshape(-1) for tensor in same])
                flat = cast("Tensor", broadcast(flat, from_process=0))
                for tensor, part in zip(same, torch.split(flat, [t.numel() for t in same]), strict=True):
                    tensor.copy_(part.view(tensor.shape))

    def gather(self, values: Tensor) -> Tensor:
        """Collect a tensor from every process.

        Args:
            values: of this process, (N,); the same N on all.

        Returns:
            (processes, N) on the CPU, in the order of the ranks.
        """
        if self.world == 1:
            return values[None].cpu()
        with _in_touch():
            return cast("Tensor", self._accelerator.gather(values[None].to(self.device))).cpu()

    def close(self) -> None:
        """Wait until every process is here, and part, unless they were together before."""
        if self.world > 1 and self._opened:
            self._accelerator.wait_for_everyone()
            torch.distributed.destroy_process_group()

    def describe(self) -> str:
        """Say in words what trains.

        Returns:
            Such as ``2 processes on NVIDIA H200 (cuda:0), bf16``.
        """
        count = f"{self.world} {'process' if self.world == 1 else 'processes'}"
        return f"{count} on {describe_device(self.device)}, {self.precision}"


@contextmanager
def _in_touch() -> Iterator[None]:
    """That another process has died is no bug in those that are left."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise KinemaError(f"another process of this run has ended: see what it says ({reason})") from None
