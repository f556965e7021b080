"""COLMAP's text model: ``cameras.txt`` and ``images.txt``, one pinhole camera, no points."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinema.errors import InputError
from kinema.io.files import check_output, read_bytes, write_bytes

__all__ = ["read_colmap_images", "write_colmap_model"]


def read_colmap_images(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read ``images.txt``: two lines an image, the second (its points, often empty) is left out.

    Args:
        path: the file.

    Returns:
        Names; (N, 4) quaternions x, y, z, w; (N, 3) translations: camera from world.

    Raises:
        InputError: when the file cannot be read, holds no image, or a line does not follow the format.
    """
    lines = read_bytes(path).decode("utf-8", errors="replace").splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if not line.startswith("#")]
    names: list[str] = []
    rows: list[list[float]] = []
    for number, line in numbered[::2]:
        words = line.split(maxsplit=9)
        if not words:
            continue
        try:
            rows.append([float(word) for word in words[1:8]])
            names.append(words[9].strip())
        except (ValueError, IndexError):
            raise InputError(
                f"{path}: line {number} does not read ID QW QX QY QZ TX TY TZ CAMERA NAME; each image has two"
                " lines, the second may be empty"
            ) from None
    if not names:
        raise InputError(f"{path}: holds no image")
    numbers = np.array(rows, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: holds numbers that are not finite")
    return names, numbers[:, [1, 2, 3, 0]], numbers[:, 4:]


def write_colmap_model(
    folder: Path,
    *,
    names: tuple[str, ...],
    xyzw: np.ndarray,
    t: np.ndarray,
    K: np.ndarray,
    size_hw: tuple[int, int],
    overwrite: bool,
) -> None:
    """Write the three files of a model.

    Args:
        folder: where.
        names: (N) image names.
        xyzw: (N, 4) quaternions, camera from world.
        t: (N, 3) translations, camera from world.
        K: (3, 3) pixels; whole numbers are pixel centres.
        size_hw: height and width in pixels.
        overwrite: whether existing files may be replaced.

    Raises:
        OutputError: when a file cannot be written.
    """
    height, width = size_hw
    # COLMAP's (0, 0) is the corner of the top-left pixel, not its centre.
    numbers = (K[0, 0], K[1, 1], K[0, 2] + 0.5, K[1, 2] + 0.5)
    parameters = " ".join(repr(float(value)) for value in numbers)
    cameras = f"# CAMERA_ID MODEL WIDTH HEIGHT FX FY CX CY\n1 PINHOLE {width} {height} {parameters}\n"
    images = "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then its points (none)\n"
    rows = np.concatenate([xyzw[:, [3, 0, 1, 2]], t], axis=1).tolist()
    for number, (name, row) in enumerate(zip(names, rows, strict=True), start=1):
        images += f"{number} {' '.join(repr(value) for value in row)} 1 {name}\n\n"
    texts = {"cameras.txt": cameras, "images.txt": images, "points3D.txt": "# no points\n"}
    for file in texts:  # all or none
        check_output(folder / file, overwrite=overwrite)
    for file, text in texts.items():
        write_bytes(folder / file, text.encode(), overwrite=overwrite)
