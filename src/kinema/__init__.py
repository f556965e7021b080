"""kinema: motion, depth, camera path and restored video from ordinary video.

Names are imported when first used, so that `import kinema` and `kinema --help` do not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from kinema._version import __version__

if TYPE_CHECKING:
    from kinema import apps, data, errors, evaluation, inference, io, models, ops, outputs, viz, weights
    from kinema.errors import KinemaError
    from kinema.inference.loading import flow, load
    from kinema.models import list_models

__all__ = [
    "KinemaError",
    "__version__",
    "apps",
    "data",
    "errors",
    "evaluation",
    "flow",
    "inference",
    "io",
    "list_models",
    "load",
    "models",
    "ops",
    "outputs",
    "viz",
    "weights",
]

_HOMES = {
    "KinemaError": "kinema.errors",
    "flow": "kinema.inference.loading",
    "list_models": "kinema.models",
    "load": "kinema.inference.loading",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
