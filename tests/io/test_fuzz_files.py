"""Whatever bytes a file holds, a reader gives a valid array or a KinemaError: silently, in bounded memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from helpers import image_bytes as build
from kinema.errors import InputError, KinemaError
from kinema.io.checkpoints import load_tensors, save_tensors
from kinema.io.flow import FLOW_SUFFIXES, read_flow, read_npz, read_pfm, write_flow
from kinema.io.images import IMAGE_SUFFIXES, image_size_hw, read_image, write_image

RNG = np.random.default_rng(0)
FLOW = RNG.normal(0, 10, (5, 6, 2)).astype(np.float32)
VALID = RNG.random((5, 6)) < 0.8
PICTURE = RNG.integers(0, 256, (9, 12, 3), np.uint8)
EXTREME = [0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8, 0x7FC00000, 0xFF800000, 0x00010000, 65535]


@st.composite
def damaged(draw, data):
    """The bytes after one to three accidents: cut, flipped, overwritten by a number, removed, added."""
    data = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "number", "remove", "insert", "append", "swap"]))
        if kind == "cut":
            del data[place:]
        elif kind == "flip" and data:
            data[place] ^= draw(st.integers(1, 255))
        elif kind == "number":
            order = draw(st.sampled_from("<>"))
            data[place : place + 4] = struct.pack(f"{order}I", draw(st.sampled_from(EXTREME)))
        elif kind == "remove":
            del data[place : place + draw(st.integers(1, 16))]
        elif kind == "insert":
            data[place:place] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "append":
            data += draw(st.binary(min_size=1, max_size=16))
        else:
            data[place:] = data[place:][::-1]
    return bytes(data)


def seeds(folder: Path) -> dict[str, bytes]:
    """One small valid file for each format, and for the variants that take other ways through the readers."""
    files = {}
    for suffix in sorted(FLOW_SUFFIXES):
        write_flow(folder / f"flow{suffix}", FLOW, valid=VALID)
    for suffix in sorted(IMAGE_SUFFIXES - {".pgm", ".pnm"}):
        write_image(folder / f"image{suffix}", PICTURE)
    for path in folder.iterdir():
        files[path.name] = path.read_bytes()
    files["packed.mat"] = build.mat(
        build.mat_compressed(build.mat_matrix(b"flow", (2, 3, 2), np.arange(12.0).tobytes()))
    )
    files["stored.npz"] = build.npz(
        {"flow.npy": build.npy("<f4", (5, 6, 2), FLOW.tobytes())}, method=zipfile.ZIP_STORED
    )
    files["turned.jpg"] = build.jpeg(PICTURE, orientation=6)
    files["ascii.ppm"] = b"P3\n2 2\n1023\n" + b"1 2 3  4 5 6  7 8 9  10 11 1023\n"
    files["grey.pgm"] = b"P5\n3 2\n65535\n" + bytes(range(12))
    files["plain.tif"] = build.tiff(PICTURE)
    files["lossless.webp"] = cv2.imencode(".webp", PICTURE, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    return files


@pytest.fixture(scope="module")
def seed_files(tmp_path_factory):
    return seeds(tmp_path_factory.mktemp("seeds"))


def attempt(reader, path):
    """What the reader gives, or None where it refuses in one line that names the file."""
    try:
        return reader(path)
    except KinemaError as error:
        message = str(error)
    assert "\n" not in message
    assert path.name in message
    return None


def check_flow(path):
    field = attempt(read_flow, path)
    if field is None:
        return
    height, width = field.valid.shape
    assert field.flow.shape == (height, width, 2)
    assert field.flow.size > 0
    assert field.flow.dtype == np.float32
    assert field.valid.dtype == bool
    assert np.isfinite(field.flow).all()
    assert not field.flow[~field.valid].any()


def check_image(path):
    image = attempt(read_image, path)
    if image is None:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.dtype in (np.uint8, np.uint16)
    assert image_size_hw(path) == image.shape[:2]


FLOW_SEEDS = ["flow.flo", "flow.png", "flow.pfm", "flow.npz", "stored.npz", "flow.mat", "packed.mat"]
IMAGE_SEEDS = [
    *("image.png", "image.jpg", "turned.jpg", "image.ppm", "ascii.ppm", "grey.pgm", "image.tif"),
    *("plain.tif", "image.bmp", "image.webp", "lossless.webp"),
]


@pytest.mark.parametrize("name", FLOW_SEEDS)
@given(st.data())
def test_damaged_flow(seed_files, tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data.draw(damaged(seed_files[name])))
    check_flow(path)


@pytest.mark.parametrize("name", IMAGE_SEEDS)
@given(st.data())
def test_damaged_image(seed_files, tmp_path, capfd, name, data):
    path = tmp_path / name
    path.write_bytes(data.draw(damaged(seed_files[name])))
    check_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", FLOW_SEEDS)
def test_flow_cut_anywhere_is_refused(seed_files, tmp_path, name):
    data, path = seed_files[name], tmp_path / name
    for length in range(0, len(data), max(1, len(data) // 150)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            read_flow(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(InputError):
        read_flow(path)


@pytest.mark.parametrize("name", IMAGE_SEEDS)
def test_image_cut_anywhere_is_refused(seed_files, tmp_path, capfd, name):
    data, path = seed_files[name], tmp_path / name
    end = len(data) - 2 if name == "ascii.ppm" else len(data)  # its last digit and newline may go unnoticed
    for length in range(0, end - 2, max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError):
            read_image(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", [n for n in FLOW_SEEDS if n.endswith((".npz", ".png"))])
def test_every_flipped_byte_of_a_file_with_checksums_matters_or_changes_nothing(seed_files, tmp_path, name):
    data, path = seed_files[name], tmp_path / name
    path.write_bytes(data)
    whole = read_flow(path)
    for place in range(0, len(data), max(1, len(data) // 200)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x11]) + data[place + 1 :])
        field = attempt(read_flow, path)
        assert field is None or np.array_equal(field.flow, whole.flow)


@given(st.sampled_from(sorted(FLOW_SUFFIXES | IMAGE_SUFFIXES)), st.binary(max_size=300))
def test_any_bytes(tmp_path, suffix, data):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    check_flow(path) if suffix in FLOW_SUFFIXES else check_image(path)


# Damage below the checksums: what a mean file, not a broken copy, brings.


@given(st.data())
def test_png_with_right_checksums_around_anything(tmp_path, capfd, data):
    rows = data.draw(damaged(b"".join(b"\0" + row.tobytes() for row in PICTURE)))
    stream = zlib.compress(rows)
    if data.draw(st.booleans()):
        stream = data.draw(damaged(stream))
    header = data.draw(damaged(struct.pack(">IIBBBBB", 12, 9, 8, 2, 0, 0, 0)))
    extra = data.draw(
        st.sampled_from([b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"iCCP"])
    )
    path = tmp_path / "a.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + build.png_chunk(b"IHDR", data.draw(st.sampled_from([header, header[:13].ljust(13, b"\0")])))
        + build.png_chunk(extra, data.draw(st.binary(max_size=40)))
        + build.png_chunk(b"IDAT", stream)
        + build.png_chunk(b"IEND", b"")
    )
    check_image(path)
    check_flow(path)
    assert capfd.readouterr().err == ""


@given(st.data())
@example(None)
def test_npz_with_right_checksums_around_anything(tmp_path, data):
    member = build.npy("<f4", (5, 6, 2), FLOW.tobytes())
    path = tmp_path / "a.npz"
    path.write_bytes(build.npz({"flow.npy": member if data is None else data.draw(damaged(member))}))
    check_flow(path)
    arrays = attempt(read_npz, path)
    assert arrays is None or all(array.dtype.kind in "biuf" for array in arrays.values())


@given(st.data())
def test_mat_with_right_checksums_around_anything(tmp_path, data):
    matrix = build.mat_matrix(b"flow", (2, 3, 2), np.arange(12.0).tobytes())
    path = tmp_path / "a.mat"
    path.write_bytes(build.mat(build.mat_compressed(data.draw(damaged(matrix)))))
    check_flow(path)


@given(st.binary(max_size=200))
def test_npy_header_of_any_text(tmp_path, text):
    path = tmp_path / "a.npz"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8)
    path.write_bytes(build.npz({"flow.npy": member}))
    check_flow(path)


@given(st.data())
def test_damaged_pfm_array(tmp_path, data):
    path = tmp_path / "a.pfm"
    path.write_bytes(data.draw(damaged(b"Pf\n3 2\n-1.0\n" + np.arange(6, dtype="<f4").tobytes())))
    image = attempt(read_pfm, path)
    assert image is None or image.dtype == np.float32


@given(st.data())
def test_damaged_checkpoint(tmp_path, data):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.arange(6.0).view(2, 3), "n": torch.tensor(3)}, metadata={"a": "b"})
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    loaded = attempt(load_tensors, path)
    if loaded is None:
        return
    tensors, metadata = loaded
    assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())
    assert all(isinstance(key + value, str) for key, value in metadata.items())


# ---- memory

GREEDY = {
    "a.flo": b"PIEH" + struct.pack("<ii", 40_000, 40_000) + bytes(88),
    "b.flo": b"PIEH" + struct.pack("<ii", 2**31 - 1, 2**31 - 1) + bytes(88),
    "a.pfm": b"PF\n40000 40000\n-1.0\n" + bytes(80),
    "a.png": b"\x89PNG\r\n\x1a\n"
    + build.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16_000, 16_000, 16, 2, 0, 0, 0))
    + build.png_chunk(b"IDAT", zlib.compress(bytes(1000)))
    + build.png_chunk(b"IEND", b""),
    "a.npz": build.npz({"flow.npy": build.npy("<f4", (40_000, 40_000, 2), bytes(8))}),
    "long.npz": build.npz({"flow.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(8)}),
    "a.mat": build.mat(build.mat_matrix(b"flow", (40_000, 40_000, 2), bytes(16))),
    "b.mat": build.mat(struct.pack("<II", 14, 2**31 - 8) + bytes(64)),
    "c.mat": build.mat(build.mat_compressed(struct.pack("<II", 14, 2**31 - 8) + bytes(64))),
    "image.ppm": b"P6\n16000 16000\n255\n" + bytes(80),
    "image.pgm": b"P2\n16000 16000\n255\n" + b"1 " * 40,
    "image.bmp": b"BM"
    + struct.pack("<IHHI", 154, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 16_000, 16_000, 1, 24, 0, 0, 0, 0, 0, 0)
    + bytes(100),
    "image.webp": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f" + struct.pack("<I", 0x0FFFFFFF) + bytes(8),
}


def bent(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) >= 1
    return data.replace(old, new, 1)


def greedy_files(seed_files):
    """Small files whose headers ask for gigabytes."""
    files = dict(GREEDY)
    files["image.jpg"] = bent(
        seed_files["image.jpg"], struct.pack(">HH", 9, 12), struct.pack(">HH", 16_000, 16_000)
    )
    sides = struct.pack("<HHII", 256, 4, 1, 12) + struct.pack("<HHII", 257, 4, 1, 9)
    large = struct.pack("<HHII", 256, 4, 1, 16_000) + struct.pack("<HHII", 257, 4, 1, 16_000)
    files["image.tif"] = bent(seed_files["plain.tif"], sides, large)
    strip = struct.pack("<HHI", 278, 4, 1)  # rows in one strip: more than there are is no error
    files["whole.tif"] = bent(
        seed_files["plain.tif"], strip + struct.pack("<I", 9), strip + struct.pack("<I", 2**24)
    )
    member = build.npy("<f4", (16_000, 16_000, 2), bytes(8))
    claim = build.npz({"flow.npy": member})
    assert claim.count(struct.pack("<I", len(member))) == 2
    honest = len(member) - 8 + 16_000 * 16_000 * 8
    files["claim.npz"] = claim.replace(struct.pack("<I", len(member)), struct.pack("<I", honest))
    return files


PROBE = """
import sys, tracemalloc
from pathlib import Path
from kinema.errors import InputError
from kinema.io.flow import read_flow
from kinema.io.images import read_image

