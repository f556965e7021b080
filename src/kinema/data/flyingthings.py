"""FlyingThings3D in its full tree, and the subset on which FlowNet2 was trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from kinema.data.family import Facts, Family
from kinema.data.layout import first_root, incomplete_note, list_names, nothing_usable
from kinema.data.sample import FlowDataset, FlowFiles
from kinema.data.spec import DataSpec

LAYOUT = (
    "frames_VARIANTpass/{TRAIN,TEST}/{A,B,C}/NNNN/{left,right}/FFFF.png with optical_flow/{TRAIN,TEST}/"
    "{A,B,C}/NNNN/{into_future,into_past}/{left,right}/OpticalFlowInto{Future,Past}_FFFF_{L,R}.pfm (or .flo)"
)
LAYOUT_SUBSET = (
    "{train,val}/image_VARIANT/{left,right}/NNNNNNN.png with {train,val}/flow/{left,right}/"
    "{into_future,into_past}/NNNNNNN.flo (flow_occlusions/ with .png beside flow/ where present)"
)
UNUSED_FILE = "all_unused_files.txt"
"""The published list of frames that are too hard to learn from."""

OFFICIAL_PAIRS = {"train": 20151, "test": 3933}
"""Pairs of one camera in one direction: 2239 and 437 scenes of ten frames."""

_VARIANT = r"(clean|final)(-left|-right)?(-future|-past)?(-half)?"
_FLOW = re.compile(r"OpticalFlowInto(Future|Past)_(\d{4})_([LR])\.(?:pfm|flo)")
_SUBSET_FLOW = re.compile(r"(\d{7})\.flo")
_STEP = {"into_future": 1, "into_past": -1}


@dataclass(frozen=True)
class _Choice:
    """What a variant such as ``clean-left-future-half`` asks for."""

    rendering: str
    cameras: tuple[str, ...]
    directions: tuple[str, ...]
    half: bool

    @property
    def views(self) -> int:
        return len(self.cameras) * len(self.directions)


def open_flyingthings(spec: DataSpec, path: Path) -> FlowDataset:
    """Open FlyingThings3D pairs.

    Args:
        spec: variant ``clean`` or ``final``, then, where not everything is wanted, ``-left`` or ``-right``,
            ``-future`` or ``-past``, and ``-half`` for half the size. Split ``train`` or ``test``; none is
            both.
        path: the folder that holds ``frames_cleanpass`` and ``optical_flow``.

    Returns:
        Frame N to N + 1, and N to N - 1 for ``past``, named ``TRAIN/A/0000/left/future/0006``. Where
        ``all_unused_files.txt`` lies in the folder or in that of the frames, its frames are left out.

    Raises:
        InputError: when no pair is complete.
    """
    choice = _choice(spec)
    layout = LAYOUT.replace("VARIANT", choice.rendering)
    frames = f"frames_{choice.rendering}pass"
    root = first_root(path, ("", "FlyingThings3D", "flyingthings3d"), needed=(frames, "optical_flow"))
    if root is None:
        raise nothing_usable(spec, path, layout)
    parts = ("train", "test") if spec.split is None else (spec.split,)
    unused = _unused(root, frames)
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    dropped = 0
    for part in parts:
        for files, first, whole in _scene_pairs(root, part.upper(), frames, choice):
            if not whole:
                incomplete.append(files.name)
            elif first in unused:
                dropped += 1
            else:
                usable.append(files)
    if not usable:
        raise nothing_usable(spec, path, layout, reason="no true flow has both its frames")
    official = choice.views * sum(OFFICIAL_PAIRS[part] for part in parts)
    notes = [*incomplete_note(incomplete)]
    if dropped:
        notes.append(f"{dropped} pairs are left out because {UNUSED_FILE} names their first frame")
    return FlowDataset(spec, tuple(usable), official, tuple(notes))


def _choice(spec: DataSpec) -> _Choice:
    parts = (spec.variant or "clean").split("-")
    cameras = tuple(camera for camera in ("left", "right") if camera in parts) or ("left", "right")
    directions = tuple(f"into_{way}" for way in ("future", "past") if way in parts)
    return _Choice(parts[0], cameras, directions or ("into_future", "into_past"), "half" in parts)


def _unused(root: Path, frames: str) -> set[str]:
    for place in (root, root / frames, root / "frames_cleanpass"):
        if (place / UNUSED_FILE).is_file():
            lines = (place / UNUSED_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
            return {line.strip() for line in lines}
    return set()


def _scene_pairs(
    root: Path, part: str, frames: str, choice: _Choice
) -> Iterator[tuple[FlowFiles, str, bool]]:
    """Every true flow, the name of its first frame in the published list, and whether both frames are there.

    The flow that leads out of a scene is published as well, but its second frame is not: it is passed over.
    """
    flows, pictures = root / "optical_flow" / part, root / frames / part
    for letter in sorted(list_names(flows)):
        for scene, camera in product(sorted(list_names(flows / letter)), choice.cameras):
            place = f"{letter}/{scene}"
            present = list_names(pictures / place / camera)
            numbers = {int(name[:-4]) for name in present if re.fullmatch(r"\d{4}\.png", name)}
            for direction in choice.directions:
                folder = flows / place / direction / camera
                for truth, number in _numbered(folder):
                    second = number + _STEP[direction]
                    if numbers and number in numbers and not min(numbers) <= second <= max(numbers):
                        continue
                    images = [pictures / place / camera / f"{n:04d}.png" for n in (number, second)]
                    files = FlowFiles(
                        name=f"{part}/{place}/{camera}/{direction[5:]}/{number:04d}",
                        flow=folder / truth,
                        image1=images[0],
                        image2=images[1],
                        half=choice.half,
                    )
                    whole = number in numbers and second in numbers
                    yield files, f"{part}/{place}/{camera}/{number:04d}.png", whole


def _numbered(folder: Path) -> list[tuple[str, int]]:
    found = {int(match[2]): name for name in sorted(list_names(folder)) if (match := _FLOW.fullmatch(name))}
    return [(name, number) for number, name in sorted(found.items())]


def open_flyingthings_subset(spec: DataSpec, path: Path) -> FlowDataset:
    """Open the pairs of the FlyingThings3D subset.

    Its frames are numbered through all scenes, so a number tells no border between two of them; a pair is
    taken where the flow from its first frame and the flow back from its second both are present.

    Args:
        spec: variant as of `open_flyingthings`; split ``train`` or ``val``, none is both.
        path: the folder that holds ``train`` and ``val``.

    Returns:
        Frame N to N + 1, and N to N - 1 for ``past``, named ``train/left/future/0000006``, with the occlusion
        masks where they lie beside the flow.

    Raises:
        InputError: when no pair is complete.
    """
    choice = _choice(spec)
    layout = LAYOUT_SUBSET.replace("VARIANT", choice.rendering)
    nested = path / "FlyingThings3D_subset"
    root = nested if nested.is_dir() else path
    parts = ("train", "val") if spec.split is None else (spec.split,)
    usable: list[FlowFiles] = []
    incomplete: list[str] = []
    one_way: list[str] = []
    for part, camera in product(parts, choice.cameras):
        view = _SubsetView.of(root / part, camera, choice)
        one_way += [f"{part}/{camera}"] if view.one_way else []
        for direction in choice.directions:
            for files, whole in view.pairs(f"{part}/{camera}", direction):
                usable.append(files) if whole else incomplete.append(files.name)
    if not usable:
        raise nothing_usable(
            spec, path, layout, reason="no true flow has both its frames" if incomplete else ""
        )
    return FlowDataset(spec, tuple(usable), None, (*incomplete_note(incomplete), *_border_note(one_way)))


def _border_note(one_way: Sequence[str]) -> tuple[str, ...]:
    if not one_way:
        return ()
    return (
        f"{', '.join(one_way)}: flow of one direction only, so a pair across the border of two scenes cannot "
        "be told from a true one",
    )


@dataclass(frozen=True)
class _SubsetView:
    """One camera of one part of the subset."""

    images: Path
    flow: Path
    occlusions: Path
    frames: frozenset[int]
    truths: dict[str, frozenset[int]]
    masks: dict[str, set[str]]
    half: bool

    @classmethod
    def of(cls, part: Path, camera: str, choice: _Choice) -> _SubsetView:
        images, flow = part / f"image_{choice.rendering}" / camera, part / "flow" / camera
        occlusions = part / "flow_occlusions" / camera
        return cls(
            images,
            flow,
            occlusions,
            frozenset(int(name[:-4]) for name in list_names(images) if re.fullmatch(r"\d{7}\.png", name)),
            {
                way: frozenset(
                    int(match[1]) for match in map(_SUBSET_FLOW.fullmatch, list_names(flow / way)) if match
                )
                for way in _STEP
            },
            {way: list_names(occlusions / way) for way in choice.directions},
            choice.half,
        )

    @property
    def one_way(self) -> bool:
        return sum(map(bool, self.truths.values())) == 1

    def pairs(self, prefix: str, direction: str) -> Iterator[tuple[FlowFiles, bool]]:
        step = _STEP[direction]
        back = self.truths["into_past" if step > 0 else "into_future"]
        for number in sorted(self.truths[direction]):
            second = number + step
            if not self.one_way and second not in back:
                continue  # the flow that leads out of a scene
            mask = f"{number:07d}.png"
            files = FlowFiles(
                name=f"{prefix}/{direction[5:]}/{number:07d}",
                flow=self.flow / direction / f"{number:07d}.flo",
                image1=self.images / mask,
                image2=self.images / f"{second:07d}.png",
                occlusions=self.occlusions / direction / mask if mask in self.masks[direction] else None,
                half=self.half,
            )
            yield files, number in self.frames and second in self.frames


_SOURCE = "Computer Vision Group, University of Freiburg"
_URL = "https://lmb.informatik.uni-freiburg.de/resources/datasets/SceneFlowDatasets.en.html"

FAMILY = Family(
    name="flyingthings",
    kind="flow",
    title="FlyingThings3D, 20151 training and 3933 test pairs of each camera and direction",
    layout=LAYOUT,
    open=open_flyingthings,
    facts=Facts(
        holds="rendered stereo pairs with dense flow forward and backward; also at half size",
        counts={part: 4 * count for part, count in OFFICIAL_PAIRS.items()},
        unit="pairs",
        size="960x540",
        source=_SOURCE,
        url=_URL,
        terms="for research only",
    ),
    variants=("clean", "final", "clean-left", "clean-left-future", "clean-half"),
    other_variants=_VARIANT,
    variant_needed=True,
    splits=("train", "test"),
)

FAMILY_SUBSET = Family(
    name="flyingthings_subset",
    kind="flow",
    title="FlyingThings3D without its hardest frames, as FlowNet2 was trained on",
    layout=LAYOUT_SUBSET,
    open=open_flyingthings_subset,
    facts=Facts(
        holds="rendered stereo pairs with dense flow and occlusions, forward and backward; also at half size",
        counts={"train": 21818, "val": 4248},
        unit="frames of each camera",
        size="960x540",
        source=_SOURCE,
        url=_URL,
        terms="for research only",
    ),
    variants=("clean", "final", "clean-left", "clean-left-future", "clean-half"),
    other_variants=_VARIANT,
    variant_needed=True,
    splits=("train", "val"),
)
