"""Tar shards: what is written comes back bit for bit, wherever it lies, and damage is one clear line."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import struct
import subprocess
import sys
import tarfile
import threading
import zlib
from dataclasses import dataclass, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest

from helpers import flow_trees
from helpers.shard_sets import SIZE, chairs, contents, differences, many_kinds, opened
from kinema.apps.data_convert import run
from kinema.apps.data_convert_config import DataConvertConfig
from kinema.data import DataSpec, FlowDataset, FlowSample, open_flow, open_footage, parse_spec
from kinema.data.sample import load_before, load_disparity
from kinema.data.shard_format import (
    Entry,
    ShardIndex,
    key_of,
    name_of_key,
    pack_sample,
    parse_manifest,
    unpack_sample,
    write_index,
)
from kinema.data.shard_store import FolderStore
from kinema.data.shard_writer import finish, plan_shards, write_shard
from kinema.data.shards import ShardFlow
from kinema.errors import InputError, UsageError
from kinema.io.files import holding, read_bytes
from kinema.io.flow import read_flow, write_flow
from kinema.io.images import write_image


def convert(spec: str, out: Path, **options: object):
    return run(DataConvertConfig(spec=spec, out=out, **options))


def fetched(spec_of_shards: Path):
    return opened(f"shards:{spec_of_shards}")


def test_every_kind_of_file_comes_back_bit_for_bit(tmp_path):
    for number, spec in enumerate(many_kinds(tmp_path)):
        original = opened(spec)
        convert(spec, tmp_path / "out" / str(number), samples_per_shard=1)
        shards = fetched(tmp_path / "out" / str(number))
        assert isinstance(shards, FlowDataset)
        assert len(shards) == len(original)
        assert (shards.official_count, shards.notes) == (original.official_count, tuple(original.notes))
        assert shards.spec.label == original.spec.label
        for index in range(len(original)):
            assert differences(shards[index], original[index]) == []
            assert shards.name_of(index) == original.name_of(index)


def test_real_data_come_back_bit_for_bit(tmp_path, shared):
    data = shared / "data"
    for name in ("sintel-clean", "middlebury", "kitti2012", "flyingchairs"):
        spec = f"{name}:{data / name.split('-')[0]}"
        convert(spec, tmp_path / name)
        shards, original = fetched(tmp_path / name), opened(spec)
        assert [differences(a, b) for a, b in zip(shards, original, strict=True)] == [[]] * len(original)


@dataclass(frozen=True)
class DrawnPairs(FlowDataset):
    """Pairs that lie nowhere, with values where they are not valid, and frames of 16 bits."""

    def __len__(self):
        return 3

    def __getitem__(self, index):
        draw = np.random.default_rng(range(3)[index])
        return FlowSample(
            name=self.name_of(index),
            flow=draw.normal(size=(*SIZE, 2)).astype(np.float32),
            valid=draw.random(SIZE) < 0.5,
            occluded=draw.random(SIZE) < 0.5,
            valid_noc=draw.random(SIZE) < 0.5 if index else None,
            image1=draw.integers(0, 256, (*SIZE, 3)).astype(np.uint8),
            image2=draw.integers(0, 65536, (*SIZE, 3)).astype(np.uint16),
        )

    def name_of(self, index):
        return f"drawn/{index}"

    def paths_of(self, _index):
        return {}


def test_pairs_that_lie_nowhere_come_back_bit_for_bit(tmp_path):
    dataset = DrawnPairs(DataSpec("drawn"), (), None)
    with pytest.raises(UsageError, match="--max-shard-mib"):
        plan_shards(dataset, shard_bytes=10**6)
    plan = plan_shards(dataset, samples_per_shard=2)
    for number in range(2):
        write_shard(dataset, plan, number, tmp_path, after_sample=lambda: None)
    assert finish(dataset, plan, tmp_path) == tmp_path / "manifest.json"
    shards = fetched(tmp_path)
    assert isinstance(shards, FlowDataset)
    assert [differences(a, b) for a, b in zip(shards, dataset, strict=True)] == [[]] * 3


@pytest.mark.slow
def test_rendered_pairs_come_back_bit_for_bit(tmp_path):
    original = opened("procedural@fog")[:2]
    plan = plan_shards(original)
    write_shard(original, plan, 0, tmp_path, after_sample=lambda: None)
    finish(original, plan, tmp_path)
    assert [differences(a, b) for a, b in zip(fetched(tmp_path), original, strict=True)] == [[], []]


def test_windows_without_truth_come_back(tmp_path):
    flow_trees.sintel(tmp_path / "si", {"alley": [1, 2, 3]}, flow_trees.constant(SIZE, 1, 0))
    (tmp_path / "si/training").rename(tmp_path / "si/test")
    spec = f"sintel-clean@test:{tmp_path / 'si'}"
    convert(spec, tmp_path / "out")
    shards, original = fetched(tmp_path / "out"), opened(spec)
    assert [differences(a, b) for a, b in zip(shards, original, strict=True)] == [[]] * len(original)
    with pytest.raises(UsageError, match="no true flow"):
        open_flow(parse_spec(f"shards:{tmp_path / 'out'}")[0])


def test_pairs_in_shards_serve_as_footage(tmp_path):
    convert(chairs(tmp_path / "chairs", 2), tmp_path / "out")
    window = open_footage(parse_spec(f"shards:{tmp_path / 'out'}")[0])[1]
    assert window.frames.shape == (2, *SIZE, 3)


def test_a_shard_is_a_plain_tar_in_the_convention(tmp_path):
    many_kinds(tmp_path)
    convert(f"sintel-clean:{tmp_path}/si", tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "sintel-clean@00000.tar") as archive:
        members = archive.getmembers()
        facts = json.loads(archive.extractfile("alley/frame_0009.json").read())
        stored = archive.extractfile("alley/frame_0009.image1.png").read()
    assert stored == (tmp_path / "si/training/clean/alley/frame_0009.png").read_bytes()
    assert facts["image1"] == {"file": "image1.png"}
    assert facts["name"] == "alley/frame_0009"
    keys = [member.name.split(".")[0] for member in members]
    assert keys == sorted(keys), "members of a sample stand together"
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}


def test_the_index_says_where_each_sample_lies(tmp_path):
    convert(chairs(tmp_path / "chairs", 3), tmp_path / "out")
    tar = (tmp_path / "out/flyingchairs@00000.tar").read_bytes()
    index = json.loads((tmp_path / "out/flyingchairs@00000.index.json").read_text())
    assert index["columns"] == ["key", "offset", "size", "crc32"]
    assert index["bytes"] == len(tar)
    for number, (key, offset, size, _) in enumerate(index["samples"], start=1):
        assert key == f"{number:05d}"
        assert tar[offset : offset + 100].rstrip(b"\0") == f"{key}.json".encode()
        assert size % 512 == 0
    assert offset + size + 1024 == len(tar)


def test_names_with_dots_and_spaces_keep_their_sample_together():
    for name in ("clip.v2/frame 1.5", "a/b/c", "früh/~x", "100%/x", ".hidden/.."):
        key = key_of(name)
        assert name_of_key(key) == name
        assert "." not in key
        assert key.isascii()
        packed = pack_sample(key, {"json": b"{}", "image1.png": b"x" * 700})
        entry = Entry(key, 0, len(packed), zlib.crc32(packed))
        assert unpack_sample(packed, entry, source="s") == {"json": b"{}", "image1.png": b"x" * 700}
    assert len({key_of(name) for name in ("a.b", "a%2Eb", "a/b", "a b")}) == 4


def test_a_name_longer_than_a_tar_header_holds():
    key = key_of("/".join(["long" * 20] * 5))
    packed = pack_sample(key, {"json": b"{}"})
    entry = Entry(key, 0, len(packed), zlib.crc32(packed))
    assert unpack_sample(packed, entry, source="s") == {"json": b"{}"}


def test_shards_follow_the_floor_rule(tmp_path):
    spec = chairs(tmp_path / "chairs", 11)
    convert(spec, tmp_path / "out", num_shards=4)
    facts = parse_manifest((tmp_path / "out/manifest.json").read_bytes(), source="m").shards
    assert [shard.samples for shard in facts] == [2, 2, 2, 5]
    shards = fetched(tmp_path / "out")
    assert [shards.name_of(i) for i in range(11)] == [f"{n:05d}" for n in range(1, 12)]
    assert differences(shards[10], opened(spec)[10]) == []


def test_shards_by_count_and_by_size(tmp_path):
    spec = chairs(tmp_path / "chairs", 7)
    assert convert(spec, tmp_path / "a", samples_per_shard=3).shards == 3
    assert convert(spec, tmp_path / "b", max_shard_mib=1).shards == 1
    large = opened(spec).files[0].flow
    large.write_bytes(struct.pack("<fii", 202021.25, 8, 6) + bytes(3 * 2**20))  # not read as flow: copied
    assert convert(spec, tmp_path / "c", max_shard_mib=1, samples_per_shard=4).shards == 3  # 1, 4, 2


@pytest.mark.slow
def test_two_conversions_are_equal_byte_for_byte(tmp_path):
    spec = chairs(tmp_path / "chairs", 6)
    (tmp_path / "moved").mkdir()
    convert(spec, tmp_path / "a", num_shards=3)
    os.utime(tmp_path / "chairs/data/00001_img1.ppm", (1, 1))
    (tmp_path / "chairs").rename(tmp_path / "moved/chairs")
    convert(f"flyingchairs:{tmp_path}/moved/chairs", tmp_path / "b", num_shards=3, processes=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_slices_pickles_threads_and_forks(tmp_path):
    spec = chairs(tmp_path / "chairs", 12)
    convert(spec, tmp_path / "out", num_shards=5)
    shards, original = fetched(tmp_path / "out"), opened(spec)
    part = shards[3:9:2]
    assert [sample.name for sample in part] == ["00004", "00006", "00008"]
    assert differences(ForkingPickler.loads(ForkingPickler.dumps(part))[1], original[5]) == []
    with pytest.raises(IndexError):
        shards[12]
    assert shards[-1].name == "00012"

    wrong: list[object] = []

    def read(seed: int) -> None:
        order = random.Random(seed).choices(range(12), k=60)
        wrong.extend(i for i in order if differences(shards[i], original[i]))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


READ_AT_RANDOM = """
import gc, json, os, random, sys, tracemalloc
from kinema.data import open_dataset, parse_spec

