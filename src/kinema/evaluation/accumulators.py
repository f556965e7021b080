"""Sums and counts per image, merged in any order, divided once at the end."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Averaging = Literal["per-pixel", "per-image"]
"""``per-pixel``: all pixels of all images weigh the same. ``per-image``: every image weighs the same."""


@dataclass(frozen=True)
class Tally:
    """What one image adds to one metric.

    Attributes:
        total: sum of the metric's values over the scored pixels, in the metric's unit.
        count: how many pixels were scored.
    """

    total: float
    count: int


@dataclass(frozen=True)
class Count:
    """How much one metric rests on.

    Attributes:
        pixels: scored pixels over all images.
        images: images with at least one scored pixel.
    """

    pixels: int
    images: int


class Accumulator:
    """Tallies of named images; the average depends on neither their order nor their grouping.

    The tallies are kept per image and added with exactly rounded sums at the end, so that one process, four
    processes and any batch size give the same bits, and an image that two processes have both seen is
    noticed.
    """

    def __init__(self) -> None:
        self._images: dict[str, dict[str, Tally]] = {}

    def __len__(self) -> int:
        return len(self._images)

    def update(self, image: str, tallies: Mapping[str, Tally]) -> None:
        """Add one image.

        Args:
            image: its name, unique in this evaluation.
            tallies: per metric; a metric that does not exist for this image (no mask) is left out.

        Raises:
            ValueError: when the image was added before: it would weigh twice.
        """
        if image in self._images:
            raise ValueError(f"image {image!r} was already added")
        self._images[image] = dict(tallies)

    def merge(self, other: Accumulator) -> None:
        """Add the images of another accumulator, such as another process's share.

        Args:
            other: left as it is; no image may be in both.

        Raises:
            ValueError: when an image is in both.
        """
        for image, tallies in other._images.items():
            self.update(image, tallies)

    def images(self) -> Iterator[tuple[str, Mapping[str, Tally]]]:
        """Go over the images in the order they were added.

        Returns:
            Name and tallies of each.
        """
        yield from self._images.items()

    def metrics(self) -> tuple[str, ...]:
        """List the metrics that at least one image has.

        Returns:
            Names in the order of first appearance.
        """
        return tuple(dict.fromkeys(name for tallies in self._images.values() for name in tallies))

    def count(self, metric: str) -> Count:
        """Count what a metric rests on.

        Args:
            metric: its name.

        Returns:
            Pixels and images; zeros for a metric that no image has.
        """
        counts = [tally.count for tally in self._of(metric)]
        return Count(pixels=sum(counts), images=len(counts))

    def result(self, metric: str, *, averaging: Averaging) -> float | None:
        """Average one metric.

        Args:
            metric: its name.
            averaging: ``per-pixel`` is the sum of totals over the sum of counts; ``per-image`` is the mean
                of each image's own mean. Images without a scored pixel enter neither.

        Returns:
            The average in the metric's unit; None when not one pixel was scored. NaN or infinity in any
            tally comes out as NaN or infinity.
        """
        tallies = self._of(metric)
        if not tallies:
            return None
        if averaging == "per-pixel":
            return math.fsum(t.total for t in tallies) / sum(t.count for t in tallies)
        return math.fsum(t.total / t.count for t in tallies) / len(tallies)

    def _of(self, metric: str) -> list[Tally]:
        found = (tallies.get(metric) for tallies in self._images.values())
        return [tally for tally in found if tally is not None and tally.count > 0]
