"""Flow in npz and mat files: bytes built by hand, other writers and readers, and files that lie."""

from __future__ import annotations

import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from helpers import image_bytes as build
from kinema.errors import InputError
from kinema.io.flow import (
    read_flow,
    read_npz,
    write_flow,
    write_mat,
    write_npz,
)


@pytest.fixture
def flow():
    values = np.random.default_rng(0).normal(0, 30, (5, 7, 2)).astype(np.float32)
    values[0, 0] = (-0.0, 1e-40)  # negative zero and a denormal number
    values[0, 1] = (9.99e8, -9.99e8)
    return values


def save(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return path


# ---- npz


def test_npz_is_what_numpy_reads_and_writes(tmp_path):
    arrays = {
        "flow": np.random.default_rng(4).normal(size=(3, 4, 2)).astype(np.float32),
        "big": np.arange(6, dtype=">i4").reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "mask": np.array([[True, False]]),
        "empty": np.zeros((0, 3), np.uint16),
        "scalar": np.array(2.5),
        "half": np.array([1, 2], np.float16),
    }
    write_npz(tmp_path / "ours.npz", arrays)
    np.savez(tmp_path / "stored.npz", **arrays)
    np.savez_compressed(tmp_path / "packed.npz", **arrays)
    with np.load(tmp_path / "ours.npz", allow_pickle=False) as theirs:
        for name, array in arrays.items():
            np.testing.assert_array_equal(theirs[name], array)
    for name in ("ours.npz", "stored.npz", "packed.npz"):
        back = read_npz(tmp_path / name)
        assert list(back) == list(arrays)
        for key, array in arrays.items():
            np.testing.assert_array_equal(back[key], array, strict=array.dtype.isnative)
            assert back[key].dtype.isnative
            assert back[key].flags.c_contiguous


def test_npz_same_arrays_same_bytes(tmp_path, flow):
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, {"flow": flow})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        assert archive.getinfo("flow.npy").compress_type == zipfile.ZIP_DEFLATED


def test_npz_hand_built(tmp_path):
    data = build.npz({"flow.npy": build.npy("<f8", (1, 2, 2), struct.pack("<4d", 1, 2, float("nan"), 4))})
    field = read_flow(save(tmp_path, "a.npz", data))
    np.testing.assert_array_equal(field.flow, [[[1, 2], [0, 0]]])
    np.testing.assert_array_equal(field.valid, [[True, False]])


def test_npz_any_nonzero_byte_is_true(tmp_path):
    data = build.npz({"valid.npy": build.npy("|b1", (3,), b"\x00\x01\x07")})
    back = read_npz(save(tmp_path, "a.npz", data))["valid"]
    assert back.tobytes() == b"\x00\x01\x01"


def test_npz_text_is_only_refused_where_it_is_wanted(tmp_path, flow):
    path = tmp_path / "a.npz"
    np.savez(path, flow=flow, note=np.array("hello"))
    np.testing.assert_array_equal(read_flow(path).flow, flow)
    with pytest.raises(InputError, match="not one of numbers"):
        read_npz(path)


FLOW_NPY = build.npy("<f4", (1, 1, 2), struct.pack("<2f", 1, 2))


@pytest.mark.parametrize(
    "data",
    [
        build.npz({"other.npy": FLOW_NPY}),
        build.npz({"flow.npy": build.npy("<f4", (1, 2), bytes(8))}),
        build.npz({"flow.npy": build.npy("<f4", (1, 2, 2), bytes(8))}),
        build.npz({"flow.npy": FLOW_NPY + b"\0"}),
        build.npz({"flow.npy": FLOW_NPY[:-1]}),
        build.npz({"flow.npy": FLOW_NPY[:9]}),
        build.npz({"flow.npy": build.npy("|O", (1, 1, 2), b"cos\nsystem\n.")}),
        build.npz({"flow.npy": build.npy("<c8", (1, 1, 1), bytes(8))}),
        build.npz({"flow.npy": build.npy("<f4", (10**6, 10**6, 2), bytes(8))}),
        build.npz({"flow.npy": build.npy("<f4", (10**30, 0, 2), b"")}),
        build.npz({"flow.npy": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(100)}),
        build.npz({"flow.npy": FLOW_NPY}, method=zipfile.ZIP_BZIP2),
        build.npz({"flow.npy": FLOW_NPY, "valid.npy": build.npy("|b1", (2, 2), bytes(4))}),
        build.npz({"flow.npy": FLOW_NPY, "flow": FLOW_NPY}),
        build.npz({"flow.npy": FLOW_NPY}) + b"\0",
        b"\0" + build.npz({"flow.npy": FLOW_NPY}),
        build.npz({}),
        b"PK\3\4",
    ],
)
def test_npz_refused(tmp_path, data):
    path = save(tmp_path, "a.npz", data)
    with pytest.raises(InputError, match=r"a\.npz"):
        read_flow(path)


def test_npz_checksum_is_compared(tmp_path):
    data = bytearray(build.npz({"flow.npy": FLOW_NPY}, method=zipfile.ZIP_STORED))
    data[data.index(struct.pack("<2f", 1, 2))] ^= 1
    with pytest.raises(InputError, match="CRC"):
        read_flow(save(tmp_path, "a.npz", bytes(data)))


def test_npz_writes_only_numbers(tmp_path):
    for array in (np.array("text"), np.array([None]), np.zeros(2, complex)):
        with pytest.raises(InputError, match="numbers"):
            write_npz(tmp_path / "a.npz", {"x": array})
    assert not (tmp_path / "a.npz").exists()


# ---- mat


def columns(flow):
    return flow.transpose(2, 1, 0).astype("<f8").tobytes()


