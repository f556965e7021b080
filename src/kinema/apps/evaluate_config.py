"""What `kinema evaluate` can be told. Importing it imports neither torch nor a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from tyro.conf import Positional, arg


class EvaluateConfig(BaseModel):
    """Errors against known truth, by a named protocol."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    model: Annotated[Positional[str | None], arg(metavar="[MODEL]")] = Field(
        default=None, description="Which model to evaluate; zero is the flow that is zero everywhere."
    )
    data: Annotated[str | None, arg(metavar="SPEC")] = Field(
        default=None,
        description="NAME[-VARIANT][@SPLIT]:PATH, as in sintel-clean:/data/sintel; several joined by commas. "
        "Names: middlebury, sintel-clean, sintel-final, kitti2012, kitti2015, flyingchairs, flyingchairs2, "
        "flyingthings-clean, flyingthings-final, custom, and procedural (no path). With --predictions also "
        "those of depth, camera paths and restored video: kinema data list.",
    )
    predictions: Annotated[Path | None, arg(metavar="PATH")] = Field(
        default=None,
        description="Instead of MODEL: results made by anyone, a file or a folder: flow, depth maps, camera "
        "paths or restored frames, as the protocol says.",
    )
    truth: Annotated[Path | None, arg(metavar="PATH")] = Field(
        default=None,
        description="With --predictions: the truth, a file or a folder with the same names; or else --data.",
    )
    protocol: Annotated[str | None, arg(metavar="NAME")] = Field(
        default=None,
        description="How to score, such as sintel, kitti15, eigen-80, snippet-ate-5, trajectory-sim3, "
        "kitti-odometry, reds4 or vid4-y; see docs/protocols.md. Default: the data set's own.",
    )
    submission: Annotated[Path | None, arg(metavar="DIR")] = Field(
        default=None,
        description="Write the flow of a benchmark's test part to this folder, as its server wants it: "
        "--data sintel-clean@test:PATH,sintel-final@test:PATH, kitti2015@testing:PATH or "
        "kitti2012@testing:PATH.",
    )
    depth_steps: Annotated[float, arg(metavar="N")] = Field(
        default=256.0,
        gt=0,
        description="Steps per metre in 16-bit depth pictures: 256 in KITTI, 1000 for millimetres.",
    )
    preset: Annotated[str | None, arg(metavar="NAME")] = Field(
        default=None, description="A named set of the model's settings."
    )
    weights: Annotated[str | None, arg(metavar="FILE|DIR|hf:REPO")] = Field(
        default=None,
        description="A file of weights (.safetensors), or a hosted one, hf:OWNER/NAME[/FILE]; without it "
        "those that come with kinema. A folder: every file of weights in it, one table.",
    )
    device: str = Field(default="auto", description="Where to compute: auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="fp32", description="The number format to compute in."
    )
    refine: Literal["none", "tvl1"] = Field(
        default="none", description="tvl1 polishes a network's flow by variational iterations at full size."
    )
    scales: int | None = Field(
        default=None, ge=1, le=100, description="tvnet: levels of the pyramid, as far as the frames allow."
    )
    warps: int | None = Field(default=None, ge=1, le=10_000, description="tvnet: warps on each level.")
    iterations: int | None = Field(
        default=None, ge=1, le=1_000_000, description="tvnet: iterations for each warp."
    )
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write the result, with every pair's own, to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace files that exist.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Print no table.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(
        default=False, description="Also print every pair."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.predictions is not None or self.truth is not None:
            self._check_files()
        elif self.model is None or self.data is None:
            missing = "MODEL (such as tvnet)" if self.model is None else "--data SPEC"
            raise ValueError(
                f"{missing} is missing: give MODEL and --data, or --predictions, --truth and --protocol"
            )
        return self

    def _check_files(self) -> None:
        if self.predictions is not None and self.truth is not None and self.data is not None:
            raise ValueError("--truth and --data both name the truth: leave one of them out")
        needed = {"--predictions": self.predictions, "--truth": self.truth, "--protocol": self.protocol}
        if self.data is not None:  # a data set knows its truth and its protocol
            needed = {"--predictions": self.predictions}
        missing = [option for option, value in needed.items() if value is None]
        if missing:
            raise ValueError(
                f"{' and '.join(missing)} missing: --predictions, --truth and --protocol go together"
            )
        unused = {
            "MODEL": self.model,
            "--preset": self.preset,
            "--weights": self.weights,
            "--submission": self.submission,
            "--refine": None if self.refine == "none" else self.refine,
        }
        given = [option for option, value in unused.items() if value is not None]
        if given:
            raise ValueError(f"{' and '.join(given)} cannot be used with --predictions: files need no model")

    def model_options(self) -> dict[str, object]:
        """Collect the single settings of the model that were given.

        Returns:
            By name, without those left to the preset.
        """
        options = {"scales": self.scales, "warps": self.warps, "iterations": self.iterations}
        return {name: value for name, value in options.items() if value is not None}
