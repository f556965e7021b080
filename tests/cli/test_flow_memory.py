"""Memory of `kinema flow` with a network: no more for long clips, and bounded by tiles for large frames."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from helpers import clips
from helpers.command import process
from kinema.io.flow import read_flow
from kinema.io.images import write_image
from kinema.io.video import probe

pytestmark = pytest.mark.slow

NETWORK = ("--model", "pwcnet", "--weights", "random", "--device", "cpu", "-q")
GIB = 2**30


def peak_bytes(*words: object, threads: int) -> int:
    """Peak resident memory of `kinema WORDS`, which must succeed."""
    running = process(*words, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    _, status, usage = os.wait4(running.pid, 0)
    running.returncode = os.waitstatus_to_exitcode(status)
    assert running.stderr is not None
    assert running.returncode == 0, running.stderr.read()
    return 1024 * usage.ru_maxrss


def test_a_network_needs_the_same_memory_for_50_and_500_frames(tmp_path: Path) -> None:
    peaks = []
    for frames in (50, 500):
        source = clips.ntsc_clip(tmp_path / f"clip{frames}.mp4", frames=frames, size_hw=(64, 96))
        words = ("flow", source, "-o", tmp_path / f"flow{frames}.mp4", *NETWORK)
        peaks.append(peak_bytes(*words, threads=1))  # frames so small are slower with more
        assert probe(tmp_path / f"flow{frames}.mp4").frame_count == frames
    assert abs(peaks[1] - peaks[0]) < 0.05 * peaks[0], peaks


def test_a_4k_pair_in_tiles_fits_in_8_gib(tmp_path: Path) -> None:
    y, x = np.mgrid[:2160, :3840].astype(np.float32)
    waves = np.sin(x / 11) + np.cos(y / 7) + np.sin((x + 2 * y) / 37)
    picture = np.repeat((127.5 + 40 * waves).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    write_image(tmp_path / "1.png", picture)
    write_image(tmp_path / "2.png", np.roll(picture, (2, -3), axis=(0, 1)))
    words = ("flow", tmp_path / "1.png", tmp_path / "2.png", "-o", tmp_path / "flow.flo", *NETWORK)
    peak = peak_bytes(*words, "--precision", "fp32", "--tile", 1024, threads=os.cpu_count() or 1)
    assert peak < 8 * GIB, peak / GIB
    flow = read_flow(tmp_path / "flow.flo").flow
    assert flow.shape == (2160, 3840, 2)
    assert np.isfinite(flow).all()
