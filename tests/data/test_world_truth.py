"""The truth of rendered worlds against geometry in float64, a plain ray tracer, and the pictures."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kinema.data.procedural.world.cast import Rays
from kinema.data.procedural.world.clip import render_clip
from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.renderer import Renderer
from kinema.data.procedural.world.shade import see
from kinema.data.procedural.world.solids import Kind
from kinema.ops.grid import pixel_grid
from kinema.ops.warp import backward_warp, sample

SIZE = (72, 160)
CPU = torch.device("cpu")
PLACES = ("street", "walk", "room", "yard")
PLAIN = WorldConfig(size_hw=SIZE, photometric=False, bank_textures=1, static_share=0.0, tumbling=(4, 8))
WAYS = (("forward", 0, 1), ("backward", 1, 0))


def config_of(place, **changes):
    shares = tuple(float(place == name) for name in PLACES)
    return PLAIN.model_copy(update={"place_shares": shares} | changes)


SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in (("street", 3), ("walk", 1), ("room", 3))]


@pytest.fixture(scope="module", params=[("street", 0), ("yard", 0), *SLOW])
def rendered(request):
    place, index = request.param
    config = config_of(place)
    return render_clip(config, 0, [index], frames=3), Renderer(config, 0, index, frames=3, device=CPU)


def projected(clip, depth, motion):
    """Where the pixels of a depth map go under a motion (4, 4), and what z is there: float64."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    rays = np.linalg.inv(clip.K[0].numpy()) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    far = depth.ravel() == 0
    points = np.concatenate([rays * np.where(far, 1.0, depth.ravel()), np.where(far, 0.0, 1.0)[None]])
    moved = (motion @ points)[:3]
    ends = clip.K[0].numpy() @ (moved / moved[2])
    return (ends[:2] - np.stack([x.ravel(), y.ravel()])).reshape(2, *SIZE), moved[2].reshape(SIZE)


@pytest.mark.parametrize(("way", "start", "end"), WAYS)
def test_depth_poses_and_intrinsics_give_the_rigid_flow(rendered, way, start, end):
    clip, _ = rendered
    for step in range(2):
        depth = clip.depth[0, step + start, 0].double().numpy()
        T_end_from_start = (
            clip.T_camera_from_world[0, step + end] @ clip.T_world_from_camera[0, step + start]
        ).numpy()
        expected, z = projected(clip, depth, T_end_from_start)
        valid = getattr(clip, f"rigid_valid_{way}")[0, step, 0].numpy()
        assert valid.mean() > 0.8
        assert (z[valid] > 0).all()
        error = np.abs(getattr(clip, f"rigid_{way}")[0, step].numpy() - expected)[:, valid]
        assert error.max() < 0.01


@pytest.mark.parametrize(("way", "start", "end"), WAYS)
def test_things_move_by_their_own_rigid_motions(rendered, way, start, end):
    clip, _ = rendered
    flow, valid = getattr(clip, f"flow_{way}"), getattr(clip, f"valid_{way}")
    for step in range(2):
        instance = clip.instance[0, step + start, 0].numpy()
        depth = clip.depth[0, step + start, 0].double().numpy()
        for number in np.unique(instance):
            own = clip.T_world_from_thing[0, step + end, number] @ torch.linalg.inv(
                clip.T_world_from_thing[0, step + start, number]
            )
            motion = clip.T_camera_from_world[0, step + end] @ own @ clip.T_world_from_camera[0, step + start]
            expected, _ = projected(clip, depth, motion.numpy())
            here = (instance == number) & valid[0, step, 0].numpy()
            error = np.abs(flow[0, step].numpy() - expected)[:, here]
            assert error.size == 0 or error.max() < 0.01


def test_things_do_move_and_the_rest_does_not(rendered):
    clip, _ = rendered
    apart = (clip.flow_forward - clip.rigid_forward).norm(dim=2, keepdim=True)
    both = clip.valid_forward & clip.rigid_valid_forward
    still = both & ~clip.moving[:, :-1]
    assert apart[still].max() == 0
    if clip.places[0] in ("room", "yard"):
        moving = both & clip.moving[:, :-1]
        assert moving.sum() > 50
        assert apart[moving].median() > 0.05


# --- a plain ray tracer --------------------------------------------------------------------------------


