"""The wheel: what is in it, and that it runs from an environment that has nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kinema._version import __version__

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
LARGEST_CODE, LARGEST_WEIGHTS = 1_000_000, 60_000_000  # bytes in the wheel, which holds no data
# Weights as a version may ship them, of a model that needs none: they cannot be in the way of real ones.
CARD = {"file": "tvnet-reference.safetensors", "sha256": hashlib.sha256(b"weights").hexdigest()} | {
    "model": "tvnet", "preset": "reference", "tensors": 1, "parameters": 1, "precision": "float16",
    "recipe": "tvnet-test", "data": "none", "steps": 7, "kinema": __version__, "licence": "Apache-2.0",
}  # fmt: skip


def _run(*command: str | Path, cwd: Path) -> str:
    # No variable of ours may help the installed package find the source tree.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by way of the source distribution as for a release, with weights and their card."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, tree)
    weights = tree / "src" / "kinema" / "weights"
    (weights / CARD["file"]).write_bytes(b"weights")
    (weights / CARD["file"]).with_suffix(".json").write_text(json.dumps(CARD))
    _run(sys.executable, "-m", "build", "--outdir", out, tree, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a new environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("clean")
    _run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    pins = ROOT / "constraints.txt"
    _run(scripts / "python", "-m", "pip", "install", "--quiet", "-c", pins, wheel, cwd=folder)
    return scripts


def test_what_the_wheel_holds(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
        packaged = {name for name in names if name.endswith(".py")}
        notice = archive.read(next(n for n in names if n.endswith("licenses/NOTICE"))).decode()
    assert wheel.name == f"kinema-{__version__}-py3-none-any.whl"
    weights = {name for name in names if name.startswith("kinema/weights/") and not name.endswith(".py")}
    assert sum(sizes[name] for name in weights) < LARGEST_WEIGHTS
    assert sum(sizes.values()) - sum(sizes[name] for name in weights) < LARGEST_CODE
    present = {path.name for path in (ROOT / "src/kinema/weights").iterdir() if path.suffix != ".py"}
    files = {name for name in present if name.endswith((".safetensors", ".json"))}
    assert weights == {f"kinema/weights/{name}" for name in {*files, CARD["file"], "tvnet-reference.json"}}
    assert "kinema/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "Apache License" in notice
    assert {name.split("/")[0] for name in names} == {"kinema", f"kinema-{__version__}.dist-info"}
    source = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert packaged == source


def test_the_command_runs(clean: Path, tmp_path: Path):
    assert _run(clean / "kinema", "--version", cwd=tmp_path) == f"kinema {__version__}\n"
    assert _run(clean / "python", "-m", "kinema", "--version", cwd=tmp_path) == f"kinema {__version__}\n"


def test_nothing_but_the_requirements_is_needed(clean: Path, tmp_path: Path):
    report = _run(clean / "kinema", "doctor", cwd=tmp_path)
    assert report.splitlines()[-1].startswith("healthy")
    _run(clean / "python", "-m", "pip", "check", cwd=tmp_path)
    assert str(ROOT) not in _run(
        clean / "python", "-c", "import kinema; print(kinema.__file__)", cwd=tmp_path
    )


def test_the_weights_are_found_where_they_are_installed(clean: Path, tmp_path: Path):
    listed = _run(clean / "kinema", "weights", "list", cwd=tmp_path)
    assert f"tvnet reference: 0.0 KiB, tvnet-test, 7 steps, kinema {__version__}, Apache-2.0\n" in listed
    assert "damaged" not in listed


def test_flow_of_a_pair(clean: Path, tmp_path: Path):
    """A smooth scene moved by (3, -2) whole pixels, from files to a file."""
    from kinema.io.flow import read_flow
    from kinema.io.images import write_image

    y, x = np.mgrid[0:96, 0:128].astype(float)

    def scene(shift_x: int, shift_y: int) -> np.ndarray:
        u, v = x - shift_x, y - shift_y
        waves = np.sin(u / 5 + v / 11) + np.cos(u / 13 - v / 6) + np.sin((u + v) / 8 + np.cos(v / 9))
        return np.repeat(np.round(127.5 + 40 * waves).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)

    write_image(tmp_path / "1.png", scene(0, 0))
    write_image(tmp_path / "2.png", scene(3, -2))
    _run(clean / "kinema", "flow", "1.png", "2.png", "-o", "motion.flo", cwd=tmp_path)
    flow = read_flow(tmp_path / "motion.flo").flow
    assert flow.shape == (96, 128, 2)
    error = np.linalg.norm(flow[8:-8, 8:-8] - (3.0, -2.0), axis=-1).mean()
    assert error < 0.2
