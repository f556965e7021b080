"""Small restoration sets in the official layouts; the grey of a frame tells its clip and number."""

from pathlib import Path

import cv2
import numpy as np

LOW_HW = (4, 6)


def shade(clip: int, frame: int, *, sharp: bool) -> int:
    return (clip * 20 + frame * 3 + (1 if sharp else 0)) % 256


def write_frame(path: Path, value: int, size_hw: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size_hw, 3), value, np.uint8))


def write_clip(folder: Path, clip: int, frames: range | list[int], *, sharp: bool, scale: int = 4) -> None:
    size_hw = (LOW_HW[0] * scale, LOW_HW[1] * scale) if sharp else LOW_HW
    for frame in frames:
        write_frame(folder / f"{frame:08d}.png", shade(clip, frame, sharp=sharp), size_hw)


def write_lmdb(folder: Path, clips: dict[str, int], frames: range, *, sharp: bool) -> None:
    """An LMDB folder as BasicSR writes it, with the package lmdb alone."""
    import lmdb

    size_hw = (LOW_HW[0] * 4, LOW_HW[1] * 4) if sharp else LOW_HW
    lines = []
    environment = lmdb.open(str(folder), map_size=2**22)
    with environment.begin(write=True) as transaction:
        for name, clip in clips.items():
            for frame in frames:
                picture = np.full((*size_hw, 3), shade(clip, frame, sharp=sharp), np.uint8)
                key = f"{name}/{frame:08d}"
                transaction.put(key.encode(), cv2.imencode(".png", picture)[1].tobytes())
                lines.append(f"{key}.png ({size_hw[0]},{size_hw[1]},3) 1\n")
    environment.close()
    (folder / "meta_info.txt").write_text("".join(lines))
