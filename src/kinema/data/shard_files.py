"""Clips, drives and snippets in shards, file by file, so that a window reads only its own frames.

The set itself (which frames make a clip, poses, intrinsics) is told once, in the manifest. When it is opened,
the family's own classes are made again around files that lie in shards, so windows, snippets and resizing
work as they do on the disk.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.driving_sample import CameraSequence, DepthTruth, DrivingDataset, all_targets
from kinema.data.family import OpenedSet
from kinema.data.frame_list import FrameList
from kinema.data.held_files import HeldFiles, HeldTruth
from kinema.data.kitti_raw import LidarTruth
from kinema.data.kitti_stereo import DisparityTruth
from kinema.data.posed import DepthPictures
from kinema.data.restoration_sample import RestorationClip, RestorationDataset
from kinema.data.snippets import SnippetStrips
from kinema.data.spec import DataSpec
from kinema.errors import InputError
from kinema.io.files import read_bytes

_ARRAYS = ("<i8", "<f4", "<f8")


class SetFiles(Sequence[bytes]):
    """All files of a set of clips, drives or snippets, each once, as what is stored in shards.

    Args:
        dataset: opened.
    """

    def __init__(self, dataset: RestorationDataset | DrivingDataset | SnippetStrips) -> None:
        self.spec, self.notes = dataset.spec, dataset.notes
        self.official_count, self.samples = dataset.official_count, len(dataset)
        folders = _Folders()
        if isinstance(dataset, RestorationDataset):
            told: dict[str, Any] = {"of": "restoration", **_tell_clips(dataset, folders)}
        elif isinstance(dataset, DrivingDataset):
            told = {"of": "driving", **_tell_drives(dataset, folders)}
        else:
            told = {"of": "snippets", **_tell_strips(dataset, folders)}
        named = {folder: list(files) for folder, files in folders.found.items()}
        self.content = {**told, "samples": len(dataset), "folders": named}
        """What the manifest says about the set; JSON."""
        self._files = [
            (f"{folder}/{name}", at) for folder, files in folders.found.items() for name, at in files.items()
        ]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]
        return self._files[index][1].read()

    def name_of(self, index: int) -> str:
        """Name a file without its suffix.

        Args:
            index: of the file.

        Returns:
            Such as ``low/011/00000042``.
        """
        return self._files[index][0].rpartition(".")[0]

    def suffix_of(self, index: int) -> str:
        """Tell a file's suffix.

        Args:
            index: of the file.

        Returns:
            Such as ``png``.
        """
        return self._files[index][0].rpartition(".")[2]

    def paths_of(self, index: int) -> Mapping[str, Path]:
        """Tell where a file lies.

        Args:
            index: of the file.

        Returns:
            ``file``; nothing for a picture in an LMDB folder.
        """
        at = self._files[index][1]
        return {} if at.packed else {"file": Path(at.folder, at.name)}


def set_files(dataset: OpenedSet[Any]) -> SetFiles | None:
    """Take a data set apart into files, where it is one of clips, drives or snippets.

    Args:
        dataset: opened.

    Returns:
        Its files; None for a set of another kind, whose samples are stored whole.
    """
    if isinstance(dataset, RestorationDataset | DrivingDataset | SnippetStrips):
        return SetFiles(dataset)
    return None


@dataclass(frozen=True)
class SetHead:
    """What every opened set has.

    Attributes:
        spec: of the data that were converted.
        official_count: how many samples the official part has; None where there is no official set.
        notes: what was said about the copy that was converted.
    """

    spec: DataSpec
    official_count: int | None
    notes: tuple[str, ...]


def make_set(
    head: SetHead, content: Mapping[str, Any], fetch: Callable[[int], bytes], *, root: Path, count: int
) -> OpenedSet[Any]:
    """Make a set of clips, drives or snippets around files in shards.

    Args:
        head: what every set has.
        content: what `SetFiles.content` said.
        fetch: gives the content of a file by its number.
        root: where the shards lie.
        count: how many files they hold.

    Returns:
        What the family gives for files on the disk.

    Raises:
        InputError: when the content is damaged, or of a kind that this version does not know.
    """
    try:
        held = HeldFiles(root, content["folders"], fetch)
        if len(held) != count:
            raise ValueError(f"{len(held)} files are named, {count} are there")
        made = _MAKERS[content["of"]](head, content, held)
        if len(made) != content["samples"]:
            raise ValueError(f"{content['samples']} samples were there, {len(made)} are")
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise InputError(
            f"{root}: the manifest does not describe its set ({error!r}); copy it again, or convert again"
        ) from None
    return made


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file lies that is to be stored."""

    folder: str
    name: str
    packed: bool = False

    def read(self) -> bytes:
        if self.packed:
            return FrameList(self.folder, (self.name,), packed=True).encoded(0)
        return read_bytes(Path(self.folder, self.name))


