"""`kinema demo`: parse, run, say where to look."""

from __future__ import annotations

from collections.abc import Sequence

from kinema.apps.demo_config import DemoConfig
from kinema.cli.console import progress, set_up_logging, verbosity
from kinema.cli.parsing import parse

_DESCRIPTION = (
    "Render a moving scene whose motion is known, compute its flow, and write one HTML page that compares "
    "the two."
)


def run(argv: Sequence[str]) -> int:
    """Run the verb.

    Args:
        argv: the words after `kinema demo`.

    Returns:
        0 when all is written.

    Raises:
        KinemaError: when something must be corrected by the user.
    """
    config = parse(
        DemoConfig, argv, prog="kinema demo", description=_DESCRIPTION, examples=("kinema demo -o demo",)
    )
    level = verbosity(quiet=config.quiet, verbose=config.verbose)
    set_up_logging(level)
    from kinema.apps import demo

    with progress(level, unit="steps") as bar:
        result = demo.run(config, progress=bar)
    if level != "quiet":
        model, yardstick = result.scores[0], result.scores[-1]
        pairs = f"{result.pairs} pair{'' if result.pairs == 1 else 's'}"
        print(
            f"{model.method}: mean error {model.metrics['epe']:.2f} px over {pairs} "
            f"({yardstick.method}: {yardstick.metrics['epe']:.2f} px), "
            f"{1000 * result.seconds_per_pair:.0f} ms a pair"
        )
        print(f"look at {result.report}")
    return 0
