"""Sums and counts per image, merged in any order, divided once at the end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Averaging = Literal[
    "per-pixel", "per-image", "per-frame", "per-clip", "per-segment", "per-sequence", "per-snippet"
]
"""What weighs the same: ``per-pixel`` all pixels of all images, ``per-image`` every image. The other words
say the same of other things: frames of clips, segments of sequences, and snippets, which have no parts."""

OTHER_AVERAGING: dict[Averaging, Averaging] = {
    "per-pixel": "per-image",
    "per-image": "per-pixel",
    "per-frame": "per-clip",
    "per-clip": "per-frame",
    "per-segment": "per-sequence",
    "per-sequence": "per-segment",
    "per-snippet": "per-snippet",
}
"""The average over the parts for the one over the wholes, and back."""

POOLED: frozenset[Averaging] = frozenset({"per-pixel", "per-frame", "per-segment"})
"""Averages in which the parts weigh the same, whichever image, clip or sequence they belong to."""

State = dict[str, dict[str, list[float]]]
"""An accumulator as plain JSON values: by image and metric, sum and count."""


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
            averaging: one of `POOLED` is the sum of totals over the sum of counts; any other is the mean of
                each image's own mean. Images without a scored pixel enter neither.

        Returns:
            The average in the metric's unit; None when not one pixel was scored. NaN or infinity in any
            tally comes out as NaN or infinity.
        """
        tallies = self._of(metric)
        if not tallies:
            return None
        if averaging in POOLED:
            return math.fsum(t.total for t in tallies) / sum(t.count for t in tallies)
        return math.fsum(t.total / t.count for t in tallies) / len(tallies)

    def spread(self, metric: str) -> float | None:
        """Measure how much the images differ.

        Args:
            metric: its name.

        Returns:
            The standard deviation of the images' own means (of the population, as published tables have it),
            in the metric's unit; None when not one pixel was scored.
        """
        means = [tally.total / tally.count for tally in self._of(metric)]
        if not means:
            return None
        middle = math.fsum(means) / len(means)
        return math.sqrt(math.fsum((mean - middle) ** 2 for mean in means) / len(means))

    def state(self) -> State:
        """Turn the tallies into plain values that another process can read.

        Returns:
            Sum and count by image and metric; what `from_state` takes, to the bit.
        """
        return {
            image: {name: [tally.total, tally.count] for name, tally in tallies.items()}
            for image, tallies in self._images.items()
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Mapping[str, Sequence[float]]]) -> Accumulator:
        """Read what `state` made.

        Args:
            state: of another accumulator.

        Returns:
            Its twin.
        """
        twin = cls()
        for image, tallies in state.items():
            twin.update(image, {name: Tally(pair[0], int(pair[1])) for name, pair in tallies.items()})
        return twin

    def reorder(self, images: Iterable[str]) -> None:
        """Put the images into an order; averages do not depend on it, lists do.

        Args:
            images: the names of all images here, and perhaps of others.
        """
        self._images = {image: self._images[image] for image in images if image in self._images}

    def _of(self, metric: str) -> list[Tally]:
        found = (tallies.get(metric) for tallies in self._images.values())
        return [tally for tally in found if tally is not None and tally.count > 0]
