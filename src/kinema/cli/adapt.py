"""`kinema adapt`: parse, run, say what got better."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.apps.adapt_config import AdaptConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse

_DESCRIPTION = (
    "Train a flow network on your own footage, without labels. Blocks of the footage are held out; what "
    "comes out is the best on them, and never worse than the start."
)
_EXAMPLES = (
    "kinema adapt clip.mp4 -o mine.safetensors",
    "kinema adapt 'clips/*.mp4' -o mine.safetensors --minutes 30",
    "kinema adapt -o mine.safetensors --resume --minutes 20",
    "kinema flow clip.mp4 -o flow.mp4 --weights mine.safetensors --refine tvl1",
)
_GROUPS = {
    "what to learn from": ("inputs", "start", "end", "stride", "max_side"),
    "what to write": ("out", "json_file", "overwrite"),
    "how long": ("minutes", "steps", "resume", "patience"),
    "how to learn": (
        *("model", "weights", "learning_rate", "batch_size", "validate_every", "seed"),
        *("device", "precision"),
    ),
}


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after `kinema adapt`.

    Returns:
        0 when the weights are written, also when they are those of the start.

    Raises:
        KinemaError: when something must be corrected by the user.
        KeyboardInterrupt: when stopped; its note says how to go on.
    """
    config = parse(
        AdaptConfig, argv, prog="kinema adapt", description=_DESCRIPTION, examples=_EXAMPLES, groups=_GROUPS
    )
    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    from kinema.apps import adapt

    with progress(level, unit="steps") as bar:
        result = adapt.run(config, progress=bar)
    if level != "quiet":
        names = {"rewarped_epe": "error where flow is known", "photometric": "photometric error"}
        for name, title in names.items():
            before, after = result.start[name], result.end[name]
            print(f"{title}: {before:.3f} before, {after:.3f} after ({100 * (after / before - 1):+.1f} %)")
        kept = (
            f"step {result.kept_step} of {result.step}"
            if result.improved
            else "the start: nothing was better"
        )
        print(f"kept: {kept}; {result.seconds / 60:.1f} min -> {result.out}; look at {result.report}")
    return 0
