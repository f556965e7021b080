"""What docs/conventions.md promises, each in numbers small enough to check by hand."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from jaxtyping import TypeCheckError

from kinema.evaluation.accumulators import Accumulator, Tally
from kinema.io.flow import read_flow, write_flow
from kinema.io.images import read_image, to_unit_float, write_image
from kinema.models import MODELS
from kinema.ops import camera, epipolar, grid, occlusion, pose, resize, tiling, warp
from kinema.ops.camera import rigid_flow, rigid_motion
from kinema.ops.grid import pixel_grid
from kinema.ops.occlusion import forward_backward_occlusion, range_occlusion
from kinema.ops.pose import compose, invert_pose, pose_from_vector
from kinema.ops.resize import resize_depth, resize_flow, resize_image, resize_intrinsics
from kinema.ops.tiling import tiles
from kinema.ops.warp import backward_warp, in_frame, sample

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "conventions.md"


# --- images ---------------------------------------------------------------------------------------


def test_images_are_rgb(tmp_path):
    image = np.zeros((2, 3, 3), dtype=np.uint8)
    image[0, 0] = 255, 0, 0  # red, top left
    image[1, 2] = 0, 0, 255  # blue, bottom right
    write_image(tmp_path / "picture.png", image)
    write_image(tmp_path / "picture.ppm", image)
    # A PPM file holds red, green, blue in this order.
    assert (tmp_path / "picture.ppm").read_bytes()[-18:] == image.tobytes()
    assert read_image(tmp_path / "picture.png")[0, 0].tolist() == [255, 0, 0]
    assert read_image(tmp_path / "picture.ppm")[1, 2].tolist() == [0, 0, 255]


def test_image_values_lie_between_zero_and_one():
    eight = to_unit_float(np.array([[[0, 51, 255]]], dtype=np.uint8))
    sixteen = to_unit_float(np.array([[[0, 13107, 65535]]], dtype=np.uint16))
    assert eight.dtype == sixteen.dtype == np.float32
    assert eight.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert sixteen.flatten().tolist() == pytest.approx([0, 0.2, 1])


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.card.works_untrained])
def test_models_take_rgb_in_unit_range_and_normalise_it_themselves(name):
    """A smooth pattern that moves by (+1, -0.5) is found, and a darker copy of the frames gives the same."""
    entry = MODELS[name]
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")

    def frame(u, v):
        wave = torch.sin(0.4 * (x - u)) + torch.cos(0.35 * (y - v)) + torch.sin(0.2 * (x - u + y - v))
        return (0.5 + wave / 6.5).expand(1, 3, 48, 64)

    model = entry.builder(None, {}).eval()
    with torch.no_grad():
        flow = model(frame(0, 0), frame(1, -0.5)).flow
        darker = model(0.5 * frame(0, 0), 0.5 * frame(1, -0.5)).flow
    assert flow.shape == (1, 2, 48, 64)
    assert flow[0, :, 12:-12, 12:-12].mean((1, 2)).tolist() == pytest.approx([1, -0.5], abs=0.1)
    torch.testing.assert_close(darker, flow, atol=0.1, rtol=0)


# --- flow -----------------------------------------------------------------------------------------


def test_flow_plus_one_fetches_the_pixel_to_the_right():
    frame2 = torch.tensor([[0.0, 10.0, 20.0, 30.0]]).view(1, 1, 1, 4)
    flow = torch.zeros(1, 2, 1, 4)
    flow[:, 0] = 1.0  # from frame 1 to frame 2 everything moves one pixel to the right
    assert backward_warp(frame2, flow, border="replicate").flatten().tolist() == [10, 20, 30, 30]


def test_channel_0_is_right_and_channel_1_is_down():
    frame2 = torch.arange(12.0).view(1, 1, 3, 4)  # value = 4 row + column
    right, down = torch.zeros(2, 1, 2, 3, 4)
    right[:, 0], down[:, 1] = 1.0, 1.0
    assert backward_warp(frame2, right)[0, 0, 1, 1] == 4 * 1 + 2
    assert backward_warp(frame2, down)[0, 0, 1, 1] == 4 * 2 + 1


def test_warped_frame_2_reconstructs_frame_1():
    frame1, frame2 = torch.zeros(2, 1, 1, 5, 6)
    frame1[0, 0, 1, 1] = 1.0
    frame2[0, 0, 2, 4] = 1.0  # the dot moved 3 right and 1 down
    flow = torch.zeros(1, 2, 5, 6)
    flow[:, 0], flow[:, 1] = 3.0, 1.0
    assert torch.equal(backward_warp(frame2, flow), frame1)


def test_zero_flow_changes_nothing():
    image = torch.rand(1, 3, 37, 101)  # sizes at which plain grid_sample rounds
    flow = torch.zeros(1, 2, 37, 101)
    assert torch.equal(backward_warp(image, flow), image)


def test_flow_files_hold_x_then_y(tmp_path):
    flow = np.zeros((2, 3, 2), dtype=np.float32)
    flow[0, 1] = 1.5, -2.0
    write_flow(tmp_path / "pair.flo", flow)
    numbers = np.frombuffer((tmp_path / "pair.flo").read_bytes()[12:], dtype="<f4")
    assert numbers[2:4].tolist() == [1.5, -2.0]  # second pixel of the first row: right, down
    assert np.array_equal(read_flow(tmp_path / "pair.flo").flow, flow)


def test_resized_flow_is_in_pixels_of_its_own_grid():
    flow = torch.tensor([4.0, 6.0]).view(1, 2, 1, 1).repeat(1, 1, 6, 8)
    resized = resize_flow(flow, (3, 2))  # 8 columns become 2, 6 rows become 3
    assert resized[0, :, 0, 0].tolist() == [4.0 * 2 / 8, 6.0 * 3 / 6]


def test_resized_flow_uses_the_true_ratio_for_odd_sizes():
    flow = torch.ones(1, 2, 5, 7)
    assert resize_flow(flow, (3, 4))[0, :, 0, 0].tolist() == pytest.approx([4 / 7, 3 / 5])  # not 1 / 2


# --- coordinates ----------------------------------------------------------------------------------


def test_whole_numbers_are_pixel_centres():
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(1, 1, 2, 2)
    points = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]]).view(1, 2, 1, 3)
    assert sample(image, points).flatten().tolist() == [1, 4, 2.5]


def test_points_are_x_y_and_sizes_are_h_w():
    xy = pixel_grid((2, 3))  # 2 rows, 3 columns
    assert xy.shape == (2, 2, 3)
    assert xy[:, 1, 2].tolist() == [2, 1]  # the last pixel: x = 2, y = 1
    assert resize_image(torch.zeros(1, 1, 4, 4), (2, 3), antialias=False).shape == (1, 1, 2, 3)
    assert [(t.height, t.width) for t in tiles((2, 3), 8, 0)] == [(2, 3)]


def test_grid_sample_is_called_where_it_must_be_only():
    callers = {
        path.relative_to(ROOT / "src" / "kinema").as_posix()
        for path in (ROOT / "src" / "kinema").rglob("*.py")
        if re.search(r"\b(grid_sample|affine_grid)\(", path.read_text(encoding="utf-8"))
    }
    # The renderer joins `to_sampling_grid`, as a matrix, with its own maps: one product, not two passes.
    # Deformable convolution has a form made of it, for export to formats that know nothing else.
    assert callers == {"ops/warp.py", "data/procedural/scene_batch.py", "ops/_deform_eager.py"}


def test_image_resizing_is_half_pixel():
    line = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    # Output pixel i reads (i + 0.5) / 2 - 0.5: -0.25, 0.25, 0.75, 1.25, the ends repeated.
    assert resize_image(line, (1, 4), antialias=False).flatten().tolist() == [0, 0.25, 0.75, 1]


def test_antialias_has_to_be_stated():
    signature = inspect.signature(resize_image)
    assert signature.parameters["antialias"].default is inspect.Parameter.empty
    stripes = torch.tensor([0.0, 0.0, 0.0, 8.0]).repeat(4).view(1, 1, 1, 16)
    assert resize_image(stripes, (1, 4), antialias=False)[0, 0, 0, 1] == 0
    assert resize_image(stripes, (1, 4), antialias=True)[0, 0, 0, 1].item() == pytest.approx(2)


def test_other_rules_are_named_options_and_not_the_default():
    line = torch.tensor([0.0, 3.0, 9.0]).view(1, 1, 1, 3)
    aligned = resize_image(line, (1, 5), antialias=False, sampling="corner_aligned").flatten().tolist()
    tf1 = resize_image(line, (1, 6), antialias=False, sampling="tf1").flatten().tolist()
    assert aligned == pytest.approx([0, 1.5, 3, 6, 9])  # TVNet: reads i (3 - 1) / (5 - 1)
    assert tf1 == [0, 1.5, 3, 6, 9, 9]  # tfoptflow, GeoNet: reads i 3 / 6
    assert inspect.signature(resize_image).parameters["sampling"].default == "half_pixel"


def test_border_rules_are_named_options():
    """Rows of 1, 2, 3 read at x = -1, -0.5, 2 and 2.5 by every rule."""
    image = torch.tensor([[1.0, 2.0, 3.0]]).repeat(3, 1).view(1, 1, 3, 3)
    points = torch.zeros(1, 2, 1, 4)
    points[0, 0, 0] = torch.tensor([-1.0, -0.5, 2.0, 2.5])
    read = {
        border: sample(image, points, border=border).flatten().tolist()
        for border in ("zeros", "replicate", "reflect", "pwcnet", "geonet", "tvnet")
    }
    assert read == {
        "zeros": [0, 0.5, 3, 1.5],
        "replicate": [1, 1, 3, 3],
        "reflect": [2, 1.5, 3, 2.5],
        "pwcnet": [0, 0, 3, 0],
        "geonet": [0, 0, 0, 0],
        "tvnet": [0, 0, 3, 3.5],
    }


# --- cameras --------------------------------------------------------------------------------------


def test_resized_intrinsics_keep_the_half_pixel():
    K = torch.tensor([[[100.0, 0.0, 49.5], [0.0, 80.0, 29.5], [0.0, 0.0, 1.0]]])  # centre of 60x100 pixels
    half = resize_intrinsics(K, (60, 100), (30, 50))
    assert half[0].tolist() == [[50, 0, 24.5], [0, 40, 14.5], [0, 0, 1]]  # centre of 30x50 pixels
    plain = resize_intrinsics(K, (60, 100), (30, 50), convention="plain")
    assert plain[0, :2, 2].tolist() == [24.75, 14.75]


def test_chains_of_poses_read_like_their_names():
    T_b_from_a = torch.eye(4)
    T_b_from_a[0, 3] = 2.0  # x_b = x_a + 2
    T_c_from_b = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0]))  # half a turn about z
    T_c_from_a = compose(T_c_from_b[None], T_b_from_a[None])[0]
    point = torch.tensor([1.0, 0.0, 5.0, 1.0])
    assert (T_c_from_a @ point).tolist() == [-3, 0, 5, 1]
    assert (invert_pose(T_c_from_a[None])[0] @ torch.tensor([-3.0, 0.0, 5.0, 1.0])).tolist() == point.tolist()


def test_a_camera_that_moves_right_sees_points_move_left():
    K = torch.tensor([[[100.0, 0.0, 1.0], [0.0, 100.0, 0.0], [0.0, 0.0, 1.0]]])
    T_source_from_target = torch.eye(4)[None]
    T_source_from_target[0, 0, 3] = -0.5  # the source stands half a metre to the right of the target
    flow = rigid_flow(torch.full((1, 1, 1, 3), 10.0), T_source_from_target, K)
    assert flow[0, 0, 0].tolist() == pytest.approx([-5, -5, -5], abs=1e-5)
    assert flow[0, 1, 0].tolist() == pytest.approx([0, 0, 0], abs=1e-5)


def test_euler_angles_are_applied_z_first():
    quarter = torch.pi / 2
    T = pose_from_vector(torch.tensor([[1.0, 2.0, 3.0, quarter, 0.0, quarter]]))
    # The turn about z takes x to y, that about x takes y to z; then the translation.
    moved = T[0] @ torch.tensor([1.0, 0.0, 0.0, 1.0])
    assert moved.tolist() == pytest.approx([1, 2, 3 + 1, 1], abs=1e-6)


def test_points_behind_the_camera_are_not_valid():
    K = torch.eye(3)[None]
    T = torch.eye(4)[None]
    T[0, 2, 3] = -4.0  # four ahead
    motion = rigid_motion(torch.tensor([5.0, 3.0]).view(1, 1, 1, 2), T, K)
    assert motion.valid.flatten().tolist() == [1, 0]
    assert motion.flow[0, :, 0, 1].tolist() == [0, 0]
    published = rigid_motion(torch.tensor([5.0, 3.0]).view(1, 1, 1, 2), T, K, near=None)
    assert published.flow[0, 0, 0, 1].item() == pytest.approx(3 / -1 - 1)


def test_depth_zero_is_unknown_and_is_not_averaged():
    depth = torch.tensor([2.0, 4.0, 0.0, 6.0]).view(1, 1, 1, 4)
    assert resize_depth(depth, (1, 2), mode="area").flatten().tolist() == [3, 6]


# --- masks ----------------------------------------------------------------------------------------


def test_valid_is_one_where_usable():
    flow = torch.zeros(1, 2, 1, 3)
    flow[0, 0, 0] = torch.tensor([0.0, 1.0, 1.0])  # the last pixel leaves the frame
    assert in_frame(flow).flatten().tolist() == [1, 1, 0]


def test_occluded_is_one_where_hidden():
    """A pixel that moves from x = 0 to x = 2 hides what lay there."""
    flow, backward = torch.zeros(2, 1, 2, 1, 4)
    flow[0, 0, 0, 0], backward[0, 0, 0, 2] = 2.0, -2.0
    assert forward_backward_occlusion(flow, backward).flatten().tolist() == [0, 0, 1, 0]
    assert range_occlusion(backward).flatten().tolist() == [0, 0, 1, 0]


def test_no_operator_takes_a_mask_without_saying_of_what():
    for module in (camera, epipolar, grid, occlusion, pose, resize, tiling, warp):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if not name.startswith("_"):
                assert not {"mask", "masks"} & set(inspect.signature(function).parameters), name


# --- shapes, numbers, the page --------------------------------------------------------------------


def test_shapes_in_the_types_are_checked_in_the_tests():
    with pytest.raises(TypeCheckError):
        backward_warp(torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5))  # flow has 2 channels
    with pytest.raises(TypeCheckError):
        backward_warp(torch.zeros(1, 3, 4, 5), torch.zeros(1, 2, 5, 4))  # sizes differ


def test_metrics_are_sums_divided_once():
    one, two = Accumulator(), Accumulator()
    one.update("a", {"epe": Tally(total=3.0, count=1)})
    two.update("b", {"epe": Tally(total=3.0, count=3)})
    one.merge(two)
    assert one.result("epe", averaging="per-pixel") == 6.0 / 4  # not the mean of 3 and 1
    assert one.result("epe", averaging="per-image") == (3.0 + 1.0) / 2


def test_plain_grid_sample_would_not_be_exact():
    """Why warping goes through a canvas of powers of two: the textbook call changes pixels at zero flow."""
    image = torch.rand(1, 1, 97, 333, generator=torch.Generator().manual_seed(1))
    points = pixel_grid((97, 333))[None]
    textbook = F.grid_sample(image, grid.to_sampling_grid(points, (97, 333)), align_corners=False)
    assert not torch.equal(textbook, image)
    assert torch.equal(sample(image, points), image)


def test_every_test_that_the_page_names_exists_and_the_other_way_round():
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    present = set(re.findall(r"^def (test_\w+)", Path(__file__).read_text(encoding="utf-8"), flags=re.M))
    assert named == present - {"test_every_test_that_the_page_names_exists_and_the_other_way_round"}
