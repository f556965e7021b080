"""Files in and out: flow, images, video, camera paths, checkpoints. No networks.

The modules are imported when first used: reading a picture does not wait for the video libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinema.io import checkpoints, clips, files, flow, images, poses, video

__all__ = ["checkpoints", "clips", "files", "flow", "images", "poses", "video"]


def __getattr__(name: str) -> object:
    """Import a module when it is first used (PEP 562)."""
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
