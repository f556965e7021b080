"""The weights that come with kinema: ``MODEL-PRESET.safetensors`` in this folder, each with a card beside it.

No torch is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kinema.models import MODELS
from kinema.weights.card import WeightsCard, read_card

__all__ = ["FOLDER", "BundledWeights", "bundled_name", "bundled_weights", "find_bundled"]

FOLDER = Path(__file__).resolve().parent
"""Where they lie."""


@dataclass(frozen=True)
class BundledWeights:
    """One file that comes with kinema.

    Attributes:
        model: the model's name.
        preset: of the model.
        path: the file.
    """

    model: str
    preset: str
    path: Path

    def card(self) -> WeightsCard | None:
        """Read what is known about it.

        Returns:
            The card; None when it has none.

        Raises:
            InputError: when the card is damaged.
        """
        return read_card(self.path)


def bundled_name(model: str, preset: str) -> str:
    """Name the file of a preset.

    Args:
        model: the model's name.
        preset: of the model.

    Returns:
        Such as ``pwcnet-dc.safetensors``.
    """
    return f"{model}-{preset}.safetensors"


def bundled_weights(folder: Path | None = None) -> list[BundledWeights]:
    """List what is there.

    Args:
        folder: where to look; None for `FOLDER`.

    Returns:
        One entry per file, in the order of the models and their presets.
    """
    named = [
        BundledWeights(model, preset, (folder or FOLDER) / bundled_name(model, preset))
        for model, entry in MODELS.items()
        for preset in entry.card.presets
    ]
    return [weights for weights in named if weights.path.is_file()]


def find_bundled(model: str, preset: str, *, folder: Path | None = None) -> Path | None:
    """Find the file of a preset.

    Args:
        model: the model's name.
        preset: of the model.
        folder: where to look; None for `FOLDER`.

    Returns:
        The file; None when none is shipped.
    """
    path = (folder or FOLDER) / bundled_name(model, preset)
    return path if path.is_file() else None
