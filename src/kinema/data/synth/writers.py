"""Which function writes a sample of which layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kinema.data.synth.kitti_drives import write_odometry_sequence, write_raw_calibration, write_raw_drive
from kinema.data.synth.kitti_flow import write_2012_pair, write_2015_pair
from kinema.data.synth.pairs import write_chairs_pair, write_middlebury_pair
from kinema.data.synth.plan import LayoutName, SynthPlan
from kinema.data.synth.restoration import write_reds_clip, write_vid4_clip
from kinema.data.synth.scenes import write_flyingthings_clip, write_sintel_clip


class Writer(NamedTuple):
    """Writes one sample of a plan below a folder, and what all samples share, if anything."""

    sample: Callable[[SynthPlan, int, Path], None]
    shared: Callable[[SynthPlan, Path], None] | None = None


WRITERS: dict[LayoutName, Writer] = {
    "sintel": Writer(write_sintel_clip),
    "flyingchairs": Writer(write_chairs_pair),
    "flyingthings": Writer(write_flyingthings_clip),
    "middlebury": Writer(write_middlebury_pair),
    "kitti2012": Writer(write_2012_pair),
    "kitti2015": Writer(write_2015_pair),
    "kitti-raw": Writer(write_raw_drive, write_raw_calibration),
    "kitti-odometry": Writer(write_odometry_sequence),
    "reds": Writer(write_reds_clip),
    "vid4": Writer(write_vid4_clip),
}
"""By name of the layout."""
