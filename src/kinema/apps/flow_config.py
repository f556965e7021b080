"""What `kinema flow` can be told. Importing it imports neither torch nor a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import Positional, UseAppendAction, arg

FlowFormat = Literal["flo", "png16", "pfm", "npz", "mat", "viz", "video", "bounded8"]
"""A way to write flow: see `FlowConfig.format`."""

VideoCodec = Literal["auto", "h264", "hevc", "vp9", "av1", "ffv1"]
"""How a video is compressed; vp9 and av1 need neither x264 nor x265."""


class FlowConfig(BaseModel):
    """Optical flow of image pairs, image sequences and videos."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")] = Field(
        min_length=1, description="Two images, more images, a folder, a quoted glob, or videos."
    )
    out: Annotated[Path, arg(aliases=("-o",), metavar="OUT")] = Field(
        description="A file when it has a suffix, otherwise a folder."
    )
    model: str = Field(default="tvnet", description="Which model computes the flow.")
    preset: str | None = Field(default=None, description="A named set of the model's settings.")
    weights: str | None = Field(default=None, description="A file of weights, or hf:REPO.")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, ...")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="The number format to compute in."
    )
    format: UseAppendAction[tuple[FlowFormat, ...]] = Field(
        default=(),
        description="How to write flow; repeatable. flo, png16 (KITTI), pfm, npz, mat: the numbers; "
        "viz: colour pictures; video: a colour video; bounded8: x and y as 8-bit pictures of -bound..bound. "
        "Without it the suffix of OUT decides, or flo and viz for images, video for a video.",
    )
    backward: bool = Field(default=False, description="Also write the flow from frame 2 to frame 1.")
    occlusion: bool = Field(
        default=False, description="Also write which pixels are hidden in frame 2 (white)."
    )
    confidence: bool = Field(
        default=False, description="Also write how well both directions agree (white: well)."
    )
    tile: int | None = Field(
        default=None,
        ge=64,
        description="Compute in overlapping tiles of this many pixels a side: large frames.",
    )
    max_side: int | None = Field(
        default=None,
        ge=1,
        description="Compute with the longer side reduced to this; results have the full size.",
    )
    start: float | None = Field(
        default=None, ge=0, description="Begin here: seconds of a video, number of an image."
    )
    end: float | None = Field(
        default=None, gt=0, description="Stop before this: seconds of a video, number of an image."
    )
    stride: int = Field(default=1, ge=1, description="Use every n-th frame.")
    scales: int | None = Field(default=None, ge=1, description="tvnet: levels of the pyramid.")
    warps: int | None = Field(default=None, ge=1, description="tvnet: warps per level.")
    iterations: int | None = Field(default=None, ge=1, description="tvnet: iterations per warp.")
    warm_start: bool = Field(default=False, description="Start each pair from the flow of the pair before.")
    bound: float = Field(
        default=20.0, gt=0, description="bounded8: the largest displacement kept, in pixels."
    )
    max_flow: float | None = Field(
        default=None,
        gt=0,
        description="Pixels of motion at full colour. "
        "Without it pictures are scaled one by one, videos smoothly.",
    )
    side_by_side: bool = Field(default=False, description="viz, video: the frame beside its flow.")
    codec: VideoCodec = Field(default="auto", description="How a video is compressed.")
    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write what was done to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace files that exist.")
    quiet: Annotated[bool, arg(aliases=("-q",))] = Field(default=False, description="Say nothing but errors.")
    verbose: Annotated[bool, arg(aliases=("-v",))] = Field(default=False, description="Say more.")