def peak():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmPeak"))
    return int(line.split()[1]) / 1024

valid, greedy = (sorted(Path(name).iterdir()) for name in sys.argv[1:])
def read(path):
    if path.name.startswith("flow") or path.suffix in (".flo", ".pfm", ".npz", ".mat"):
        return read_flow(path)
    return read_image(path)

for path in valid:  # libraries and threads are there now
    read(path)
for path in greedy:
    before = peak()
    tracemalloc.start()
    try:
        read(path)
    except InputError as error:
        outcome = "refused"
    else:
        outcome = "read"
    traced = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    print(path.name, outcome, round(traced, 1), round(peak() - before, 1))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_no_header_alone_makes_memory_be_asked_for(seed_files, tmp_path):
    folders = tmp_path / "valid", tmp_path / "greedy"
    for folder, files in zip(folders, (seed_files, greedy_files(seed_files)), strict=True):
        folder.mkdir()
        for name, data in files.items():
            assert len(data) < 4000
            (folder / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, folders)], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len(greedy_files(seed_files))
    for name, outcome, traced, grown in lines:
        assert outcome == ("read" if name.startswith("whole") else "refused"), name
        # address space counts what is reserved, touched or not; gigabytes were asked for
        assert float(traced) < 8, name
        assert float(grown) < 100, name
    assert done.stderr == ""


def test_compressed_file_that_is_honest_may_be_large(tmp_path):
    flow = np.zeros((400, 500, 2), np.float32)
    for suffix in (".npz", ".png"):
        write_flow(tmp_path / f"a{suffix}", flow)
        assert (tmp_path / f"a{suffix}").stat().st_size < 10_000
        np.testing.assert_array_equal(read_flow(tmp_path / f"a{suffix}").flow, flow)
    black = np.zeros((1080, 1920, 3), np.uint8)
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        write_image(tmp_path / f"black{suffix}", black)
        np.testing.assert_array_equal(read_image(tmp_path / f"black{suffix}"), black)
