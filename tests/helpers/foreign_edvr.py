"""EDVR's weights as other projects would have saved them, layer by layer as their classes list them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_ATTENTION = {  # layer: name in the authors' first code, whether MMagic wraps it together with its activation
    "temporal_attn1": ("tAtt_2", False),
    "temporal_attn2": ("tAtt_1", False),
    "feat_fusion": ("fea_fusion", True),
    "spatial_attn1": ("sAtt_1", True),
    "spatial_attn2": ("sAtt_2", True),
    "spatial_attn3": ("sAtt_3", True),
    "spatial_attn4": ("sAtt_4", True),
    "spatial_attn5": ("sAtt_5", False),
    "spatial_attn_l1": ("sAtt_L1", True),
    "spatial_attn_l2": ("sAtt_L2", True),
    "spatial_attn_l3": ("sAtt_L3", True),
    "spatial_attn_add1": ("sAtt_add_1", True),
    "spatial_attn_add2": ("sAtt_add_2", False),
}
_BLURRED = {
    "stride_conv_hr1": "conv_first_2",
    "stride_conv_hr2": "conv_first_3",
    "stride_conv_l2": "deblur_L2_conv",
    "stride_conv_l3": "deblur_L3_conv",
    "resblock_l3": "RB_L3_1",
    "resblock_l2_1": "RB_L2_1",
    "resblock_l2_2": "RB_L2_2",
    "resblock_l1.0": "RB_L1_1",
    "resblock_l1.1": "RB_L1_2",
    "resblock_l1.2": "RB_L1_3",
    "resblock_l1.3": "RB_L1_4",
    "resblock_l1.4": "RB_L1_5",
}


def as_original(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of the authors' first code."""
    names = {"conv_hr": "HRconv", "fusion": "tsa_fusion"}
    for level in (2, 3):
        for number in (1, 2):
            names[f"conv_l{level}_{number}"] = f"fea_L{level}_conv{number}"
    for level in (1, 2, 3):
        for number in (1, 2, 3):
            names[f"pcd_align.offset_conv{number}.l{level}"] = f"pcd_align.L{level}_offset_conv{number}"
        names[f"pcd_align.dcn_pack.l{level}"] = f"pcd_align.L{level}_dcnpack"
        names[f"pcd_align.feat_conv.l{level}"] = f"pcd_align.L{level}_fea_conv"
    for ours, (theirs, _) in _ATTENTION.items():
        names[f"fusion.{ours}"] = f"tsa_fusion.{theirs}"
    quarter = "predeblur.stride_conv_hr1.weight" in own
    names["predeblur.conv_first"] = f"pre_deblur.conv_first{'_1' if quarter else ''}"
    for ours, theirs in _BLURRED.items():
        names[f"predeblur.{ours}"] = f"pre_deblur.{theirs}"
    for number in range(40):
        names[f"reconstruction.{number}"] = f"recon_trunk.{number}"
    return _renamed(own, {**names, "conv_offset": "conv_offset_mask"})


def as_mmagic(own: Mapping[str, Tensor], *, prefix: str = "generator.") -> dict[str, Tensor]:
    """Under MMagic's names, with the counter that its training keeps."""
    names = {"upconv1": "upsample1.upsample_conv", "upconv2": "upsample2.upsample_conv"}
    for level in (2, 3):
        for number in (1, 2):
            names[f"conv_l{level}_{number}"] = f"feat_l{level}_conv{number}.conv"
    for level in (1, 2, 3):
        for number in (1, 2, 3):
            ours = f"offset_conv{number}.l{level}"
            names[f"pcd_align.{ours}"] = f"pcd_alignment.{ours}.conv"
        names[f"pcd_align.feat_conv.l{level}"] = f"pcd_alignment.feat_conv.l{level}.conv"
        names[f"pcd_align.dcn_pack.l{level}"] = f"pcd_alignment.dcn_pack.l{level}"
    for number in (1, 2):
        names[f"pcd_align.cas_offset_conv{number}"] = f"pcd_alignment.cas_offset_conv{number}.conv"
    names["pcd_align.cas_dcnpack"] = "pcd_alignment.cas_dcnpack"
    for ours, (_, wrapped) in _ATTENTION.items():
        names[f"fusion.{ours}"] = f"fusion.{ours}{'.conv' if wrapped else ''}"
    renamed = {prefix + name: tensor for name, tensor in _renamed(own, names).items()}
    return {"step_counter": torch.zeros(1), **renamed} if prefix else renamed


def _renamed(own: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """The longest known beginning of a name is replaced, and a part behind it where that has a name too."""
    renamed = {}
    for name, tensor in own.items():
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            beginning = ".".join(parts[:end])
            if beginning in names:
                parts = [names[beginning], *(names.get(part, part) for part in parts[end:])]
                break
        else:
            parts = [names.get(part, part) for part in parts]
        renamed[".".join(parts)] = tensor
    return renamed
