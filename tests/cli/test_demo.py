from __future__ import annotations

import html
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kinema.cli.main import main
from kinema.data.procedural.demo_scene import render_clip
from kinema.io.flow import read_flow
from kinema.io.images import read_image
from kinema.io.video import Reader, probe

FRAMES, SIZE = 4, (96, 160)
OPTIONS = ["--frames", str(FRAMES), "--size", "96x160", "--seed", "2"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo that nobody changes."""
    folder = tmp_path_factory.mktemp("demo") / "first run"
    assert main(["demo", "-o", str(folder), *OPTIONS, "-q"]) == 0
    return folder


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_all_files_are_there_and_no_other(demo):
    pairs = [f"{index:06d}" for index in range(FRAMES - 1)]
    assert files(demo) == sorted(
        [
            *("clip.mp4", "flow.mp4", "report.html"),
            *(f"flow/{name}_flow.flo" for name in pairs),
            *(f"truth/flow/{name}.flo" for name in pairs),
            *(f"truth/occlusions/{name}.png" for name in pairs),
        ]
    )


def test_the_truth_on_disk_is_the_truth(demo):
    scene = render_clip(2, frames=FRAMES, size_hw=SIZE)
    for index in range(FRAMES - 1):
        assert np.array_equal(read_flow(demo / "truth" / "flow" / f"{index:06d}.flo").flow, scene.flow[index])
        hidden = read_image(demo / "truth" / "occlusions" / f"{index:06d}.png")[..., 0] > 127
        assert np.array_equal(hidden, ~scene.visible[index])


def errors(demo: Path) -> np.ndarray:
    found = []
    for index in range(FRAMES - 1):
        flow = read_flow(demo / "flow" / f"{index:06d}_flow.flo").flow
        true = read_flow(demo / "truth" / "flow" / f"{index:06d}.flo").flow
        found.append(np.linalg.norm(flow - true, axis=-1))
    return np.stack(found)


def test_the_flow_is_good(demo):
    scene = render_clip(2, frames=FRAMES, size_hw=SIZE)
    still = np.linalg.norm(scene.flow, axis=-1)
    error = errors(demo)
    assert error.mean() < 0.35 * still.mean()
    assert error[scene.visible].mean() < 0.25 * still[scene.visible].mean()
    assert np.median(error) < 0.15


def test_the_clip_is_the_scene_and_the_flow_video_is_as_long(demo):
    scene = render_clip(2, frames=FRAMES, size_hw=SIZE)
    for name in ("clip.mp4", "flow.mp4"):
        info = probe(demo / name)
        assert info.size_hw == SIZE
        assert info.rate == Fraction(12)
        assert info.duration == Fraction(FRAMES, 12)
    with Reader(demo / "clip.mp4") as reader:
        frames = [frame.image for frame in reader]
    assert len(frames) == FRAMES
    for got, wanted in zip(frames, scene.frames, strict=True):
        assert np.abs(got.astype(float) - wanted).mean() < 8  # compressed
    with Reader(demo / "flow.mp4") as reader:
        pictures = [frame.image.astype(float) for frame in reader]
    assert len(pictures) == FRAMES
    assert np.abs(pictures[-1] - pictures[-2]).mean() < 1  # the last flow, repeated
    assert np.mean(pictures) > 180  # mostly pale: little motion against the largest


def test_the_page_holds_the_numbers_and_needs_nothing_else(demo):
    page = (demo / "report.html").read_text(encoding="utf-8")
    scene = render_clip(2, frames=FRAMES, size_hw=SIZE)
    error, still = errors(demo), np.linalg.norm(scene.flow, axis=-1)
    row = re.search(r'<th scope="row">pwcnet</th>(.*?)</tr>', page)
    cells = [float(cell) for cell in re.findall(r"<td>(.*?)</td>", row[1])]
    wanted = [
        *(error.mean(), error[scene.visible].mean(), error[~scene.visible].mean()),
        *(100 * (error > 1).mean(), 100 * (error > 3).mean()),
    ]
    assert cells == pytest.approx(wanted, rel=6e-3)  # three digits
    assert f"<dd>{error.mean():.2f} px</dd>" in page
    assert f"<dd>{still.mean():.2f} px</dd>" in page
    assert not re.search(r"https?:|\bsrc=\"(?!data:)|href=", page)
    assert page.count("<img ") == 8
    assert page.count("data:video/webm") == 1
    assert "kinema flow YOUR.mp4 -o flow.mp4" in page
    typed = f"--predictions '{demo}/flow' --truth '{demo}/truth/flow'"  # quoted: the name has a space
    assert typed in html.unescape(page)


def test_the_last_line_says_where_to_look(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "d"), *OPTIONS]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"look at {tmp_path / 'd' / 'report.html'}"
    assert re.fullmatch(
        r"pwcnet: mean error \d\.\d\d px over 3 pairs \(zero flow: \d\.\d\d px\), \d+ ms a pair", out[0]
    )
    assert len(out) == 2


def test_two_runs_give_the_same_results(demo, tmp_path):
    assert main(["demo", "-o", str(tmp_path / "d"), *OPTIONS, "-q"]) == 0
    same = [name for name in files(demo) if name != "report.html"]  # which holds times and its own place
    for name in same:
        if name.endswith(".mp4"):  # once in hundreds of runs the encoder decides otherwise about a block
            first, again = (frames_of(folder / name) for folder in (demo, tmp_path / "d"))
            assert first.shape == again.shape
            assert np.abs(first - again).mean() <= 1, name
        else:
            assert (tmp_path / "d" / name).read_bytes() == (demo / name).read_bytes(), name


def frames_of(path):
    with Reader(path) as reader:
        return np.stack([frame.image for frame in reader]).astype(np.int16)


def test_quiet_is_quiet(tmp_path, capsys):
    assert main(["demo", "-o", str(tmp_path / "d"), "--frames", "2", "--size", "64x64", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_what_is_there_is_kept_unless_told(tmp_path, capsys):
    folder = tmp_path / "d"
    assert main(["demo", "-o", str(folder), "--frames", "4", "--size", "64x64", "-q"]) == 0
    (folder / "flow" / "notes.txt").write_text("mine", encoding="utf-8")
    before = {name: (folder / name).read_bytes() for name in files(folder)}
    assert main(["demo", "-o", str(folder), "--frames", "3", "--size", "64x64"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "report.html exists" in error
    assert "--overwrite" in error
    assert {name: (folder / name).read_bytes() for name in files(folder)} == before
    assert main(["demo", "-o", str(folder), "--frames", "3", "--size", "64x64", "-q", "--overwrite"]) == 0
    # Nothing of the longer clip is left to be evaluated with the shorter one; what is not ours stays.
    assert files(folder) == [
        *("clip.mp4", "flow.mp4", "flow/000000_flow.flo", "flow/000001_flow.flo", "flow/notes.txt"),
        *("report.html", "truth/flow/000000.flo", "truth/flow/000001.flo"),
        *("truth/occlusions/000000.png", "truth/occlusions/000001.png"),
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--size", "240"], "--size 240"),
        (["--size", "240x"], "--size 240x"),
        (["--size", "8x400"], "32 to 9999"),
        (["--frames", "1"], "--frames must be at least 2"),
        (["--frames", "100000"], "--frames must be at most 240"),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--sede", "1"], "unknown option --sede (did you mean --seed?)"),
    ],
)
def test_wrong_options_are_one_line(tmp_path, capsys, options, says):
    assert main(["demo", "-o", str(tmp_path / "d"), *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert not (tmp_path / "d").exists()


def test_out_is_needed_and_must_not_be_a_file(tmp_path, capsys):
    assert main(["demo"]) == 2
    assert "-o" in capsys.readouterr().err
    (tmp_path / "f").write_text("mine", encoding="utf-8")
    assert main(["demo", "-o", str(tmp_path / "f")]) == 2
    assert "is a file; name a folder" in capsys.readouterr().err
    assert main(["demo", "-o", str(tmp_path / "f" / "d")]) == 2
    error = capsys.readouterr().err  # nothing was rendered before
    assert error.count("\n") == 1
    assert "cannot be made" in error
    assert (tmp_path / "f").read_text(encoding="utf-8") == "mine"


def test_another_seed_is_another_scene(demo, tmp_path):
    options = [*OPTIONS[:-1], "3", "-q"]
    assert main(["demo", "-o", str(tmp_path / "d"), *options]) == 0
    name = "truth/flow/000000.flo"
    assert (tmp_path / "d" / name).read_bytes() != (demo / name).read_bytes()
