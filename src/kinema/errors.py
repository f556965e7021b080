"""The errors that a user can fix.

Every message is one line and says what is wrong, in which file or field, and what to do about it.
The command line prints it after ``kinema: error:`` and leaves with status 2; anything that is not a
`KinemaError` is a bug (status 1).
"""

from __future__ import annotations


class KinemaError(Exception):
    """Base of all errors whose cause lies outside kinema: input, options, environment."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UsageError(KinemaError):
    """An option or argument is unknown, missing, out of range or contradicts another."""


class InputError(KinemaError):
    """A file, folder, video or array that was handed in cannot be used as it is."""


class OutputError(KinemaError):
    """A result cannot be written: the place exists, is not writable, or is full."""


class MissingExtraError(KinemaError):
    """A feature needs an optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, feature: str) -> None:
        super().__init__(f"{feature} needs the package {package}: pip install 'kinema[{extra}]'")
