"""`kinema flow`: parse, run, say what was written."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.apps.flow_config import FlowConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse
from kinema.models import find_model

_DESCRIPTION = "Optical flow: the motion of every pixel from one frame to the next."
_EXAMPLES = (
    "kinema flow clip.mp4 -o flow.mp4",
    "kinema flow frame1.png frame2.png -o motion.flo",
    "kinema flow frames/ -o out --format flo --backward --occlusion",
)
_GROUPS = {
    "what to read": ("inputs", "start", "end", "stride"),
    "what to write": (
        *("out", "format", "backward", "occlusion", "confidence", "max_flow", "side_by_side"),
        *("bound", "codec", "json_file", "overwrite"),
    ),
    "how to compute": (
        *("model", "preset", "weights", "refine", "scales", "warps", "iterations", "warm_start"),
        *("device", "precision", "max_side", "tile"),
    ),
}


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after `kinema flow`.

    Returns:
        0 when all is written.

    Raises:
        KinemaError: when something must be corrected by the user.
    """
    config = parse(
        FlowConfig, argv, prog="kinema flow", description=_DESCRIPTION, examples=_EXAMPLES, groups=_GROUPS
    )
    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    find_model(config.model)  # before torch is imported: a wrong name is told at once
    from kinema.apps import flow

    with progress(level, unit="pairs") as bar:
        result = flow.run(config, progress=bar)
    if level != "quiet":
        for clip in result.clips:
            pairs = f"{clip.pairs} pair{'' if clip.pairs == 1 else 's'}"
            print(f"{clip.name}: {pairs} of {clip.size_hw[1]}x{clip.size_hw[0]} pixels -> {clip.out}")
        if result.pairs:
            each = 1000 * result.seconds / result.pairs
            print(f"{result.seconds:.1f} s, {each:.0f} ms a pair, {result.device}")
    return 0
