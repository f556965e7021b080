"""Images written and read back, and image values as floats."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kinema.errors import InputError, OutputError, UsageError
from kinema.io.images import read_image, to_unit_float, write_image

LOSSLESS = [".png", ".ppm", ".tif", ".tiff", ".bmp"]


def samples(shape, dtype="u1", seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(height, width):
    """A BGR picture that JPEG keeps well, and that no rotation maps to itself."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 3 * x, 20 + 5 * y, 200 - 2 * x - y], axis=2).astype(np.uint8)


# ---- writing


@pytest.mark.parametrize(
    ("suffix", "dtype"), [*((s, "u1") for s in LOSSLESS), *((s, "u2") for s in LOSSLESS if s != ".bmp")]
)
def test_write_and_read_back(tmp_path, suffix, dtype):
    for shape in ((5, 7, 3), (5, 7), (1, 1, 3)):
        image = samples(shape, dtype)
        write_image(tmp_path / f"a{suffix}", image)
        expected = image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)
        np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), expected, strict=True)
        theirs = cv2.imread(str(tmp_path / f"a{suffix}"), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        np.testing.assert_array_equal(theirs[:, :, ::-1], expected)


def test_write_pgm_and_strided(tmp_path):
    image = samples((5, 7, 3))
    write_image(tmp_path / "a.pgm", image[:, ::2, 0])
    np.testing.assert_array_equal(read_image(tmp_path / "a.pgm")[:, :, 1], image[:, ::2, 0])
    write_image(tmp_path / "a.png", image[::-1, ::2])
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image[::-1, ::2])
    write_image(tmp_path / "b.pgm", samples((2, 2), "u2"))
    assert (tmp_path / "b.pgm").read_bytes().startswith(b"P5\n2 2\n65535\n")


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".webp"])
def test_lossy_formats_are_close_and_in_rgb(tmp_path, suffix):
    rgb = smooth(32, 48)[:, :, ::-1]
    write_image(tmp_path / f"a{suffix}", rgb)
    assert np.abs(read_image(tmp_path / f"a{suffix}").astype(int) - rgb).mean() < 2


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "words"),
    [
        ("a.jpg", (2, 2, 3), "u2", "8 bits only"),
        ("a.bmp", (2, 2), "u2", "8 bits only"),
        ("a.pgm", (2, 2, 3), "u1", "grey images only"),
        ("a.png", (2, 2, 4), "u1", "shape"),
        ("a.png", (2,), "u1", "shape"),
        ("a.png", (0, 2, 3), "u1", "shape"),
        ("a.png", (2, 2, 3), "f4", "float32"),
        ("a.gif", (2, 2, 3), "u1", "unknown image suffix"),
        ("a", (2, 2, 3), "u1", "unknown image suffix"),
        ("a.webp", (1, 16384), "u1", "at most 16383"),
        ("a.jpg", (65536, 1), "u1", "at most 65535"),
    ],
)
def test_write_refuses(tmp_path, name, shape, dtype, words):
    with pytest.raises(UsageError, match=words):
        write_image(tmp_path / name, np.zeros(shape, dtype))
    assert list(tmp_path.iterdir()) == []


def test_write_keeps_an_existing_file(tmp_path):
    (tmp_path / "a.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        write_image(tmp_path / "a.png", np.zeros((2, 2), np.uint8), overwrite=False)
    assert (tmp_path / "a.png").read_bytes() == b"mine"


# ---- values


def test_unit_float():
    for dtype, white in (("u1", 255), ("u2", 65535)):
        values = np.arange(white + 1, dtype=dtype)
        scaled = to_unit_float(values)
        assert scaled.dtype == np.float32
        np.testing.assert_array_equal(scaled, (values.astype(np.float64) / white).astype(np.float32))
        np.testing.assert_array_equal(np.rint(scaled * white), values)
    same = np.array([0, 0.25, 1], np.float32)
    assert to_unit_float(same) is same
    assert to_unit_float(same.astype(np.float64)).dtype == np.float32


@pytest.mark.parametrize(
    "image", [np.array([1.1]), np.array([-0.1]), np.array([np.nan]), np.array([0, 1]), np.array([True])]
)
def test_unit_float_refuses(image):
    with pytest.raises(InputError, match="image"):
        to_unit_float(image)
