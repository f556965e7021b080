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


def kitti2015(root: Path, number: str, frames: list[int], *, part: str = "training") -> Path:
    """One scene with these frames; where 10 and 11 are among them its flow, and disparity of 5.5 and 4 px."""
    size_hw = (6, 8)
    folder = root / part
    for time in frames:
        write_picture(folder / "image_2" / f"{number}_{time:02d}.png", frame(size_hw, time))
    if part == "training" and {10, 11} <= set(frames):
        valid = np.ones(size_hw, bool)
        for name in ("flow_occ", "flow_noc"):
            write_kitti(folder / name / f"{number}_10.png", constant(size_hw, 2, -1), valid)
        for name, pixels in (("disp_occ_0", 5.5), ("disp_noc_0", 5.5), ("disp_occ_1", 4.0)):
            stored = np.full(size_hw, round(256 * pixels), np.uint16)
            stored[0] = 0
            write_picture(folder / name / f"{number}_10.png", stored)
        (folder / "calib_cam_to_cam").mkdir(exist_ok=True)
        (folder / "calib_cam_to_cam" / f"{number}.txt").write_text("P_rect_02: 1 0 0 0 0 1 0 0 0 0 1 0\n")
    return root


def write_pfm(path: Path, flow: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = flow.shape[:2]
    stored = np.concatenate([flow, np.zeros((height, width, 1))], axis=2)[::-1]
    path.write_bytes(f"PF\n{width} {height}\n-1\n".encode() + stored.astype("<f4").tobytes())


def flyingthings(root: Path, scenes: list[str], *, frames: range = range(6, 10)) -> Path:
    """Scenes such as TRAIN/A/0000; flow of every frame in all four views, as published; u tells the frame."""
    for scene in scenes:
        for camera in ("left", "right"):
            for number in frames:
                for rendering in ("clean", "final"):
                    picture = root / f"frames_{rendering}pass" / scene / camera / f"{number:04d}.png"
                    write_picture(picture, frame((6, 8), number))
                for way in ("Future", "Past"):
                    name = f"OpticalFlowInto{way}_{number:04d}_{camera[0].upper()}.pfm"
                    folder = root / "optical_flow" / scene / f"into_{way.lower()}" / camera
                    write_pfm(folder / name, constant((6, 8), number if way == "Future" else -number, 0))
    return root


def flyingthings_subset(root: Path, part: str, runs: list[range]) -> Path:
    """Scenes as runs of frame numbers. Flow out of a scene is there, flow back into it is not."""
    for camera in ("left", "right"):
        for run in runs:
            for number in run:
                write_picture(
                    root / part / "image_clean" / camera / f"{number:07d}.png", frame((6, 8), number)
                )
                ways = {"into_future": True, "into_past": number > run[0]}
                for way in (way for way, there in ways.items() if there):
                    flow = root / part / "flow" / camera / way / f"{number:07d}.flo"
                    write_flo(flow, constant((6, 8), 1, 0))
                    hidden = np.zeros((6, 8), np.uint8)
                    hidden[:, 0] = 255
                    write_picture(
                        root / part / "flow_occlusions" / camera / way / f"{number:07d}.png", hidden
                    )
    return root


def flyingchairs2(root: Path, part: str, numbers: list[int]) -> Path:
    for number in numbers:
        stem = root / part / f"{number:07d}"
        for image in (0, 1):
            write_picture(stem.with_name(f"{stem.name}-img_{image}.png"), frame((6, 8), image))
        for way, x in (("01", 1), ("10", -1)):
            write_flo(stem.with_name(f"{stem.name}-flow_{way}.flo"), constant((6, 8), x, 0))
            write_picture(stem.with_name(f"{stem.name}-occ_{way}.png"), np.zeros((6, 8), np.uint8))
    return root
