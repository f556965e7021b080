"""Flow files against bytes built by hand, exact round trips, and the real files of the benchmarks."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from helpers import image_bytes as build
from kinema.errors import InputError, OutputError, UsageError
from kinema.io.flow import (
    FLOW_SUFFIXES,
    read_flow,
    read_pfm,
    write_flow,
    write_pfm,
)
from kinema.io.formats.kitti_png import read_kitti_flow

EXACT = sorted(FLOW_SUFFIXES - {".png"})


@pytest.fixture
def flow():
    values = np.random.default_rng(0).normal(0, 30, (5, 7, 2)).astype(np.float32)
    values[0, 0] = (-0.0, 1e-40)  # negative zero and a denormal number
    values[0, 1] = (9.99e8, -9.99e8)
    return values


@pytest.fixture
def valid():
    return np.random.default_rng(1).random((5, 7)) < 0.7


def save(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


# ---- .flo


def flo(width, height, *values):
    return b"PIEH" + struct.pack(f"<ii{len(values)}f", width, height, *values)


def test_flo_hand_built(tmp_path):
    assert struct.unpack("<f", b"PIEH") == (202021.25,)
    nan, inf = float("nan"), float("inf")
    values = (1.5, -2.0, 1e10, 0.0, 0.0, -1.1e9, nan, 1.0, 3.0, inf, 1e9, -1e9)
    field = read_flow(save(tmp_path, "a.flo", flo(3, 2, *values)))
    np.testing.assert_array_equal(field.valid, [[True, False, False], [False, False, True]])
    np.testing.assert_array_equal(field.flow[0], [[1.5, -2.0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(field.flow[1], [[0, 0], [0, 0], [1e9, -1e9]])
    assert field.flow.dtype == np.float32
    assert field.valid.dtype == bool
    field.flow[:] += 1  # an array of its own, not a view of a file


def test_flo_written_bytes(tmp_path):
    flow = np.array([[[1, 2], [3, 4]]], np.float32)
    write_flow(tmp_path / "a.flo", flow, valid=np.array([[True, False]]))
    assert (tmp_path / "a.flo").read_bytes() == flo(2, 1, 1, 2, 1e10, 1e10)


@pytest.mark.parametrize(
    "data",
    [
        flo(2, 1, 1, 2, 3),
        flo(2, 1, 1, 2, 3, 4) + b"\0",
        flo(2, 1, 1, 2, 3, 4)[:-1],
        flo(0, 5),
        flo(-2, -1, 1, 2, 3, 4),
        flo(-1, 2, 1, 2, 3, 4),
        flo(2**31 - 1, 2**31 - 1),
        b"PIEH",
        b"PIEH\1\0\0\0",
        b"HEIP" + flo(1, 1, 1, 2)[4:],
        struct.pack(">f", 202021.25) + struct.pack(">ii2f", 1, 1, 1, 2),
        b"",
    ],
)
def test_flo_refused(tmp_path, data):
    path = save(tmp_path, "a.flo", data)
    with pytest.raises(InputError, match=r"a\.flo"):
        read_flow(path)


# ---- KITTI


def test_kitti_hand_built(tmp_path):
    samples = np.array([[[32768 + 96, 32768 - 33, 1], [0, 65535, 1], [40000, 40000, 0], [0, 0, 65535]]], "u2")
    field = read_flow(save(tmp_path, "a.png", build.png_of(samples, colour=2)))
    expected = [[[1.5, -33 / 64], [-512, 32767 / 64], [0, 0], [-512, -512]]]
    np.testing.assert_array_equal(field.flow, np.array(expected, np.float32))
    np.testing.assert_array_equal(field.valid, [[True, True, False, True]])


def test_kitti_written_samples(tmp_path):
    flow = np.array([[[1.5, -33 / 64], [0, 0], [0.0079, -0.0077]]], np.float32)
    write_flow(tmp_path / "a.png", flow, valid=np.array([[True, False, True]]))
    stored = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    np.testing.assert_array_equal(stored[..., ::-1], [[[32864, 32735, 1], [0, 0, 0], [32769, 32768, 1]]])


def test_kitti_round_trip_is_within_half_a_step(tmp_path, valid):
    flow = np.random.default_rng(2).uniform(-512, 511.98, (5, 7, 2)).astype(np.float32)
    write_flow(tmp_path / "a.png", flow, valid=valid)
    field = read_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(field.valid, valid)
    assert np.abs(field.flow - flow)[valid].max() <= 1 / 128
    write_flow(tmp_path / "b.png", field.flow, valid=field.valid)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()


def test_kitti_beyond_the_range_is_stored_as_not_valid(tmp_path):
    flow = np.array([[[512, 0], [511.984375, 0], [-512, 0], [-512.1, 0], [0, 1e6]]], np.float32)
    write_flow(tmp_path / "a.png", flow)
    field = read_flow(tmp_path / "a.png")
    np.testing.assert_array_equal(field.valid, [[False, True, True, False, False]])
    np.testing.assert_array_equal(field.flow[0, :, 0], [0, 511.984375, -512, 0, 0])


@pytest.mark.parametrize(
    ("samples", "colour"),
    [
        (np.zeros((2, 2, 3), "u1"), 2),
        (np.zeros((2, 2), "u2"), 0),
        (np.zeros((2, 2, 4), "u2"), 6),
        (np.zeros((2, 2, 2), "u2"), 4),
    ],
)
def test_kitti_wants_three_channels_of_16_bits(tmp_path, samples, colour):
    path = save(tmp_path, "a.png", build.png_of(samples, colour=colour))
    with pytest.raises(InputError, match="no KITTI flow"):
        read_flow(path)


def test_kitti_trailing_bytes(tmp_path):
    data = build.png_of(np.ones((2, 2, 3), "u2"), colour=2)
    with pytest.raises(InputError, match="1 bytes follow"):
        read_kitti_flow(save(tmp_path, "a.png", data + b"\0"))


# ---- PFM


def test_pfm_hand_built_three_channels(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    for name, order, scale in (("l.pfm", "<", b"-1.0"), ("b.pfm", ">", b"1"), ("s.pfm", "<", b"-0.5e1")):
        data = b"PF\n2 2\n" + scale + b"\n" + values[::-1].astype(f"{order}f4").tobytes()
        path = save(tmp_path, name, data)
        np.testing.assert_array_equal(read_pfm(path), values)
        np.testing.assert_array_equal(read_flow(path).flow, values[:, :, :2])


def test_pfm_written_bytes(tmp_path):
    write_pfm(tmp_path / "a.pfm", np.array([[1, 2], [3, np.nan]], np.float32))
    assert (tmp_path / "a.pfm").read_bytes() == b"Pf\n2 2\n-1.0\n" + struct.pack(
        "<4f", 3, np.float32(np.nan), 1, 2
    )


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 3), (1, 1)])
def test_pfm_round_trip(tmp_path, shape):
    image = np.random.default_rng(3).normal(size=shape).astype(np.float32)
    image.flat[0] = np.nan
    write_pfm(tmp_path / "a.pfm", image)
    back = read_pfm(tmp_path / "a.pfm")
    assert back.dtype == np.float32
    assert back.flags.c_contiguous
    assert back.tobytes() == image.tobytes()


@pytest.mark.parametrize(
    "data",
    [
        b"PF\n2 2\n-1\n" + bytes(47),
        b"PF\n2 2\n-1\n" + bytes(49),
        b"PF\n0 2\n-1\n",
        b"PF\n-2 2\n-1\n" + bytes(48),
        b"PF\n2 2\n0\n" + bytes(48),
        b"PF\n2 2\nnan\n" + bytes(48),
        b"PF\n2 2\n1e\n" + bytes(48),
        b"PF\n2 2\n1e999\n" + bytes(48),
        b"PF\n9999999999 9999999999\n-1\n" + bytes(48),
        b"PX\n2 2\n-1\n" + bytes(48),
        b"PF",
        b"PF\n" + b" " * 100_000,
    ],
)
def test_pfm_refused(tmp_path, data):
    path = save(tmp_path, "a.pfm", data)
    with pytest.raises(InputError, match=r"a\.pfm"):
        read_flow(path)


def test_pfm_of_one_channel_is_no_flow(tmp_path):
    write_pfm(tmp_path / "a.pfm", np.zeros((2, 2), np.float32))
    with pytest.raises(InputError, match="one channel"):
        read_flow(tmp_path / "a.pfm")


# ---- all formats


@pytest.mark.parametrize("suffix", EXACT)
def test_round_trip_is_exact(tmp_path, flow, valid, suffix):
    write_flow(tmp_path / f"a{suffix}", flow, valid=valid)
    field = read_flow(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(field.valid, valid)
    assert field.flow.dtype == np.float32
    assert field.flow[valid].tobytes() == flow[valid].tobytes()  # bit for bit, negative zero too
    assert not field.flow[~valid].any()
    write_flow(tmp_path / f"all{suffix}", flow)
    field = read_flow(tmp_path / f"all{suffix}")
    assert field.valid.all()
    assert field.flow.tobytes() == flow.tobytes()


@pytest.mark.parametrize("suffix", sorted(FLOW_SUFFIXES))
def test_strided_double_flow_is_written_as_its_values(tmp_path, suffix):
    flow = np.arange(40.0).reshape(2, 5, 4).transpose(1, 0, 2)[::-1, :, ::2]
    write_flow(tmp_path / f"a{suffix.upper()}", flow)
    np.testing.assert_array_equal(read_flow(tmp_path / f"a{suffix.upper()}").flow, flow)


@pytest.mark.parametrize("suffix", sorted(FLOW_SUFFIXES))
def test_writer_refuses_what_cannot_be_meant(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    good = np.zeros((2, 3, 2), np.float32)
    for wrong in (good[:, :, 0], good.transpose(2, 0, 1), good[:0], good.astype(complex), good.astype(str)):
        with pytest.raises(InputError, match="flow of shape"):
            write_flow(path, wrong)
    for value in (np.nan, np.inf, 2e9):
        bad = good.copy()
        bad[1, 2, 0] = value
        with pytest.raises(InputError, match="1 pixels"):
            write_flow(path, bad)
        write_flow(path, bad, valid=np.array([[1, 1, 1], [1, 1, 0]]))
        path.unlink()
    with pytest.raises(InputError, match="valid mask"):
        write_flow(path, good, valid=np.ones((3, 2), bool))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", sorted(FLOW_SUFFIXES))
def test_writer_keeps_an_existing_file(tmp_path, flow, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        write_flow(path, flow, overwrite=False)
    assert path.read_bytes() == b"mine"
    write_flow(path, flow)
    assert read_flow(path).flow.shape == flow.shape


@pytest.mark.parametrize("suffix", sorted(FLOW_SUFFIXES))
def test_reader_of_absent_and_empty_files(tmp_path, suffix):
    with pytest.raises(InputError, match="no such file"):
        read_flow(tmp_path / f"a{suffix}")
    (tmp_path / f"a{suffix}").touch()
    with pytest.raises(InputError, match="is empty"):
        read_flow(tmp_path / f"a{suffix}")


def test_unknown_suffix(tmp_path, flow):
    with pytest.raises(InputError, match=r"\.flo \.png"):
        read_flow(tmp_path / "a.txt")
    with pytest.raises(UsageError, match=r"\.flo \.png"):
        write_flow(tmp_path / "a", flow)


# ---- real files


def test_real_flo(shared):
    for path in sorted((shared / "data").glob("**/*.flo")):
        field = read_flow(path)
        raw = np.fromfile(path, "<f4")
        width, height = np.fromfile(path, "<i4", 3)[1:]
        expected = raw[3:].reshape(height, width, 2)
        known = (np.abs(expected) <= 1e9).all(2)
        np.testing.assert_array_equal(field.valid, known)
        np.testing.assert_array_equal(field.flow[known], expected[known])
        theirs = cv2.readOpticalFlow(str(path))
        np.testing.assert_array_equal(field.flow[known], theirs[known])


def test_real_flo_has_unknown_pixels(shared):
    folder = shared / "data/middlebury/other-gt-flow"
    assert not read_flow(folder / "RubberWhale/flow10.flo").valid.all()
    assert read_flow(folder / "Grove2/flow10.flo").valid.all()
    chairs = read_flow(shared / "data/flyingchairs/data/00001_flow.flo")
    assert chairs.flow.shape == (384, 512, 2)


def test_real_kitti(shared, tmp_path):
    for path in sorted((shared / "data/kitti2012/training").glob("flow_*/*.png")):
        field = read_flow(path)
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float64)  # BGR
        valid = stored[:, :, 0] > 0
        np.testing.assert_array_equal(field.valid, valid)
        np.testing.assert_array_equal(field.flow[valid], (stored[valid][:, :0:-1] - 2**15) / 64)
        write_flow(tmp_path / "a.png", field.flow, valid=field.valid)
        again = read_flow(tmp_path / "a.png")
        np.testing.assert_array_equal(again.flow, field.flow)
        np.testing.assert_array_equal(again.valid, field.valid)
    with pytest.raises(InputError, match="no KITTI flow"):
        read_flow(shared / "data/kitti2012/training/disp_occ/000074_10.png")


def test_real_pfm(shared):
    path = shared / "data/formats/0000000-occ_weights_01.pfm"
    image = read_pfm(path)
    expected = np.frombuffer(path.read_bytes()[12:], "<f4").reshape(50, 50)[::-1]
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(image, cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
