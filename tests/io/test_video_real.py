"""Long and real videos: bounded memory, and the clips of the reference data carried over whole."""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from helpers import clips
from helpers.video_checks import copy_clip, run_python, sound_packets
from kinema.io.video import Reader, probe

NTSC = Fraction(30000, 1001)


PEAK = """
import json, resource, sys
from pathlib import Path
from kinema.io.video import Reader, Writer
source, target = Path(sys.argv[1]), Path(sys.argv[2])
reader, count = Reader(source), 0
with Writer(target, size_hw=reader.info.size_hw, rate=reader.info.rate, audio_from=source) as writer:
    for frame in reader:
        writer.write(frame.image, time=frame.time)
        count += 1
print(json.dumps({"count": count, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs peak memory of a process")
def test_peak_memory_does_not_grow_with_the_number_of_frames(tmp_path: Path) -> None:
    peaks = {}
    for count in (50, 400):
        path = clips.sound_clip(tmp_path / f"{count}.mp4", frames=count, size_hw=(180, 320))
        done = run_python(PEAK, str(path), str(tmp_path / f"out{count}.mp4"))
        report = json.loads(done.stdout)
        assert report["count"] == count
        peaks[count] = report["peak"]
    assert peaks[400] < 1.05 * peaks[50]


@pytest.fixture
def real_clips(shared: Path) -> Path:
    folder = shared / "data" / "clips"
    if not folder.is_dir():
        pytest.skip("needs reference data: data/clips")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rate", "count", "size_hw", "sound"),
    [
        ("bikes.mp4", Fraction(25), 250, (272, 640), False),
        ("bigbuckbunny.mp4", Fraction(25), 132, (720, 1280), True),
        ("carphone_pristine.mp4", NTSC, 120, (144, 176), False),
        ("cockatoo.mp4", Fraction(20), 280, (720, 1280), True),
    ],
)
def test_real_clips_are_carried_over(
    tmp_path: Path,
    real_clips: Path,
    name: str,
    rate: Fraction,
    count: int,
    size_hw: tuple[int, int],
    sound: bool,
) -> None:
    source, target = real_clips / name, tmp_path / name
    before = copy_clip(source, target)
    after = probe(target)
    assert (before.rate, before.frame_count, before.size_hw, before.has_audio) == (
        rate,
        count,
        size_hw,
        sound,
    )
    assert (after.rate, after.frame_count, after.size_hw, after.has_audio) == (rate, count, size_hw, sound)
    assert after.duration == before.duration == count / rate
    for old, new in zip(Reader(source, stride=40), Reader(target, stride=40), strict=True):
        assert old.time == new.time
        assert np.abs(old.image.astype(float) - new.image).mean() < 4
    if sound:
        assert [data for _, data in sound_packets(target)] == [data for _, data in sound_packets(source)]
