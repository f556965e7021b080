"""What stands on the command line as INPUT, resolved to clips: image pairs, image sequences, videos.

The rules, in the order in which they are applied to each input:

- A name that exists is that file or folder, even with ``*``, ``?`` or ``[`` in it; otherwise such a name is
  a pattern, where ``**`` also searches folders inside folders.
- A folder, and a pattern that finds images, is one sequence in natural order (``frame_2`` before
  ``frame_10``). Other files in there, and hidden ones, are passed over. A folder or pattern that holds only
  videos stands for each of them. Images and videos together are an error: it is not clear which are meant.
- Images named one by one are one clip: exactly two are a pair, three or more a sequence in the order given.
- Every video, folder and pattern is a clip of its own.

`start`, `end` and `stride` choose frames: of a video by seconds, of a sequence by frame numbers from 0; `end`
itself is left out in both. They do not go with a pair.
"""

from __future__ import annotations

import difflib
import glob
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from kinema.errors import InputError, UsageError
from kinema.io.files import reading, user_path
from kinema.io.images import IMAGE_SUFFIXES, image_size_hw, read_image
from kinema.io.video import VIDEO_SUFFIXES, Reader, exact_seconds

__all__ = ["Clip", "ClipFrame", "natural_key", "open_clips"]


@dataclass(frozen=True)
class ClipFrame:
    """One frame of a clip.

    Attributes:
        image: (H, W, 3) RGB, uint8 or uint16.
        time: seconds since the first frame of the video; for images, the number of the frame in the sequence.
        name: the image's file name without suffix, or six digits counted from 000000 for a video.
        duration: seconds that the frame is shown; None for images.
    """

    image: np.ndarray
    time: Fraction
    name: str
    duration: Fraction | None = None


@dataclass(frozen=True)
class Clip:
    """Frames of one size that belong together; nothing is decoded before `frames` is called.

    Attributes:
        name: for a folder of its own: the video's, folder's or first image's name; unique in one call of
            `open_clips`.
        kind: ``pair``, ``sequence`` (both images) or ``video``.
        size_hw: height and width in pixels, rotation applied.
        source: the video file; None for images.
        rate: frames per second after `stride`; None for images.
        length: number of frames, as far as it is known before decoding.
        time_base: unit of the video's time stamps in seconds; None for images.
        pixel_aspect: width of one pixel over its height.
    """

    name: str
    kind: Literal["pair", "sequence", "video"]
    size_hw: tuple[int, int]
    source: Path | None
    rate: Fraction | None
    length: int | None
    time_base: Fraction | None = None
    pixel_aspect: Fraction = Fraction(1)
    _open: Callable[[], Iterator[ClipFrame]] = field(repr=False, compare=False, default=lambda: iter(()))

    def frames(self) -> Iterator[ClipFrame]:
        """Read the frames one after the other, from the beginning at every call.

        Yields:
            Frames in order; memory use does not grow with their number.

        Raises:
            InputError: a file cannot be read, is damaged, or there are fewer frames than the clip needs.
        """
        return self._open()


@dataclass(frozen=True)
class _Choice:
    """Which frames: `start`, `end` and `stride` as they were given, and how many there must be."""

    start: Fraction
    end: Fraction | None
    stride: int
    minimum: int

    @property
    def everything(self) -> bool:
        return self.start == 0 and self.end is None and self.stride == 1


def open_clips(
    inputs: Sequence[str],
    *,
    start: float | None = None,
    end: float | None = None,
    stride: int = 1,
    minimum: int = 2,
) -> list[Clip]:
    """Resolve inputs to clips and check what can be checked without decoding: kinds, headers, sizes, counts.

    Args:
        inputs: names of images, videos and folders, and patterns; see the module's description.
        start: first moment: seconds for videos, a frame number for sequences.
        end: moment or frame number before which to stop.
        stride: keep one frame of so many.
        minimum: how many frames each clip needs.

    Returns:
        One clip or more, in the order of the inputs.

    Raises:
        UsageError: there is no input, the inputs contradict each other, or an option is out of range.
        InputError: a file is missing, of an unknown kind, unreadable, or of another size than its neighbours;
            or a clip has too few frames.
    """
    if not inputs:
        raise UsageError("no input: name a video, two or more images, a folder of images or a quoted pattern")
    if "" in inputs:
        raise UsageError("an input is empty: name a file or a folder (. is this one)")
    choice = _choice(start, end, stride, minimum)
    images: list[Path] = []
    clips: list[Clip] = []
    others: list[str] = []
    for text in inputs:
        with reading(text):
            kind, files = _resolve(text)
        if kind != "image":
            others.append(text)
        if kind == "image":
            images += files
        elif kind == "images":
            clips.append(_sequence(_group_name(text, files[0]), files, choice))
        else:
            clips += [_video(file, choice) for file in files]
    if images and clips:
        raise UsageError(
            f"images and other inputs together ({images[0]}, {others[0]}): give only images, or only videos, "
            "folders and patterns"
        )
    if images:
        clips = [_listed(images, choice)]
    return _unique_names(clips)


