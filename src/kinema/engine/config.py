"""The settings of the training loop. Importing it imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from tyro.conf import arg

from kinema.engine.patterns import names, numbers, pairs

CONFIG_FILE = "config.json"
"""Name of the file in a run's folder that holds its recipe and its settings."""

CONTINUABLE = frozenset(
    {"steps", "decay_steps", "out", "device", "workers", "accumulate", "recompute", "compile"}
    | {
        "log_every",
        "epoch_steps",
        "checkpoint_every",
        "validate_every",
        "picture_every",
        "keep_states",
        "keep_best",
    }
    | {"trackers", "non_finite", "most_skipped", "unreadable"}
)
"""Fields that a resumed run may change: none alters what the steps before have done, but for rounding."""

GROUPS = {
    title: tuple(fields.split())
    for title, fields in {
        "the run": "steps batch_size seed out",
        "device and memory": "device precision loss_scale channels_last accumulate recompute compile",
        "optimiser": "optimizer learning_rate beta1 beta2 epsilon momentum weight_decay decay_biases "
        "rate_factors first_only first_only_steps clip_norm ema_decay",
        "schedule of the learning rate": "schedule warmup_steps decay_steps milestones milestone_factor "
        "periods period_weights restarts lowest_rate half_cycle anneal start_divisor end_divisor decay_shape "
        "decay_from decay_span",
        "when something is wrong": "unreadable non_finite most_skipped",
        "log and files": "log_every epoch_steps checkpoint_every validate_every picture_every keep_states "
        "keep_best best_metric best_is trackers",
    }.items()
}
"""Titles of the help with the fields below them."""

Schedule = Literal["wsd", "constant", "multistep", "onecycle", "cosine", "triangular2", "decay"]


