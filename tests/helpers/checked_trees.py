"""Small data sets in official layouts, cut from one rendered clip: true in every part, so faults show."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from helpers.flow_trees import write_flo, write_kitti, write_picture
from kinema.data.procedural.world.clip import render_clip
from kinema.data.procedural.world.config import WorldConfig
from kinema.ops.resize import matlab_bicubic

SIZE_HW = (96, 192)
FRAMES = 6


@dataclass(frozen=True)
class Clip:
    """A rendered room: frames (T, H, W, 3) RGB, flow, masks, depth, poses."""

    frames: np.ndarray
    flow: np.ndarray
    valid: np.ndarray
    hidden: np.ndarray
    visible: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    poses: np.ndarray


@cache
def room() -> Clip:
    config = WorldConfig(
        size_hw=SIZE_HW,
        place_shares=(0.0, 0.0, 1.0, 0.0),
        photometric=False,
        static_share=0.0,
        bank_textures=1,
        antialias=1,
        fov_degrees=(60.0, 80.0),
    )
    clip = render_clip(config, 3, [1], frames=FRAMES)
    return Clip(
        frames=(clip.images[0].permute(0, 2, 3, 1) * 255).round().byte().numpy(),
        flow=clip.flow_forward[0].permute(0, 2, 3, 1).contiguous().numpy(),
        valid=clip.valid_forward[0, :, 0].numpy(),
        hidden=clip.occluded_forward[0, :, 0].numpy(),
        visible=clip.visible_forward[0, :, 0].numpy(),
        depth=clip.depth[0, :, 0].numpy(),
        K=clip.K[0].numpy(),
        poses=clip.T_world_from_camera[0].numpy(),
    )


def picture(path: Path, rgb: np.ndarray) -> None:
    write_picture(path, np.ascontiguousarray(rgb[..., ::-1]) if rgb.ndim == 3 else rgb)


def sintel(root: Path) -> str:
    clip, training = room(), root / "training"
    for number, frame in enumerate(clip.frames, start=1):
        picture(training / f"clean/alley_1/frame_{number:04d}.png", frame)
    for number, flow in enumerate(clip.flow, start=1):
        name = f"alley_1/frame_{number:04d}"
        write_flo(training / f"flow/{name}.flo", flow)
        hidden = clip.hidden[number - 1] | ~clip.visible[number - 1]
        picture(training / f"occlusions/{name}.png", np.where(hidden, 255, 0).astype(np.uint8))
        picture(training / f"invalid/{name}.png", np.where(clip.valid[number - 1], 0, 255).astype(np.uint8))
    return f"sintel-clean:{root}"


def chairs(root: Path) -> str:
    clip = room()
    for number, flow in enumerate(clip.flow, start=1):
        write_flo(root / f"data/{number:05d}_flow.flo", flow)
        for which in (1, 2):
            picture(root / f"data/{number:05d}_img{which}.ppm", clip.frames[number + which - 2])
    return f"flyingchairs:{root}"


def kitti(root: Path) -> str:
    clip, training = room(), root / "training"
    for number in range(3):
        occ = clip.valid[number]
        write_kitti(training / f"flow_occ/{number:06d}_10.png", clip.flow[number], occ)
        write_kitti(training / f"flow_noc/{number:06d}_10.png", clip.flow[number], occ & clip.visible[number])
        disparity = np.rint(256 * clip.K[0, 0] * 0.54 / clip.depth[number]).astype(np.uint16)
        write_picture(training / f"disp_occ_0/{number:06d}_10.png", disparity)
        for time in (10, 11):
            picture(training / f"image_2/{number:06d}_{time}.png", clip.frames[number + time - 10])
    return f"kitti2015:{root}"


def posed(root: Path) -> str:
    clip = room()
    for number, (frame, depth) in enumerate(zip(clip.frames, clip.depth, strict=True)):
        picture(root / f"images/{number:05d}.png", frame)
        write_picture(root / f"depth/{number:05d}.png", np.rint(1000 * depth).astype(np.uint16))
    np.savetxt(root / "K.txt", clip.K)
    np.savetxt(root / "poses.txt", clip.poses.reshape(-1, 16))
    return f"posed:{root}"


def odometry(root: Path) -> str:
    """The frames of the room, driven straight ahead: nothing tells but the numbers."""
    clip, folder = room(), root / "sequences/04"
    for number, frame in enumerate(clip.frames):
        picture(folder / f"image_2/{number:06d}.png", frame)
    row = " ".join(map(str, np.hstack([clip.K, np.zeros((3, 1))]).ravel()))
    (folder / "calib.txt").write_text("".join(f"P{camera}: {row}\n" for camera in range(4)))
    (folder / "times.txt").write_text("".join(f"{0.1 * number:e}\n" for number in range(FRAMES)))
    (root / "poses").mkdir()
    np.savetxt(root / "poses/04.txt", ahead(FRAMES).reshape(-1, 16)[:, :12])
    return f"kitti_odometry@04:{root}"


def ahead(count: int) -> np.ndarray:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 2, 3] = 0.9 * np.arange(count)
    return poses


def raw(root: Path) -> str:
    clip, date = room(), root / "2011_09_26"
    folder = date / "2011_09_26_drive_0001_sync/image_02"
    for number, frame in enumerate(clip.frames):
        picture(folder / f"data/{number:010d}.png", frame)
    lines = [f"2011-09-26 13:02:{25 + 0.1 * number:012.9f}\n" for number in range(FRAMES)]
    (folder / "timestamps.txt").write_text("".join(lines))
    row = " ".join(map(str, np.hstack([clip.K, np.zeros((3, 1))]).ravel()))
    (date / "calib_cam_to_cam.txt").write_text(f"P_rect_02: {row}\nP_rect_03: {row}\n")
    return f"kitti_raw:{root}"


def vid4(root: Path) -> str:
    for number, frame in enumerate(room().frames):
        picture(root / f"GT/city/{number:08d}.png", frame)
        picture(root / f"BIx4/city/{number:08d}.png", matlab_bicubic(frame, scale=0.25))
    return f"vid4:{root}"


def paired(root: Path) -> str:
    """Frames and blurred twins of the same size."""
    for number, frame in enumerate(room().frames):
        picture(root / f"sharp/{number:08d}.png", frame)
        picture(root / f"blur/{number:08d}.png", cv2.GaussianBlur(frame, (0, 0), 1.2))
    return f"paired:{root}"


def frames(root: Path) -> str:
    for number, frame in enumerate(room().frames):
        picture(root / f"clip/{number:04d}.png", frame)
    return f"footage:{root}"


def strips(root: Path) -> str:
    clip = room()
    for number in range(1, FRAMES - 1):
        picture(root / f"00/{number:06d}.png", np.hstack(list(clip.frames[number - 1 : number + 2])))
        text = ",".join(repr(float(value)) for value in clip.K.ravel())
        (root / f"00/{number:06d}_cam.txt").write_text(text)
    (root / "train.txt").write_text("".join(f"00 {number:06d}\n" for number in range(1, FRAMES - 1)))
    return f"snippets@train:{root}"
