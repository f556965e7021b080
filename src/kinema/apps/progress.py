"""How an app tells its caller how far it is: a protocol that a progress bar, a log or a notebook can fill."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told about the parts of a long piece of work, one part at a time."""

    def begin(self, label: str, total: int | None) -> None:
        """Start a part.

        Args:
            label: what is worked on, such as a clip's name.
            total: how many steps it has, or None when that is not known.
        """

    def advance(self, steps: int = 1) -> None:
        """Some steps of the current part are done.

        Args:
            steps: how many.
        """

    def end(self) -> None:
        """The current part is done."""


class Silent:
    """Progress that nobody watches."""

    def begin(self, label: str, total: int | None) -> None:
        """See `Progress.begin`."""

    def advance(self, steps: int = 1) -> None:
        """See `Progress.advance`."""

    def end(self) -> None:
        """See `Progress.end`."""
