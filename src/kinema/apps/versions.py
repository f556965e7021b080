"""Which software made a result."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from kinema._version import __version__

_PACKAGES = ("torch", "numpy", "numba", "av", "opencv-python-headless")


def versions() -> dict[str, str]:
    """The versions that a result depends on.

    Returns:
        Package name -> version, for kinema, Python and the libraries that compute, read and write.
    """
    found = {"kinema": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # another build of the same module, such as opencv-python
            continue
    return found
