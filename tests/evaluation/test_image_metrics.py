"""PSNR and SSIM by hand, against a slow reference, and equal to published numbers."""

import math

import numpy as np
import pytest

from kinema.errors import InputError
from kinema.evaluation.image_metrics import frame_tallies, luma, psnr, ssim
from kinema.evaluation.protocols import get_protocol
from kinema.evaluation.records import RestorationProtocol
from kinema.io.images import read_image
from kinema.ops.resize import matlab_bicubic


def grey(value, size_hw=(16, 18)):
    return np.full((*size_hw, 3), value, np.uint8)


def test_psnr_by_hand():
    assert psnr(grey(10), grey(15)) == pytest.approx(10 * math.log10(255**2 / 25))
    half = grey(10)
    half[:8] = 15
    assert psnr(half, grey(10)) == pytest.approx(10 * math.log10(255**2 / 12.5))
    assert psnr(grey(7), grey(7)) == math.inf


def test_luma_is_bt601_of_the_studio_range():
    assert luma(np.float64([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]])).tolist() == [
        pytest.approx([16, 235, 16 + 65.481])
    ]


def test_ssim_of_constants_by_hand():
    # No variance: (2ab + C1) / (a² + b² + C1), C1 = 6.5025.
    assert ssim(grey(100), grey(120)) == pytest.approx((24000 + 6.5025) / (10000 + 14400 + 6.5025))
    assert ssim(grey(50), grey(50)) == pytest.approx(1.0)


def test_ssim_equals_a_slow_reference():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (14, 17)).astype(np.float64) for _ in range(2))
    distance = np.arange(11) - 5
    line = np.exp(-(distance**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    values = []
    for y in range(4):
        for x in range(7):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * p * p).sum() - mp**2, (window * q * q).sum() - mq**2
            both = (window * p * q).sum() - mp * mq
            c1, c2 = 6.5025, 58.5225
            values.append((2 * mp * mq + c1) * (2 * both + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    assert ssim(a, b) == pytest.approx(np.mean(values), rel=1e-12)


def test_edges_can_be_left_out():
    sharp, restored = grey(100, (20, 20)), grey(100, (20, 20))
    restored[0] = 0
    protocol = RestorationProtocol(name="x", title="", border=2)
    assert frame_tallies(restored, sharp, protocol, name="f")["psnr"].total == math.inf
    whole = get_protocol("frames-rgb")
    assert frame_tallies(restored, sharp, whole, name="f")["psnr"].total == pytest.approx(
        10 * math.log10(255**2 / (10000 / 20))
    )


def test_sixteen_bits_are_brought_to_255_unrounded():
    a, b = (np.full((16, 16, 3), value, np.uint16) for value in (0, 257))
    tallies = frame_tallies(a, b, get_protocol("frames-rgb"), name="f")
    assert tallies["psnr"].total == pytest.approx(10 * math.log10(255**2))


def test_sizes_must_agree_and_be_large_enough():
    with pytest.raises(InputError, match="a/1: the restored frame is 18x16 but the sharp one is 72x64"):
        frame_tallies(grey(1), grey(1, (64, 72)), get_protocol("frames-y"), name="a/1")
    with pytest.raises(InputError, match="too small"):
        frame_tallies(grey(1, (8, 8)), grey(1, (8, 8)), get_protocol("frames-y"), name="a/1")


def test_equal_to_published_numbers_on_a_real_frame(shared):
    root = shared / "fixtures" / "edvr" / "tdan_temple"
    restored = matlab_bicubic(read_image(root / "LR" / "00000002.png"), scale=4.0)
    sharp = read_image(root / "HR" / "00000002.png")
    y = frame_tallies(restored, sharp, get_protocol("vid4-y"), name="temple")
    rgb = frame_tallies(restored, sharp, get_protocol("vid4-rgb"), name="temple")
    assert y["psnr"].total == pytest.approx(27.0288, abs=5e-5)
    assert y["ssim"].total == pytest.approx(0.82136, abs=5e-6)
    assert rgb["psnr"].total == pytest.approx(25.6969, abs=5e-5)
