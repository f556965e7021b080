"""Views: windows that fit, intrinsics and flow that follow, sparse truth that is never blended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.smooth_pairs import rngs, smooth_pairs, worst
from kinema.data.transforms.views import (
    Framing,
    about_centre,
    as_tensor,
    centred,
    chained,
    fitted,
    look,
    placed,
    seen_intrinsics,
    whole,
)
from kinema.ops.affine import affine_points


def corners(view: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The outer corners of a window in the source."""
    h, w = size_hw
    points = np.array([[-0.5, -0.5, 1], [w - 0.5, -0.5, 1], [-0.5, h - 0.5, 1], [w - 0.5, h - 0.5, 1]])
    return points @ view.T


FRAMINGS = st.builds(
    Framing,
    zoom_xy=st.tuples(st.floats(0.3, 3), st.floats(0.3, 3)),
    angle=st.one_of(st.just(0.0), st.floats(-1, 1)),
    mirrored_xy=st.tuples(st.booleans(), st.booleans()),
)
SIZES = st.tuples(st.integers(8, 90), st.integers(8, 90))


@given(FRAMINGS, SIZES, SIZES, st.integers(0, 99))
def test_a_placed_window_lies_inside(
    framing: Framing, source: tuple[int, int], size: tuple[int, int], seed: int
):
    outline = corners(placed(framing, source, size, np.random.default_rng(seed)), size)
    assert outline.min() >= -0.5 - 1e-4
    assert (outline.max(0) <= np.array([source[1], source[0]]) - 0.5 + 1e-4).all()


def test_windows_reach_every_place():
    views = [placed(Framing(), (20, 30), (18, 27), np.random.default_rng(n)) for n in range(200)]
    assert {(v[0, 2], v[1, 2]) for v in views} == {(float(x), float(y)) for x in range(4) for y in range(3)}
    near = [
        placed(Framing(), (20, 130), (20, 30), np.random.default_rng(n), margin_xy=(50, 0))[0, 2]
        for n in range(400)
    ]
    assert 0.2 < np.mean(np.array(near) == 0) < 0.3  # a quarter of the draws lies left of the frame
    assert 0.2 < np.mean(np.array(near) == 100) < 0.3