def open_files():
    return len(os.listdir("/proc/self/fd"))

shards = open_dataset(parse_spec("shards:" + sys.argv[1])[0])
count, before = len(shards), open_files()
for index in range(count):  # every index is read and kept once
    shards[index]
order = random.Random(0)
tracemalloc.start()
for index in order.choices(range(count), k=50):
    shards[index]
gc.collect()
first = tracemalloc.get_traced_memory()[0]
indices = order.choices(range(count), k=600)
wrong = sum(float(shards[index].flow[0, 0, 1]) != -(index + 1) for index in indices)
gc.collect()
grown = tracemalloc.get_traced_memory()[0] - first
print(json.dumps({"wrong": wrong, "grown": grown, "files": open_files() - before}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_200_shards_in_random_order_keep_few_files_open_and_no_more_memory(tmp_path):
    convert(chairs(tmp_path / "chairs", 200), tmp_path / "out", num_shards=200)
    # in a process of its own: what other tests leave in this one would be counted too
    command = [sys.executable, "-c", READ_AT_RANDOM, str(tmp_path / "out")]
    seen = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert seen["wrong"] == 0
    assert seen["grown"] < 200_000, f"{seen} after 600 more samples, of 6 kB each"
    assert seen["files"] <= 16


def test_a_tar_that_is_closed_is_opened_again(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(name.encode() * 10)
    store = FolderStore(tmp_path, open_files=1)
    assert [store.read_range(name, 2, 3) for name in "abcab"] == [b"aaa", b"bbb", b"ccc", b"aaa", b"bbb"]
    assert store.read_range("a", 8, 5) == b"aa"


def flip(place: int):
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_windows_of_footage_come_back_bit_for_bit(tmp_path):
    for number in range(4):
        picture = np.full((6, 8, 3), 40 * number, np.uint8) + np.arange(8, dtype=np.uint8)[:, None]
        write_image(tmp_path / f"set/{number:03d}.jpg", picture)
    spec = f"footage-triplets:{tmp_path}/set"
    result = convert(spec, tmp_path / "out")
    original, shards = opened(spec), fetched(tmp_path / "out")
    assert (result.samples, len(shards), shards.notes) == (len(original), len(original), original.notes)
    for index in range(len(original)):
        assert differences(shards[index], original[index]) == []
    with pytest.raises(UsageError, match="have no size before they are made"):
        convert(spec, tmp_path / "other", max_shard_mib=1)


def test_what_belongs_to_a_pair_beside_its_sample_is_lent(tmp_path):
    """Disparity and the frame before are read by the functions that read them on the disk."""
    flow_trees.kitti2015(tmp_path / "set", "000007", [9, 10, 11])
    convert(f"kitti2015:{tmp_path}/set", tmp_path / "out")
    files = opened(f"kitti2015:{tmp_path}/set").files[0]
    pairs = fetched(tmp_path / "out")
    assert isinstance(pairs, ShardFlow)
    with pairs.files_of(0) as lent:
        for part in ("all", "second"):
            assert differences(load_disparity(lent, part=part), load_disparity(files, part=part)) == []
        assert np.array_equal(load_before(lent), load_before(files))
    with pytest.raises(InputError, match="cannot be read"):
        load_before(lent)  # no longer


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("*.tar", flip(1600), "is damaged at 00001"),
        ("*.tar", flip(0), "is damaged at 00001"),
        ("*.tar", lambda data: data[:700], "is damaged at 00001"),
        ("*.tar", lambda _: b"", "is damaged at 00001"),
        ("*.index.json", lambda data: data[:-20], "no index of a shard, or damaged"),
        ("*.index.json", lambda _: b"[" * 100_000, "no index of a shard, or damaged"),
        ("*.index.json", lambda _: b"{}", 'does not say "format"'),
        ("*.index.json", lambda data: re.sub(rb'"00002", \d+', b'"00002", 0', data), "no place of its own"),
        ("*.index.json", lambda data: data.replace(b'"sha256": "', b'"sha256": "x'), "SHA-256"),
        ("*.index.json", lambda data: data.replace(b'"bytes": ', b'"bytes": 9'), "does not belong"),
        ("manifest.json", lambda data: data[:-9], "no manifest of shards, or damaged"),
        (
            "manifest.json",
            lambda data: data.replace(b'"flyingchairs@00000.tar"', b'"../x.tar"'),
            "plain file",
        ),
        ("manifest.json", lambda data: data.replace(b'"samples": 2,', b'"samples": 3,'), "does not belong"),
        ("manifest.json", lambda data: data.replace(b'"kind": "flow"', b'"kind": "smell"'), "newer kinema"),
        ("manifest.json", lambda data: data.replace(b'"name"', b'"nome"'), "'name' is missing"),
        ("manifest.json", lambda _: b"\xff\xfe", "no manifest of shards"),
    ],
)
def test_damage_is_one_clear_line(tmp_path, name, change, says):
    convert(chairs(tmp_path / "chairs", 2), tmp_path / "out")
    path = next((tmp_path / "out").glob(name))
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError) as caught:
        list(fetched(tmp_path / "out"))
    message = str(caught.value)
    assert says in message
    assert path.name.split(".")[0] in message
    assert "\n" not in message


