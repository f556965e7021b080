"""Cut and flipped video files: sound frames or a `KinemaError`, never another exception, never a crash."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import clips
from kinema.errors import KinemaError
from kinema.io.video import Reader, probe
from kinema.io.video.cut import missing_bytes

MAKERS: dict[str, Callable[[Path], Path]] = {
    "clip.mp4": lambda path: clips.make_clip(path, frames=4, size_hw=(16, 24), audio="aac"),
    "clip.webm": lambda path: clips.make_clip(path, frames=4, size_hw=(16, 24), codec="libvpx-vp9"),
    "clip.mkv": lambda path: clips.make_clip(path, frames=4, size_hw=(16, 24), codec="ffv1", pix_fmt="bgr0"),
    "clip.avi": lambda path: clips.make_clip(path, frames=4, size_hw=(16, 24), codec="mpeg4"),
    "clip.ts": lambda path: clips.make_clip(path, frames=4, size_hw=(16, 24)),
}


@pytest.fixture(scope="module", params=list(MAKERS))
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whole clip of each container."""
    return MAKERS[request.param](tmp_path_factory.mktemp("fuzz") / request.param)


def read_all(path: Path) -> None:
    """Read a file to its end or to a plain error; whatever comes out is a picture of the stated size."""
    text = f"{path}"
    try:
        reader = Reader(path)
        for count, frame in enumerate(reader):
            assert frame.image.shape == (*reader.info.size_hw, 3)
            assert frame.image.dtype == np.uint8
            if count > 50:  # a damaged clock may promise any number of frames
                break
    except KinemaError as error:
        text = str(error)
    assert "\n" not in text
    assert str(path) in text


@given(keep=st.floats(0, 1))
@settings(max_examples=15)
def test_truncation(sample: Path, tmp_path: Path, keep: float) -> None:
    data = sample.read_bytes()
    path = tmp_path / sample.name
    path.write_bytes(data[: int(keep * len(data))])
    read_all(path)


@given(
    places=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12
    )
)
@settings(max_examples=30)
def test_flipped_bytes(sample: Path, tmp_path: Path, places: list[tuple[float, int]]) -> None:
    data = bytearray(sample.read_bytes())
    for place, value in places:
        data[int(place * len(data))] = value
    path = tmp_path / sample.name
    path.write_bytes(bytes(data))
    read_all(path)


@given(data=st.binary(max_size=300), name=st.sampled_from(list(MAKERS)))
@settings(max_examples=40)
def test_noise(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    read_all(path)
    assert missing_bytes(path) >= 0


@pytest.mark.parametrize(
    "start", [b"\x00\x00\x00\x18ftypmp42", b"\x1a\x45\xdf\xa3", b"RIFF\xff\xff\xff\xffAVI "]
)
def test_headers_with_nothing_behind(tmp_path: Path, start: bytes) -> None:
    for fill in (b"", bytes(64), b"\xff" * 64):
        path = tmp_path / "clip.mp4"
        path.write_bytes(start + fill)
        with pytest.raises(KinemaError):
            probe(path)


HUGE = """
import resource, sys
from kinema.errors import InputError
from kinema.io.video import Reader
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    for frame in Reader(sys.argv[1]): pass
except InputError:
    print("refused")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs peak memory of a process")
def test_a_size_that_only_the_header_claims_is_not_allocated(tmp_path: Path) -> None:
    path = clips.make_clip(tmp_path / "clip.avi", frames=2, size_hw=(16, 24), codec="ffv1", pix_fmt="bgr0")
    data = path.read_bytes()
    size = (24).to_bytes(4, "little") + (16).to_bytes(4, "little")
    assert size in data
    path.write_bytes(data.replace(size, (60000).to_bytes(4, "little") + (50000).to_bytes(4, "little")))
    done = subprocess.run([sys.executable, "-c", HUGE, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\nTrue\n"
