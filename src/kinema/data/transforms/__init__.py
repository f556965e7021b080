"""Augmentation: views, colours and patches, with the truth kept true; named sets as their sources give them.

Everything works on batches of tensors, on any device. What happens to a sample is drawn from that sample's
own generator and from nothing else, so it is a pure function of the generator's seed: neither the other
samples of the batch nor the number of workers change it.
"""

from __future__ import annotations

from kinema.data.transforms.colour import ColourJitter, Eraser, erase, jitter_colours
from kinema.data.transforms.pairs import (
    FlowPairs,
    Generators,
    crop,
    flip,
    joined,
    leaves_frame,
    pairs_of,
    unlabelled,
)
from kinema.data.transforms.sets import SETS, Augmentation, augment, named_set
from kinema.data.transforms.shifts import shift_windows
from kinema.data.transforms.views import look

__all__ = [
    "SETS",
    "Augmentation",
    "ColourJitter",
    "Eraser",
    "FlowPairs",
    "Generators",
    "augment",
    "crop",
    "erase",
    "flip",
    "jitter_colours",
    "joined",
    "leaves_frame",
    "look",
    "named_set",
    "pairs_of",
    "shift_windows",
    "unlabelled",
]
