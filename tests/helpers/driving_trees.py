"""Small driving sets in the official layouts; the grey of a frame tells its camera and number."""

from pathlib import Path

import cv2
import numpy as np

SIZE_HW = (6, 10)
RAW_NAMES = "2011_09_26_drive_{:04d}"
# f = 8, centre (4.5, 2.5); the colour cameras sit 0.5 m and 1 m beside the grey ones.
P = {
    "00": [8, 0, 4.5, 0, 0, 8, 2.5, 0, 0, 0, 1, 0],
    "01": [8, 0, 4.5, -4, 0, 8, 2.5, 0, 0, 0, 1, 0],
    "02": [9, 0, 4.5, 4.5, 0, 9, 2.5, 0, 0, 0, 1, 0],
    "03": [9, 0, 4.5, -4.5, 0, 9, 2.5, 0, 0, 0, 1, 0],
}


def row(numbers) -> str:
    return " ".join(f"{number:.6e}" for number in numbers)


def write_frame(path: Path, value: int, *, grey: bool = False, size_hw: tuple[int, int] = SIZE_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = np.full(size_hw if grey else (*size_hw, 3), value, np.uint8)
    assert cv2.imwrite(str(path), picture)


def write_raw_calibration(root: Path, date: str = "2011_09_26") -> None:
    lines = ["calib_time: 09-Jan-2012 13:57:47", "R_rect_00: " + row(np.eye(3).ravel())]
    lines += [f"P_rect_{camera}: {row(numbers)}" for camera, numbers in P.items()]
    (root / date).mkdir(parents=True, exist_ok=True)
    (root / date / "calib_cam_to_cam.txt").write_text("\n".join(lines) + "\n")
    # The scanner's x ahead is the camera's z, y to the left its -x, z up its -y; 0.25 m behind the camera.
    text = "R: 0 -1 0 0 0 -1 1 0 0\nT: 0 0 -0.25\n"
    (root / date / "calib_velo_to_cam.txt").write_text(text)


def write_drive(
    root: Path, drive: int, numbers, *, cameras=("02", "03"), points: np.ndarray | None = None, suffix=".png"
) -> Path:
    name = RAW_NAMES.format(drive)
    folder = root / name[:10] / f"{name}_sync"
    for camera in cameras:
        for number in numbers:
            path = folder / f"image_{camera}/data/{number:010d}{suffix}"
            write_frame(path, 50 * int(camera) + number % 50, grey=camera in ("00", "01"))
    if points is not None:
        for number in numbers:
            path = folder / f"velodyne_points/data/{number:010d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(points.astype("<f4").tobytes())
    return folder


def write_sequence(
    root: Path, name: str, count: int, *, camera: int = 2, poses: np.ndarray | None = None, times: bool = True
) -> Path:
    folder = root / "sequences" / name
    for number in range(count):
        write_frame(folder / f"image_{camera}/{number:06d}.png", number, grey=camera == 0)
    rows = [f"P{index}: {row(P[f'{index:02d}'])}" for index in range(4)]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calib.txt").write_text("\n".join(rows) + "\n")
    if times:
        (folder / "times.txt").write_text("".join(f"{0.1 * number:e}\n" for number in range(count)))
    if poses is not None:
        (root / "poses").mkdir(exist_ok=True)
        lines = "".join(row(T[:3].ravel()) + "\n" for T in poses)
        (root / "poses" / f"{name}.txt").write_text(lines)
    return folder


def forward_poses(count: int, step: float = 1.0) -> np.ndarray:
    """A car that drives ahead and turns right by 0.1 radians a frame."""
    poses = np.tile(np.eye(4), (count, 1, 1))
    for number in range(count):
        c, s = np.cos(0.1 * number), np.sin(0.1 * number)
        poses[number, :3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        poses[number, 2, 3] = step * number
    return poses
