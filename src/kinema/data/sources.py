"""Where published data sets can be had: addresses, parts, terms. Facts only; `kinema.data.download` fetches.

Sizes are those that the publishers name, rounded by them; none of them publishes checksums, so that a part is
checked by its length and by the checksums inside its archive.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from kinema.data import FAMILIES
from kinema.errors import UsageError

_GB = 10**9
_MB = 10**6
_KITTI = "https://s3.eu-central-1.amazonaws.com/avg-kitti"
_REDS = "http://data.cv.snu.ac.kr:8008/webdav/dataset/REDS"
_SINTEL = "http://files.is.tue.mpg.de"
_FREIBURG = "https://lmb.informatik.uni-freiburg.de"
_MIDDLEBURY = "https://vision.middlebury.edu/flow/data/comp/zip"
_TOFLOW = "http://data.csail.mit.edu/tofu"
_REGISTER = "KITTI asks its users to register on its page"


@dataclass(frozen=True)
class Part:
    """One file that can be fetched.

    Attributes:
        name: as it is asked for.
        url: its address.
        holds: what is in it, in a few words.
        size: in bytes as published, rounded; None where nobody says.
        sha256: of the file, in hexadecimal; None where not known.
    """

    name: str
    url: str
    holds: str
    size: int | None = None
    sha256: str | None = None

    @property
    def file(self) -> str:
        """The name of the file, from the end of the address."""
        return unquote(PurePosixPath(urlsplit(self.url).path).name)


@dataclass(frozen=True)
class Source:
    """A data set and the way to it.

    Attributes:
        family: the name of the family; `kinema.data.FAMILIES` has its page and terms.
        parts: what can be fetched directly; empty where the page must be opened.
        groups: names that stand for several parts.
        default: the parts without any asked for; empty where some must be named.
        note: what else to know.
    """

    family: str
    parts: tuple[Part, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: tuple[str, ...] = ()
    note: str = ""

    @property
    def page(self) -> str:
        """Where its publishers describe it."""
        return FAMILIES[self.family].facts.url

    @property
    def terms(self) -> str:
        """Of use, in one short line."""
        return FAMILIES[self.family].facts.terms


def _kitti_drives() -> tuple[tuple[Part, ...], dict[str, tuple[str, ...]]]:
    """The synchronised and rectified drives of KITTI raw, by the categories of its page."""
    parts = {
        f"{day}_calib": Part(f"{day}_calib", f"{_KITTI}/raw_data/{day}_calib.zip", f"calibration of {day}")
        for day in ("2011_09_26", "2011_09_28", "2011_09_29", "2011_09_30", "2011_10_03")
    }
    groups: dict[str, tuple[str, ...]] = {"calib": tuple(parts)}
    for category, days in _DRIVES.items():
        names = [f"{day}_drive_{number}" for day, numbers in days.items() for number in numbers.split()]
        for name in names:
            address = f"{_KITTI}/raw_data/{name}/{name}_sync.zip"
            parts[name] = Part(name, address, f"{category} drive, synchronised and rectified")
        groups[category] = (*(f"{day}_calib" for day in days), *names)
    return tuple(parts.values()), groups


_DRIVES: dict[str, dict[str, str]] = {
    "city": {
        "2011_09_26": "0001 0002 0005 0009 0011 0013 0014 0017 0018 0048 0051 0056 0057 0059 0060 0084 0091 "
        "0093 0095 0096 0104 0106 0113 0117",
        "2011_09_28": "0001 0002",
        "2011_09_29": "0026 0071",
    },
    "residential": {
        "2011_09_26": "0019 0020 0022 0023 0035 0036 0039 0046 0061 0064 0079 0086 0087",
        "2011_09_30": "0018 0020 0027 0028 0033 0034",
        "2011_10_03": "0027 0034",
    },
    "road": {
        "2011_09_26": "0015 0027 0028 0029 0032 0052 0070 0101",
        "2011_09_29": "0004",
        "2011_09_30": "0016",
        "2011_10_03": "0042 0047",
    },
    "campus": {"2011_09_28": "0016 0021 0034 0035 0037 0038 0039 0043 0045 0047"},
    "person": {
        "2011_09_28": "0053 0054 0057 0065 0066 0068 0070 0071 0075 0077 0078 0080 0082 0086 0087 0089 "
        "0090 0094 0095 0096 0098 0100 0102 0103 0104 0106 0108 0110 0113 0117 0119 0121 "
        "0122 0125 0126 0128 0132 0134 0135 0136 0138 0141 0143 0145 0146 0149 0153 0154 "
        "0155 0156 0160 0161 0162 0165 0166 0167 0168 0171 0174 0177 0179 0183 0184 0185 "
        "0186 0187 0191 0192 0195 0198 0199 0201 0204 0205 0208 0209 0214 0216 0220 0222",
    },
    "calibration": {
        "2011_09_26": "0119",
        "2011_09_28": "0225",
        "2011_09_29": "0108",
        "2011_09_30": "0072",
        "2011_10_03": "0058",
    },
}

_RAW_PARTS, _RAW_GROUPS = _kitti_drives()

_ALL: tuple[Source, ...] = (
    Source(
        "reds",
        tuple(
            Part(name, f"{_REDS}/{name}.zip", holds)
            for name, holds in (
                ("train_sharp", "240 clips of 100 sharp frames, 1280x720"),
                ("train_sharp_bicubic", "the same at a quarter of the size"),
                ("train_blur", "240 blurred clips"),
                ("train_blur_bicubic", "240 blurred clips at a quarter of the size"),
                ("train_blur_comp", "240 blurred and compressed clips"),
                ("val_sharp", "30 clips of 100 sharp frames, 1280x720"),
                ("val_sharp_bicubic", "the same at a quarter of the size"),
                ("val_blur", "30 blurred clips"),
                ("val_blur_bicubic", "30 blurred clips at a quarter of the size"),
                ("val_blur_comp", "30 blurred and compressed clips"),
                ("test_sharp_bicubic", "30 clips without published truth, at a quarter of the size"),
                ("test_blur", "30 blurred clips without published truth"),
                ("test_blur_bicubic", "30 blurred clips without published truth, at a quarter of the size"),
                ("test_blur_comp", "30 blurred and compressed clips without published truth"),
            )
        ),
        note="the page also links to copies on Google Drive: put such a file into DIR, and it is unpacked",
    ),
    Source(
        "sintel",
        (
            Part(
                "complete",
                f"{_SINTEL}/sintel/MPI-Sintel-complete.zip",
                "all of training and test",
                5_300 * _MB,
            ),
            Part(
                "training_images",
                f"{_SINTEL}/sintel/MPI-Sintel-training_images.zip",
                "clean, final and albedo frames with truth",
                1_780 * _MB,
            ),
            Part(
                "training_extras",
                f"{_SINTEL}/sintel/MPI-Sintel-training_extras.zip",
                "flow, its pictures, occlusion and invalid masks",
                3_290 * _MB,
            ),
            Part(
                "testing", f"{_SINTEL}/sintel/MPI-Sintel-testing.zip", "clean and final frames without truth"
            ),
            Part(
                "depth",
                f"{_SINTEL}/jwulff/sintel/MPI-Sintel-depth-training-20150305.zip",
                "depth and cameras of the training scenes",
                1_600 * _MB,
            ),
        ),
        default=("complete",),
    ),
    Source(
        "flyingchairs",
        (
            Part(
                "pairs", f"{_FREIBURG}/data/FlyingChairs/FlyingChairs.zip", "22872 pairs with flow", 31 * _GB
            ),
            Part(
                "split",
                f"{_FREIBURG}/resources/datasets/FlyingChairs/FlyingChairs_train_val.txt",
                "the list of training and validation pairs",
            ),
        ),
        default=("split", "pairs"),
    ),
    Source(
        "flyingthings_subset",
        tuple(
            Part(
                name,
                f"{_FREIBURG}/data/FlyingThings3D_subset/FlyingThings3D_subset_{name}.tar.bz2",
                holds,
            )
            for name, holds in (
                ("image_clean", "frames of both cameras"),
                ("flow", "flow into the future and the past"),
                ("flow_occlusions", "masks of what the flow hides"),
                ("disparity", "disparity of both cameras"),
                ("disparity_change", "its change in time"),
                ("disparity_occlusions", "masks of what the other camera does not see"),
            )
        ),
        note="the page prefers BitTorrent: put a file got that way into DIR, and it is unpacked",
    ),
    Source(
        "middlebury",
        (
            Part(
                "frames",
                f"{_MIDDLEBURY}/other-color-twoframes.zip",
                "two colour frames of the scenes with truth",
            ),
            Part("flow", f"{_MIDDLEBURY}/other-gt-flow.zip", "the true flow"),
            Part(
                "all_frames",
                f"{_MIDDLEBURY}/other-color-allframes.zip",
                "up to eight colour frames of a scene",
            ),
            Part(
                "evaluation",
                f"{_MIDDLEBURY}/eval-color-twoframes.zip",
                "two frames of the benchmark's scenes",
            ),
        ),
        default=("frames", "flow"),
    ),
    Source(
        "kitti2012",
        (
            Part("flow", f"{_KITTI}/data_stereo_flow.zip", "pairs, flow, disparity", 1_900 * _MB),
            Part("calib", f"{_KITTI}/data_stereo_flow_calib.zip", "calibration files"),
            Part(
                "multiview", f"{_KITTI}/data_stereo_flow_multiview.zip", "21 frames of a scene", 16_500 * _MB
            ),
        ),
        default=("flow", "calib"),
        note=_REGISTER,
    ),
    Source(
        "kitti2015",
        (
            Part("flow", f"{_KITTI}/data_scene_flow.zip", "pairs, flow, disparity", 1_600 * _MB),
            Part("calib", f"{_KITTI}/data_scene_flow_calib.zip", "calibration files"),
            Part(
                "multiview", f"{_KITTI}/data_scene_flow_multiview.zip", "21 frames of a scene", 12_500 * _MB
            ),
        ),
        default=("flow", "calib"),
        note=_REGISTER,
    ),
    Source(
        "kitti_raw",
        _RAW_PARTS,
        groups=_RAW_GROUPS,
        note=f"{_REGISTER}; a drive brings the calibration of its day",
    ),
    Source(
        "kitti_odometry",
        (
            Part(
                "color", f"{_KITTI}/data_odometry_color.zip", "colour frames of sequences 00 to 21", 65 * _GB
            ),
            Part("gray", f"{_KITTI}/data_odometry_gray.zip", "grey frames of sequences 00 to 21", 22 * _GB),
            Part("calib", f"{_KITTI}/data_odometry_calib.zip", "calibration and times", _MB),
            Part("poses", f"{_KITTI}/data_odometry_poses.zip", "true poses of sequences 00 to 10", 4 * _MB),
        ),
        note=_REGISTER,
    ),
    Source(
        "vimeo90k",
        (
            Part(
                "septuplets", f"{_TOFLOW}/dataset/vimeo_septuplet.zip", "clips of 7 frames, 448x256", 82 * _GB
            ),
            Part(
                "test_sr", f"{_TOFLOW}/testset/vimeo_super_resolution_test.zip", "low-resolution test clips"
            ),
        ),
        default=("septuplets",),
    ),
    Source(
        "vid4",
        note="open https://github.com/XPixelGroup/BasicSR/blob/master/docs/DatasetPreparation.md, which "
        "names copies",
    ),
)

SOURCES: dict[str, Source] = {source.family: source for source in _ALL}
"""By family."""


def find_source(name: str) -> Source:
    """Look a family up; ``-`` and ``_`` are the same.

    Args:
        name: as it was typed.

    Returns:
        Its source.

    Raises:
        UsageError: when there is none; the message lists them.
    """
    source = SOURCES.get(name.replace("-", "_").lower())
    if source is None:
        raise UsageError(f"no download is known for {name!r}: choose from {', '.join(SOURCES)}")
    return source


def choose_parts(source: Source, names: Sequence[str]) -> list[Part]:
    """Find the parts that were asked for, each once.

    Args:
        source: of the family.
        names: parts or groups, or ``all``; ``-`` and ``_`` are the same. None asks for the usual ones.

    Returns:
        The parts in the order asked for; a drive of KITTI raw brings the calibration of its day.

    Raises:
        UsageError: when a name is unknown, or some must be named, or the page must be opened instead.
    """
    if not source.parts:
        raise UsageError(f"{source.family} has no address of its own: {source.note}")
    known = {part.name: part for part in source.parts}
    groups = {**source.groups, "all": tuple(known)}
    if not names and not source.default:
        raise UsageError(f"say which part of {source.family}: {_listed(source)}, or all")
    chosen: dict[str, Part] = {}
    for name in names or source.default:
        meant = name.replace("-", "_")
        if meant not in known and meant not in groups:
            raise UsageError(f"{source.family} has no part {name!r}: there are {_listed(source)}, and all")
        for part in groups.get(meant, (meant,)):
            chosen.update({p: known[p] for p in (*_needed(part), part) if p in known})
    return list(chosen.values())


def _needed(part: str) -> tuple[str, ...]:
    drive = re.fullmatch(r"(\d{4}_\d\d_\d\d)_drive_\d{4}", part)
    return (f"{drive[1]}_calib",) if drive else ()


def _listed(source: Source) -> str:
    """Groups where there are many parts, and one part for an example."""
    if not source.groups:
        return ", ".join(part.name for part in source.parts)
    return f"{', '.join(source.groups)}, or a part such as {source.parts[-1].name}"
