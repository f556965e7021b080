"""Single pictures of the KITTI stereo benchmarks (2015 and 2012) with true depth from their disparity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.data.driving_sample import CameraSequence, DrivingDataset, all_targets
from kinema.data.family import Facts, Family
from kinema.data.frame_list import FrameList
from kinema.data.kitti_calibration import matrix_of, read_calibration
from kinema.data.layout import first_root, list_names, nothing_usable
from kinema.data.lidar import DepthValue
from kinema.data.spec import DataSpec
from kinema.errors import InputError, UsageError
from kinema.io.images import read_image

LAYOUT = (
    "training/{image_2, colored_0 or image_0}/NNNNNN_10.png with training/{disp_occ_0 or disp_occ}/ of the"
    " same names (2015 or 2012; training/calib_cam_to_cam or training/calib for intrinsics)"
)
OFFICIAL_FRAMES = {"disp_occ_0": 200, "disp_occ": 194}
BASELINE = 0.54  # metres between the colour cameras, as the published evaluation has it
# Focal length in pixels by the width of the picture: one for each recording day, and the published rule.
FOCAL = {1242: 721.5377, 1241: 718.856, 1224: 707.0493, 1238: 718.3351}

_IMAGES = {"image_2": ("P_rect_02", "P2"), "colored_0": ("P2", "P2"), "image_0": ("P_rect_00", "P0")}
_TRUTH = re.compile(r"\d{6}_10\.png")


@dataclass(frozen=True, eq=False)
class DisparityTruth:
    """Depth from disparity.

    Attributes:
        folder: holds a 16-bit picture for each frame: 256 times the disparity, 0 where unknown.
        focal: pixels; None takes `FOCAL`.
    """

    folder: Path
    focal: float | None

    def has(self, name: str) -> bool:
        """Tell whether a frame has a disparity.

        Args:
            name: of the frame.

        Returns:
            Always True: only such frames are listed.
        """
        return bool(name)

    def path(self, name: str) -> Path:
        """The file with the disparity of a frame.

        Args:
            name: of the frame.

        Returns:
            Where it is.
        """
        return self.folder / f"{name}.png"

    def read(self, name: str, size_hw: tuple[int, int], *, value: DepthValue) -> np.ndarray:
        """Read a frame's disparity and turn it into depth, focal length times baseline over disparity.

        Args:
            name: of the frame.
            size_hw: height and width of the picture.
            value: ``"camera_z"``.

        Returns:
            (H, W) float32 metres, 0 is unknown.

        Raises:
            InputError: when it cannot be read, or has another size.
            UsageError: for another value.
        """
        if value != "camera_z":
            raise UsageError(f"depth from disparity is camera_z; it cannot be {value}")
        stored = read_image(self.path(name))
        if stored.dtype != np.uint16 or stored.shape[:2] != size_hw:
            raise InputError(
                f"{self.path(name)}: is {stored.shape[1]}x{stored.shape[0]} {stored.dtype}; expected 16 bits"
                f" and the picture's {size_hw[1]}x{size_hw[0]}"
            )
        focal = FOCAL.get(size_hw[1], self.focal)
        if focal is None:
            raise InputError(f"{self.path(name)}: no focal length is known for a picture {size_hw[1]} wide")
        disparity = stored[..., 0].astype(np.float32) / 256
        scale = np.float32(focal * BASELINE)
        return np.divide(scale, disparity, out=np.zeros_like(disparity), where=disparity > 0)


def open_kitti_stereo(spec: DataSpec, path: Path) -> DrivingDataset:
    """Open the pictures that have a true disparity.

    Args:
        spec: what was asked for; ``@training`` and no split are the same, since only that part has truth.
        path: the folder that holds ``training`` of either year, or ``training`` itself.

    Returns:
        One sample a picture, frame 10 only, with depth, and with intrinsics where the copy has them. The set
        of 2015 in order is the published stereo split for depth.

    Raises:
        InputError: when no picture has its disparity.
    """
    for truth in OFFICIAL_FRAMES:
        root = first_root(path, ("training", "", "data_scene_flow/training"), needed=(truth,))
        if root is not None:
            return _open_root(spec, path, root, truth)
    raise nothing_usable(spec, path, LAYOUT, sample="picture")


def _open_root(spec: DataSpec, path: Path, root: Path, truth: str) -> DrivingDataset:
    present = {folder: list_names(root / folder) for folder in _IMAGES}
    names = sorted(filter(_TRUTH.fullmatch, list_names(root / truth)))
    found = {name: folder for name in names if (folder := _folder(name, present))}
    if not found:
        raise nothing_usable(spec, path, LAYOUT, reason="no disparity has its picture", sample="picture")
    sequences = tuple(_sequence(root, name, folder=folder, truth=truth) for name, folder in found.items())
    missing = len(names) - len(found)
    notes = [f"{missing} of {len(names)} disparities have no picture and are left out"] if missing else []
    grey = sum(folder == "image_0" for folder in found.values())
    bare = sum(sequence.K is None for sequence in sequences)
    notes += [f"{grey} of {len(found)} pictures are from the grey camera (image_0)"] if grey else []
    notes += [f"{bare} of {len(found)} pictures have no calibration file"] if bare else []
    return DrivingDataset(
        spec, sequences, all_targets(sequences), OFFICIAL_FRAMES[truth], tuple(notes), depth="camera_z"
    )


def _folder(name: str, present: Mapping[str, set[str]]) -> str:
    return next((folder for folder, names in present.items() if name in names), "")


def _sequence(root: Path, name: str, *, folder: str, truth: str) -> CameraSequence:
    K = _intrinsics(root, name, folder)
    source = DisparityTruth(root / truth, None if K is None else float(K[0, 0]))
    frames = FrameList(str(root / folder), (name,))
    return CameraSequence(f"training/{folder}", frames, np.array([10]), K, truth=source)


def _intrinsics(root: Path, name: str, folder: str) -> np.ndarray | None:
    for place, row in zip(("calib_cam_to_cam", "calib"), _IMAGES[folder], strict=True):
        path = root / place / f"{name.partition('_')[0]}.txt"
        if path.is_file():
            return matrix_of(read_calibration(path), row, path=path)[:, :3].copy()
    return None


FAMILY = Family(
    name="kitti_stereo",
    kind="driving",
    title="KITTI stereo 2015 and 2012, single pictures with true depth",
    layout=LAYOUT,
    open=open_kitti_stereo,
    facts=Facts(
        holds="pictures with sparse depth from disparity",
        counts={"training 2015": 200, "training 2012": 194},
        unit="frames",
        size="about 1242x375",
        source="KIT and TTIC, KITTI vision benchmark suite",
        url="https://www.cvlibs.net/datasets/kitti/eval_scene_flow.php",
        terms="CC BY-NC-SA 3.0",
    ),
    splits=("training",),
)