def natural_key(path: Path) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which ``frame_2`` comes before ``frame_10``.

    Args:
        path: a file name; folders count as well.

    Returns:
        Numbers by value and text without regard to case, with the exact name last so that the order is total.
    """
    parts = re.split(r"([0-9]+)", path.as_posix().casefold())
    pieces = [(0, int(part), "") if index % 2 else (1, 0, part) for index, part in enumerate(parts)]
    return (*pieces, (-1, 0, path.as_posix()))


def _choice(start: float | None, end: float | None, stride: int, minimum: int) -> _Choice:
    first = exact_seconds(start, "--start") or Fraction(0)
    last = exact_seconds(end, "--end")
    if last is not None and last <= first:
        raise UsageError(f"--end {end} is not after --start {start or 0}: nothing is left")
    if stride < 1:
        raise UsageError(f"--stride is {stride}: give 1 or more")
    return _Choice(first, last, stride, minimum)


def _resolve(text: str) -> tuple[Literal["image", "images", "videos"], list[Path]]:
    """One input: a single image, the images of a folder or pattern, or one or more videos."""
    path = user_path(text)
    if path.is_dir():
        return _sorted_out(
            text, [entry for entry in path.iterdir() if not entry.name.startswith(".")], "folder"
        )
    if path.exists():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return "image", [path]
        if path.suffix.lower() in VIDEO_SUFFIXES:
            return "videos", [path]
        suffix = path.suffix or "a name without suffix"
        raise InputError(f"{text}: {suffix} tells no image or video; {_accepted()}")
    if re.search(r"[*?[]", text):
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - Path.glob refuses roots
        if not found:
            raise InputError(f"{text}: nothing matches this pattern; check folder and spelling")
        return _pattern_result(text, found)
    raise _missing(text, path)


def _pattern_result(text: str, found: list[Path]) -> tuple[Literal["image", "images", "videos"], list[Path]]:
    if all(path.is_dir() for path in found):
        raise InputError(f"{text}: only folders match this pattern; add /* for the images inside them")
    return _sorted_out(text, found, "pattern")


def _sorted_out(
    text: str, entries: list[Path], holder: Literal["folder", "pattern"]
) -> tuple[Literal["images", "videos"], list[Path]]:
    """The images of a folder or pattern, or its videos, in natural order."""
    files = sorted((entry for entry in entries if entry.is_file()), key=natural_key)
    images = [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    videos = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    if images and videos:
        raise UsageError(
            f"{text}: this {holder} holds {len(images)} images and {len(videos)} videos; say which with a "
            f"quoted pattern such as '*{images[0].suffix}'"
        )
    if not images and not videos:
        raise InputError(f"{text}: this {holder} holds no image and no video; {_accepted()}")
    return ("images", images) if images else ("videos", videos)


def _accepted() -> str:
    images, videos = (" ".join(sorted(kinds)) for kinds in (IMAGE_SUFFIXES, VIDEO_SUFFIXES))
    return f"accepted are images ({images}) and videos ({videos})"


def _missing(text: str, path: Path) -> InputError:
    """A file that is not there, with the names beside it that look alike."""
    folder = path.parent
    if not folder.is_dir():
        return InputError(f"{text}: no such file, and there is no folder {folder}")
    beside = [entry.name for entry in folder.iterdir()]
    similar = difflib.get_close_matches(path.name, beside, n=3, cutoff=0.7)
    hint = f"; did you mean {' or '.join(str(folder / name) for name in similar)}?" if similar else ""
    return InputError(f"{text}: no such file or folder{hint}")


def _group_name(text: str, first: Path) -> str:
    """A folder's own name; for a pattern that of the folder in which it finds images."""
    folder = user_path(text)
    return (folder if folder.is_dir() else first.parent).resolve().name or "sequence"


