"""Sintel and FlyingThings3D: clips of worlds with dense flow, clean and with motion blur."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kinema.data.procedural.world.config import WorldConfig
from kinema.data.sintel import TRAINING_FRAMES
from kinema.data.synth.plan import SynthPlan
from kinema.data.synth.rig import Motion, Rig, Shots
from kinema.io.flow import write_flow, write_pfm
from kinema.io.images import write_image

BASELINE = 0.15
"""Metres between FlyingThings3D's cameras, as it is rendered here."""

FIRST_FRAME = 6
"""FlyingThings3D's clips begin at this number."""

_SAMPLES = 8
_TEST_EVERY = 5  # clips; the second one is the first of them


def sintel_config(plan: SynthPlan) -> WorldConfig:
    """What Sintel's clips are made of: towns, rooms and meadows seen by a hand-held camera.

    Args:
        plan: size and textures.

    Returns:
        The config.
    """
    return _film(plan, place_shares=(0.15, 0.25, 0.3, 0.3), tumbling=(2, 8))


def flyingthings_config(plan: SynthPlan) -> WorldConfig:
    """What FlyingThings3D's clips are made of: many things that fly through rooms and meadows.

    Args:
        plan: size and textures.

    Returns:
        The config.
    """
    return _film(plan, place_shares=(0.0, 0.0, 0.35, 0.65), tumbling=(8, 16))


def _film(
    plan: SynthPlan, *, place_shares: tuple[float, float, float, float], tumbling: tuple[int, int]
) -> WorldConfig:
    return WorldConfig(
        size_hw=plan.size_hw,
        textures=plan.textures,
        place_shares=place_shares,
        tumbling=tumbling,
        fov_degrees=(40.0, 80.0),
        hand_hz=24.0,
        drive_hz=24.0,
        moving_light_share=0.0,
        exposure_share=0.0,
        noise_share=0.0,
        grey_share=0.0,
        jpeg_share=0.0,
        video_share=0.0,
        blur_samples=_SAMPLES,
        blur_exposure=(0.4, 0.7),
    )


def scene_name(index: int) -> str:
    """Name a Sintel scene.

    Args:
        index: of the clip.

    Returns:
        An official training scene while there is one, then ``scene_NN``.
    """
    official = sorted(TRAINING_FRAMES)
    return official[index] if index < len(official) else f"scene_{index + 1:02d}"


def write_sintel_clip(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one Sintel scene.

    Args:
        plan: what is written.
        index: of the clip.
        folder: that the layout begins in.
    """
    shots = Rig(sintel_config(plan), plan.render_seed, index, frames=plan.frames).left
    training, scene = folder / "training", scene_name(index)
    for part, frames in _passes(shots).items():
        for number, image in enumerate(frames, start=1):
            write_image(training / part / scene / f"frame_{number:04d}.png", image)
    motion = shots.forward
    for place, flow in enumerate(motion.flow):
        stem = f"frame_{place + 1:04d}"
        valid = motion.valid[place]
        write_flow(training / "flow" / scene / f"{stem}.flo", flow, valid=valid)
        _write_mask(training / "occlusions" / scene / f"{stem}.png", motion.occluded[place])
        _write_mask(training / "invalid" / scene / f"{stem}.png", ~valid)


def flyingthings_place(index: int) -> str:
    """Name a FlyingThings3D clip: every fifth one is for testing.

    Args:
        index: of the clip.

    Returns:
        Such as ``TRAIN/A/0000``; numbers are counted within the part and letter.
    """
    rounds, rest = divmod(index, _TEST_EVERY)
    part = "TEST" if rest == 1 else "TRAIN"
    number = rounds if rest == 1 else rounds * (_TEST_EVERY - 1) + (rest if rest == 0 else rest - 1)
    return f"{part}/{'ABC'[number % 3]}/{number // 3:04d}"


def write_flyingthings_clip(plan: SynthPlan, index: int, folder: Path) -> None:
    """Write one FlyingThings3D clip, of both cameras, with flow in both directions.

    Args:
        plan: what is written.
        index: of the clip.
        folder: that the layout begins in.
    """
    rig = Rig(flyingthings_config(plan), plan.render_seed, index, frames=plan.frames, baseline=BASELINE)
    place = flyingthings_place(index)
    for camera, shots in (("left", rig.left), ("right", rig.right)):
        for part, frames in _passes(shots).items():
            for number, image in enumerate(frames, start=FIRST_FRAME):
                write_image(folder / f"frames_{part}pass" / place / camera / f"{number:04d}.png", image)
        flows = folder / "optical_flow" / place
        _write_flows(flows, camera, shots.forward, way="Future", first=FIRST_FRAME)
        _write_flows(flows, camera, shots.backward, way="Past", first=FIRST_FRAME + 1)
        for number, depth in enumerate(shots.depth, start=FIRST_FRAME):
            scale = np.float32(shots.K[0, 0] * BASELINE)
            disparity = np.divide(scale, depth, out=np.zeros_like(depth), where=depth > 0)
            write_pfm(folder / "disparity" / place / camera / f"{number:04d}.pfm", disparity)


def _write_flows(folder: Path, camera: str, motion: Motion, *, way: str, first: int) -> None:
    for number, flow in enumerate(motion.flow, start=first):
        name = f"OpticalFlowInto{way}_{number:04d}_{camera[0].upper()}.pfm"
        path = folder / f"into_{way.lower()}" / camera / name
        write_flow(path, flow, valid=motion.valid[number - first])


def _passes(shots: Shots) -> dict[str, np.ndarray]:
    assert shots.blurred is not None  # the config asks for it
    return {"clean": shots.images, "final": shots.blurred}


def _write_mask(path: Path, mask: np.ndarray) -> None:
    write_image(path, mask.astype(np.uint8) * 255)
