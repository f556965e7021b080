"""Every published run by name: a function that returns a filled config. No torch is imported for it."""

from __future__ import annotations

from collections.abc import Callable

from kinema.errors import UsageError
from kinema.models import nearest
from kinema.recipes.base import RecipeConfig
from kinema.recipes.edvr import edvr_rendered
from kinema.recipes.edvr_published import (
    edvr_ascend,
    edvr_l,
    edvr_l_deblur,
    edvr_l_deblurcomp,
    edvr_l_srblur,
    edvr_l_vimeo90k,
    edvr_l_wotsa,
    edvr_m,
    edvr_m_wotsa,
)
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
from kinema.recipes.tvnet import tvnet_middlebury, tvnet_rendered, tvnet_sintel
from kinema.recipes.uflow import uflow_chairs, uflow_footage, uflow_kitti, uflow_rendered, uflow_sintel

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
    "tvnet-rendered": tvnet_rendered,
    "tvnet-sintel": tvnet_sintel,
    "tvnet-middlebury": tvnet_middlebury,
    "uflow-rendered": uflow_rendered,
    "uflow-chairs": uflow_chairs,
    "uflow-sintel": uflow_sintel,
    "uflow-kitti": uflow_kitti,
    "uflow-footage": uflow_footage,
    "edvr-rendered": edvr_rendered,
    "edvr-m-wotsa": edvr_m_wotsa,
    "edvr-m": edvr_m,
    "edvr-l-wotsa": edvr_l_wotsa,
    "edvr-l": edvr_l,
    "edvr-l-vimeo90k": edvr_l_vimeo90k,
    "edvr-l-srblur": edvr_l_srblur,
    "edvr-l-deblur": edvr_l_deblur,
    "edvr-l-deblurcomp": edvr_l_deblurcomp,
    "edvr-ascend": edvr_ascend,
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
