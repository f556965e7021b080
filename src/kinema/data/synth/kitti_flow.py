"""KITTI 2012 and 2015: pairs from a moving car, with the sparse flow and disparity of its laser scanner."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from kinema.data.synth.kitti_rig import cam_to_cam, drive_rig, projections, row, write_text
from kinema.data.synth.plan import SynthPlan
from kinema.data.synth.rig import Rig
from kinema.io.flow import write_flow
from kinema.io.images import write_image

_STEPS = 256.0  # of a disparity of one pixel


def pair_place(frames: int) -> int:
    """Where the labelled pair begins: it is frames 10 and 11 of 21, and the others are around it.

    Args:
        frames: of a sample, 2 to 21.

    Returns:
        Position of frame 10; the first frame's number is 10 less this.
    """
    return (frames - 1) // 2


def write_2012_pair(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one pair of KITTI 2012: what moves by itself has no truth, as there.

    Args:
        plan: what is written.
        index: of the pair.
        folder: that the layout begins in.
    """
    rig, training = drive_rig(plan, index), folder / "training"
    for number, shots in enumerate((rig.left, rig.right)):
        for path, image in _frames(plan, index, shots.images):
            write_image(training / f"colored_{number}" / path, image)
            write_image(training / f"image_{number}" / path, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    place, name = pair_place(plan.frames), f"{index:06d}_10.png"
    known = rig.measured(place) & (rig.left.instance[place] == 0)
    _write_flows(rig, place, training, name, known)
    _write_disparities(rig, place, training, name, known, folders=("disp_occ", "disp_noc"))
    # Grey and colour pictures are taken from one place here.
    matrices = projections(rig.left.K, colour_aside=0.0)
    text = "".join(row(f"P{int(camera)}", P) for camera, P in matrices.items())
    write_text(training / "calib" / f"{index:06d}.txt", text)


def write_2015_pair(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one pair of KITTI 2015.

    Args:
        plan: what is written.
        index: of the pair.
        folder: that the layout begins in.
    """
    rig, training = drive_rig(plan, index), folder / "training"
    for number, shots in ((2, rig.left), (3, rig.right)):
        for path, image in _frames(plan, index, shots.images):
            write_image(training / f"image_{number}" / path, image)
    place, name = pair_place(plan.frames), f"{index:06d}_10.png"
    known = rig.measured(place)
    _write_flows(rig, place, training, name, known)
    _write_disparities(rig, place, training, name, known, folders=("disp_occ_0", "disp_noc_0"))
    values, valid, seen = rig.later_disparity(place)
    visible = rig.left.forward.visible[place] & seen
    _write_disparity(training / "disp_occ_1" / name, values, known & valid)
    _write_disparity(training / "disp_noc_1" / name, values, known & visible)
    moving = rig.left.instance[place]
    write_image(training / "obj_map" / name, np.minimum(moving, 255).astype(np.uint8))
    text = cam_to_cam(rig.left.K, plan.size_hw)
    write_text(training / "calib_cam_to_cam" / f"{index:06d}.txt", text)


def _frames(plan: SynthPlan, index: int, images: np.ndarray) -> list[tuple[str, np.ndarray]]:
    first = 10 - pair_place(plan.frames)
    return [(f"{index:06d}_{number:02d}.png", image) for number, image in enumerate(images, start=first)]


def _write_flows(rig: Rig, place: int, training: Path, name: str, known: np.ndarray) -> None:
    forward = rig.left.forward
    flow = forward.flow[place]
    write_flow(training / "flow_occ" / name, flow, valid=known & forward.valid[place])
    write_flow(training / "flow_noc" / name, flow, valid=known & forward.visible[place])


def _write_disparities(
    rig: Rig, place: int, training: Path, name: str, known: np.ndarray, *, folders: tuple[str, str]
) -> None:
    values, seen = rig.disparity(place)
    _write_disparity(training / folders[0] / name, values, known)
    _write_disparity(training / folders[1] / name, values, known & seen)


def _write_disparity(path: Path, values: np.ndarray, known: np.ndarray) -> None:
    """KITTI's disparity map: 256 steps a pixel, 0 for unknown; what does not fit is unknown."""
    steps = np.rint(values.astype(np.float64) * _STEPS)
    fits = known & (steps >= 1) & (steps <= 65535)
    write_image(path, np.where(fits, steps, 0).astype(np.uint16))
