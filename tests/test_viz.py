from __future__ import annotations

import base64
import math
import re
import time
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from kinema import viz
from kinema.errors import InputError, OutputError, UsageError


def one(u: float, v: float, **options: float) -> tuple[int, int, int]:
    """The colour of a single vector, on a scale of 1 pixel unless told otherwise."""
    picture = viz.flow_to_rgb(np.array([[[u, v]]], np.float32), **({"max_flow": 1.0} | options))
    return tuple(int(channel) for channel in picture[0, 0])


def slow_colour(u: float, v: float) -> list[float]:
    """The definition for one vector of length <= 1, in float64 and before rounding down."""
    segments = [("ru", 15), ("gd", 6), ("bu", 4), ("rg", 11), ("mu", 13), ("bd", 6)]
    wheel: list[tuple[int, int, int]] = []
    for name, count in segments:
        for i in range(count):
            up, down = 255 * i // count, 255 - 255 * i // count
            wheel.append(
                {
                    "ru": (255, up, 0),
                    "gd": (down, 255, 0),
                    "bu": (0, 255, up),
                    "rg": (0, down, 255),
                    "mu": (up, 0, 255),
                    "bd": (255, 0, down),
                }[name]
            )
    place = (math.atan2(-v, -u) / math.pi + 1) / 2 * 54
    low = math.floor(place)
    part, radius = place - low, math.hypot(u, v)
    here, there = wheel[low], wheel[(low + 1) % 55]
    return [255 - radius * (255 - ((1 - part) * a + part * b)) for a, b in zip(here, there, strict=True)]


def test_wheel_has_the_published_rows():
    wheel = viz.colour_wheel().tolist()
    assert len(wheel) == 55
    # The first colour of each of the six segments, and the second one, whose step is rounded down.
    assert [wheel[row] for row in (0, 15, 21, 25, 36, 49)] == [
        [255, 0, 0], [255, 255, 0], [0, 255, 0], [0, 255, 255], [0, 0, 255], [255, 0, 255],
    ]  # fmt: skip
    assert [wheel[row] for row in (1, 16, 22, 26, 37, 50)] == [
        [255, 17, 0], [213, 255, 0], [0, 255, 63], [0, 232, 255], [19, 0, 255], [255, 0, 213],
    ]  # fmt: skip
    assert wheel[54] == [255, 0, 43]


def test_wheel_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        viz.colour_wheel()[0] = 0


@pytest.mark.parametrize(
    ("vector", "colour"),
    [
        ((0, 0), (255, 255, 255)),
        ((1, 0), (255, 0, 0)),  # right: row 0
        ((0, 1), (255, 229, 0)),  # down: between rows 13 (255, 221, 0) and 14 (255, 238, 0)
        ((-1, 0), (0, 209, 255)),  # left: row 27
        ((0, -1), (88, 0, 255)),  # up: between rows 40 (78, 0, 255) and 41 (98, 0, 255)
        ((0.5, 0), (255, 127, 127)),  # half the length: half way to white, 127.5 rounded down
        ((-0.25, 0), (191, 243, 255)),  # 191.25, 243.5
        ((2, 0), (191, 0, 0)),  # beyond the scale: three quarters
        ((-2, 0), (0, 156, 191)),  # 156.75
        ((1, -0.0), (255, 0, 0)),  # a negative zero is a zero
        ((-0.0, -0.0), (255, 255, 255)),
    ],
)
def test_colours_computed_by_hand(vector, colour):
    assert one(*vector) == colour


def test_colours_follow_the_definition_everywhere():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(-math.pi, math.pi, 4000), rng.uniform(0, 1, 4000)
    flow = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).astype(np.float32)
    got = viz.flow_to_rgb(flow[None], max_flow=1.0)[0].astype(int)
    wanted = np.array([slow_colour(float(u), float(v)) for u, v in flow])
    # One level of difference only where float32 falls on the other side of a whole number.
    assert (np.abs(wanted - 0.5 - got) < 0.5 + 2e-3).all()
    assert (np.floor(wanted) == got).mean() > 0.999