def test_members_that_are_not_a_sample(tmp_path):
    """A tar and an index that agree, but hold something else."""
    convert(chairs(tmp_path / "chairs", 1), tmp_path / "out")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for members, says in (
        ({"json": b"{}"}, "not those of kind"),
        ({"x.txt": b""}, "not those of kind"),
        ({"json": b'{"name": "a", "flow": {"file": "flow.flo"}}'}, "'flow.flo' is missing"),
        ({"json": b'{"name": "a", "smell": 3}'}, "no field 'smell'"),
        ({"json": b'{"name": "a", "flow": {"file": "f.flo"}}', "f.flo": b"x"}, "no images"),
    ):
        packed = pack_sample("a", members)
        tar = packed + bytes(1024)
        entry = Entry("a", 0, len(packed), zlib.crc32(packed))
        sha = hashlib.sha256(tar).hexdigest()
        index = ShardIndex("flyingchairs@00000.tar", len(tar), sha, manifest["conversion"], (entry,))
        (tmp_path / "out/flyingchairs@00000.tar").write_bytes(tar)
        (tmp_path / "out/flyingchairs@00000.index.json").write_bytes(write_index(index))
        manifest["shards"][0] |= {"bytes": len(tar), "sha256": sha}
        (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(InputError, match=says):
            fetched(tmp_path / "out")[0]


def test_missing_parts_are_named(tmp_path):
    convert(chairs(tmp_path / "chairs", 2), tmp_path / "out")
    (tmp_path / "out/flyingchairs@00000.tar").rename(tmp_path / "kept.tar")
    with pytest.raises(InputError, match=r"flyingchairs@00000\.tar: no such file"):
        fetched(tmp_path / "out")[0]
    (tmp_path / "kept.tar").rename(tmp_path / "out/flyingchairs@00000.tar")
    (tmp_path / "out/manifest.json").unlink()
    with pytest.raises(InputError, match=r"holds 1 shards but no manifest\.json: convert them to the end"):
        fetched(tmp_path / "out")
    with pytest.raises(InputError, match="holds no shards: expected"):
        fetched(tmp_path / "chairs")


def test_two_samples_of_one_name_are_refused(tmp_path):
    spec = chairs(tmp_path / "chairs", 2)
    dataset = opened(spec)
    twice = replace(dataset, files=(dataset.files[0], dataset.files[0]))
    with pytest.raises(InputError, match="two samples are called 00001"):
        plan_shards(twice)


def test_files_that_are_held_are_read_like_others(tmp_path):
    write_flow(tmp_path / "x.npz", flow_trees.constant(SIZE, 1, 2))
    data = (tmp_path / "x.npz").read_bytes()
    name = Path("inside.tar/x.npz")
    with holding({name: data, Path("inside.tar/empty"): b""}):
        assert read_bytes(name, count=2) == data[:2]
        np.testing.assert_array_equal(read_flow(str(name)).flow, flow_trees.constant(SIZE, 1, 2))
        with pytest.raises(InputError, match="is empty"):
            read_bytes("inside.tar/empty")
    with pytest.raises(InputError, match="no such file"):
        read_bytes(name)