def test_mat_hand_built(tmp_path):
    flow = np.arange(12, dtype=np.float64).reshape(2, 3, 2)
    flow[1, 1, 0] = np.nan
    other = build.mat_matrix(b"x", (1, 1), struct.pack("<d", 3))
    plain = build.mat_matrix(b"flow", (2, 3, 2), columns(flow))
    expected = np.where(np.isnan(flow).any(2, keepdims=True), 0, flow)
    for name, data in (
        ("plain.mat", build.mat(other, plain)),
        ("packed.mat", build.mat(build.mat_compressed(other), build.mat_compressed(plain))),
    ):
        field = read_flow(save(tmp_path, name, data))
        np.testing.assert_array_equal(field.flow, expected.astype(np.float32))
        np.testing.assert_array_equal(field.valid, ~np.isnan(flow).any(2))


def test_mat_samples_may_be_stored_smaller_than_their_class(tmp_path):
    # MATLAB stores whole numbers of a double array as bytes
    data = build.mat(build.mat_matrix(b"flow", (1, 2, 2), bytes([1, 2, 3, 4]), kind=2))
    np.testing.assert_array_equal(read_flow(save(tmp_path, "a.mat", data)).flow, [[[1, 3], [2, 4]]])


def test_mat_written_as_float64(tmp_path, flow):
    import scipy.io

    write_flow(tmp_path / "a.mat", flow)
    stored = scipy.io.loadmat(tmp_path / "a.mat")["flow"]
    assert stored.dtype == np.float64
    np.testing.assert_array_equal(stored, flow)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i2"])
def test_mat_written_by_scipy(tmp_path, flow, compressed, kind):
    import scipy.io

    values = np.clip(flow, -100, 100).astype(kind)
    scipy.io.savemat(
        tmp_path / "a.mat", {"name": "text", "flow": values, "s": {"a": 1}}, do_compression=compressed
    )
    np.testing.assert_array_equal(read_flow(tmp_path / "a.mat").flow, values)


FLOW_MAT = build.mat_matrix(b"flow", (1, 1, 2), struct.pack("<2d", 1, 2))


@pytest.mark.parametrize(
    "data",
    [
        build.mat(build.mat_matrix(b"flo", (1, 1, 2), bytes(16))),
        build.mat(),
        build.mat(FLOW_MAT, FLOW_MAT),
        build.mat(FLOW_MAT) + b"\0",
        build.mat(FLOW_MAT)[:-1],
        build.mat(FLOW_MAT)[:100],
        build.mat(build.mat_matrix(b"flow", (1, 2), bytes(16))),
        build.mat(build.mat_matrix(b"flow", (1, 2, 2), bytes(16))),
        build.mat(build.mat_matrix(b"flow", (2**30, 2**30, 2), bytes(16))),
        build.mat(build.mat_matrix(b"flow", (-1, -1, 2), bytes(16))),
        build.mat(build.mat_matrix(b"flow", (1, 1, 2), bytes(16), mx_class=1)),
        build.mat(build.mat_matrix(b"flow", (1, 1, 2), bytes(16), mx_class=3)),
        build.mat(build.mat_matrix(b"flow", (1, 1, 2), bytes(16), flags=0x0800)),
        build.mat(build.mat_matrix(b"flow", (1, 1, 2), bytes(16), kind=14)),
        build.mat(struct.pack("<II", 14, 2**31) + bytes(64)),
        build.mat(build.mat_compressed(struct.pack("<II", 14, 2**31) + bytes(64))),
        build.mat(build.mat_compressed(FLOW_MAT + b"\0")),
        build.mat(FLOW_MAT, version=0x0101),
        b"MA\0LAB" + build.mat(FLOW_MAT)[6:],
        struct.pack("<5i", 0, 1, 2, 0, 5) + b"flow\0" + bytes(16),  # version 4
    ],
)
def test_mat_refused(tmp_path, data):
    path = save(tmp_path, "a.mat", data)
    with pytest.raises(InputError, match=r"a\.mat"):
        read_flow(path)


def test_mat_of_version_7_3_says_so(tmp_path):
    data = b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + bytes(384) + b"\x89HDF\r\n\x1a\n"
    with pytest.raises(InputError, match=r"7\.3, save it with -v7"):
        read_flow(save(tmp_path, "a.mat", data))


def test_mat_without_scipy_names_the_extra(tmp_path):
    script = (
        "import sys\n"
        "sys.modules['scipy'] = None\n"
        "import numpy as np\n"
        "from kinema.io.flow import read_flow, write_flow\n"
        "for call in (lambda: read_flow('a.mat'), lambda: write_flow('a.mat', np.zeros((1, 1, 2)))):\n"
        "    try:\n"
        "        call()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("MissingExtraError") and "kinema[mat]" in line for line in lines)


def test_mat_holds_named_arrays_as_matlab_has_them(tmp_path, flow):
    scipy_io = pytest.importorskip("scipy.io")
    occluded = np.array([[True, False]])
    write_mat(tmp_path / "a.mat", {"flow": flow, "occluded": occluded, "confidence": np.float32([[0.25]])})
    got = scipy_io.loadmat(tmp_path / "a.mat")
    assert got["flow"].dtype == np.float64
    assert np.array_equal(got["flow"], flow.astype(np.float64))
    assert got["occluded"].dtype == np.uint8
    assert got["occluded"].tolist() == [[1, 0]]
    assert got["confidence"].tolist() == [[0.25]]
    assert np.array_equal(read_flow(tmp_path / "a.mat").flow, flow)
    with pytest.raises(InputError, match="'flow' is of type <U1"):
        write_mat(tmp_path / "b.mat", {"flow": np.array(["x"])})
    assert not (tmp_path / "b.mat").exists()