def test_length_only_takes_white_away():
    for angle in np.linspace(0, 2 * math.pi, 37):
        radius = np.linspace(0, 1, 60, dtype=np.float32)
        flow = np.stack([radius * math.cos(angle), radius * math.sin(angle)], axis=-1)
        row = viz.flow_to_rgb(flow[None], max_flow=1.01)[0].astype(int)
        assert (np.diff(row, axis=0) <= 0).all()
        assert (np.diff(row.min(axis=1)) < 0).mean() > 0.9


def test_scale_is_the_longest_vector_and_that_one_has_full_colour():
    flow = np.random.default_rng(1).normal(0, 3, (40, 50, 2)).astype(np.float32)
    longest = np.hypot(flow[..., 0], flow[..., 1])
    picture = viz.flow_to_rgb(flow)
    assert np.array_equal(picture, viz.flow_to_rgb(2 * flow))
    top = np.unravel_index(longest.argmax(), longest.shape)
    # Full colour inside the scale: brightest channel 255; it would be 191 if rounding put it outside.
    assert picture[top].max() == 255
    assert picture[top].min() == 0
    known_scale = viz.flow_to_rgb(flow, max_flow=float(longest.max()) * 2)
    assert np.abs(known_scale[top].astype(float) - (255 + picture[top].astype(float)) / 2).max() <= 1


def test_no_motion_at_all_is_white():
    assert (viz.flow_to_rgb(np.zeros((3, 4, 2), np.float32)) == 255).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.1e9, -1e10, 1e300])
def test_unknown_is_black_and_does_not_set_the_scale(bad):
    flow = np.zeros((2, 2, 2), np.float64)
    flow[0, 0] = (3, 0)
    flow[1, 1] = (0, bad)
    picture = viz.flow_to_rgb(flow)
    assert picture[1, 1].tolist() == [0, 0, 0]
    assert picture[0, 0].tolist() == [255, 0, 0]


def test_invalid_is_black_and_does_not_set_the_scale():
    flow = np.array([[[1, 0], [100, 0]]], np.float32)
    picture = viz.flow_to_rgb(flow, valid=np.array([[True, False]]))
    assert picture[0].tolist() == [[255, 0, 0], [0, 0, 0]]
    assert (viz.flow_to_rgb(flow, valid=np.zeros((1, 2), bool)) == 0).all()


def test_1e9_itself_is_still_known():
    assert viz.flow_to_rgb(np.array([[[1e9, 0]]]))[0, 0].tolist() == [255, 0, 0]


def test_large_frames_are_coloured_like_their_parts():
    flow = np.random.default_rng(2).normal(0, 3, (411, 377, 2)).astype(np.float32)
    whole = viz.flow_to_rgb(flow, max_flow=8)
    parts = [viz.flow_to_rgb(row[None], max_flow=8) for row in flow]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (2, 4, 5)])
def test_wrong_shape_of_flow(shape):
    with pytest.raises(InputError, match=r"\(H, W, 2\)"):
        viz.flow_to_rgb(np.zeros(shape))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
def test_wrong_scale(scale):
    with pytest.raises(UsageError, match="above 0"):
        viz.flow_to_rgb(np.zeros((2, 2, 2)), max_flow=scale)
    with pytest.raises(UsageError, match="above 0"):
        viz.FlowScale(scale)


def test_wrong_shape_of_valid():
    with pytest.raises(InputError, match="valid"):
        viz.flow_to_rgb(np.zeros((2, 3, 2)), valid=np.ones((3, 2), bool))


@pytest.mark.slow
def test_full_hd_takes_less_than_a_tenth_of_a_second():
    flow = np.random.default_rng(3).normal(0, 3, (1080, 1920, 2)).astype(np.float32)
    times = []
    for _ in range(8):
        start = time.perf_counter()
        viz.flow_to_rgb(flow)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.1


# The scale of a clip.


def uniform_flow(speed: float, size_hw: tuple[int, int] = (40, 60)) -> np.ndarray:
    flow = np.zeros((*size_hw, 2), np.float32)
    flow[..., 0] = speed
    return flow


def test_scale_of_a_still_clip_is_constant_to_the_last_bit():
    flow = np.random.default_rng(4).normal(0, 5, (120, 160, 2)).astype(np.float32)
    scale = viz.FlowScale()
    assert len({scale.update(flow) for _ in range(200)}) == 1


