"""Every published run by name: a function that returns a filled config. No torch is imported for it."""

from __future__ import annotations

from collections.abc import Callable

from kinema.errors import UsageError
from kinema.models import nearest
from kinema.recipes.base import RecipeConfig
from kinema.recipes.pwcnet import pwcnet_rendered

RECIPES: dict[str, Callable[[], RecipeConfig]] = {
    "pwcnet-rendered": pwcnet_rendered,
}
"""The first line of each function's docstring is its line in ``kinema train --list``."""


def find_recipe(name: str) -> RecipeConfig:
    """Look up a recipe.

    Args:
        name: one of `RECIPES`.

    Returns:
        Its settings.

    Raises:
        UsageError: when there is none of this name.
    """
    if name not in RECIPES:
        raise UsageError(f"unknown recipe {name!r}{nearest(name, RECIPES)}")
    return RECIPES[name]()
