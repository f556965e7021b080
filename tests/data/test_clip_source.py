"""Batches of windows from clips: what a sample holds, in which order, and rendered clips on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.restoration_trees import LOW_HW, shade, write_clip
from kinema.data import parse_spec
from kinema.data.clip_source import ClipSource, open_clips
from kinema.data.procedural.world.film import Film, film_worlds
from kinema.data.transforms.edvr import EdvrStyle
from kinema.errors import InputError, UsageError
from kinema.ops.resize import matlab_bicubic

SIDE = min(LOW_HW)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of 7, 7 and 5 frames; of the last only frame 2 has a sharp twin."""
    root = tmp_path_factory.mktemp("paired")
    for clip, frames in enumerate((7, 7, 5)):
        write_clip(root / "low" / f"c{clip}", clip, range(frames), sharp=False)
        write_clip(root / "sharp" / f"c{clip}", clip, range(frames) if clip < 2 else [2], sharp=True)
    return root


def source(tree: Path, **settings: object) -> ClipSource:
    words = {"frames": 3, "side": SIDE, "batch_size": 3, "seed": 5, **settings}
    return ClipSource(open_clips(parse_spec(f"paired:{tree}")), words.pop("style", EdvrStyle()), **words)  # type: ignore[arg-type]


def numbers(low: torch.Tensor) -> list[tuple[int, list[int]]]:
    """Clip and frames of each sample, from the greys of the files."""
    known = {shade(c, f, sharp=False): (c, f) for c in range(3) for f in range(7)}
    found = [[known[int(frame[0, 0, 0])] for frame in window] for window in low]
    return [(window[0][0], [frame for _, frame in window]) for window in found]


def test_windows_come_with_the_sharp_twin_of_their_middle(tree: Path) -> None:
    seen, backwards = set(), 0
    for step in range(12):
        batch = source(tree).batch(step, range(3))
        assert batch["low"].shape == (3, 3, 3, SIDE, SIDE)
        assert batch["sharp"].shape == (3, 3, 4 * SIDE, 4 * SIDE)
        assert batch["low"].dtype == batch["sharp"].dtype == torch.uint8
        found = numbers(batch["low"])
        assert sorted(clip for clip, _ in found) == [0, 1, 2]  # each clip once in a turn
        for (clip, frames), sharp in zip(found, batch["sharp"], strict=True):
            assert abs(frames[2] - frames[1]) == abs(frames[1] - frames[0]) == 1
            assert (sharp == shade(clip, frames[1], sharp=True)).all()
            assert clip < 2 or frames[1] == 2
            backwards += frames[0] > frames[2]
            seen.add((clip, frames[1]))
    assert 6 <= backwards <= 30
    assert {middle for clip, middle in seen if clip == 0} == {1, 2, 3, 4, 5}


def test_a_batch_is_a_function_of_step_and_slot(tree: Path) -> None:
    whole, one = source(tree).batch(4, range(3)), source(tree).batch(4, range(1, 2))
    for name, tensor in whole.items():
        assert torch.equal(tensor[1:2], one[name])
    assert not torch.equal(source(tree, seed=6).batch(4, range(3))["low"], whole["low"])


def test_what_does_not_fit_is_refused(tree: Path) -> None:
    with pytest.raises(UsageError, match="too short for a window of 9"):
        source(tree, frames=9).batch(0, range(3))
    with pytest.raises(UsageError, match="crop of 8x8 does not fit"):
        source(tree, side=8).batch(0, range(1))
    part = open_clips(parse_spec(f"paired:{tree}"))[0]
    clip = next(clip for clip in part.clips if len(clip.targets) == 1)
    only_the_first = type("OnlyTheFirst", (EdvrStyle,), {"frames": lambda *_: (0, 1, 2)})()
    windows = ClipSource((), only_the_first, 3, SIDE, 1)
    with pytest.raises(InputError, match=r"no window of 3 frames has a sharp twin in its middle"):
        windows._indices(clip, np.random.default_rng(0))


@pytest.mark.slow
def test_rendered_clips_are_the_same_from_disk(tmp_path: Path) -> None:
    worlds = film_worlds((64, 96))
    fresh, kept = Film(worlds, 3, 3, 2), Film(worlds, 3, 3, 2, tmp_path / "clips")
    assert kept.missing == 2
    assert (kept.fill(part=1, parts=2), kept.missing) == (1, 1)
    assert (kept.fill(), kept.fill(), kept.missing) == (1, 0, 0)
    one, other = fresh[1].read((0, 1, 2), (1,)), kept[1].read((0, 1, 2), (1,))
    assert np.array_equal(one.low, other.low)
    assert np.array_equal(one.sharp, other.sharp)
    assert (one.low.shape, one.sharp.shape, one.name) == ((3, 16, 24, 3), (1, 64, 96, 3), "000001")
    assert np.array_equal(one.low[1], matlab_bicubic(one.sharp[0], scale=0.25))
    assert not np.array_equal(one.low[0], one.low[2])  # something moves
    size = sum(path.stat().st_size for path in (tmp_path / "clips").iterdir()) / 2**30
    assert 0.8 * kept.gib < size <= kept.gib


def test_clips_of_other_worlds_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    worlds = film_worlds((32, 32))
    film = Film(worlds, 3, 1, 1, tmp_path)
    with pytest.raises(InputError, match="clip 0 has not been rendered"):
        film.load(0)
    film.fill()
    for other in (Film(worlds, 4, 1, 1, tmp_path), Film(film_worlds((32, 36)), 3, 1, 1, tmp_path)):
        with pytest.raises(InputError, match="holds other worlds"):
            other.load(0)
        with pytest.raises(InputError, match="holds other worlds"):
            other.fill()
    (tmp_path / "clip-000000.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is damaged"):
        Film(worlds, 3, 1, 1, tmp_path).load(0)
    with pytest.raises(UsageError, match="multiples of 4"):
        Film(film_worlds((32, 38)), 3, 1, 1)
    with pytest.raises(UsageError, match="no folder"):
        Film(worlds, 3, 1, 1).fill()