def test_views_by_hand():
    view = centred(Framing(zoom_xy=(2.0, 1.0), mirrored_xy=(True, False)), (10.0, 5.0), (3, 5))
    assert view.tolist() == [[-0.5, 0.0, 11.0], [0.0, 1.0, 4.0]]
    turned = centred(Framing(angle=np.pi / 2), (10.0, 5.0), (3, 3))
    np.testing.assert_allclose(turned, [[0, -1, 11], [1, 0, 4]], atol=1e-12)
    assert whole((10, 20), (5, 40)).tolist() == [[0.5, 0.0, -0.25], [0.0, 2.0, 0.5]]
    assert about_centre((5, 7), shift_xy=(2.0, -1.0)).tolist() == [[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]
    assert fitted(Framing(), (10, 10), (10, 20)).zoom_xy == (2.0, 2.0)
    assert fitted(Framing(), (10, 20), (10, 20)) == Framing()


def test_chained_views_are_one_after_the_other():
    first, second = (
        about_centre((9, 9), zoom=1.3, angle=0.3),
        about_centre((9, 9), angle=-0.1, shift_xy=(1.0, 2.0)),
    )
    point = np.array([2.0, 7.0, 1.0])
    between = np.append(second @ point, 1.0)
    np.testing.assert_allclose(chained(first, second) @ point, first @ between)


@pytest.mark.parametrize(
    "framing",
    [
        Framing(zoom_xy=(1.7, 1.2)),
        Framing(angle=0.35),
        Framing(mirrored_xy=(True, True)),
        Framing(zoom_xy=(0.8, 0.9), angle=-0.2, mirrored_xy=(False, True)),
    ],
)
def test_the_truth_follows_the_view(framing: Framing):
    pairs = smooth_pairs()
    views = [placed(framing, pairs.size_hw, (48, 56), rng) for rng in rngs(1, 2, 3)]
    assert worst(pairs) < 0.01
    assert worst(look(pairs, views, (48, 56))) < 0.01
    second = [
        chained(view, about_centre((48, 56), zoom=1.03, angle=0.03, shift_xy=(2.0, -1.0))) for view in views
    ]
    relative = look(pairs, views, (48, 56), views2=second)
    assert worst(relative) < 0.01
    assert not torch.allclose(relative.flow, look(pairs, views, (48, 56)).flow, atol=0.1)


def test_intrinsics_follow_the_view():
    """A point in space is seen where its old image point is shown."""
    rng = np.random.default_rng(1)
    K = torch.tensor([[[80.0, 0, 61], [0, 90, 44], [0, 0, 1]]]).repeat(3, 1, 1)
    framing = Framing(zoom_xy=(1.4, 0.9), angle=0.2)
    views = as_tensor([placed(framing, (96, 120), (50, 60), r) for r in rngs(1, 2, 3)], torch.device("cpu"))
    space = torch.from_numpy(rng.uniform([-1, -1, 3], [1, 1, 9], (3, 40, 3))).float()
    before = space @ K.mT
    after = space @ seen_intrinsics(K, views).mT
    shown = torch.einsum(
        "bij,bnj->bni", views.float(), torch.cat((after[..., :2] / after[..., 2:], after[..., :1] * 0 + 1), 2)
    )
    torch.testing.assert_close(shown, before[..., :2] / before[..., 2:], atol=1e-3, rtol=0)
    half = as_tensor([whole((96, 120), (48, 60))], torch.device("cpu"))
    assert seen_intrinsics(K[:1], half)[0].tolist() == [
        [40.0, 0.0, 30.25],
        [0.0, 45.0, 21.75],
        [0.0, 0.0, 1.0],
    ]


def sparse_pairs(share: float = 0.2):
    pairs = smooth_pairs(2)
    known = torch.from_numpy(np.random.default_rng(0).random((2, 1, *pairs.size_hw)) < share)
    return replace(pairs, valid=known, flow=torch.where(known, pairs.flow, 0), sparse=True)


def test_a_crop_keeps_sparse_truth_bit_for_bit():
    pairs = sparse_pairs()
    view = about_centre(pairs.size_hw, shift_xy=(7.0, -3.0))
    got = look(pairs, [view] * 2, (90, 100))
    assert torch.equal(got.valid[..., 3:, :], pairs.valid[..., :87, 7:107])
    assert torch.equal(got.flow[..., 3:, :], pairs.flow[..., :87, 7:107])
    assert not got.valid[..., :3, :].any()


def test_sparse_values_are_scaled_and_never_blended():
    pairs = sparse_pairs()
    rng = np.random.default_rng(4)  # values without order: any blend of two would be seen
    noise = torch.from_numpy(rng.normal(0, 3, tuple(pairs.flow.shape)).astype(np.float32))
    pairs = replace(pairs, flow=torch.where(pairs.valid, noise, 0))
    got = look(pairs, [whole(pairs.size_hw, (192, 240))] * 2, (192, 240))
    assert int(got.valid.sum()) == int(pairs.valid.sum())  # enlarged: each keeps a pixel of its own
    for batch in range(2):
        old, new = (p.flow[batch][:, p.valid[batch, 0]].T.numpy() for p in (pairs, got))
        assert {tuple(v) for v in (2 * old)} == {tuple(v) for v in new}
    y, x = torch.nonzero(pairs.valid[0, 0])[5].tolist()
    places = [(2 * y + i, 2 * x + j) for i in (0, 1) for j in (0, 1)]
    assert sum(bool(got.valid[0, 0, row, column]) for row, column in places) == 1
    smaller = look(pairs, [whole(pairs.size_hw, (48, 60))] * 2, (48, 60))
    values = {tuple(v) for v in (pairs.flow[0][:, pairs.valid[0, 0]].T.numpy() / 2)}
    assert {tuple(v) for v in smaller.flow[0][:, smaller.valid[0, 0]].T.numpy()} <= values
    assert smaller.valid.float().mean() > pairs.valid.float().mean()


def test_sparse_truth_agrees_with_dense():
    """At the pixels that it reaches it is the dense truth of there, but for half a pixel of place."""
    dense = smooth_pairs(2)
    sparse = replace(dense, sparse=True)
    views = [placed(Framing(zoom_xy=(1.3, 1.2), angle=0.2), dense.size_hw, (50, 60), r) for r in rngs(5, 6)]
    second = [chained(view, about_centre((50, 60), zoom=1.02, shift_xy=(1.0, 1.0))) for view in views]
    one, two = (look(p, views, (50, 60), views2=second) for p in (dense, sparse))
    assert two.valid.float().mean() > 0.6
    assert (one.flow - two.flow).abs().amax(1, keepdim=True)[two.valid].max() < 0.1
    assert (one.hidden ^ two.hidden)[two.valid].float().mean() < 0.05


def test_points_of_a_view_are_those_of_its_matrix():
    view = as_tensor([about_centre((4, 6), zoom=2.0)], torch.device("cpu"))
    assert affine_points(view, (4, 6))[0, :, 0, 0].tolist() == [1.25, 0.75]