def traced(renderer, time, origins, directions):
    """First parameter t > 0 of rays origin + t direction in the world, the solid met, and where that is sure.

    Nothing is left out beforehand, and curved solids are found by their quadratic equations.
    """
    table = renderer.table
    places = table.in_world(renderer.world.places_of_things(time))
    best, which = np.full(len(origins), np.inf), np.full(len(origins), -1)
    for number, (kind, half, place) in enumerate(zip(table.kind, table.half, places, strict=True)):
        back = np.linalg.inv(place)
        o = origins @ back[:3, :3].T + back[:3, 3]
        d = directions @ back[:3, :3].T
        with np.errstate(all="ignore"):
            t = _solve(kind, half, o, d)
        t = np.where(np.isfinite(t) & (t > 1e-6), t, np.inf)
        which = np.where(t < best, number, which)
        best = np.minimum(best, t)
    # Some of what lies farther away than 100 m is drawn, some is not: nothing is said about it.
    away = best * np.linalg.norm(directions, axis=1)
    return best, which, (away < 100) | np.isinf(away)


def _solve(kind, half, o, d):
    if kind == Kind.RECT:
        t = -o[:, 2] / d[:, 2]
        inside = (np.abs(o + t[:, None] * d)[:, :2] <= half[:2]).all(axis=1)
        return np.where(inside, t, np.inf)
    if kind == Kind.BOX:
        ts = [(s * half[k] - o[:, k]) / d[:, k] for k in range(3) for s in (-1, 1)]
        good = []
        for number, t in enumerate(ts):
            hit = np.abs(o + t[:, None] * d)
            others = [k for k in range(3) if k != number // 2]
            good.append(np.where((hit[:, others] <= half[others]).all(axis=1) & (t > 0), t, np.inf))
        inside = (np.abs(o) < half).all(axis=1)  # from inside nothing is seen of a box
        return np.where(inside, np.inf, np.min(good, axis=0))
    axes = [0, 1, 2] if kind == Kind.BALL else [0, 2]
    p, q = o[:, axes] / half[axes], d[:, axes] / half[axes]
    a, b, c = (q * q).sum(1), 2 * (p * q).sum(1), (p * p).sum(1) - 1
    t = (-b - np.sqrt(b * b - 4 * a * c)) / (2 * a)
    if kind == Kind.BALL:
        return t
    side = np.where(np.abs(o[:, 1] + t * d[:, 1]) <= half[1], t, np.inf)
    caps = []
    for s in (-1, 1):
        t = (s * half[1] - o[:, 1]) / d[:, 1]
        flat = (o + t[:, None] * d)[:, [0, 2]] / half[[0, 2]]
        caps.append(np.where(((flat * flat).sum(1) <= 1) & (t > 0), t, np.inf))
    return np.fmin(np.where(side > 0, side, np.inf), np.minimum(*caps))


def rays_of(clip, frame, points):
    """World origins and directions with z = 1 in the camera, for pixels (2, N)."""
    directions = np.linalg.inv(clip.K[0].numpy()) @ np.concatenate([points, np.ones((1, points.shape[1]))])
    T = clip.T_world_from_camera[0, frame].numpy()
    return np.broadcast_to(T[:3, 3], (points.shape[1], 3)), (T[:3, :3] @ directions).T


def some_pixels(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, SIZE[1], count), rng.integers(0, SIZE[0], count)


def test_depth_and_instances_are_those_of_a_plain_ray_tracer(rendered):
    clip, renderer = rendered
    x, y = some_pixels(300)
    frame = 2
    rays = rays_of(clip, frame, np.stack([x, y]).astype(float))
    depth, which, near = traced(renderer, float(clip.seconds[0, frame]), *rays)
    found = clip.depth[0, frame, 0].numpy()[y, x]
    found = np.where(found == 0, np.inf, found)
    wrong = near & ~np.isclose(depth, found, rtol=1e-4)
    assert wrong.mean() <= 0.01  # rays that graze an edge
    same = near & ~wrong & np.isfinite(depth)
    assert same.mean() > 0.2
    assert np.median(np.abs(depth[same] - found[same]) / depth[same]) < 1e-6
    thing = clip.instance[0, frame, 0].numpy()[y, x]
    assert (renderer.table.thing[which[same]] == thing[same]).mean() > 0.998


@pytest.mark.parametrize(("way", "start", "end"), WAYS)
def test_occlusion_is_that_of_a_plain_ray_tracer(rendered, way, start, end):
    clip, renderer = rendered
    flow = getattr(clip, f"flow_{way}")[0, 0].numpy().astype(float)
    occluded = getattr(clip, f"occluded_{way}")[0, 0, 0].numpy()
    in_frame = getattr(clip, f"in_frame_{way}")[0, 0, 0].numpy()
    assert not (occluded & ~in_frame).any()
    x, y = some_pixels(300, seed=1)
    hidden_y, hidden_x = np.nonzero(occluded)
    x, y = np.concatenate([x, hidden_x[:150]]), np.concatenate([y, hidden_y[:150]])
    kept = in_frame[y, x] & (clip.depth[0, start, 0].numpy()[y, x] < 100)
    x, y = x[kept], y[kept]
    ends = np.stack([x, y]) + flow[:, y, x]
    rays = rays_of(clip, end, ends)
    nearest, _, near = traced(renderer, float(clip.seconds[0, end]), *rays)
    # How deep the point itself lies then.
    depth = clip.depth[0, start, 0].double().numpy()
    instance = clip.instance[0, start, 0].numpy()
    own = np.full(SIZE, np.inf)
    for number in np.unique(instance):
        places = clip.T_world_from_thing[0, :, number]
        T = (
            clip.T_camera_from_world[0, end]
            @ places[end]
            @ torch.linalg.inv(places[start])
            @ clip.T_world_from_camera[0, start]
        )
        _, z = projected(clip, depth, T.numpy())
        own = np.where((instance == number) & (depth > 0), z, own)
    z = own[y, x]
    hidden = nearest < z * (1 - 1e-3)
    sure = near & (hidden | ~(nearest < z * (1 - 1e-4)))
    assert (hidden & sure).sum() >= 3
    wrong = (hidden != occluded[y, x]) & sure
    assert wrong.mean() <= 0.004


# --- pictures ------------------------------------------------------------------------------------------


def calm(values, reach=2):
    """Pixels whose neighbourhood is alike."""
    wide = F.pad(values.float(), (reach,) * 4, mode="replicate")
    size = 2 * reach + 1
    return F.max_pool2d(wide, size, 1) == -F.max_pool2d(-wide, size, 1)


def seen_kinds(renderer, time):
    moment, _ = renderer.moment(time)
    seen = see(moment, renderer.sensor.rays, renderer.sensor.pixel)
    solids = torch.from_numpy(np.append(moment.view.solids, -1))
    looks = torch.where(seen.row >= 0, solids[seen.row] * 8 + seen.look % 6, -1)
    return moment, seen, looks.view(1, 1, *SIZE)


def test_a_ray_to_the_end_point_sees_the_same_colour(rendered):
    clip, renderer = rendered
    first_moment, first, looks = seen_kinds(renderer, 0.0)
    second_moment, _ = renderer.moment(float(clip.seconds[0, 1]))
    y, x = torch.meshgrid(*(torch.arange(float(n)) for n in SIZE), indexing="ij")
    ends = torch.stack([x, y]) + clip.flow_forward[0, 0]
    K = renderer.world.K
    rays = Rays(
        ((ends[0] - K[0, 2]) / K[0, 0]).float().ravel(), ((ends[1] - K[1, 2]) / K[1, 1]).float().ravel()
    )
    second = see(second_moment, rays, renderer.sensor.pixel)
    good = (clip.visible_forward[0, 0, 0] & calm(looks)[0, 0]).ravel()
    error = (first.colour.clamp(0, 1).sqrt() - second.colour.clamp(0, 1).sqrt()).abs().mean(1)[good]
    assert good.float().mean() > 0.3
    # What is left is the footprint: from nearer or farther away a pixel covers another piece of the picture.
    assert error.median() < 0.003
    assert error.mean() < 0.012
    assert first_moment.light is second_moment.light


def test_the_second_frame_fetched_along_the_flow_is_the_first(rendered):
    clip, renderer = rendered
    _, _, looks = seen_kinds(renderer, 0.0)
    _, _, later = seen_kinds(renderer, float(clip.seconds[0, 1]))
    flow = clip.flow_forward[0, :1]
    at_end = sample(calm(later).float(), pixel_grid(SIZE)[None] + flow, border="replicate", mode="nearest")
    good = clip.visible_forward[0, :1] & calm(looks) & (at_end > 0.5)
    errors = []
    for shift in (0.0, 0.5):
        warped = backward_warp(clip.images[0, 1:2], flow + shift, border="replicate", mode="bicubic")
        errors.append((warped - clip.images[0, :1]).abs().mean(1, keepdim=True)[good].mean())
    still = (clip.images[0, 1:2] - clip.images[0, :1]).abs().mean(1, keepdim=True)[good].mean()
    assert good.float().mean() > 0.3
    assert errors[0] < 0.02
    assert errors[0] < 0.75 * errors[1]
    assert errors[0] < 0.6 * still or still < 0.02


def test_there_and_back_again(rendered):
    clip, _ = rendered
    flow, back = clip.flow_forward[0, :1], clip.flow_backward[0, :1]
    points = pixel_grid(SIZE)[None] + flow
    around = flow + sample(back, points, border="replicate", mode="bilinear")
    calm_there = sample(calm(clip.instance[0, 1:2]).float(), points, border="replicate", mode="nearest") > 0.5
    good = clip.visible_forward[0, :1] & calm(clip.instance[0, :1]) & calm_there
    residual = around.norm(dim=1, keepdim=True)[good]
    assert residual.median() < 0.02
    assert (residual < 0.5).float().mean() > 0.9
