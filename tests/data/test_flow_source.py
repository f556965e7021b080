"""Batches of pairs on disk: the same for any number of workers and devices, mixed, never repeated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers.smooth_pairs import chairs, worst
from kinema.data import open_flow, parse_spec
from kinema.data.flow_source import FlowPart, FlowSource, open_parts
from kinema.data.frames import FrameWindow
from kinema.data.transforms import FlowPairs, named_set
from kinema.engine.loading import batches
from kinema.errors import InputError, UsageError

SIZE = (48, 64)
STEPS = 6


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return chairs(tmp_path_factory.mktemp("chairs"), 5)


@pytest.fixture(scope="module")
def source(tree):
    specs = parse_spec(f"2*flyingchairs:{tree},flyingchairs:{tree}")
    return FlowSource(open_parts(specs, "raft-chairs"), SIZE, batch_size=4, seed=3)


@pytest.fixture(scope="module")
def alone(source):
    return [source.batch(step, range(4)) for step in range(STEPS)]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


WORKERS = [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_the_stream_is_the_same_for_any_number_of_workers(source, alone, workers):
    stream = list(batches(source, slots=range(4), start=0, stop=STEPS, workers=workers))
    assert len(stream) == STEPS
    assert all(equal(one, other) for one, other in zip(stream, alone, strict=True))


@pytest.mark.parametrize("workers", WORKERS[:2])
def test_two_devices_see_together_what_one_sees(source, alone, workers):
    halves = [
        list(batches(source, slots=slots, start=0, stop=STEPS, workers=workers))
        for slots in (range(2), range(2, 4))
    ]
    for whole, *parts in zip(alone, *halves, strict=True):
        assert equal(whole, {name: torch.cat([part[name] for part in parts]) for name in whole})


def test_a_slot_is_the_same_in_any_company(source, alone):
    for slot in range(4):
        one = source.batch(2, range(slot, slot + 1))
        assert equal(one, {name: tensor[slot : slot + 1] for name, tensor in alone[2].items()})
    assert equal(source.batch(4, range(4)), alone[4])  # in any order of steps


def test_batches_are_what_networks_take(alone):
    for batch in alone:
        assert batch["image1"].shape == (4, 3, *SIZE)
        assert batch["image1"].dtype == batch["flow"].dtype == torch.float32
        assert batch["valid"].dtype == batch["hidden"].dtype == torch.bool
        assert all(batch[name].isfinite().all() for name in ("image1", "image2", "flow"))


def test_augmentation_is_never_repeated(source):
    """The same file comes many times, by turns and by parts, and looks different each time."""
    seen = [source.batch(step, range(4))["flow"].numpy() for step in range(12)]
    flows = [flow.tobytes() for batch in seen for flow in batch]
    assert len(set(flows)) == len(flows)


def test_files_keep_their_truth(tree):
    parts = open_parts(parse_spec(f"flyingchairs:{tree}"), "raft-things")
    batch = FlowSource(parts, SIZE, batch_size=5, clean=True).batch(0, range(5))
    clean = {**batch, "image1": batch["clean1"], "image2": batch["clean2"]}
    del clean["clean1"], clean["clean2"]
    assert worst(FlowPairs(**clean)) < 0.03  # written with eight bits
    assert not torch.equal(batch["image1"], batch["clean1"])


def test_parts_have_sets_of_their_own(tree):
    dataset = open_flow(parse_spec(f"flyingchairs:{tree}")[0])
    parts = (FlowPart(dataset, named_set("crop"), 3.0), FlowPart(dataset, named_set("raft-kitti"), 1.0))
    source = FlowSource(parts, SIZE, batch_size=4)
    plain = {float(image.reshape(-1)[0] * 255 % 1) for image in source.batch(0, range(4))["image1"]}
    assert len(plain) >= 2
    numbers = [source.order.draw(n).part for n in range(40)]
    assert numbers.count(0) == 30


def test_windows_without_truth(tree):
    frames = [s.image1 for s in open_flow(parse_spec(f"flyingchairs:{tree}")[0])]
    windows = [FrameWindow(name=str(n), frames=np.stack(frames[n : n + 3])) for n in range(3)]
    source = FlowSource((FlowPart(windows, named_set("uflow")),), SIZE, batch_size=2, clean=True)
    batch = source.batch(0, range(2))
    assert not batch["valid"].any()
    assert batch["clean1"].shape == batch["image1"].shape == (2, 3, *SIZE)


def test_damage_is_one_line(tree, tmp_path):
    chairs(tmp_path, 2)
    (tmp_path / "data" / "00001_img2.ppm").write_bytes(b"P6\n")
    source = FlowSource(open_parts(parse_spec(f"flyingchairs:{tmp_path}"), "crop"), SIZE, batch_size=2)
    with pytest.raises(InputError, match=r"00001_img2\.ppm"):
        list(batches(source, slots=range(2), start=0, stop=1, workers=0))
    with pytest.raises(UsageError, match="unknown augmentation"):
        open_parts(parse_spec(f"flyingchairs:{tree}"), "nothing")
