"""MATLAB's own output, reproduced bit for bit."""

import cv2
import numpy as np
import pytest

from kinema.ops.resize import matlab_bicubic


@pytest.mark.parametrize("frame", range(7))
def test_vid4_low_resolution_frames_are_reproduced(shared, frame):
    name = f"{frame:08d}.png"
    truth = cv2.imread(str(shared / "data/vid4/GT/calendar" / name), cv2.IMREAD_COLOR)
    expected = cv2.imread(str(shared / "data/vid4/BIx4/calendar" / name), cv2.IMREAD_COLOR)
    small = matlab_bicubic(truth, scale=0.25)
    assert small.shape == expected.shape == (144, 180, 3)
    assert np.array_equal(small, expected)