def test_scale_never_jumps_and_arrives():
    scale = viz.FlowScale()
    speeds = [2] * 5 + [30] * 40 + [0] * 30 + [3] * 80
    values = [scale.update(uniform_flow(speed)) for speed in speeds]
    factors = np.array(values[1:]) / np.array(values[:-1])
    assert factors.max() <= 1.25 + 1e-9
    assert factors.min() >= 1 / 1.05 - 1e-9
    assert values[44] == pytest.approx(33, rel=0.05)
    assert values[-1] == pytest.approx(3.3, rel=0.05)


def test_scale_ignores_a_few_wild_vectors():
    flow = uniform_flow(4, (200, 200))
    flow[0, :100] = 500  # 0.25 % of the frame
    assert viz.FlowScale().update(flow) == pytest.approx(4.4)


def test_scale_has_a_floor_so_that_noise_stays_pale():
    noise = np.random.default_rng(5).normal(0, 0.02, (50, 50, 2))
    assert viz.FlowScale().update(noise) == 1.0


def test_scale_leaves_out_what_is_not_known():
    flow, valid = uniform_flow(4), np.ones((40, 60), bool)
    flow[:20] = np.nan
    flow[20:25] = 80
    valid[20:25] = False
    scale = viz.FlowScale()
    assert scale.update(np.full((4, 4, 2), np.nan)) == 1.0
    assert viz.FlowScale().update(flow, valid=valid) == pytest.approx(4.4)


def test_fixed_scale_stays():
    scale = viz.FlowScale(7.5)
    assert [scale.update(uniform_flow(speed)) for speed in (1, 100)] == [7.5, 7.5]


def test_scale_depends_on_the_motion_and_not_on_the_size_of_the_frame():
    x, y = np.meshgrid(np.linspace(-1, 1, 1500), np.linspace(-1, 1, 900))
    large = np.stack([10 * x, 6 * y], axis=-1)
    assert viz.FlowScale().update(large) == pytest.approx(viz.FlowScale().update(large[::4, ::4]), rel=0.01)


# Legends, rows, maps and overlays.


def test_wheel_legend_points_where_the_colours_point():
    legend = viz.wheel_legend(280, max_flow=12.5)
    assert legend.shape == (280, 280, 3)
    side = 280 - 280 // 7
    middle, centre_x = side // 2, 140
    reach = int(0.9 * side / 2 / 1.04)
    for (dx, dy), (u, v) in {
        (reach, 4): (0.9, 0.03),
        (-reach, 4): (-0.9, 0.03),
        (4, reach): (0.03, 0.9),
        (4, -reach): (0.03, -0.9),
    }.items():
        assert np.abs(legend[middle + dy, centre_x + dx].astype(int) - one(u, v)).max() <= 14
    assert (legend[:3, :3] == 255).all()  # outside of the disc
    assert legend[middle + 3, centre_x + 3].min() > 230  # no motion, beside the axes
    assert legend[side:].min() < 120  # the number
    assert (legend[side:] != viz.wheel_legend(280, max_flow=3)[side:]).any()
    assert np.array_equal(legend[:side], viz.wheel_legend(280, max_flow=3)[:side])


def test_wheel_legend_of_every_size_and_scale():
    for size in (48, 49, 101):
        for scale in (0.001, 1.0, 123456.0):
            assert viz.wheel_legend(size, max_flow=scale).shape == (size, size, 3)
    with pytest.raises(UsageError, match="48"):
        viz.wheel_legend(20, max_flow=1)


def test_side_by_side_keeps_the_pictures():
    left = np.full((60, 80, 3), 200, np.uint8)
    right = np.full((50, 70), 90, np.uint8)
    row = viz.side_by_side([left, right], gap=6)
    assert row.shape == (60, 156, 3)
    assert np.array_equal(row[:, :80], left)
    assert (row[:50, 86:] == 90).all()
    assert (row[:, 80:86] == 24).all()
    assert (row[50:, 86:] == 24).all()


