"""Small data sets in the official layouts, written byte by byte: independent of kinema's own writers."""

import struct
from pathlib import Path

import cv2
import numpy as np


def write_flo(path: Path, flow: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = flow.shape[:2]
    path.write_bytes(struct.pack("<fii", 202021.25, width, height) + flow.astype("<f4").tobytes())


def write_kitti(path: Path, flow: np.ndarray, valid: np.ndarray) -> None:
    stored = np.zeros((*valid.shape, 3), np.uint16)
    stored[..., 2] = np.rint(flow[..., 0] * 64 + 32768)  # OpenCV writes BGR: red is x
    stored[..., 1] = np.rint(flow[..., 1] * 64 + 32768)
    stored[..., 0] = valid
    write_picture(path, np.where(valid[..., None], stored, 0).astype(np.uint16))


def write_picture(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def frame(size_hw: tuple[int, int], shade: int) -> np.ndarray:
    return np.full((*size_hw, 3), shade, np.uint8)


def constant(size_hw: tuple[int, int], x: float, y: float) -> np.ndarray:
    return np.broadcast_to(np.float32([x, y]), (*size_hw, 2)).copy()


def middlebury(root: Path, scenes: dict[str, np.ndarray]) -> Path:
    for scene, flow in scenes.items():
        write_flo(root / "other-gt-flow" / scene / "flow10.flo", flow)
        for number in (10, 11):
            write_picture(
                root / "other-data" / scene / f"frame{number}.png", frame(flow.shape[:2], 10 * number)
            )
    return root


def sintel(root: Path, frames: dict[str, list[int]], flow: np.ndarray, variant: str = "clean") -> Path:
    """Scenes with these frames; flow for all but the last; left column hidden, top row invalid."""
    training = root / "training"
    size_hw = flow.shape[:2]
    hidden, invalid = np.zeros(size_hw, np.uint8), np.zeros(size_hw, np.uint8)
    hidden[:, 0], invalid[0] = 255, 255
    for scene, numbers in frames.items():
        for number in numbers:
            write_picture(training / variant / scene / f"frame_{number:04d}.png", frame(size_hw, number))
        for number in numbers[:-1]:
            write_flo(training / "flow" / scene / f"frame_{number:04d}.flo", flow)
            write_picture(training / "occlusions" / scene / f"frame_{number:04d}.png", hidden)
            write_picture(training / "invalid" / scene / f"frame_{number:04d}.png", invalid)
    return root


def kitti2012(
    root: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]], folder: str = "image_0"
) -> Path:
    """Pairs by number: flow, valid in occ, valid in noc. The folder image_0 gets grey pictures."""
    training = root / "training"
    for number, (flow, occ, noc) in pairs.items():
        write_kitti(training / "flow_occ" / f"{number}_10.png", flow, occ)
        write_kitti(training / "flow_noc" / f"{number}_10.png", flow, noc)
        for time in (10, 11):
            picture = frame(occ.shape, time)
            write_picture(
                training / folder / f"{number}_{time}.png",
                picture[..., 0] if folder == "image_0" else picture,
            )
    return root


def flyingchairs(root: Path, numbers: list[int], flow: np.ndarray, split: str | None) -> Path:
    for number in numbers:
        write_flo(root / "data" / f"{number:05d}_flow.flo", flow)
        for image in (1, 2):
            write_picture(root / "data" / f"{number:05d}_img{image}.ppm", frame(flow.shape[:2], image))
    if split is not None:
        (root / "FlyingChairs_train_val.txt").write_text("\n".join(split) + "\n")
    return root
