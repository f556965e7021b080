"""KITTI raw: drives of a car with two colour cameras, two grey ones and a laser scanner, as recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.data.driving_sample import CameraSequence, DrivingDataset, all_targets
from kinema.data.family import Facts, Family
from kinema.data.frame_list import FrameList, frame_numbers, frames_in, stem_of
from kinema.data.kitti_calibration import matrix_of, read_calibration, rigid_matrix
from kinema.data.kitti_lists import (
    eigen_test_frames,
    eigen_test_scenes,
    static_frames,
    stereo_test_scenes,
)
from kinema.data.layout import list_names, nothing_usable
from kinema.data.lidar import DepthValue, lidar_depth, read_velodyne
from kinema.data.spec import DataSpec

LAYOUT = (
    "YYYY_MM_DD/YYYY_MM_DD_drive_NNNN_sync/image_{02,03}/data/NNNNNNNNNN.png with"
    " YYYY_MM_DD/calib_cam_to_cam.txt, and velodyne_points/data/ and calib_velo_to_cam.txt for true depth"
)
CAMERAS = ("02", "03")
# The grey camera beside each colour camera, which serves where colour is absent.
GREY = {"02": "00", "03": "01"}

_DATE = re.compile(r"\d{4}_\d{2}_\d{2}")
_DRIVE = re.compile(r"(\d{4}_\d{2}_\d{2}_drive_\d{4})_sync")


@dataclass(frozen=True, eq=False)
class LidarTruth:
    """Depth of one camera's frames from the laser scanner.

    Attributes:
        folder: holds the points of each frame.
        present: names of the frames that have some.
        P_from_velodyne: (3, 4) pixels from points.
    """

    folder: Path
    present: frozenset[str]
    P_from_velodyne: np.ndarray

    def has(self, name: str) -> bool:
        """Tell whether a frame has points.

        Args:
            name: of the frame.

        Returns:
            True when there is a file.
        """
        return name in self.present

    def path(self, name: str) -> Path:
        """The file with a frame's points.

        Args:
            name: of the frame.

        Returns:
            Where it is or would be.
        """
        return self.folder / f"{name}.bin"

    def read(self, name: str, size_hw: tuple[int, int], *, value: DepthValue) -> np.ndarray:
        """Read the points of a frame and project them.

        Args:
            name: of the frame.
            size_hw: height and width of the picture.
            value: what to measure.

        Returns:
            (H, W) float32 metres, 0 is unknown.

        Raises:
            InputError: when the file cannot be read.
        """
        return lidar_depth(read_velodyne(self.path(name)), self.P_from_velodyne, size_hw, value=value)


def open_kitti_raw(spec: DataSpec, path: Path) -> DrivingDataset:
    """Open KITTI raw where it lies; frames may be PNG, or JPEG as some convert them.

    Args:
        spec: no split is every frame of both cameras. ``@eigen_train`` and ``@stereo_train`` leave out the
            test scenes of the split and the frames in which the car stands still, for both cameras.
            ``@eigen_test`` is the 697 test frames in published order, with true depth.
        path: the folder that holds the dates.

    Returns:
        The frames that are present. Grey cameras stand in where a drive has no colour, and a note says so.

    Raises:
        InputError: when no frame of the split is usable.
    """
    found = _Found([], [], [])
    for date in sorted(filter(_DATE.fullmatch, list_names(path))):
        for drive in sorted(list_names(path / date)):
            match = _DRIVE.fullmatch(drive)
            if match:
                _add_drive(found, path / date, match[1], spec)
    if not found.sequences:
        raise nothing_usable(spec, path, LAYOUT, reason=_why_nothing(found), sample="drive")
    opened = _test_set if spec.split == "eigen_test" else _whole_set
    return opened(spec, path, found)


@dataclass
class _Found:
    """What the search has brought so far."""

    sequences: list[CameraSequence]
    grey: list[str]
    uncalibrated: list[str]
    static: int = 0
    test_scenes: int = 0


def _add_drive(found: _Found, date: Path, drive: str, spec: DataSpec) -> None:
    if drive in _left_out(spec.split):
        found.test_scenes += 1
        return
    if spec.split == "eigen_test" and drive not in eigen_test_scenes():
        return
    folder = date / f"{drive}_sync"
    for camera in CAMERAS if spec.split != "eigen_test" else CAMERAS[:1]:
        frames, used = _frames(folder, camera)
        if not len(frames):
            continue
        if not (date / "calib_cam_to_cam.txt").is_file():
            found.uncalibrated.append(f"{drive}_{camera}")
            continue
        if spec.split in ("eigen_train", "stereo_train"):
            kept = _moving(frames, static_frames().get(drive, frozenset()))
            found.static += len(frames) - len(kept)
            frames = kept
        if len(frames):
            found.sequences.append(_sequence(date, drive, camera=camera, used=used, frames=frames))
            found.grey += [drive] if used != camera else []


def _left_out(split: str | None) -> frozenset[str]:
    scenes = {"eigen_train": eigen_test_scenes, "stereo_train": stereo_test_scenes}
    return scenes[split]() if split in scenes else frozenset()


def _frames(folder: Path, camera: str) -> tuple[FrameList, str]:
    """The frames of a camera, or of the grey one beside it; and which one it was."""
    for used in (camera, GREY[camera]):
        frames = frames_in(folder / f"image_{used}" / "data")
        if len(frames) and frame_numbers(frames) is not None:
            return frames, used
    return FrameList("", ()), camera


def _moving(frames: FrameList, static: frozenset[int]) -> FrameList:
    if not static:
        return frames
    return frames.take(index for index in range(len(frames)) if int(frames.stem(index)) not in static)


def _sequence(date: Path, drive: str, *, camera: str, used: str, frames: FrameList) -> CameraSequence:
    calibration = date / "calib_cam_to_cam.txt"
    rows = read_calibration(calibration)
    P = matrix_of(rows, f"P_rect_{used}", path=calibration)
    truth = None
    points = date / f"{drive}_sync" / "velodyne_points" / "data"
    present = frozenset(stem_of(name) for name in list_names(points) if name.endswith(".bin"))
    scanner = date / "calib_velo_to_cam.txt"
    if present and scanner.is_file():
        R_rect = rigid_matrix(matrix_of(rows, "R_rect_00", path=calibration, shape=(3, 3)))
        truth = LidarTruth(points, present, P @ R_rect @ velodyne_pose(scanner))
    numbers = np.array(frame_numbers(frames), dtype=np.int64)
    return CameraSequence(f"{drive}_{camera}", frames, numbers, P[:, :3].copy(), truth=truth)


def velodyne_pose(path: Path) -> np.ndarray:
    """Read where the laser scanner sits.

    Args:
        path: ``calib_velo_to_cam.txt``.

    Returns:
        (4, 4) ``T_camera0_from_velodyne``, camera 0 being the left grey one before rectification.

    Raises:
        InputError: when the file cannot be read or lacks R or T.
    """
    rows = read_calibration(path)
    R = matrix_of(rows, "R", path=path, shape=(3, 3))
    return rigid_matrix(R, matrix_of(rows, "T", path=path, shape=(3, 1)))


def _whole_set(spec: DataSpec, _: Path, found: _Found) -> DrivingDataset:
    sequences = tuple(found.sequences)
    return DrivingDataset(spec, sequences, all_targets(sequences), None, _notes(found, spec))


def _test_set(spec: DataSpec, path: Path, found: _Found) -> DrivingDataset:
    """The published frames in published order; each must have its points."""
    sequences = tuple(found.sequences)
    places = {
        (sequence.name.removesuffix(f"_{CAMERAS[0]}"), frame): (number, position)
        for number, sequence in enumerate(sequences)
        for position, frame in enumerate(sequence.numbers.tolist())
        if sequence.truth is not None and sequence.truth.has(sequence.frames.stem(position))
    }
    rows = [places[key] for key in eigen_test_frames() if key in places]
    if not rows:
        reason = f"{len(sequences)} test drives present, no test frame with its velodyne_points"
        raise nothing_usable(spec, path, LAYOUT, reason=reason, sample="frame")
    official = len(eigen_test_frames())
    targets = np.array(rows, dtype=np.int64)
    return DrivingDataset(spec, sequences, targets, official, _notes(found, spec), depth="camera_z")


def _notes(found: _Found, spec: DataSpec) -> tuple[str, ...]:
    drives = len({sequence.name.rpartition("_")[0] for sequence in found.sequences})
    notes = [f"{drives} {'drive is' if drives == 1 else 'drives are'} present"]
    if found.test_scenes:
        notes.append(f"{found.test_scenes} test scenes of {spec.label} are left out")
    if found.static:
        notes.append(f"{found.static} frames in which the car stands still are left out")
    if found.grey:
        notes.append(f"{len(found.grey)} cameras have no colour frames: the grey camera beside them is read")
    if found.uncalibrated:
        first = found.uncalibrated[0]
        count = len(found.uncalibrated)
        notes.append(f"{count} cameras have no calib_cam_to_cam.txt and are left out (first: {first})")
    return tuple(notes)


def _why_nothing(found: _Found) -> str:
    if found.uncalibrated:
        return "drives are present, but no calib_cam_to_cam.txt in the folder of their date"
    return f"{found.test_scenes} drives, all of them test scenes" if found.test_scenes else ""


FAMILY = Family(
    name="kitti_raw",
    kind="driving",
    title="KITTI raw, 151 drives with two colour cameras and a laser scanner",
    layout=LAYOUT,
    open=open_kitti_raw,
    facts=Facts(
        holds="frames with intrinsics, and sparse depth from the laser scanner",
        counts={"eigen_test": 697},
        unit="frames",
        size="about 1242x375",
        source="KIT and TTIC, KITTI vision benchmark suite",
        url="https://www.cvlibs.net/datasets/kitti/raw_data.php",
        terms="CC BY-NC-SA 3.0",
    ),
    splits=("eigen_train", "eigen_test", "stereo_train"),
)
