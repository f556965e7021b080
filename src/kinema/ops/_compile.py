"""Compilation of loops by numba, remembered on the disk where that is possible and done anew where it is not.

numba itself gives up when it finds no folder for its cache (an installation and a home that are both
read-only), when the disk is full, or when a file of the cache is damaged. A cache must never be a reason to
fail: here the loops are compiled again, which costs a few seconds at every start. ``NUMBA_CACHE_DIR`` names
another folder.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache


class _Cache(FunctionCache):
    """numba's cache of one function; what it cannot read or write is as if it were not there."""

    def load_overload(self, sig: object, target_context: object) -> object:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except Exception:  # noqa: BLE001  damaged bytes end in errors of any kind
            return None

    def save_overload(self, sig: object, data: object) -> None:
        with suppress(Exception):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a loop: `numba.njit` with a cache that never makes it fail.

    Args:
        options: of `numba.njit`, without `cache`.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher: Callable[..., Any] = njit(**options)(function)
        # numba raises RuntimeError when no folder can be written to: then nothing is remembered. Where it is
        # told not to compile (NUMBA_DISABLE_JIT) the function comes back as it is.
        if dispatcher is not function:
            with suppress(RuntimeError, OSError):
                dispatcher._cache = _Cache(function)  # type: ignore[attr-defined, no-untyped-call]  # as enable_caching()
        return dispatcher

    return decorate
