"""What happens between two frames of a clip, seen in small: nothing, motion, or a cut to another scene."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product

import numpy as np

SMALL_HW = (72, 128)
"""Height and width of the small pictures that are compared."""

# Levels of 255 between small pictures. A repeated frame that went through a codec at good quality stays below
# both; even slow motion of a hand-held camera is well above.
_STILL_MEAN, _STILL_MOST = 0.5, 10
# Of two frames, in units of their own contrast, after the best shift. Frames of unrelated scenes are above
# 0.88 (1.1 is usual), fast motion inside one scene stays below 0.75.
_CUT = 0.85
# Half as much is a cut if the change comes out of calm: shot and reverse shot look alike.
_SUDDEN, _SUDDEN_RATIO = 0.5, 5.0
_SHIFT = 3  # cells of a 32nd of the width: pans of a tenth of the width are no cuts
_CELL = 4
_CALM = 4.0  # levels; the contrast of a nearly empty picture says nothing


@dataclass
class SceneWatcher:
    """Finds repeated frames and cuts while the frames of a clip pass by.

    Attributes:
        duplicates: numbers of frames that repeat the one before.
        cuts: numbers of frames with which another scene begins.
    """

    duplicates: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    _kept: np.ndarray | None = None
    _coarse: np.ndarray | None = None
    _usual: float = 0.0

    def see(self, number: int, small: np.ndarray) -> None:
        """Take the next frame.

        Args:
            number: of the frame in its clip.
            small: `SMALL_HW` + (3,) uint8 RGB.
        """
        picture = small.astype(np.float32)
        if self._kept is not None and is_repeat(self._kept, picture):
            # Compared with the last frame that is not a repeat: slow drift adds up until it is seen.
            self.duplicates.append(number)
            return
        coarse = _coarse(picture)
        if self._coarse is not None:
            change = dissimilarity(self._coarse, coarse)
            sudden = change > _SUDDEN and self._usual > 0 and change > _SUDDEN_RATIO * self._usual
            if change > _CUT or sudden:
                self.cuts.append(number)
                self._usual = 0.0
            else:
                self._usual = change if self._usual == 0.0 else 0.8 * self._usual + 0.2 * change
        self._kept, self._coarse = picture, coarse


def watch(pictures: Iterable[np.ndarray]) -> SceneWatcher:
    """Look at all frames of a clip.

    Args:
        pictures: the frames in small, in order.

    Returns:
        Which of them repeat the one before, and with which another scene begins.
    """
    watcher = SceneWatcher()
    for number, picture in enumerate(pictures):
        watcher.see(number, picture)
    return watcher


def is_repeat(first: np.ndarray, second: np.ndarray) -> bool:
    """Tell whether nothing but coding noise lies between two frames.

    Args:
        first: (h, w, 3) float32 levels of 255.
        second: as `first`.

    Returns:
        True when no cell and not the mean differ more than a codec makes them.
    """
    apart = np.abs(first - second)
    return bool(apart.mean() <= _STILL_MEAN and apart.max() <= _STILL_MOST)


def dissimilarity(first: np.ndarray, second: np.ndarray) -> float:
    """Tell how little two frames have in common, whatever small shift or change of exposure lies between.

    Args:
        first: (h, w, 3) float32, a coarse picture.
        second: as `first`.

    Returns:
        The mean difference after the best shift over the mean contrast: 0 for the same picture, about 1.1 for
        pictures of unrelated scenes.
    """
    a, b = (picture - picture.mean((0, 1)) for picture in (first, second))
    height, width = a.shape[:2]
    inner = a[_SHIFT : height - _SHIFT, _SHIFT : width - _SHIFT]
    shifts = product(range(2 * _SHIFT + 1), repeat=2)
    best = min(
        float(np.abs(inner - b[y : y + inner.shape[0], x : x + inner.shape[1]]).mean()) for y, x in shifts
    )
    contrast = (float(np.abs(a).mean()) + float(np.abs(b).mean())) / 2
    return best / max(contrast, _CALM)


def _coarse(picture: np.ndarray) -> np.ndarray:
    height, width = SMALL_HW
    cells = picture.reshape(height // _CELL, _CELL, width // _CELL, _CELL, 3)
    means: np.ndarray = cells.mean((1, 3))
    return means
