"""Images against samples and files built by hand; every kind comes out as upright RGB."""

from __future__ import annotations

import os
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest

from helpers import image_bytes as build
from kinema.errors import InputError
from kinema.io.formats.quiet import quiet_opencv
from kinema.io.images import IMAGE_SUFFIXES, image_size_hw, read_image, write_image


def samples(shape, dtype="u1", seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth(height, width):
    """A BGR picture that JPEG keeps well, and that no rotation maps to itself."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 3 * x, 20 + 5 * y, 200 - 2 * x - y], axis=2).astype(np.uint8)


def load(tmp_path, data, name="a.png"):
    path = tmp_path / name
    path.write_bytes(data)
    image = read_image(path)
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.flags.c_contiguous
    assert image_size_hw(path) == image.shape[:2]
    return image


# ---- PNG


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png_kinds(tmp_path, dtype):
    rgba = samples((3, 5, 4), dtype)
    grey = np.repeat(rgba[:, :, :1], 3, axis=2)
    for colour, stored, expected in (
        (2, rgba[:, :, :3], rgba[:, :, :3]),
        (6, rgba, rgba[:, :, :3]),  # alpha is dropped, not blended
        (0, rgba[:, :, 0], grey),
        (4, rgba[:, :, ::3], grey),
    ):
        np.testing.assert_array_equal(
            load(tmp_path, build.png_of(stored, colour=colour)), expected, strict=True
        )


def test_png_palette_with_transparency(tmp_path):
    palette = build.png_chunk(b"PLTE", bytes([10, 20, 30, 40, 50, 60]))
    data = build.png(3, 1, 8, 3, b"\0\0\1\0", before=palette + build.png_chunk(b"tRNS", b"\0\x80"))
    np.testing.assert_array_equal(load(tmp_path, data), [[[10, 20, 30], [40, 50, 60], [10, 20, 30]]])


def test_png_few_bits(tmp_path):
    for depth, row, expected in (
        (1, b"\xa0", [255, 0, 255]),
        (2, b"\x1b", [0, 85, 170, 255]),
        (4, b"\x5f", [85, 255]),
    ):
        image = load(tmp_path, build.png(len(expected), 1, depth, 0, b"\0" + row))
        np.testing.assert_array_equal(image[0, :, 1], expected)


def test_png_profiles_and_texts_change_nothing_and_say_nothing(tmp_path, capfd):
    rgb = samples((3, 4, 3))
    profile = build.png_chunk(b"iCCP", b"broken\0\0" + zlib.compress(b"no profile"))
    others = profile + build.png_chunk(b"gAMA", struct.pack(">I", 10000))
    data = build.png_of(rgb, colour=2, before=others, after=build.png_chunk(b"tEXt", b"a\0b"))
    np.testing.assert_array_equal(load(tmp_path, data), rgb)
    assert capfd.readouterr().err == ""


def test_png_animation_gives_its_picture(tmp_path):
    rgb = samples((3, 4, 3))
    control = build.png_chunk(b"acTL", struct.pack(">II", 1, 0))
    np.testing.assert_array_equal(load(tmp_path, build.png_of(rgb, colour=2, before=control)), rgb)


# ---- orientation

# How the stored picture must be turned, from EXIF's table of where its first row and column belong.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: np.fliplr(a),
    3: lambda a: np.rot90(a, 2),
    4: lambda a: np.flipud(a),
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_orientation(tmp_path, orientation):
    bgr = smooth(16, 24)
    for order in "<>":
        image = load(tmp_path, build.jpeg(bgr, orientation=orientation, order=order), "a.jpg")
        expected = UPRIGHT[orientation](bgr[:, :, ::-1])
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).max() <= 6
    theirs = cv2.imread(str(tmp_path / "a.jpg"), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(image, theirs)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_png_and_tiff_orientation_keep_all_bits(tmp_path, orientation, dtype):
    rgb = samples((4, 6, 3), dtype)
    expected = UPRIGHT[orientation](rgb)
    data = build.png_of(rgb, colour=2, after=build.png_chunk(b"eXIf", build.exif(orientation)))
    np.testing.assert_array_equal(load(tmp_path, data), expected, strict=True)
    data = build.tiff(rgb, orientation=orientation)
    np.testing.assert_array_equal(load(tmp_path, data, "a.tif"), expected, strict=True)


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_webp_orientation(tmp_path, orientation):
    bgr = smooth(16, 24)
    plain = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    np.testing.assert_array_equal(load(tmp_path, plain, "a.webp"), bgr[:, :, ::-1])
    body = build.exif(orientation)
    chunks = (
        b"VP8X" + struct.pack("<IB3x", 10, 0x08) + (23).to_bytes(3, "little") + (15).to_bytes(3, "little")
    )
    chunks += plain[12:] + b"EXIF" + struct.pack("<I", len(body)) + body
    data = b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks
    np.testing.assert_array_equal(load(tmp_path, data, "a.webp"), UPRIGHT[orientation](bgr[:, :, ::-1]))


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"II*\0",
        build.exif(9),
        build.exif(0),
        b"II*\0\xff\xff\xff\xff",
        build.exif(6)[:14],
        b"II*\0" + struct.pack("<IHHHII", 8, 1, 274, 3, 2**32 - 1, 0) + bytes(4),
    ],
)
def test_damaged_exif_means_upright(tmp_path, block):
    rgb = samples((4, 6, 3))
    data = build.png_of(rgb, colour=2, after=build.png_chunk(b"eXIf", block))
    np.testing.assert_array_equal(load(tmp_path, data), rgb)


# ---- TIFF, PNM, other kinds


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_tiff_kinds(tmp_path, dtype):
    rgba = samples((3, 5, 4), dtype)
    grey = np.repeat(rgba[:, :, :1], 3, axis=2)
    np.testing.assert_array_equal(load(tmp_path, build.tiff(rgba[:, :, 0])), grey, strict=True)
    if dtype == "u1":
        np.testing.assert_array_equal(load(tmp_path, build.tiff(rgba[:, :, ::3])), grey, strict=True)
    np.testing.assert_array_equal(load(tmp_path, build.tiff(rgba)), rgba[:, :, :3], strict=True)


@pytest.mark.parametrize("rows", [6, 2**16, 2**24, 2**32 - 1])
def test_tiff_strip_may_claim_more_rows_than_there_are(tmp_path, rows):
    rgb = samples((3, 5, 3))
    data = build.tiff(rgb)
    entry = struct.pack("<HHII", 278, 4, 1, 3)
    assert data.count(entry) == 1
    data = data.replace(entry, struct.pack("<HHII", 278, 4, 1, rows))
    np.testing.assert_array_equal(load(tmp_path, data), rgb)


def test_tiff_with_empty_entries(tmp_path):
    rgb = samples((3, 5, 3))
    data = build.tiff(rgb)
    entry = struct.pack("<HHI", 274, 3, 1)
    assert data.count(entry) == 1
    damaged = data.replace(entry, struct.pack("<HHI", 274, 3, 0))
    np.testing.assert_array_equal(load(tmp_path, damaged), rgb)
    entry = struct.pack("<HHI", 256, 4, 1)
    (tmp_path / "a.tif").write_bytes(data.replace(entry, struct.pack("<HHI", 256, 4, 0)))
    with pytest.raises(InputError, match="0x3 pixels"):
        read_image(tmp_path / "a.tif")


def test_tiff_that_would_lose_bits_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(build.tiff(samples((3, 5, 2), "u2")))  # 16-bit grey with alpha
    with pytest.raises(InputError, match="export it as 16-bit PNG"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(("dtype", "sample_format"), [("f4", 3), ("f8", 3), ("i2", 2), ("u4", 1)])
def test_tiff_of_other_numbers_is_refused(tmp_path, dtype, sample_format):
    path = tmp_path / "a.tif"
    path.write_bytes(build.tiff(np.zeros((3, 4, 3), dtype), sample_format=sample_format))
    with pytest.raises(InputError, match=r"a\.tif .*; export it"):
        read_image(path)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P5\n2 1\n255\n\x07\xff", [[7] * 3, [255] * 3]),
        (b"P5 2 1 100 \x32\x64", [[128] * 3, [255] * 3]),
        (b"P6\n# a comment\n1 #another\n1\n255\n\x01\x02\x03", [[1, 2, 3]]),
        (b"P2\n2 1\n15\n3 # three\n15\n", [[51] * 3, [255] * 3]),
        (b"P3 1 1 255 9 8 7", [[9, 8, 7]]),
        (b"P5\n2 1\n65535\n\x01\x02\xff\xff", [[258] * 3, [65535] * 3]),
        (b"P5\n2 1\n1023\n\x00\x01\x03\xff", [[64] * 3, [65535] * 3]),
        (b"P3\n1 1\n1023\n0 512 1023", [[0, 32800, 65535]]),
        (b"P5\n1 1\n255\n\x07trailing", [[7] * 3]),
    ],
)
def test_pnm(tmp_path, data, expected):
    image = load(tmp_path, data, "a.ppm")
    np.testing.assert_array_equal(image[0], expected)
    assert image.dtype == (np.uint16 if max(map(max, expected)) > 255 else np.uint8)


@pytest.mark.parametrize("top_down", [False, True])
def test_bmp(tmp_path, top_down):
    rows = [bytes([1, 2, 3, 4, 5, 6, 0, 0]), bytes([7, 8, 9, 10, 11, 12, 0, 0])]  # BGR, padded to four bytes
    info = struct.pack("<IiiHHIIiiII", 40, 2, -2 if top_down else 2, 1, 24, 0, 16, 0, 0, 0, 0)
    data = b"BM" + struct.pack("<IHHI", 70, 0, 0, 54) + info + b"".join(rows)
    expected = np.array([[[3, 2, 1], [6, 5, 4]], [[9, 8, 7], [12, 11, 10]]])
    np.testing.assert_array_equal(load(tmp_path, data, "a.bmp"), expected if top_down else expected[::-1])


def test_jpeg_grey_and_one_pixel(tmp_path):
    image = load(tmp_path, build.jpeg(np.full((8, 8), 77, np.uint8)), "a.jpg")
    assert np.abs(image.astype(int) - 77).max() <= 1
    assert load(tmp_path, build.jpeg(np.full((1, 1, 3), 9, np.uint8)), "b.jpg").shape == (1, 1, 3)


def test_content_decides_not_the_name(tmp_path):
    np.testing.assert_array_equal(load(tmp_path, b"P5\n1 1\n255\n\x07", "a.png"), [[[7, 7, 7]]])


@pytest.mark.parametrize("name", ["a b.png", "grün 日本.png", "100%.png", "-x.png"])
def test_any_name(tmp_path, name):
    rgb = samples((3, 4, 3))
    write_image(tmp_path / name, rgb)
    np.testing.assert_array_equal(read_image(str(tmp_path / name)), rgb)


# ---- refused


def changed(data, place, value):
    return data[:place] + value + data[place + len(value) :]


RGB_PNG = build.png_of(samples((4, 6, 3)), colour=2)
HUGE_PNG = RGB_PNG[:8] + build.png_chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello, this is text",
        b"GIF89a" + bytes(20),
        RGB_PNG[:-1],
        RGB_PNG[:60],
        RGB_PNG[:8],
        changed(RGB_PNG, 45, b"\xff\xff"),  # a checksum is wrong
        HUGE_PNG + RGB_PNG[33:],
        build.png(0, 5, 8, 2, b""),
        build.png(5, 5, 7, 2, bytes(80)),
        build.png(4, 4, 8, 2, bytes(13 * 3)),  # too few rows, all checksums right
        build.png(4, 4, 8, 2, (b"\x09" + bytes(12)) * 4),  # an unknown filter
        build.jpeg(smooth(16, 24))[:-2],
        build.jpeg(smooth(16, 24))[:300],
        b"\xff\xd8\xff\xd9",
        b"P6\n4 4\n255\n" + bytes(47),
        b"P6\n99999 99999\n255\n" + bytes(47),
        b"P6\n4 4\n0\n" + bytes(48),
        b"P6\n4 4\n65536\n" + bytes(96),
        b"P5\n1 1\n100\n\xc8",
        b"P2\n1 1\n255\nx",
        b"P2\n2 2\n255\n1 2 3     ",
        b"P6",
        build.tiff(samples((4, 6, 3)))[:40],
        b"II*\0\x08\0\0\0\xff\xff",
        b"BM" + bytes(60),
        b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8),
        b"RIFF\x1c\0\0\0WEBPVP8X" + bytes(4),
    ],
)
def test_refused_in_one_line_and_silence(tmp_path, capfd, data):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"a\.png") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_missing_file(tmp_path):
    for call in (read_image, image_size_hw):
        with pytest.raises(InputError, match="no such file"):
            call(tmp_path / "a.png")


# ---- silence


def test_libjpeg_is_silent_but_others_are_heard(tmp_path, capfd):
    data = build.jpeg(smooth(16, 24))
    noisy = data[:-2] + bytes(4) + data[-2:]
    (tmp_path / "a.jpg").write_bytes(noisy)
    assert read_image(tmp_path / "a.jpg").shape == (16, 24, 3)
    assert capfd.readouterr().err == ""
    cv2.imdecode(np.frombuffer(noisy, np.uint8), cv2.IMREAD_COLOR)
    assert "extraneous bytes" in capfd.readouterr().err  # so the file is one that libjpeg complains about
    with quiet_opencv():
        os.write(2, b"somebody else\n")
        cv2.imdecode(np.frombuffer(noisy, np.uint8), cv2.IMREAD_COLOR)
    assert capfd.readouterr().err == "somebody else\n"


def test_silence_of_several_threads_ends_with_the_last(capfd):
    logging = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2  # OpenCV 5 or 4
    before = logging.getLogLevel()
    data = np.frombuffer(build.jpeg(smooth(64, 64)), np.uint8)
    start = threading.Barrier(6)

    def work():
        start.wait()
        for _ in range(50):
            with quiet_opencv():
                cv2.imdecode(data, cv2.IMREAD_COLOR)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logging.getLogLevel() == before
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"


# ---- real files


def test_real_images(shared):
    paths = [p for p in sorted((shared / "data").glob("**/*")) if p.suffix.lower() in IMAGE_SUFFIXES]
    assert len(paths) > 30
    for path in paths[::4]:
        image = read_image(path)
        theirs = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        np.testing.assert_array_equal(image, theirs[:, :, ::-1], strict=True)
        assert image_size_hw(path) == image.shape[:2]
