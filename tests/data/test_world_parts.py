"""Rays, pictures, light and ways of rendered worlds in numbers small enough to check by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from kinema.data.procedural.world.atlas import Atlas, read_texels
from kinema.data.procedural.world.cast import Rays, cast
from kinema.data.procedural.world.config import WorldConfig
from kinema.data.procedural.world.light import Light
from kinema.data.procedural.world.parts import MATERIALS
from kinema.data.procedural.world.paths import Drive, Waves, Way
from kinema.data.procedural.world.picture import draw, sensor_of
from kinema.data.procedural.world.shade import Moment, see
from kinema.data.procedural.world.solids import Face, Kind, Solid, at, ball, box, floor, rect, tube
from kinema.data.procedural.world.surface import face_table
from kinema.data.procedural.world.view import SolidTable, look

CPU = torch.device("cpu")
LOOK = Face("plaster")
WINDOW = (-2.0, 2.0, -2.0, 2.0)


def met(groups, x, y, camera=None):
    """Depth and kind along rays (x, y, 1) of a camera at the origin that looks along z."""
    table = SolidTable(groups)
    T = np.eye(4) if camera is None else np.linalg.inv(camera)
    view = look(table, table.in_world(np.eye(4)[None]), T, window=WINDOW, eye=np.zeros(3), reach=1e9)
    rays = Rays(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
    depth, row = cast(view, rays)
    kinds = [Kind(view.kinds[r]) if r >= 0 else None for r in row.tolist()]
    return depth.tolist(), kinds


def test_a_ball_is_met_on_its_near_side():
    depth, kinds = met([[ball(at(0, 0, 5), (1, 1, 1), LOOK)]], [0.0, 0.5], [0.0, 0.0])
    assert depth == pytest.approx([4.0, math.inf])
    assert kinds == [Kind.BALL, None]


def test_an_ellipsoid_is_met_where_its_halves_say():
    depth, _ = met([[ball(at(0, 0, 5), (1, 1, 2), LOOK)]], [0.0], [0.0])
    assert depth == pytest.approx([3.0])


def test_a_box_stands_on_its_place():
    # Lower side at y = 0, 2 m high, 1 m deep: its front is at z = 3.5 and its top at y = -2.
    cube = box(at(0, 0, 4), (2.0, 2.0, 1.0), LOOK)
    depth, _ = met([[cube]], [0.0, 0.0, 0.0], [-0.5, 0.01, -0.6])
    assert depth == pytest.approx([3.5, math.inf, math.inf])
    # From above its top is met: a camera 3 m over the ground that looks 45 degrees down.
    depth, _ = met([[cube]], [0.0], [0.0], camera=at(0, -5, 1, pitch=-math.pi / 4))
    assert depth == pytest.approx([3 * math.sqrt(2)], rel=1e-5)


def test_a_tube_is_met_at_its_side_and_at_its_end():
    column = tube(at(0, 1, 4), 0.5, 2.0, LOOK)
    depth, _ = met([[column]], [0.0, 0.2], [0.0, 0.0])
    assert depth == pytest.approx([3.5, math.inf])
    depth, _ = met([[column]], [0.0], [0.0], camera=at(0, -3, 4, pitch=-math.pi / 2))
    assert depth == pytest.approx([2.0], rel=1e-5)  # its upper end is at y = -1


def test_a_rectangle_ends_where_its_size_says():
    wall = rect(at(0, 0, 2), (2.0, 1.0), LOOK)
    depth, _ = met([[wall]], [0.49, 0.51, 0.0, 0.0], [0.0, 0.0, 0.24, 0.26])
    assert depth == pytest.approx([2, math.inf, 2, math.inf])


def test_the_nearest_of_several_is_met_whatever_their_order():
    near, far = ball(at(0, 0, 5), (1, 1, 1), LOOK), rect(at(0, 0, 8), (9, 9), LOOK)
    for groups in ([[near], [far]], [[far], [near]], [[near, far]], [[far, near]]):
        depth, kinds = met(groups, [0.0, 1.0 / 3], [0.0, 0.0])
        assert depth == pytest.approx([4, 8])
        assert kinds == [Kind.BALL, Kind.RECT]


def test_what_lies_behind_or_reaches_behind_the_camera():
    depth, _ = met([[ball(at(0, 0, -5), (1, 1, 1), LOOK)]], [0.0], [0.0])
    assert depth == [math.inf]
    depth, _ = met([[floor(0, 1.5, 0, (1e3, 1e3), LOOK)]], [0.0, 0.0], [0.1, -0.1])
    assert depth == pytest.approx([15, math.inf], rel=1e-5)


def test_rays_beyond_a_limit_do_not_count():
    table = SolidTable([[ball(at(0, 0, 5), (1, 1, 1), LOOK)]])
    view = look(table, table.in_world(np.eye(4)[None]), np.eye(4), window=WINDOW, eye=np.zeros(3), reach=1e9)
    rays = Rays(torch.zeros(2), torch.tensor([0.0, 0.01]))
    _, row = cast(view, rays, limit=torch.tensor([3.9, 4.5]))
    assert row.tolist() == [-1, 0]


def test_rays_in_a_rectangle_are_found_all():
    rng = np.random.default_rng(0)
    x, y = (torch.from_numpy(rng.normal(size=5000).astype(np.float32)) for _ in range(2))
    rays = Rays(x, y)
    for _ in range(20):
        left, top = rng.normal(size=2)
        rect_ = np.array([left, left + rng.uniform(0, 2), top, top + rng.uniform(0, 2)])
        inside = (x >= rect_[0]) & (x <= rect_[1]) & (y >= rect_[2]) & (y <= rect_[3])
        rows = rays.within(rect_)
        found = torch.zeros(5000, dtype=torch.bool)
        if rows is not None:
            found[rays.order[rows]] = True
        assert (found | ~inside).all()
    assert Rays(x[:0], y[:0]).within(np.array([0.0, 1, 0, 1])) is None


# --- pictures on solids --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def atlas():
    return Atlas(WorldConfig(bank_textures=1), 0, 0, CPU)


def texels_at(atlas, u, v, steps):
    first, side = atlas.place("poster", 0)
    count = len(u)
    return read_texels(
        atlas.texels,
        torch.full((count,), first, dtype=torch.int32),
        torch.full((count,), float(side)),
        (torch.tensor(u), torch.tensor(v)),
        torch.tensor(steps)[:, None].expand(4, count).contiguous(),
    )


def test_small_footprints_read_single_texels_and_mirror_them(atlas):
    first, side = atlas.place("poster", 0)
    read = texels_at(atlas, [10.5, -10.5, 2 * side + 10.5], [20.5] * 3, [0.1, 0.0, 0.0, 0.1])
    row = atlas.texels[first + 20 * side + 10]
    torch.testing.assert_close(read, row.expand(3, 3))
    between = texels_at(atlas, [11.0], [20.5], [0.1, 0.0, 0.0, 0.1])
    torch.testing.assert_close(between[0], (row + atlas.texels[first + 20 * side + 11]) / 2)


def test_large_footprints_read_means(atlas):
    first, side = atlas.place("poster", 0)
    picture = atlas.texels[first : first + side * side]
    mean = picture.mean(0)
    read = texels_at(atlas, [side / 2.0], [side / 2.0], [2.0 * side, 0.0, 0.0, 2.0 * side])
    assert (read[0] - mean).abs().max() < 0.12
    assert (picture - mean).abs().mean() > 0.03


def test_a_long_footprint_blurs_along_itself_only(atlas):
    """Stripes along u stay when the footprint is long along u, and go when it is long along v."""
    side = 64
    stripes = (torch.arange(side) // 8 % 2).float()
    levels, level = [], stripes[:, None].expand(side, side)[..., None].expand(side, side, 3)
    while level.shape[0] >= 4:
        levels.append(level.reshape(-1, 3))
        half = level.shape[0] // 2
        level = level.reshape(half, 2, half, 2, 3).mean(dim=(1, 3))
    table = torch.cat(levels)
    v = torch.arange(4.0, 60.0, 8.0)

    def contrast(steps):
        read = read_texels(
            table,
            torch.zeros(len(v), dtype=torch.int32),
            torch.full((len(v),), float(side)),
            (torch.full_like(v, 30.0), v),
            torch.tensor(steps)[:, None].expand(4, len(v)).contiguous(),
        )
        return (read[1:] - read[:-1]).abs().mean().item()

    assert contrast([16.0, 0.0, 0.0, 2.0]) > 0.9
    assert contrast([0.0, 16.0, 2.0, 0.0]) > 0.9  # the same, turned by a quarter
    assert contrast([2.0, 0.0, 0.0, 16.0]) < 0.2
    assert contrast([16.0, 0.0, 0.0, 16.0]) < 0.45


def test_all_materials_are_pictures_with_something_in_them(atlas):
    for name, material in MATERIALS.items():
        first, side = atlas.place(name, 0)
        picture = atlas.texels[first : first + side * side]
        assert side == material.side
        assert picture.min() >= 0
        assert picture.max() <= 1
        assert picture.std() > 1e-3, name
    again = Atlas(WorldConfig(bank_textures=1), 0, 0, CPU)
    first, side = again.place("brick", 5)
    other, _ = atlas.place("brick", 5)
    rows = side * side
    assert torch.equal(again.texels[first : first + rows], atlas.texels[other : other + rows])


# --- light ---------------------------------------------------------------------------------------------


def moment_of(groups, light, atlas, *, camera, size_hw=(32, 32), focal=32.0):
    table = SolidTable(groups)
    K = np.array([[focal, 0, size_hw[1] / 2 - 0.5], [0, focal, size_hw[0] / 2 - 0.5], [0, 0, 1.0]])
    sensor = sensor_of(size_hw, K, CPU)
    T, placed = np.linalg.inv(camera), table.in_world(np.eye(4)[None])
    view = look(table, placed, T, window=sensor.window, eye=camera[:3, 3], reach=1e9)
    faces = face_table(table, atlas, CPU)
    return Moment(table, faces, atlas, placed, placed, False, light, T, view, 1e9), sensor


DOWN = at(0, -4, 0, pitch=-math.pi / 2)  # four metres over the ground, looking down
SUN = np.array([0.0, -1.0, 0.0])
WHITE = Light(SUN, parallel=True, direct=(0.6,) * 3, above=(0.2,) * 3, below=(0.2,) * 3)


def test_the_sun_throws_the_shadow_of_a_roof(atlas):
    ground = floor(0, 0, 0, (50, 50), LOOK)
    roof = rect(at(0, -9, 0, pitch=math.pi / 2), (1.0, 1.0), LOOK)  # above the camera: not seen itself
    plain, sensor = moment_of([[ground]], WHITE, atlas, camera=DOWN)
    shaded, _ = moment_of([[ground], [roof]], WHITE, atlas, camera=DOWN)
    light, dark = (see(m, sensor.rays, sensor.pixel).colour.view(32, 32, 3) for m in (plain, shaded))
    ratio = (dark / light).mean(-1)
    # Half a metre to each side of the middle is 4 pixels; there 0.2 of 0.8 is left.
    assert ratio[14:18, 14:18].flatten().tolist() == pytest.approx([0.25] * 16, rel=1e-4)
    assert ratio[:, :11].flatten().tolist() == pytest.approx([1.0] * 352, rel=1e-4)


def test_a_lamp_throws_a_larger_shadow(atlas):
    dim = (0.1,) * 3
    high = np.array([0.0, -10.0, 0.0])
    lamp = Light(high, parallel=False, direct=(30.0,) * 3, above=dim, below=dim, radius=1e6)
    ground, roof = floor(0, 0, 0, (50, 50), LOOK), rect(at(0, -5, 0, pitch=math.pi / 2), (1.0, 1.0), LOOK)
    shaded, sensor = moment_of([[ground], [roof]], lamp, atlas, camera=DOWN)
    colour = see(shaded, sensor.rays, sensor.pixel).colour.view(32, 32, 3)[16, :, 0]
    hidden = (colour < 0.2 * colour[1]).nonzero()[:, 0]
    # Half way to the lamp: twice as large, a metre to each side of the middle, 8 pixels.
    assert (hidden.min().item(), hidden.max().item()) == (8, 23)


def test_fog_leaves_what_its_density_says(atlas):
    ground = floor(0, 0, 0, (50, 50), LOOK)
    foggy = replace(WHITE, fog=0.25, fog_colour=(0.5, 0.5, 0.5))
    clear, sensor = moment_of([[ground]], WHITE, atlas, camera=DOWN)
    thick, _ = moment_of([[ground]], foggy, atlas, camera=DOWN)
    first, second = (see(m, sensor.rays, sensor.pixel).colour.view(32, 32, 3)[16, 16] for m in (clear, thick))
    left = math.exp(-0.25 * 4)
    assert second.tolist() == pytest.approx((first * left + 0.5 * (1 - left)).tolist(), rel=2e-3)


def test_edges_are_means_over_their_pixel(atlas):
    """A wall that glows ends in the middle of a column: that column is half bright."""
    bright = Face("plaster", tint=(1.0, 1.0, 1.0), glow=1.0)
    dark = Face("plaster", tint=(0.0, 0.0, 0.0), glow=1.0)
    T = at(0, 0, 0)
    wall, back = rect(at(2.0, 0, 4), (4.0, 20.0), bright), rect(at(0, 0, 9), (90.0, 90.0), dark)
    moment, sensor = moment_of([[wall], [back]], WHITE, atlas, camera=T, size_hw=(16, 33))
    sharp, _ = draw(moment, sensor, antialias=1)
    soft, _ = draw(moment, sensor, antialias=16)
    # The edge x = 0 lies in the middle of pixel 16 of 33.
    assert sharp[0, 8, 15].item() == pytest.approx(0)
    assert soft[0, 8, 16].item() == pytest.approx(soft[0, 8, 17].item() / 2, rel=0.15)


# --- ways ----------------------------------------------------------------------------------------------


def test_a_way_has_no_jumps_and_keeps_its_length():
    way = Way(np.array([0, 1, -1, -1, 0, 1]), 20.0, (60.0, 80.0), 9.0)
    distances = np.arange(0, way.length - 1, 0.25)
    places = np.array([way.at(d, 0.0) for d in distances])
    steps = np.hypot(*np.diff(places[:, :2], axis=0).T)
    np.testing.assert_allclose(steps, 0.25, atol=1e-4)
    # It looks where it goes.
    moved = np.diff(places[:, :2], axis=0)
    headings = np.arctan2(moved[:, 0], moved[:, 1])
    middle = (places[1:, 2] + places[:-1, 2]) / 2
    np.testing.assert_allclose(np.cos(headings - middle), 1, atol=1e-4)


def test_a_way_turns_where_streets_cross():
    way = Way(np.array([1]), 20.0, (60.0, 80.0), 5.0)
    assert way.at(0, 0.0) == pytest.approx((0, -20, 0))
    assert way.at(15, 0.0)[:2] == pytest.approx((0, -5))
    assert way.at(15 + math.pi / 2 * 5, 0.0) == pytest.approx((5, 0, math.pi / 2))
    assert way.at(10, 2.0)[:2] == pytest.approx((2, -10))  # to the right of z is x


def test_a_drive_slows_down_for_curves():
    way = Way(np.array([1, 0, 0]), 60.0, (60.0, 80.0), 8.0)
    steady = Waves(np.ones((1, 1)), np.zeros((1, 1)), np.zeros((1, 1)))
    drive = Drive(way, cruise=14.0, sway=steady, in_curves=4.0, distance=150.0)
    times = np.arange(0, 12, 0.02)
    reached = np.array([drive.at(t) for t in times])
    speeds = np.diff(reached) / 0.02
    assert (speeds > 0).all()
    assert speeds.max() < 14.1
    begin, end = way.curves()[0]
    inside = (reached[1:] > begin + 1) & (reached[1:] < end - 1)
    assert speeds[inside].max() < 6
    assert np.abs(np.diff(speeds) / 0.02).max() < 9  # metres per second squared
    assert drive.at(drive.when(100.0)) == pytest.approx(100.0, abs=0.05)


def test_solids_of_one_kind_lie_together():
    table = SolidTable([[box(at(0, 0, 0), (1, 1, 1), LOOK), ball(at(0, 0, 0), (1, 1, 1), LOOK)] * 2])
    assert [Kind(k) for k in table.kind] == [Kind.BOX, Kind.BOX, Kind.BALL, Kind.BALL]
    assert isinstance(table.solids[0], Solid)
