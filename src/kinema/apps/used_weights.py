"""Which weights made a result."""

from __future__ import annotations

from pathlib import Path


def used_weights(asked: str | None, file: Path | None) -> dict[str, str | None]:
    """Name the weights behind a result, so that it can be told from that of others.

    Args:
        asked: what stood after ``--weights``; None for those that come with kinema.
        file: that was loaded; None for a model without weights, or with random ones.

    Returns:
        ``weights``: what was asked for, or the name of the file that comes with kinema; and
        ``weights_sha256``, the file's fingerprint. Both None where there are none.

    Raises:
        InputError: when the file cannot be read.
    """
    from kinema.weights.checkpoint import sha256_of  # here: files are scored without torch

    name = asked if asked is not None or file is None else file.name
    return {"weights": name, "weights_sha256": sha256_of(file) if file is not None else None}
