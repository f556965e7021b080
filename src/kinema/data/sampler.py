"""Which sample comes when, and with which random numbers: a pure function of seed and number.

The n-th sample of a run is known without the ones before it. Nothing depends on how many processes prepare
data or train, so a run can go on anywhere, and two devices see together what one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np

from kinema.errors import UsageError

_MIX, _TURN, _SAMPLE = 11, 12, 13  # streams of random numbers
_LARGEST_DENOMINATOR, _LONGEST_BLOCK = 1000, 10_000


@dataclass(frozen=True)
class Draw:
    """One sample of a run.

    Attributes:
        part: which data set of the mix.
        turn: how many times that data set has been gone through before.
        index: which of its samples.
    """

    part: int
    turn: int
    index: int


@dataclass(frozen=True)
class Order:
    """The order of the samples of a mix of data sets.

    The mix comes in blocks that hold each data set as often as its weight says, shuffled: with weights 2, 1,
    1 any four samples from a multiple of four on are two, one and one. Each data set is gone through in turns
    of its own length, in another order each time, so that none of its samples is ever left out.

    Attributes:
        counts: how many samples each data set has.
        weights: their shares of the mix, in any unit; None is one each.
        seed: of all orders.
    """

    counts: tuple[int, ...]
    weights: tuple[float, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1:
            raise UsageError("a mix needs data sets with one sample at least")
        weights = self.weights or ()
        if self.weights is not None and (
            len(weights) != len(self.counts) or not all(math.isfinite(w) and w > 0 for w in weights)
        ):
            raise UsageError("a mix needs a weight above zero for each data set")

    def draw(self, number: int) -> Draw:
        """Tell which sample comes at a place.

        Args:
            number: of the sample in the run, from 0: step times batch size plus slot.

        Returns:
            The sample.
        """
        shares = composition(self.weights or (1.0,) * len(self.counts))
        block, place = divmod(number, sum(shares))
        parts, ranks = _block(self.seed, shares, block)
        part = int(parts[place])
        turn, position = divmod(block * shares[part] + int(ranks[place]), self.counts[part])
        return Draw(part, turn, int(_turn(self.seed, part, turn, self.counts[part])[position]))

    def generator(self, draw: Draw) -> np.random.Generator:
        """The random numbers of one sample: others in every turn, and for every sample.

        Args:
            draw: the sample.

        Returns:
            A new generator.
        """
        return np.random.default_rng((self.seed, _SAMPLE, draw.part, draw.turn, draw.index))


@lru_cache(maxsize=64)
def composition(weights: Sequence[float]) -> tuple[int, ...]:
    """Write weights as the smallest whole numbers.

    Args:
        weights: above zero; a tuple.

    Returns:
        Such as (4, 2, 1) for 2, 1, 0.5; rounded to a sum of about 10,000 where it would be larger.
    """
    fractions = [Fraction(weight).limit_denominator(_LARGEST_DENOMINATOR) for weight in weights]
    unit = math.lcm(*(fraction.denominator for fraction in fractions))
    counts = [int(fraction * unit) for fraction in fractions]
    if min(counts) < 1 or sum(counts) // math.gcd(*counts) > _LONGEST_BLOCK:
        total = math.fsum(weights)
        counts = [max(1, round(_LONGEST_BLOCK * weight / total)) for weight in weights]
    divisor = math.gcd(*counts)
    return tuple(count // divisor for count in counts)


@lru_cache(maxsize=64)
def _block(seed: int, shares: tuple[int, ...], block: int) -> tuple[np.ndarray, np.ndarray]:
    """Which data set stands at each place of a block, and which of its own samples of the block it is."""
    parts = np.repeat(np.arange(len(shares)), shares)
    parts = np.random.default_rng((seed, _MIX, block)).permutation(parts)
    ranks = np.empty_like(parts)
    for part, share in enumerate(shares):
        ranks[parts == part] = np.arange(share)
    return parts, ranks


@lru_cache(maxsize=32)
def _turn(seed: int, part: int, turn: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, _TURN, part, turn)).permutation(count)
