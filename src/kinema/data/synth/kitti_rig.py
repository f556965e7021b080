"""What all KITTI layouts share: a car with two colour cameras, and its calibration files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from kinema.data.kitti_stereo import BASELINE, FOCAL
from kinema.data.procedural.world.config import WorldConfig
from kinema.data.synth.plan import SynthPlan
from kinema.data.synth.rig import COLOUR_ASIDE, Rig
from kinema.io.files import write_bytes
from kinema.io.images import write_image

_WIDEST = max(FOCAL)


def drive_config(plan: SynthPlan) -> WorldConfig:
    """What drives are made of: streets at 10 frames per second, seen by KITTI's camera.

    Args:
        plan: size and textures.

    Returns:
        The config. The focal length in frame widths is KITTI's, and what KITTI's readers assume of a picture
        of this width; the principal point is the middle.
    """
    width = plan.size_hw[1]
    focal = FOCAL.get(width, FOCAL[_WIDEST] * width / _WIDEST)
    angle = 2 * math.degrees(math.atan(width / 2 / focal))
    return WorldConfig(
        size_hw=plan.size_hw,
        textures=plan.textures,
        place_shares=(1.0, 0.0, 0.0, 0.0),
        fov_degrees=(angle, angle),
        centre_offset=0.0,
        drive_hz=10.0,
        drive_speed=(4.0, 16.0),
        static_share=0.0,
        moving_light_share=0.0,
        exposure_share=0.2,
        noise_sigma=(0.002, 0.01),
        grey_share=0.0,
        jpeg_share=0.0,
        video_share=0.0,
    )


def drive_rig(plan: SynthPlan, index: int) -> Rig:
    """The car of one sample.

    Args:
        plan: what is written.
        index: of the sample.

    Returns:
        The rig with both colour cameras.
    """
    return Rig(drive_config(plan), plan.render_seed, index, frames=plan.frames, baseline=BASELINE)


def projections(K: np.ndarray, *, colour_aside: float = COLOUR_ASIDE) -> dict[str, np.ndarray]:
    """Projections of the four cameras from the left grey one's coordinates.

    Args:
        K: (3, 3) of every camera.
        colour_aside: metres that the colour cameras are to the left of the grey ones.

    Returns:
        (3, 4) by number of the camera: 00 and 01 are grey, 02 and 03 colour, the left one first.
    """
    places = {"00": 0.0, "01": BASELINE, "02": -colour_aside, "03": BASELINE - colour_aside}
    return {
        camera: np.concatenate([K, K @ np.array([[-x], [0.0], [0.0]])], axis=1)
        for camera, x in places.items()
    }


def row(name: str, numbers: np.ndarray) -> str:
    """One line of a calibration file.

    Args:
        name: of the row.
        numbers: of any shape, row by row.

    Returns:
        The line with its end; numbers as exact as float64.
    """
    return f"{name}: {' '.join(f'{number:.16e}' for number in np.ravel(numbers))}\n"


def cam_to_cam(K: np.ndarray, size_hw: tuple[int, int]) -> str:
    """The text of ``calib_cam_to_cam.txt``: cameras without distortion, rectified from the start.

    Args:
        K: (3, 3) of every camera.
        size_hw: of the frames.

    Returns:
        The text.
    """
    size = np.array([size_hw[1], size_hw[0]])
    lines = ["calib_time: 01-Jan-2000 00:00:00\n", row("corner_dist", np.array([0.1]))]
    for camera, P in projections(K).items():
        place = np.linalg.solve(K, P[:, 3])
        lines += [
            row(f"S_{camera}", size),
            row(f"K_{camera}", K),
            row(f"D_{camera}", np.zeros(5)),
            row(f"R_{camera}", np.eye(3)),
            row(f"T_{camera}", place),
            row(f"S_rect_{camera}", size),
            row(f"R_rect_{camera}", np.eye(3)),
            row(f"P_rect_{camera}", P),
        ]
    return "".join(lines)


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Args:
        path: the file.
        text: its content, ASCII.
    """
    write_bytes(path, text.encode("ascii"))


def write_camera(folder: Path, frames: np.ndarray, *, digits: int) -> None:
    """Write the frames of a camera, numbered from 0.

    Args:
        folder: of the frames.
        frames: (T, H, W, 3) uint8.
        digits: of a frame's name.
    """
    for number, frame in enumerate(frames):
        write_image(folder / f"{number:0{digits}d}.png", frame)
