"""The settings of the training loop. Importing it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import arg

CONFIG_FILE = "config.json"
"""Name of the file in a run's folder that holds its recipe and its settings."""

CONTINUABLE = frozenset(
    {"steps", "decay_steps", "out", "device", "workers", "log_every", "checkpoint_every", "validate_every"}
)
"""Fields that a resumed run may change: none of them alters what the steps before have done."""


class LoopConfig(BaseModel):
    """What the loop itself needs to know; recipes add their model, data and objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    steps: int = Field(default=100_000, ge=1, description="How many optimiser steps the run has.")
    batch_size: int = Field(default=8, ge=1, description="Samples per step, over all devices together.")
    seed: int = Field(default=0, ge=0, description="Decides weights at the start, data and augmentation.")
    out: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None, description="The run's folder; default: runs/RECIPE."
    )
    device: str = Field(
        default="auto", description="auto, cpu, or a kind such as cuda; auto takes an accelerator."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="What the layers compute in; weights are kept in fp32 always."
    )
    channels_last: bool = Field(default=True, description="Keep colours beside each other in memory.")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="The optimiser.")
    learning_rate: float = Field(default=4e-4, gt=0, description="Of the constant part of the schedule.")
    weight_decay: float = Field(default=1e-4, ge=0, description="AdamW's, decoupled from the gradient.")
    clip_norm: float = Field(default=1.0, gt=0, description="Longest gradient, over all weights together.")
    ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description="Of the moving average of the weights; 0 is no average."
    )
    warmup_steps: int = Field(default=1000, ge=0, description="Steps until the rate is whole.")
    decay_steps: int = Field(
        default=0, ge=0, description="The last steps of the run, in which the rate falls to zero."
    )
    workers: int = Field(default=1, ge=0, description="Processes that prepare data ahead; 0 is none.")
    log_every: int = Field(default=50, ge=1, description="Steps between lines of the log.")
    checkpoint_every: int = Field(default=1000, ge=1, description="Steps between saved states.")
    validate_every: int = Field(default=1000, ge=1, description="Steps between validations.")
    keep_states: int = Field(default=2, ge=1, description="How many of the newest states are kept.")