def test_labels_stand_in_the_corners_and_leave_the_rest():
    left, right = np.full((120, 200, 3), 200, np.uint8), np.full((120, 200, 3), 100, np.uint8)
    row = viz.side_by_side([left, right], ["frame", "flow"])
    plain = viz.side_by_side([left, right])
    changed = (row != plain).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.max() < 40
    assert changed[0, 0]
    assert changed[0, 204]
    assert row[:40, :100].max() > 220  # white letters
    assert not changed[:, 120:200].any()
    assert columns.max() < 204 + 120
    assert (left == 200).all()  # what was handed in is untouched


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (16, 16)])
def test_labels_without_room_are_left_out(size):
    image = np.full((*size, 3), 7, np.uint8)
    assert np.array_equal(viz.side_by_side([image], ["a long label"]), image)


def test_side_by_side_refuses_what_does_not_fit():
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(UsageError):
        viz.side_by_side([])
    with pytest.raises(UsageError):
        viz.side_by_side([image], ["a", "b"])
    with pytest.raises(InputError):
        viz.side_by_side([image.astype(np.float32)])
    with pytest.raises(InputError):
        viz.side_by_side([np.zeros((4, 4, 4), np.uint8)])


def luminance(picture: np.ndarray) -> np.ndarray:
    return picture.astype(float) @ np.array([0.2126, 0.7152, 0.0722])


def test_error_map_grows_brighter_with_the_error():
    ramp = np.linspace(0, 5, 200)[None]
    picture = viz.error_to_rgb(ramp, max_error=4)
    light = luminance(picture)[0]
    assert light[0] < 3
    assert light[-1] > 200
    assert (np.diff(light) >= -0.5).all()
    assert (picture[0, ramp[0] >= 4] == picture[0, -1]).all()  # more than the scale looks like the scale


def test_error_map_marks_the_unknown_grey_and_scales_to_the_largest_known():
    error = np.array([[0.0, 2.0, np.nan, 50.0]])
    picture = viz.error_to_rgb(error, valid=np.array([[True, True, True, False]]))
    assert picture[0, 2].tolist() == picture[0, 3].tolist() == [128, 128, 128]
    assert np.array_equal(picture[:, :2], viz.error_to_rgb(error[:, :2], max_error=2))
    with pytest.raises(InputError):
        viz.error_to_rgb(np.zeros((2, 2, 2)))
    with pytest.raises(UsageError):
        viz.error_to_rgb(error, max_error=0)


def test_error_legend_is_the_colours_of_the_map():
    legend = viz.error_legend((10, 101), max_error=3)
    assert legend.shape == (10, 101, 3)
    assert np.array_equal(legend[4, 50], viz.error_to_rgb(np.array([[1.5]]), max_error=3)[0, 0])


def test_overlay_marks_the_mask_and_nothing_else():
    image = np.random.default_rng(6).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    mask = np.zeros((30, 40), bool)
    mask[5:10, 5:15] = True
    picture = viz.mask_overlay(image, mask, colour=(255, 0, 0)).astype(int)
    assert (picture[mask][:, 0] - picture[mask][:, 1] > 150).all()
    assert (np.ptp(picture[~mask], axis=1) == 0).all()  # the rest is grey
    assert np.array_equal(viz.mask_overlay(image[..., 0], mask).shape, (30, 40, 3))
    with pytest.raises(InputError):
        viz.mask_overlay(image, mask[1:])


# The page.


