"""Anyone's own labelled pairs: a folder of frames beside a folder of flow."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.layout import incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec
from kinema.io.clips import natural_key
from kinema.io.images import IMAGE_SUFFIXES

LAYOUT = (
    "frames/[SCENE/]NAME.png (any image format) with flow/[SCENE/]NAME.flo (or .pfm .npz .mat, KITTI .png): "
    "the flow from that frame to the next one of its folder"
)
_SUFFIX = "_flow"
_FORMATS = (".flo", ".pfm", ".npz", ".mat", ".png")  # where one name has several: a .png may be a picture


def open_custom(spec: DataSpec, path: Path) -> FlowDataset:
    """Open labelled pairs of no official set.

    Args:
        spec: what was asked for.
        path: the folder that holds ``frames`` and ``flow``, with the same subfolders in both.

    Returns:
        One pair per flow file: the frame of the same name (a trailing ``_flow`` does not count) and the next
        frame of that folder in natural order.

    Raises:
        InputError: when no flow has both its frames.
    """
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    for folder in _folders(path / "flow"):
        for name, files in _pairs(path, folder.relative_to(path / "flow")):
            usable.append(files) if files is not None else incomplete.append(name)
    if not usable:
        reason = "no flow has a frame of its name and a next one" if incomplete else ""
        raise nothing_usable(spec, path, LAYOUT, reason=reason)
    return FlowDataset(spec, tuple(usable), None, incomplete_note(incomplete))


def _folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    yield root
    for name in sorted(list_names(root)):
        yield from _folders(root / name)


def _pairs(path: Path, scene: Path) -> Iterator[tuple[str, FlowFiles | None]]:
    frames, flows = path / "frames" / scene, path / "flow" / scene
    pictures = [Path(name) for name in list_names(frames) if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    following = {first.stem: (first, second) for first, second in pairwise(sorted(pictures, key=natural_key))}
    truths: dict[str, Path] = {}
    for truth in sorted(map(Path, list_names(flows)), key=_preference):
        if truth.suffix.lower() in _FORMATS:
            truths.setdefault(truth.stem.removesuffix(_SUFFIX), truth)
    for stem, truth in sorted(truths.items(), key=lambda item: natural_key(item[1])):
        name = (scene / stem).as_posix()
        pair = following.get(stem)
        if pair is None:
            yield name, None
        else:
            yield (
                name,
                FlowFiles(name=name, flow=flows / truth, image1=frames / pair[0], image2=frames / pair[1]),
            )


def _preference(truth: Path) -> int:
    suffix = truth.suffix.lower()
    return _FORMATS.index(suffix) if suffix in _FORMATS else len(_FORMATS)


FAMILY = Family(
    name="custom",
    kind="flow",
    title="your own frames with true flow",
    layout=LAYOUT,
    open=open_custom,
    facts=Facts(
        holds="pairs with true flow, in any image and flow format",
        counts={},
        unit="pairs",
        size="",
        source="you",
        url="",
        terms="your own",
    ),
)
