"""Rendered pairs under named changes: a function of seed, step and slot; growing shifts at the beginning."""

import torch

from kinema.data.procedural.render_config import RenderConfig
from kinema.data.transforms.sets import named_set
from kinema.recipes.crops import CropShare
from kinema.recipes.pwcnet_task import RenderedSource
from kinema.recipes.rendered_pairs import RenderedPairs

SCENES = RenderConfig(bank_textures=4, bank_shapes=4)


def source(**changes):
    rendered = RenderedSource(SCENES, (CropShare(128, 160, 1.0),), seed=3, batch_size=4)
    return RenderedPairs(rendered, named_set("uflow"), (96, 128), **changes)


def test_a_batch_depends_on_step_and_slot_alone():
    one = source(clean=True)
    whole = one.batch(5, range(4))
    parts = [one.batch(5, range(2)), one.batch(5, range(2, 4))]
    for name, tensor in whole.items():
        assert torch.equal(tensor, torch.cat([part[name] for part in parts])), name
    assert whole["image1"].shape == (4, 3, 96, 128)


def test_clean_frames_are_those_before_their_colours_changed():
    batch = source(clean=True).batch(0, range(2))
    assert not torch.equal(batch["clean1"], batch["image1"])
    assert "clean1" not in source().batch(0, range(1))


def test_every_other_sample_is_shifted_by_shifts_that_grow():
    one = source(clean=True, shifts_until=100)
    lengths = {}
    for step in (0, 90):
        flows = [one.batch(step + n, range(2))["flow"] for n in range(4)]
        shifted = torch.stack([flow[0] for flow in flows])
        assert all(torch.equal(flow, flow[:, :1, :1].expand_as(flow)) for flow in shifted)  # one shift each
        assert not any(torch.equal(flow[1], flow[1][:, :1, :1].expand_as(flow[1])) for flow in flows)
        lengths[step] = float(shifted.abs().max())
    assert lengths[0] <= 4 < lengths[90] <= 48


def test_shifts_end():
    later, never = source(shifts_until=10).batch(10, range(2)), source().batch(10, range(2))
    assert torch.equal(later["flow"], never["flow"])
