"""What callers hand in as frames: memory of every layout, and mistakes that deserve a clear sentence."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.errors import InputError
from kinema.inference.frames import check_image_tensor, frame_tensor
from kinema.inference.loading import load

IMAGE = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
UNIT = IMAGE.astype(np.float32) / np.float32(255)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "same",
    [
        IMAGE,
        np.asfortranarray(IMAGE),
        np.ascontiguousarray(IMAGE[::-1, ::-1])[::-1, ::-1],
        np.repeat(IMAGE, 2, axis=1)[:, ::2],
        read_only(IMAGE),
        IMAGE.astype(np.uint16) * np.uint16(257),
        (IMAGE.astype(np.uint16) * np.uint16(257)).astype(">u2"),
        UNIT,
        read_only(UNIT),
        read_only(np.ascontiguousarray(UNIT.transpose(2, 0, 1))).transpose(1, 2, 0),
        UNIT.astype(np.float64),
        UNIT.astype(">f4"),
    ],
)
def test_memory_layout_and_type_do_not_matter(same):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = frame_tensor(same, name="frame 1")
    assert tensor.shape == (1, 3, 12, 16)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor[0].permute(1, 2, 0), torch.from_numpy(UNIT.copy()))


def test_a_caller_may_reuse_its_memory():
    buffer = np.ascontiguousarray(UNIT.transpose(2, 0, 1))
    tensor = frame_tensor(buffer.transpose(1, 2, 0), name="frame 1")
    buffer[:] = 0
    assert torch.equal(tensor[0].permute(1, 2, 0), torch.from_numpy(UNIT.copy()))


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (IMAGE.astype(np.float32), "frame 1 has values from 0 to 255: .* in [0, 1]; divide by 255"),
        (-UNIT, "from -1 to .*; scale it"),
        (np.full((4, 4, 3), np.nan), "not finite"),
        (IMAGE[..., 0], "shape (12, 16): an RGB image is (H, W, 3)"),
        (IMAGE.astype(np.int64), "frame 1 is int64: use uint8, uint16"),
        (IMAGE.tolist(), "is a list: give an (H, W, 3) array"),
        ("frame.png", "is a str: .*read_image reads one"),
        (torch.zeros(1, 3, 4, 4), "is a Tensor: .*flow()"),
    ],
)
def test_what_is_no_image_is_named(frame, sentence):
    pattern = re.escape(sentence).replace(r"\.\*", ".*")
    with pytest.raises(InputError, match=pattern):
        frame_tensor(frame, name="frame 1")


def test_a_tensor_that_records_gradients_is_checked_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_image_tensor(torch.rand(1, 3, 4, 4, requires_grad=True), name="image1")


def test_the_name_of_a_video_is_not_taken_for_its_frames():
    model = load("tvnet")
    for name in ("clip.mp4", Path("clip.mp4")):
        with pytest.raises(InputError, match=r"Reader\('clip.mp4'\)"):
            next(model.stream(name))
