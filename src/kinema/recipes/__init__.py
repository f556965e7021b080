"""Every published run by name: a function that returns a filled config. No torch is imported for it."""

from __future__ import annotations

from collections.abc import Callable

from kinema.errors import UsageError
from kinema.models import nearest
from kinema.recipes.base import RecipeConfig
from kinema.recipes.pwcnet import pwcnet_rendered
from kinema.recipes.pwcnet_later import (
    pwcnet_mmflow_kitti,
    pwcnet_mmflow_sintel,
    pwcnet_onecycle_chairs,
    pwcnet_onecycle_things,
    pwcnet_plus_kitti,
    pwcnet_plus_sintel,
)
from kinema.recipes.pwcnet_published import (
    pwcnet_chairs_long,
    pwcnet_cyclic,
    pwcnet_multisteps,
    pwcnet_sintel_finetune,
    pwcnet_sintel_finetune_legacy,
    pwcnet_sintel_finetune_second,
    pwcnet_things_fine,
)

RECIPES: dict[str, Callable[[], RecipeConfig]] = {
    "pwcnet-rendered": pwcnet_rendered,
    "pwcnet-sintel-finetune": pwcnet_sintel_finetune,
    "pwcnet-sintel-finetune-legacy": pwcnet_sintel_finetune_legacy,
    "pwcnet-sintel-finetune-second": pwcnet_sintel_finetune_second,
    "pwcnet-chairs-long": pwcnet_chairs_long,
    "pwcnet-things-fine": pwcnet_things_fine,
    "pwcnet-multisteps": pwcnet_multisteps,
    "pwcnet-cyclic": pwcnet_cyclic,
    "pwcnet-onecycle-chairs": pwcnet_onecycle_chairs,
    "pwcnet-onecycle-things": pwcnet_onecycle_things,
    "pwcnet-mmflow-sintel": pwcnet_mmflow_sintel,
    "pwcnet-mmflow-kitti": pwcnet_mmflow_kitti,
    "pwcnet-plus-sintel": pwcnet_plus_sintel,
    "pwcnet-plus-kitti": pwcnet_plus_kitti,
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
