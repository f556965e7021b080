"""What the parameters of EDVR are called elsewhere, and which network a checkpoint is of.

kinema's own names are those of BasicSR's state dict. Each function here turns one of them into another
project's name; what a name means in that project is thereby known too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import count

from kinema.errors import UsageError
from kinema.io.checkpoints import TensorFact
from kinema.models.edvr_settings import PRESETS, Settings

__all__ = [
    "basicsr_name",
    "basicsr_network",
    "clean_basicsr",
    "clean_mmagic",
    "clean_original",
    "mmagic_name",
    "mmagic_network",
    "original_name",
    "original_network",
]

_Network = tuple[str, dict[str, object]]
_Rules = tuple[tuple[re.Pattern[str], str], ...]

_STEERING = 27  # channels per group of offsets: y, x and modulation of 9 taps


def _rules(*pairs: tuple[str, str]) -> _Rules:
    return tuple((re.compile(pattern), theirs) for pattern, theirs in pairs)


# The first rule whose pattern begins a name replaces that beginning; without any, the name is the same.
_ORIGINAL = _rules(
    (r"conv_l(\d)_(\d)", r"fea_L\1_conv\2"),
    (r"pcd_align\.offset_conv(\d)\.l(\d)", r"pcd_align.L\2_offset_conv\1"),
    (r"pcd_align\.dcn_pack\.l(\d)\.conv_offset", r"pcd_align.L\1_dcnpack.conv_offset_mask"),
    (r"pcd_align\.dcn_pack\.l(\d)", r"pcd_align.L\1_dcnpack"),
    (r"pcd_align\.cas_dcnpack\.conv_offset", r"pcd_align.cas_dcnpack.conv_offset_mask"),
    (r"pcd_align\.feat_conv\.l(\d)", r"pcd_align.L\1_fea_conv"),
    (r"fusion\.temporal_attn1", "tsa_fusion.tAtt_2"),  # crossed: 2 looks at the middle frame there
    (r"fusion\.temporal_attn2", "tsa_fusion.tAtt_1"),
    (r"fusion\.feat_fusion", "tsa_fusion.fea_fusion"),
    (r"fusion\.spatial_attn_add(\d)", r"tsa_fusion.sAtt_add_\1"),
    (r"fusion\.spatial_attn_l(\d)", r"tsa_fusion.sAtt_L\1"),
    (r"fusion\.spatial_attn(\d)", r"tsa_fusion.sAtt_\1"),
    (r"fusion", "tsa_fusion"),
    (r"reconstruction", "recon_trunk"),
    (r"conv_hr", "HRconv"),
    (r"predeblur\.conv_first", "pre_deblur.conv_first_1"),
    (r"predeblur\.stride_conv_hr1", "pre_deblur.conv_first_2"),
    (r"predeblur\.stride_conv_hr2", "pre_deblur.conv_first_3"),
    (r"predeblur\.stride_conv_l(\d)", r"pre_deblur.deblur_L\1_conv"),
    (r"predeblur\.resblock_l3", "pre_deblur.RB_L3_1"),
    (r"predeblur\.resblock_l2_(\d)", r"pre_deblur.RB_L2_\1"),
    *((rf"predeblur\.resblock_l1\.{i}", f"pre_deblur.RB_L1_{i + 1}") for i in range(5)),
)

_MMAGIC = _rules(
    (r"conv_l(\d)_(\d)", r"feat_l\1_conv\2.conv"),
    (r"pcd_align\.(offset_conv\d|feat_conv)\.(l\d)", r"pcd_alignment.\1.\2.conv"),
    (r"pcd_align\.(cas_offset_conv\d)", r"pcd_alignment.\1.conv"),
    (r"pcd_align", "pcd_alignment"),
    (r"fusion\.(feat_fusion|spatial_attn[1-4]|spatial_attn_l\d|spatial_attn_add1)", r"fusion.\1.conv"),
    (r"upconv(\d)", r"upsample\1.upsample_conv"),
)


def clean_basicsr(name: str) -> str | None:
    """Bring a name of a BasicSR checkpoint into its plain form.

    Args:
        name: as the file has it, perhaps from a network that was wrapped for several GPUs.

    Returns:
        The name in its class.
    """
    return name.removeprefix("module.")


def basicsr_name(own: str) -> str:
    """Name a parameter as BasicSR does.

    Args:
        own: kinema's name.

    Returns:
        The same.
    """
    return own


def basicsr_network(tensors: Mapping[str, TensorFact]) -> _Network:
    """Say which network a BasicSR checkpoint is of.

    Args:
        tensors: of the checkpoint, by clean name.

    Returns:
        Preset and options over it.
    """
    return _network(tensors, basicsr_name)


def clean_original(name: str) -> str | None:
    """Bring a name of the authors' first code into one form.

    Args:
        name: as the file has it; the first layer of the network for blurred frames has a number only where
            two more follow it.

    Returns:
        The name, always with that number.
    """
    return name.removeprefix("module.").replace("pre_deblur.conv_first.", "pre_deblur.conv_first_1.")


def original_name(own: str) -> str:
    """Name a parameter as the authors' first code does.

    Args:
        own: kinema's name.

    Returns:
        Such as ``pcd_align.L3_dcnpack.weight`` for ``pcd_align.dcn_pack.l3.weight``.
    """
    return _renamed(own, _ORIGINAL)


def original_network(tensors: Mapping[str, TensorFact]) -> _Network:
    """Say which network a checkpoint of the authors' first code is of.

    Args:
        tensors: of the checkpoint, by clean name.

    Returns:
        Preset and options over it.
    """
    return _network(tensors, original_name)


def clean_mmagic(name: str) -> str | None:
    """Bring a name of an MMagic or MMEditing checkpoint into its plain form.

    Args:
        name: as the file has it.

    Returns:
        The name in the generator; None for what only training or the reading of frames needs.
    """
    name = name.removeprefix("module.")
    return (
        None if name.startswith(("step_counter", "data_preprocessor.")) else name.removeprefix("generator.")
    )


def mmagic_name(own: str) -> str:
    """Name a parameter as MMagic does.

    Args:
        own: kinema's name.

    Returns:
        Such as ``upsample1.upsample_conv.weight`` for ``upconv1.weight``.
    """
    return _renamed(own, _MMAGIC)


def mmagic_network(tensors: Mapping[str, TensorFact]) -> _Network:
    """Say which network an MMagic checkpoint is of.

    Args:
        tensors: of the checkpoint, by clean name.

    Returns:
        Preset and options over it.
    """
    return _network(tensors, mmagic_name)


def _renamed(own: str, rules: _Rules) -> str:
    for pattern, theirs in rules:
        if pattern.match(own):
            return pattern.sub(theirs, own, count=1)
    return own


def _network(tensors: Mapping[str, TensorFact], theirs: Callable[[str], str]) -> _Network:
    """The published network that has these settings; else the medium one and what differs.

    Names and shapes tell all settings. Where they tell nothing that can be built, it is the medium network,
    and the comparison of names says what is wrong.
    """
    try:
        settings = _settings(tensors, theirs)
    except (UsageError, ZeroDivisionError):
        return "m", {}
    for preset, known in PRESETS.items():
        if known == settings:
            return preset, {}
    base = asdict(PRESETS["m"])
    return "m", {name: value for name, value in asdict(settings).items() if value != base[name]}


def _settings(tensors: Mapping[str, TensorFact], theirs: Callable[[str], str]) -> Settings:
    def size(own: str, axis: int, otherwise: int) -> int:
        fact = tensors.get(theirs(f"{own}.weight"))
        return fact.shape[axis] if fact is not None and len(fact.shape) == 4 else otherwise

    def has(own: str) -> bool:
        return theirs(f"{own}.weight") in tensors

    def blocks(part: str) -> int:
        return next(i for i in count() if not has(f"{part}.{i}.conv1"))

    medium = PRESETS["m"]
    width = size("conv_l2_1", 0, medium.features)
    attention = not has("fusion")
    fused = size("fusion.feat_fusion" if attention else "fusion", 1, medium.frames * width)
    steering = size("pcd_align.cas_dcnpack.conv_offset", 0, _STEERING * medium.offset_groups)
    return Settings(
        features=width,
        frames=fused // width,
        extraction_blocks=blocks("feature_extraction"),
        reconstruction_blocks=blocks("reconstruction"),
        offset_groups=steering // _STEERING,
        fusion="tsa" if attention else "plain",
        predeblur="pyramid" if has("conv_1x1") else "none",
        scale=1 if has("predeblur.stride_conv_hr1") or has("conv_first_2") else 4,
    )