class _Folders:
    """The names that files get in shards, by folder; a file that is met twice is stored once."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, _Place]] = {}

    def add(self, folder: str, name: str, at: _Place) -> None:
        held = self.found.setdefault(folder, {})
        if held.setdefault(name, at) != at:
            raise InputError(f"two files would be called {folder}/{name}: {held[name]} and {at}")

    def add_frames(self, folder: str, frames: FrameList) -> list[str]:
        """Returns the names in the shards; a key of an LMDB folder becomes the file that it stands for."""
        stored = [f"{frames.stem(index)}.png" if frames.packed else n for index, n in enumerate(frames.names)]
        for name, mine in zip(frames.names, stored, strict=True):
            self.add(folder, mine, _Place(frames.folder, name, frames.packed))
        return stored


def _tell_clips(dataset: RestorationDataset, folders: _Folders) -> dict[str, Any]:
    clips = []
    for clip in dataset.clips:
        low, sharp = (f"{part}/{clip.name}".rstrip("/") for part in ("low", "sharp"))
        targets = list(clip.targets)
        clips.append(
            {
                "name": clip.name,
                "low": folders.add_frames(low, clip.low),
                "sharp": folders.add_frames(sharp, clip.sharp),
                "targets": None if targets == list(range(len(clip))) else targets,
            }
        )
    return {"clips": clips}


def _make_clips(head: SetHead, content: Mapping[str, Any], held: HeldFiles) -> RestorationDataset:
    clips = []
    for told in content["clips"]:
        low, sharp = (_frames(held, f"{p}/{told['name']}".rstrip("/"), told[p]) for p in ("low", "sharp"))
        targets = range(len(low)) if told["targets"] is None else tuple(map(int, told["targets"]))
        if len(targets) != len(sharp):
            raise ValueError(f"{told['name']}: {len(targets)} targets of {len(sharp)} sharp frames")
        clips.append(RestorationClip(str(told["name"]), low, sharp, targets))
    return RestorationDataset(head.spec, tuple(clips), head.official_count, head.notes)


def _frames(held: HeldFiles, folder: str, names: Sequence[str]) -> FrameList:
    frames = FrameList(str(held.root / folder), tuple(names), held=held)
    known = set(held.folders[folder])
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ValueError(f"{folder}/{unknown} is not among the files")
    return frames


def _tell_drives(dataset: DrivingDataset, folders: _Folders) -> dict[str, Any]:
    truths: dict[str, str] = {}  # two cameras share the points of one laser scanner
    sequences = []
    for sequence in dataset.sequences:
        sequences.append(
            {
                "name": sequence.name,
                "frames": folders.add_frames(f"frames/{sequence.name}", sequence.frames),
                "numbers": _tell_array(sequence.numbers),
                "K": _tell_array(sequence.K),
                "times": _tell_array(sequence.times),
                "T_world_from_camera": _tell_array(sequence.T_world_from_camera),
                "truth": _tell_truth(sequence, truths, folders),
            }
        )
    return {
        "sequences": sequences,
        "targets": _tell_array(dataset.targets),
        "frames": dataset.frames,
        "gaps": dataset.gaps,
        "depth": dataset.depth,
    }


def _make_drives(head: SetHead, content: Mapping[str, Any], held: HeldFiles) -> DrivingDataset:
    sequences = []
    for told in content["sequences"]:
        frames = _frames(held, f"frames/{told['name']}", told["frames"])
        count = len(frames)
        sequences.append(
            CameraSequence(
                str(told["name"]),
                frames,
                _array(told["numbers"], (count,)),
                None if told["K"] is None else _array(told["K"], (3, 3)),
                times=None if told["times"] is None else _array(told["times"], (count,)),
                T_world_from_camera=None
                if told["T_world_from_camera"] is None
                else _array(told["T_world_from_camera"], (count, 4, 4)),
                truth=None if told["truth"] is None else _truth(told["truth"], held),
            )
        )
    targets = _array(content["targets"], (None, 2))
    places = {tuple(row) for row in all_targets(sequences).tolist()}
    if not places.issuperset(map(tuple, targets.tolist())):
        raise ValueError("a target is no frame")
    return DrivingDataset(
        head.spec,
        tuple(sequences),
        targets,
        head.official_count,
        head.notes,
        frames=int(content["frames"]),
        gaps=content["gaps"],
        depth=content["depth"],
    )


def _tell_truth(sequence: CameraSequence, named: dict[str, str], folders: _Folders) -> dict[str, Any] | None:
    truth = sequence.truth
    if truth is None:
        return None
    told: dict[str, Any]
    if isinstance(truth, LidarTruth):
        told = {"from": "lidar", "P_from_velodyne": _tell_array(truth.P_from_velodyne)}
    elif isinstance(truth, DisparityTruth):
        told = {"from": "disparity", "focal": truth.focal}
    elif isinstance(truth, DepthPictures):
        told = {"from": "pictures"}
    else:
        raise InputError(f"{sequence.name}: there is no way to store depth of kind {type(truth).__name__}")
    folder = named.setdefault(str(truth.folder), f"depth/{sequence.name}")
    for index in range(len(sequence.frames)):
        stem = sequence.frames.stem(index)
        if truth.has(stem):
            path = truth.path(stem)
            folders.add(folder, path.name, _Place(str(path.parent), path.name))
    return {**told, "folder": folder}


def _truth(told: Mapping[str, Any], held: HeldFiles) -> DepthTruth:
    folder = held.root / told["folder"]
    present = frozenset(name.rpartition(".")[0] for name in held.folders.get(told["folder"], ()))
    makers: dict[str, Callable[[], DepthTruth]] = {
        "lidar": lambda: LidarTruth(folder, present, _array(told["P_from_velodyne"], (3, 4))),
        "disparity": lambda: DisparityTruth(folder, None if told["focal"] is None else float(told["focal"])),
        "pictures": lambda: DepthPictures(folder, present),
    }
    return HeldTruth(makers[told["from"]](), held)


def _tell_strips(dataset: SnippetStrips, folders: _Folders) -> dict[str, Any]:
    for index in range(len(dataset)):
        for path in dataset.files_of(index):
            inside = path.relative_to(dataset.root)
            folders.add(inside.parent.as_posix(), path.name, _Place(str(path.parent), path.name))
    return {"strips": list(dataset.strips)}


def _make_strips(head: SetHead, content: Mapping[str, Any], held: HeldFiles) -> SnippetStrips:
    strips = SnippetStrips(head.spec, tuple(content["strips"]), held.root, head.notes, held=held)
    for index in range(len(strips)):
        missing = next((path for path in strips.files_of(index) if path not in held), None)
        if missing is not None:
            raise ValueError(f"{missing.name} is not among the files")
    return strips


_MAKERS: dict[str, Callable[[SetHead, Mapping[str, Any], HeldFiles], OpenedSet[Any]]] = {
    "restoration": _make_clips,
    "driving": _make_drives,
    "snippets": _make_strips,
}


def _tell_array(array: np.ndarray | None) -> dict[str, Any] | None:
    if array is None:
        return None
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    data = base64.b64encode(plain.tobytes()).decode("ascii")
    return {"type": plain.dtype.str, "shape": list(plain.shape), "base64": data}


def _array(told: Mapping[str, Any], shape: tuple[int | None, ...]) -> np.ndarray:
    if told["type"] not in _ARRAYS:
        raise ValueError(f"an array of {told['type']!r}")
    plain = np.frombuffer(base64.b64decode(told["base64"], validate=True), dtype=told["type"])
    array: np.ndarray = plain.reshape([int(size) for size in told["shape"]]).astype(
        plain.dtype.newbyteorder("=")
    )
    fits = array.ndim == len(shape) and all(
        want in (None, is_) for want, is_ in zip(shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"an array of shape {array.shape} for {shape}")
    return array
