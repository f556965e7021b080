"""What `kinema flow` can be told. Importing it imports neither torch nor a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from tyro.conf import Positional, UseAppendAction, arg

from kinema.models import DEFAULT_FLOW_MODEL

FlowFormat = Literal["flo", "png16", "pfm", "npz", "mat", "viz", "video", "bounded8"]
"""A way to write flow: see `FlowConfig.format`."""

VideoCodec = Literal["auto", "h264", "hevc", "vp9", "av1", "ffv1"]
"""How a video is compressed; vp9 and av1 need neither x264 nor x265."""


_LONGEST_S = 1e9  # thirty years: a larger number is a mistake


def _place(out: object) -> object:
    """Text, not a `Path`, which would forget that a name ends in a slash."""
    # Not min_length: counting characters, pydantic refuses names that are not UTF-8.
    if out == "":
        raise ValueError("--out is empty: name a file or a folder")
    return os.fspath(out) if isinstance(out, os.PathLike) else out


class FlowConfig(BaseModel):
    """Optical flow of image pairs, image sequences and videos."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")] = Field(
        min_length=1,
        description="Two images, three or more images, a folder of images, a quoted pattern, or videos.",
    )
    out: Annotated[str, BeforeValidator(_place), arg(aliases=("-o",), metavar="OUT")] = Field(
        description="Where to write: one file when the name has a suffix (.flo .png .pfm .npz .mat "
        ".mp4 .mkv .webm), otherwise a folder.",
    )
    format: Annotated[UseAppendAction[tuple[FlowFormat, ...]], arg(metavar="FORMAT")] = Field(
        default=(),
        description="flo, png16 (KITTI), pfm, npz, mat: the numbers; viz: colour pictures; video: a colour "
        "video; bounded8: x and y as 8-bit pictures. Can be given several times. Without it the suffix of "
        "OUT decides; in a folder images give flo and viz, a video gives a video.",
    )
    backward: bool = Field(default=False, description="Also write the flow from frame 2 to frame 1.")
    occlusion: bool = Field(
        default=False, description="Also write which pixels of frame 1 are hidden in frame 2 (white)."
    )
    confidence: bool = Field(
        default=False, description="Also write how well both directions agree, from 0 (black) to 1 (white)."
    )
    max_flow: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="viz, video: the motion in pixels that has full colour. Without it each picture has its "
        "own scale, and that of a video changes smoothly.",
    )
    side_by_side: bool = Field(default=False, description="viz, video: the frame beside its flow.")
    bound: float = Field(
        default=20.0,
        gt=0,
        allow_inf_nan=False,
        description="bounded8: the largest motion kept, in pixels; grey 0 to 255 are -bound to +bound.",
    )
    codec: VideoCodec = Field(
        default="auto",
        description="video: how it is compressed: auto (VP9 in .webm, else H.264), h264, hevc, vp9, av1, "
        "ffv1 (lossless, in .mkv).",
    )
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Also write what was done, with versions and settings, to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace files that exist; without it they are kept.")
    start: float | None = Field(
        default=None,
        ge=0,
        le=_LONGEST_S,
        description="Begin here: seconds of a video, number of an image counted from 0.",
    )
    end: float | None = Field(
        default=None, gt=0, le=_LONGEST_S, description="Stop before this: seconds or number, as --start."
    )
    stride: int = Field(default=1, ge=1, description="Use every n-th frame.")
    max_side: int | None = Field(
        default=None,
        ge=1,
        description="Compute with the longer side reduced to this many pixels; results keep the full size.",
    )
    model: str = Field(default=DEFAULT_FLOW_MODEL, description="Which model computes the flow.")
    preset: str | None = Field(
        default=None, description="A named set of the model's settings; of tvnet: corrected, reference."
    )
    weights: Annotated[str | None, arg(metavar="FILE|hf:REPO")] = Field(
        default=None,
        description="A file of weights (.safetensors), or a hosted one, hf:OWNER/NAME[/FILE]; without it "
        "those that come with kinema (kinema weights list). tvnet needs none.",
    )
    refine: Literal["auto", "none", "tvl1"] = Field(
        default="auto",
        description="tvl1 polishes a network's flow by variational iterations at full size; auto does so "
        "with the weights that come with kinema.",
    )
    scales: int | None = Field(
        default=None, ge=1, le=100, description="tvnet: levels of the pyramid, as far as the frames allow."
    )
    warps: int | None = Field(default=None, ge=1, le=10_000, description="tvnet: warps on each level.")
    iterations: int | None = Field(
        default=None, ge=1, le=1_000_000, description="tvnet: iterations for each warp."
    )
    warm_start: bool = Field(default=False, description="Start each pair from the flow of the pair before.")
    device: str = Field(default="auto", description="Where to compute: auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="The number format to compute in; tvnet always uses fp32."
    )
    tile: int | None = Field(
        default=None,
        ge=64,
        description="Compute in overlapping squares of this many pixels a side, to save memory on large "
        "frames; without it in one piece.",
    )
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")