class Tags(HTMLParser):
    """Collects tags with their attributes, and checks that they are closed in the right order."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


NASTY = "<script>alert('\"&')</script>"


def nasty_page(tmp_path) -> str:
    image = np.random.default_rng(7).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    figure = viz.Figure(image, NASTY, title=NASTY, caption=NASTY)
    video = tmp_path / "v.webm"
    video.write_bytes(b"\x1aE\xdf\xa3 not played here")
    page = viz.HtmlReport(NASTY, lead=NASTY)
    page.heading(NASTY)
    page.paragraph(NASTY)
    page.facts([(NASTY, NASTY)])
    page.figures([figure, viz.Figure(image[..., 0], NASTY, small=True)])
    page.comparison(figure, figure, caption=NASTY)
    page.video(video, alt=NASTY, title=NASTY, caption=NASTY)
    page.table([NASTY, "b"], [[NASTY, 1.5], ["x", None]], caption=NASTY)
    page.commands([NASTY])
    page.footer(NASTY)
    return page.html()


def test_page_escapes_all_text(tmp_path):
    page = nasty_page(tmp_path)
    tags = Tags(page)
    assert tags.named("script") == []
    assert tags.text.count(NASTY) >= 12
    for _, attributes in tags.seen:
        for name, value in attributes.items():
            if name in ("alt", "aria-label") and value and "script" in value:
                assert NASTY in value


def test_page_is_self_contained_and_accessible(tmp_path):
    tags = Tags(nasty_page(tmp_path))
    sources = [a["src"] for tag, a in tags.seen if "src" in a]
    assert len(sources) == 5
    assert all(source.startswith("data:") for source in sources)
    assert not any("href" in a or "srcset" in a or "action" in a for _, a in tags.seen)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", nasty_page(tmp_path))
    assert all(image.get("alt") for image in tags.named("img"))
    assert all(video.get("aria-label") for video in tags.named("video"))
    assert tags.named("html") == [{"lang": "en"}]
    assert {a.get("scope") for a in tags.named("th")} == {"col", "row"}


def test_png_in_the_page_is_exact_and_jpeg_is_close():
    image = viz.wheel_legend(64, max_flow=2)
    for photo, kind, tolerance in ((False, "image/png", 0), (True, "image/jpeg", 12)):
        page = viz.HtmlReport("t")
        page.figures([viz.Figure(image, "a", photo=photo)])
        (picture,) = Tags(page.html()).named("img")
        head, data = picture["src"].split(",")
        assert head == f"data:{kind};base64"
        assert (picture["width"], picture["height"]) == ("64", "64")
        decoded = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(decoded.astype(int) - image).mean() <= tolerance


def test_numbers_in_tables_have_three_digits():
    page = viz.HtmlReport("t")
    page.table(["", "a", "b", "c", "d"], [["row", 0.27812, 12.345, 150.0, None]])
    cells = re.findall(r"<td>(.*?)</td>", page.html())
    assert cells == ["0.278", "12.3", "150", "–"]
    with pytest.raises(UsageError, match="2 cells"):
        page.table(["a", "b"], [["only one"]])


def test_page_refuses_what_it_cannot_show(tmp_path):
    page = viz.HtmlReport("t")
    small, large = np.zeros((2, 2, 3), np.uint8), np.zeros((3, 2, 3), np.uint8)
    with pytest.raises(UsageError):
        page.comparison(viz.Figure(small, "a"), viz.Figure(large, "b"))
    with pytest.raises(InputError):
        page.figures([viz.Figure(small.astype(np.float32), "a")])
    with pytest.raises(InputError, match=r"\.webm"):
        page.video(tmp_path / "clip.avi", alt="a")
    with pytest.raises(InputError, match="no such file"):
        page.video(tmp_path / "clip.mp4", alt="a")


def test_page_is_saved_whole_and_kept_unless_told(tmp_path):
    page, path = viz.HtmlReport("Straße 東"), tmp_path / "new" / "page.html"
    page.save(path)
    assert path.read_text(encoding="utf-8") == page.html()
    with pytest.raises(OutputError, match="exists"):
        page.save(path, overwrite=False)


def test_a_prediction_beside_its_truth():
    image = np.full((4, 6, 3), 90, np.uint8)
    truth = np.zeros((4, 6, 2), np.float32)
    truth[..., 0] = 5.0
    flow = truth.copy()
    flow[:, 3:, 0] = 2.0
    valid = np.ones((4, 6), bool)
    valid[0] = False
    truth[1, 1] = np.nan
    picture = viz.flow_prediction(image, flow, truth, valid=valid)
    assert picture.shape == (4, 4 * 6 + 3 * 4, 3)
    bare = viz.side_by_side(
        [
            image,
            viz.flow_to_rgb(flow, max_flow=5.0),  # the colours of both are on the truth's scale
            viz.flow_to_rgb(truth, max_flow=5.0, valid=valid & np.isfinite(truth[..., 0])),
            viz.error_to_rgb(
                np.where(valid, np.hypot(*np.moveaxis(flow - truth, -1, 0)), np.nan), max_error=3.0
            ),
        ],
        ["frame 1", "estimate", "truth", "error to 3.0 px"],
    )
    assert np.array_equal(picture, bare)
    nothing = viz.flow_prediction(image, flow, np.full_like(truth, np.nan))
    assert nothing.shape == picture.shape