def _listed(images: list[Path], choice: _Choice) -> Clip:
    """Images that were named one by one: a pair or a sequence."""
    if len(images) == 2:
        if not choice.everything:
            raise UsageError(
                "--start, --end and --stride choose frames of a video or sequence: leave them out for a pair"
            )
        return _image_clip(images[0].stem, "pair", images, range(2))
    return _sequence(images[0].stem, images, choice)


def _sequence(name: str, files: list[Path], choice: _Choice) -> Clip:
    if choice.start.denominator != 1 or (choice.end is not None and choice.end.denominator != 1):
        raise UsageError(f"{name}: --start and --end are frame numbers for images: give whole numbers")
    last = len(files) if choice.end is None else min(len(files), int(choice.end))
    numbers = range(int(choice.start), last, choice.stride)
    chosen = [files[number] for number in numbers]
    if len(chosen) < choice.minimum:
        needed = f"at least {_number(choice.minimum)} frames are needed"
        if len(files) < choice.minimum:
            raise InputError(f"{files[0]}: this is one image, but {needed}; give more images")
        raise InputError(
            f"{name}: {len(chosen)} of {len(files)} images chosen, but {needed}; change --start, --end or "
            "--stride"
        )
    return _image_clip(name, "sequence", chosen, numbers)


def _image_clip(name: str, kind: Literal["pair", "sequence"], chosen: list[Path], numbers: range) -> Clip:
    """A clip of images whose headers agree on one size."""
    size_hw = image_size_hw(chosen[0])
    for file in chosen[1:]:
        other = image_size_hw(file)
        if other != size_hw:
            raise InputError(
                f"{file} is {_size_text(other)} but {chosen[0].name} is {_size_text(size_hw)}: "
                "all images of a clip need one size"
            )

    def frames() -> Iterator[ClipFrame]:
        for file, number in zip(chosen, numbers, strict=True):
            image = read_image(file)
            if image.shape[:2] != size_hw:
                raise InputError(f"{file} is not {_size_text(size_hw)} as its header says: save it again")
            yield ClipFrame(image, Fraction(number), file.stem)

    return Clip(name, kind, size_hw, source=None, rate=None, length=len(chosen), _open=frames)


def _video(path: Path, choice: _Choice) -> Clip:
    reader = Reader(path, start=choice.start, end=choice.end, stride=choice.stride)
    info = reader.info
    length = _expected(info.frame_count, info.rate, choice, variable=info.variable_rate)
    if length is not None and length < choice.minimum:
        raise _too_short(path, length, choice.minimum)

    def frames() -> Iterator[ClipFrame]:
        count = 0
        for frame in reader:
            count += 1
            yield ClipFrame(frame.image, frame.time, f"{frame.index:06d}", frame.duration * choice.stride)
        if count < choice.minimum:
            raise _too_short(path, count, choice.minimum)

    return Clip(
        path.stem,
        "video",
        info.size_hw,
        source=path,
        rate=info.rate / choice.stride,
        length=length,
        time_base=info.time_base,
        pixel_aspect=info.pixel_aspect,
        _open=frames,
    )


def _expected(count: int | None, rate: Fraction, choice: _Choice, *, variable: bool) -> int | None:
    """How many frames the choice will give; None when the header does not tell."""
    if count is None or (variable and (choice.start > 0 or choice.end is not None)):
        return None
    first = math.ceil(choice.start * rate)  # the first frame k with k / rate >= start
    last = count if choice.end is None else min(count, math.ceil(choice.end * rate))
    return len(range(first, last, choice.stride))


def _too_short(path: Path, count: int, minimum: int) -> InputError:
    has = {0: "no frame", 1: "one frame"}.get(count, f"{count} frames")
    return InputError(f"{path}: the chosen part has {has}, but at least {_number(minimum)} are needed")


def _number(count: int) -> str:
    return {1: "one", 2: "two", 3: "three"}.get(count, str(count))


def _size_text(size_hw: tuple[int, int]) -> str:
    return f"{size_hw[1]}x{size_hw[0]}"


def _unique_names(clips: list[Clip]) -> list[Clip]:
    """Each clip gets a folder of its own: a name that is taken is counted up."""
    taken: set[str] = set()
    result = []
    for clip in clips:
        name, count = clip.name, 1
        while name in taken:
            count += 1
            name = f"{clip.name}_{count}"
        taken.add(name)
        result.append(replace(clip, name=name))
    return result
