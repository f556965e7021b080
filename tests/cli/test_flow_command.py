"""`kinema flow` on good input: every kind of input, every format, every option, by the contract."""

from __future__ import annotations

import json
import signal
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from helpers import clips
from helpers.command import Command, process, tree
from helpers.textures import moving_frames
from kinema import viz
from kinema.apps.flow_writers import bounded_8bit
from kinema.inference.loading import load
from kinema.io.flow import read_flow, read_npz
from kinema.io.images import read_image, write_image
from kinema.io.video import Reader, probe

QUICK = ("--model", "tvnet", "--warps", 2, "--iterations", 10)
CLOSE = 1e-3  # pixels: two computations of the same flow need not agree to the last bit
QUICK_OPTIONS = {"warps": 2, "iterations": 10}


@pytest.fixture
def kinema(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


@pytest.fixture
def frames() -> list[np.ndarray]:
    return moving_frames(4, (40, 56), step_xy=(2, -1))


@pytest.fixture
def images(tmp_path: Path, frames: list[np.ndarray]) -> list[Path]:
    paths = [tmp_path / "in" / f"frame_{index}.png" for index in range(4)]
    for path, frame in zip(paths, frames, strict=True):
        write_image(path, frame)
    return paths


@pytest.fixture
def expected(frames: list[np.ndarray]) -> np.ndarray:
    return load("tvnet", options=QUICK_OPTIONS).flow(frames[0], frames[1])


def test_two_images_are_a_pair(
    kinema: Command, tmp_path: Path, images: list[Path], expected: np.ndarray
) -> None:
    out = tmp_path / "out"
    ended = kinema.done("flow", images[0], images[1], "-o", out, *QUICK)
    assert tree(out) == ["000000_flow.flo", "000000_flow.png"]
    flow = read_flow(out / "000000_flow.flo").flow
    np.testing.assert_allclose(flow, expected, atol=CLOSE)
    np.testing.assert_array_equal(read_image(out / "000000_flow.png"), viz.flow_to_rgb(flow))
    assert "1 pair of 56x40" in ended.out


def test_the_options_of_the_model_arrive(
    kinema: Command, tmp_path: Path, images: list[Path], frames: list[np.ndarray]
) -> None:
    words = ("--model", "tvnet", "--scales", 2, "--warps", 3, "--iterations", 7, "--preset", "reference")
    kinema.done("flow", images[0], images[1], "-o", tmp_path / "a.flo", *words)
    options = {"scales": 2, "warps": 3, "iterations": 7}
    predictor = load("tvnet", preset="reference", options=options)
    np.testing.assert_array_equal(read_flow(tmp_path / "a.flo").flow, predictor.flow(frames[0], frames[1]))


@pytest.mark.parametrize(
    ("name", "words", "tolerance"),
    [
        ("flow.flo", (), CLOSE),
        ("flow.pfm", (), CLOSE),
        ("flow.npz", (), CLOSE),
        ("flow.mat", (), CLOSE),
        ("flow.png", ("--format", "png16"), 1 / 128),
        ("new/folder/flow.flo", ("--format", "flo"), CLOSE),
    ],
)
def test_the_suffix_decides_the_format(
    kinema: Command,
    tmp_path: Path,
    images: list[Path],
    expected: np.ndarray,
    name: str,
    words: tuple[str, ...],
    tolerance: float,
) -> None:
    out = tmp_path / "out" / name
    kinema.done("flow", images[0], images[1], "--out", out, *words, *QUICK)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [out]
    field = read_flow(out)
    np.testing.assert_allclose(field.flow, expected, atol=tolerance, rtol=0)
    assert field.valid.all()


def test_a_png_is_the_colour_picture(
    kinema: Command, tmp_path: Path, images: list[Path], expected: np.ndarray
) -> None:
    kinema.done("flow", images[0], images[1], "-o", tmp_path / "a.png", "--max-flow", 5, *QUICK)
    picture = read_image(tmp_path / "a.png").astype(int)
    assert np.abs(picture - viz.flow_to_rgb(expected, max_flow=5)).max() <= 1


@pytest.mark.parametrize("how", ["list", "folder", "glob"])
def test_sequences(kinema: Command, tmp_path: Path, images: list[Path], how: str) -> None:
    inputs = {
        "list": [*images],
        "folder": [images[0].parent],
        "glob": [images[0].parent / "frame_*.png"],
    }[how]
    out = tmp_path / "out"
    kinema.done("flow", *inputs, "-o", out, "--format", "flo", *QUICK)
    assert tree(out) == [f"00000{index}_flow.flo" for index in range(3)]
    for path in out.iterdir():
        assert np.abs(np.median(read_flow(path).flow, axis=(0, 1)) - (2, -1)).max() < 0.2


def test_everything_that_can_be_written_beside_the_flow(
    kinema: Command, tmp_path: Path, images: list[Path], frames: list[np.ndarray]
) -> None:
    out = tmp_path / "out"
    wanted = ("--backward", "--occlusion", "--confidence")
    kinema.done("flow", images[0], images[1], "-o", out, *wanted, *QUICK)
    kinds = ("flow.flo", "flow.png", "backward.flo", "backward.png", "occluded.png", "confidence.png")
    assert tree(out) == sorted(f"000000_{kind}" for kind in kinds)
    truth = load("tvnet", options=QUICK_OPTIONS).predict(
        frames[0], frames[1], backward=True, occlusion=True, confidence=True
    )
    assert truth.occluded is not None
    assert truth.confidence is not None
    backward = read_flow(out / "000000_backward.flo").flow
    np.testing.assert_allclose(backward, truth.backward, atol=CLOSE)
    occluded = cv2.imread(str(out / "000000_occluded.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(occluded)) <= {0, 255}
    assert ((occluded == 255) == truth.occluded).mean() > 0.999
    confidence = cv2.imread(str(out / "000000_confidence.png"), cv2.IMREAD_UNCHANGED)
    assert confidence.dtype == np.uint16
    np.testing.assert_allclose(confidence / 65535, truth.confidence, atol=CLOSE)


@pytest.mark.parametrize("suffix", ["npz", "mat"])
def test_bundles_hold_everything_in_one_file(
    kinema: Command, tmp_path: Path, images: list[Path], suffix: str
) -> None:
    out = tmp_path / "out"
    wanted = ("--backward", "--occlusion", "--confidence")
    kinema.done("flow", images[0], images[1], "-o", out, "--format", suffix, *wanted, *QUICK)
    assert tree(out) == [f"000000_flow.{suffix}"]
    if suffix == "npz":
        arrays = read_npz(out / "000000_flow.npz")
        assert set(arrays) == {"flow", "backward", "occluded", "confidence"}
    else:
        import scipy.io

        loaded = scipy.io.loadmat(out / "000000_flow.mat")
        arrays = {name: value for name, value in loaded.items() if not name.startswith("__")}
        assert set(arrays) >= {"flow", "backward", "occluded", "confidence"}
    assert arrays["flow"].shape == arrays["backward"].shape == (40, 56, 2)
    assert arrays["occluded"].shape == arrays["confidence"].shape == (40, 56)
    assert np.abs(np.median(arrays["flow"] + arrays["backward"])) < 0.05


def test_files_beside_a_single_file(kinema: Command, tmp_path: Path, images: list[Path]) -> None:
    out = tmp_path / "out"
    wanted = ("--backward", "--occlusion", "--confidence")
    kinema.done("flow", images[0], images[1], "-o", out / "a.flo", *wanted, *QUICK)
    assert tree(out) == ["a.flo", "a_backward.flo", "a_confidence.png", "a_occluded.png"]


def test_formats_can_be_given_several_times(kinema: Command, tmp_path: Path, images: list[Path]) -> None:
    out = tmp_path / "out"
    words = ("--format", "flo", "--format", "npz", "--format", "png16")
    kinema.done("flow", images[0], images[1], "-o", out, *words, *QUICK)
    assert tree(out) == ["000000_flow.flo", "000000_flow.npz", "000000_flow.png"]


def test_bounded_pictures_for_two_stream_networks(
    kinema: Command, tmp_path: Path, images: list[Path], expected: np.ndarray
) -> None:
    out = tmp_path / "out"
    words = ("--format", "bounded8", "--bound", 4, "--backward")
    kinema.done("flow", images[0], images[1], "-o", out, *words, *QUICK)
    assert tree(out) == sorted(f"000000_{kind}_{axis}.png" for kind in ("flow", "backward") for axis in "xy")
    for channel, axis in enumerate("xy"):
        picture = cv2.imread(str(out / f"000000_flow_{axis}.png"), cv2.IMREAD_UNCHANGED)
        assert picture.shape == (40, 56)
        assert picture.dtype == np.uint8
        np.testing.assert_allclose(picture / 255 * 8 - 4, np.clip(expected[..., channel], -4, 4), atol=0.016)


def test_bounded_values() -> None:
    values = np.array([[-99.0, -20, -10, 0, 0.1, 10, 20, 99]])
    assert bounded_8bit(values, 20.0).tolist() == [[0, 0, 64, 128, 128, 191, 255, 255]]


def decoded(path: Path) -> list[np.ndarray]:
    with Reader(path) as reader:
        return [frame.image for frame in reader]


def test_a_video_gives_a_video_of_the_same_length_rate_and_sound(kinema: Command, tmp_path: Path) -> None:
    source = clips.sound_clip(tmp_path / "clip.mp4", frames=12)
    out = tmp_path / "flow.mp4"
    ended = kinema.done("flow", source, "-o", out, *QUICK)
    before, after = probe(source), probe(out)
    assert after.rate == before.rate == Fraction(30000, 1001)
    assert after.size_hw == before.size_hw
    assert after.has_audio
    assert not after.variable_rate
    assert after.duration == before.duration
    pictures = decoded(out)
    assert len(pictures) == 12
    # The last flow is shown twice; lossy coding changes it a little.
    assert np.abs(pictures[-1].astype(int) - pictures[-2]).mean() < 1
    assert packets(out) == packets(source)
    assert "11 pairs" in ended.out
    assert tree(tmp_path) == ["clip.mp4", "flow.mp4"]


def packets(path: Path) -> list[bytes]:
    """The sound as it is stored."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def test_irregular_times_are_kept(kinema: Command, tmp_path: Path) -> None:
    source = clips.variable_clip(tmp_path / "clip.mp4", frames=10)
    kinema.done("flow", source, "-o", tmp_path / "flow.mp4", *QUICK)
    with Reader(tmp_path / "flow.mp4") as reader:
        assert [frame.time for frame in reader] == clips.variable_times(10)


def test_a_video_in_a_folder(kinema: Command, tmp_path: Path) -> None:
    source = clips.ntsc_clip(tmp_path / "clip.mp4", frames=4)
    kinema.done("flow", source, "-o", tmp_path / "out", *QUICK)
    assert tree(tmp_path / "out") == ["flow.mp4"]
    kinema.done("flow", source, "-o", tmp_path / "numbers", "--format", "flo", *QUICK)
    assert tree(tmp_path / "numbers") == [f"00000{index}_flow.flo" for index in range(3)]


def test_videos_beside_a_video(kinema: Command, tmp_path: Path) -> None:
    source = clips.sound_clip(tmp_path / "clip.mp4", frames=4)
    out = tmp_path / "out"
    wanted = ("--backward", "--occlusion", "--confidence")
    kinema.done("flow", source, "-o", out / "a.mp4", *wanted, *QUICK)
    assert tree(out) == ["a.mp4", "a_backward.mp4", "a_confidence.mp4", "a_occluded.mp4"]
    for path in out.iterdir():
        assert len(decoded(path)) == 4
        assert probe(path).has_audio == (path.name == "a.mp4")


def test_several_videos_give_a_folder_each(kinema: Command, tmp_path: Path) -> None:
    first = clips.ntsc_clip(tmp_path / "first.mp4", frames=3)
    second = clips.ntsc_clip(tmp_path / "second.mp4", frames=4)
    kinema.done("flow", first, second, "-o", tmp_path / "out", "--format", "flo", *QUICK)
    expected = ["first", "first/000000_flow.flo", "first/000001_flow.flo", "second"]
    expected += [f"second/00000{index}_flow.flo" for index in range(3)]
    assert tree(tmp_path / "out") == expected


def test_the_frame_beside_its_flow(kinema: Command, tmp_path: Path, images: list[Path]) -> None:
    kinema.done("flow", images[0], images[1], "-o", tmp_path / "a.png", "--side-by-side", *QUICK)
    picture = read_image(tmp_path / "a.png")
    assert picture.shape[1] >= 2 * 56
    assert picture.shape[0] >= 40


def test_images_can_become_a_video(kinema: Command, tmp_path: Path, images: list[Path]) -> None:
    kinema.done("flow", *images, "-o", tmp_path / "a.webm", *QUICK)
    assert probe(tmp_path / "a.webm").codec == "vp9"
    assert len(decoded(tmp_path / "a.webm")) == 4


def test_a_part_of_a_video(kinema: Command, tmp_path: Path) -> None:
    source = clips.make_clip(tmp_path / "clip.mp4", frames=20, rate=Fraction(10))
    words = ("--start", 0.5, "--end", 1.5, "--stride", 2, "--format", "flo")
    kinema.done("flow", source, "-o", tmp_path / "out", *words, *QUICK)
    with Reader(source, start=0.5, end=1.5, stride=2) as reader:
        frames = [frame.image for frame in reader]
    assert len(tree(tmp_path / "out")) == len(frames) - 1 == 4
    truth = load("tvnet", options=QUICK_OPTIONS).flow(frames[0], frames[1])
    flow = read_flow(tmp_path / "out" / "000000_flow.flo").flow
    np.testing.assert_allclose(flow, truth, atol=CLOSE)


def test_size_tiles_and_warm_start_arrive(
    kinema: Command, tmp_path: Path, images: list[Path], frames: list[np.ndarray]
) -> None:
    words = ("--model", "tvnet", "--max-side", 50, "--warm-start", "--format", "flo")
    kinema.done("flow", *images, "-o", tmp_path / "out", *words, *QUICK)
    predictor = load("tvnet", options=QUICK_OPTIONS, max_side=50)
    for index, result in enumerate(predictor.stream(frames, warm_start=True)):
        field = read_flow(tmp_path / "out" / f"00000{index}_flow.flo")
        np.testing.assert_allclose(field.flow, result.flow, atol=CLOSE)
    large = moving_frames(2, (80, 150))
    for index, image in enumerate(large):
        write_image(tmp_path / f"{index}.png", image)
    kinema.done(
        "flow", tmp_path / "0.png", tmp_path / "1.png", "-o", tmp_path / "t.flo", "--tile", 64, *QUICK
    )
    tiled = load("tvnet", options=QUICK_OPTIONS, tile=64).flow(large[0], large[1])
    np.testing.assert_allclose(read_flow(tmp_path / "t.flo").flow, tiled, atol=CLOSE)


def test_the_json_file_says_what_was_done(kinema: Command, tmp_path: Path, images: list[Path]) -> None:
    said = tmp_path / "said.json"
    kinema.done("flow", *images, "-o", tmp_path / "out", "--format", "flo", "--json", said, *QUICK)
    content = json.loads(said.read_text())
    assert content["model"] == "tvnet"
    assert content["preset"] == "corrected"
    assert content["counts"] == {"clips": 1, "pairs": 3}
    assert content["data"][0]["size_hw"] == [40, 56]
    assert content["settings"]["iterations"] == 10
    assert {"kinema", "torch", "numpy"} <= set(content["versions"])


def test_overwrite_replaces_and_quiet_says_nothing(
    kinema: Command, tmp_path: Path, images: list[Path], expected: np.ndarray
) -> None:
    out = tmp_path / "a.flo"
    kinema.done("flow", images[1], images[0], "-o", out, *QUICK)
    ended = kinema.done("flow", images[0], images[1], "-o", out, "--overwrite", "-q", *QUICK)
    assert (ended.out, ended.err) == ("", "")
    np.testing.assert_allclose(read_flow(out).flow, expected, atol=CLOSE)


def test_deep_images_keep_their_depth(kinema: Command, tmp_path: Path) -> None:
    """Motion that 8 bits cannot show: a texture of 1 percent contrast in 16 bits."""
    frames = moving_frames(2, (40, 56), step_xy=(1, 1))
    for index, frame in enumerate(frames):
        write_image(tmp_path / f"{index}.png", (frame.astype(np.uint16) * 2 + 30000).astype(np.uint16))
    kinema.done("flow", tmp_path / "0.png", tmp_path / "1.png", "-o", tmp_path / "a.flo", *QUICK)
    flow = read_flow(tmp_path / "a.flo").flow[8:-8, 8:-8]
    assert np.abs(np.median(flow, axis=(0, 1)) - (1, 1)).max() < 0.1


def test_interrupted_work_leaves_whole_files(tmp_path: Path) -> None:
    source = clips.ntsc_clip(tmp_path / "clip.mp4", frames=200, size_hw=(96, 128))
    out = tmp_path / "out"
    words = ("--format", "flo", "--format", "npz", "--model", "tvnet", "--iterations", 20)
    running = process("flow", source, "-o", out, *words)
    deadline = time.monotonic() + 60
    while not (out / "000003_flow.flo").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    last = err.strip().splitlines()[-1]
    assert "interrupted" in last
    done = int(last.split("clip: ")[1].split(" of ")[0].split()[0])
    names = tree(out)
    assert 3 <= done < 199
    assert not [name for name in names if name.startswith(".")]
    for name in names:
        assert read_flow(out / name).flow.shape == (96, 128, 2)
    for index in range(done):
        assert {f"{index:06d}_flow.flo", f"{index:06d}_flow.npz"} <= set(names)


def test_an_interrupted_video_is_not_left_behind(tmp_path: Path) -> None:
    source = clips.ntsc_clip(tmp_path / "clip.mp4", frames=300, size_hw=(96, 128))
    running = process(
        "flow", source, "-o", tmp_path / "out" / "flow.mp4", "--model", "tvnet", "--iterations", 20
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "unfinished video was removed" in err
    assert tree(tmp_path / "out") == []


def test_help_names_every_option(kinema: Command) -> None:
    ended = kinema.done("flow", "--help")
    for option in (
        "--out",
        "--model",
        "--preset",
        "--tile",
        "--max-side",
        "--backward",
        "--json",
        "-q",
        "-v",
    ):
        assert option in ended.out


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_video(tmp_path: Path) -> None:
    """Peak resident memory of 50 and 500 frames of 640x360, within 5 percent."""
    import os

    peaks = []
    for frames in (50, 500):
        source = clips.ntsc_clip(tmp_path / f"clip{frames}.mp4", frames=frames, size_hw=(360, 640))
        words = ("--model", "tvnet", "--max-side", 160, "--warps", 1, "--iterations", 5, "-q")
        running = process("flow", source, "-o", tmp_path / f"flow{frames}.mp4", *words)
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
        assert running.returncode == 0
        assert probe(tmp_path / f"flow{frames}.mp4").frame_count == frames
        peaks.append(usage.ru_maxrss)
    assert peaks[1] < 1.05 * peaks[0], peaks