class LoopConfig(BaseModel):
    """What the loop itself needs to know; recipes add their model, data and objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    steps: int = Field(default=100_000, ge=1, description="How many optimiser steps the run has.")
    batch_size: int = Field(default=8, ge=1, description="Samples per step, over all devices together.")
    accumulate: int = Field(
        default=1, ge=1, description="Parts in which a device computes its samples, to need less memory."
    )
    seed: int = Field(default=0, ge=0, description="Decides weights at the start, data and augmentation.")
    out: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None, description="The run's folder; default: runs/RECIPE."
    )

    device: str = Field(
        default="auto", description="auto, cpu, or a kind such as cuda; auto takes an accelerator."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="What the layers compute in; weights are kept in fp32 always."
    )
    loss_scale: float = Field(
        default=65536.0, gt=0, description="[fp16] The loss's factor at first; halved at every overflow."
    )
    channels_last: bool = Field(default=True, description="Keep colours beside each other in memory.")
    recompute: Annotated[str, arg(metavar="NAME,...")] = Field(
        default="",
        description="Parts of the network that are computed again in the backward pass instead of kept: "
        "slower, but less memory. Patterns such as blocks.*",
    )
    compile: bool = Field(
        default=False, description="Compile the network where a compiler is found (torch.compile)."
    )

    optimizer: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="The optimiser.")
    learning_rate: float = Field(default=4e-4, gt=0, description="The schedule's largest rate.")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="[adam, adamw] Memory of the mean.")
    beta2: float = Field(default=0.999, ge=0, lt=1, description="[adam, adamw] Memory of the square.")
    epsilon: float = Field(default=1e-8, gt=0, description="[adam, adamw] Added to the root.")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="[sgd] Its momentum.")
    weight_decay: float = Field(
        default=1e-4, ge=0, description="Pulls weights to zero: adamw's beside the gradient, others' in it."
    )
    decay_biases: bool = Field(
        default=True, description="Decay biases and normalisation too, not the kernels alone."
    )
    rate_factors: Annotated[str, arg(metavar="NAME:FACTOR,...")] = Field(
        default="",
        description="Parameters with a rate of their own: *offset*:0.1 is a tenth. The first match counts.",
    )
    first_only: Annotated[str, arg(metavar="NAME,...")] = Field(
        default="", description="Only these parameters learn before step --first-only-steps: *fusion*"
    )
    first_only_steps: int = Field(default=0, ge=0, description="[first_only] From here on all learn.")
    clip_norm: float = Field(
        default=1.0, ge=0, description="Longest gradient, over all weights together; 0 is no limit."
    )
    ema_decay: float = Field(
        default=0.999, ge=0, lt=1, description="Of the moving average of the weights; 0 is no average."
    )

    schedule: Schedule = Field(
        default="wsd",
        description="Of the rate: wsd (warm-up, stable, decay), constant, multistep, onecycle, cosine (with "
        "restarts), triangular2 (cycles of half the height each), decay (late, as UFlow's).",
    )
    warmup_steps: int = Field(
        default=1000, ge=0, description="[all but constant, triangular2] Steps until the rate is whole."
    )
    decay_steps: int = Field(
        default=0, ge=0, description="[wsd] The last steps of the run, in which the rate falls to zero."
    )
    milestones: Annotated[str, arg(metavar="STEP[:FACTOR],...")] = Field(
        default="",
        description="[multistep] From each step on, FACTOR times the learning rate; without it the rate "
        "before times --milestone-factor.",
    )
    milestone_factor: float = Field(default=0.5, gt=0, description="[multistep] See --milestones.")
    periods: Annotated[str, arg(metavar="STEPS,...")] = Field(
        default="", description="[cosine] Lengths of the falls; the rate restarts between them."
    )
    period_weights: Annotated[str, arg(metavar="WEIGHT,...")] = Field(
        default="", description="[cosine] Height of each period; default: 1."
    )
    restarts: Literal["basicsr", "ascend"] = Field(
        default="basicsr",
        description="[cosine] basicsr: a period ends at the lowest rate, which is the same in all; ascend: "
        "the next one begins instead, and weights scale the lowest rate too.",
    )
    lowest_rate: float = Field(
        default=0.0, ge=0, description="[cosine, triangular2] Where the rate starts or ends."
    )
    half_cycle: int = Field(default=0, ge=0, description="[triangular2] Steps from lowest to highest.")
    anneal: Literal["linear", "cosine"] = Field(default="linear", description="[onecycle] Shape.")
    start_divisor: float = Field(default=25.0, ge=1, description="[onecycle] Largest rate over the first.")
    end_divisor: float = Field(default=1e4, ge=1, description="[onecycle] First rate over the last.")
    decay_shape: Literal["exponential", "linear", "cosine"] = Field(
        default="exponential", description="[decay] exponential halves the rate every --decay-span steps."
    )
    decay_from: int = Field(default=0, ge=0, description="[decay] The step at which it begins.")
    decay_span: int = Field(default=0, ge=0, description="[decay] Steps to a half, or to zero.")

    workers: int = Field(default=1, ge=0, description="Processes that prepare data ahead; 0 is none.")
    unreadable: Literal["stop", "skip"] = Field(
        default="stop", description="What a sample that cannot be read does: skip takes another and counts."
    )
    non_finite: Literal["stop", "skip"] = Field(
        default="stop", description="What a loss or gradient that is no finite number does to the run."
    )
    most_skipped: int = Field(
        default=10, ge=1, description="[non_finite skip] So many skipped steps in a row stop the run."
    )
    epoch_steps: int = Field(
        default=0, ge=0, description="Steps of an epoch, which the log then counts too; 0 is none."
    )
    log_every: int = Field(default=50, ge=1, description="Steps between lines of the log.")
    checkpoint_every: int = Field(default=1000, ge=1, description="Steps between saved states.")
    validate_every: int = Field(default=1000, ge=1, description="Steps between validations.")
    picture_every: int = Field(
        default=5000, ge=0, description="Steps between pictures of predictions; 0 is none."
    )
    keep_states: int = Field(default=2, ge=1, description="How many of the newest states are kept.")
    keep_best: int = Field(default=1, ge=1, description="How many of the best weights are kept.")
    best_metric: str = Field(
        default="", description="Which metric of the validation chooses them; default: the recipe's."
    )
    best_is: Literal["lowest", "highest"] = Field(default="lowest", description="Which value is best.")
    trackers: Annotated[str, arg(metavar="NAME,...")] = Field(
        default="", description="Also log to tensorboard, wandb, mlflow, ... (those of Accelerate)."
    )

    @field_validator("rate_factors", "milestones", "periods", "period_weights")
    @classmethod
    def _can_be_read(cls, text: str, info: object) -> str:
        field = getattr(info, "field_name", "")
        if field in ("rate_factors", "milestones"):
            pairs(text, steps=field == "milestones")
        else:
            numbers(text)
        return text

    @model_validator(mode="after")
    def _schedule_is_whole(self) -> LoopConfig:
        needed = {
            "multistep": "milestones",
            "cosine": "periods",
            "triangular2": "half_cycle",
            "decay": "decay_span",
        }
        field = needed.get(self.schedule)
        if field is not None and not getattr(self, field):
            raise ValueError(f"--schedule {self.schedule} needs --{field.replace('_', '-')}")
        if self.schedule == "onecycle" and self.warmup_steps >= self.steps:
            raise ValueError(f"--schedule onecycle: --warmup-steps must be less than --steps {self.steps}")
        weights = numbers(self.period_weights)
        if weights and len(weights) != len(numbers(self.periods)):
            raise ValueError("--period-weights needs as many numbers as --periods")
        if bool(names(self.first_only)) != bool(self.first_only_steps):
            raise ValueError("--first-only and --first-only-steps need each other")
        return self
