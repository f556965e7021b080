"""What files do to rendered frames: JPEG and MPEG-4 compression, on the CPU."""

from __future__ import annotations

import io

import av
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.procedural.scene_batch import SceneBatch

Frame = NDArray[np.uint8]
"""(H, W, 3) RGB."""


def through_files(scene: SceneBatch, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Compress the frames of those scenes whose plans say so.

    Args:
        scene: whose plans are asked.
        first: (B, 3, H, W) in [0, 1], multiples of 1/255; frames 1.
        second: frames 2.

    Returns:
        Both, as they come back from the files.
    """
    for row, plan in enumerate(scene.plans):
        pair = None
        if plan.effects.video:
            pair = through_video([_array(first[row]), _array(second[row])], quantiser=plan.effects.video)
        elif plan.effects.jpeg:
            pair = [through_jpeg(_array(frames[row]), plan.effects.jpeg) for frames in (first, second)]
        if pair is not None:
            first[row], second[row] = (_tensor(frame, first.device) for frame in pair)
    return first, second


def through_jpeg(frame: Frame, quality: int) -> Frame:
    """Write and read a JPEG file in memory.

    Args:
        frame: the picture.
        quality: 1 to 100.

    Returns:
        The picture with the file's errors.
    """
    # The order of channels is only a name here, but chroma is made from it: OpenCV takes BGR.
    _, data = cv2.imencode(
        ".jpg", np.ascontiguousarray(frame[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def through_video(frames: list[Frame], *, quantiser: int) -> list[Frame]:
    """Write and read an MPEG-4 video in memory: the first frame by itself, the others predicted from it.

    Args:
        frames: of one size.
        quantiser: 2 is fine, 31 coarse.

    Returns:
        As many frames, with the video's errors.
    """
    height, width = frames[0].shape[:2]
    margin = ((0, height % 2), (0, width % 2), (0, 0))  # colour is stored at half the size
    store = io.BytesIO()
    with av.open(store, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        stream.options = {"qmin": str(quantiser), "qmax": str(quantiser)}
        for frame in frames:
            padded = np.pad(frame, margin, mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")))
        container.mux(stream.encode())
    store.seek(0)
    with av.open(store, "r") as source:
        decoded = [np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in source.decode(video=0)]
    return [frame[:height, :width] for frame in decoded]


def _array(frame: Tensor) -> Frame:
    return (frame * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def _tensor(frame: Frame, device: torch.device) -> Tensor:
    return (
        torch.from_numpy(np.ascontiguousarray(frame)).to(device).permute(2, 0, 1).to(torch.float32).div_(255)
    )
