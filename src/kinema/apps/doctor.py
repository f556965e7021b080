"""`kinema doctor`: what is installed here, what it can use, and whether it works when tried.

Importing this module imports neither torch nor numpy; a broken installation must still get a report.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field
from tyro.conf import arg

from kinema._version import __version__

if TYPE_CHECKING:
    import numpy as np

_FORMATS = ("h264", "hevc", "vp9", "av1", "ffv1", "aac", "opus")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "sve", "bf16")
_DEVELOPER_EXTRAS = frozenset({"dev", "docs"})
_LARGEST_VIDEO_ERROR = 12.0  # grey levels of 255, mean: far above any codec's loss, far below a wrong picture
_LARGEST_FLOW_ERROR = 0.25  # pixels, mean, on a smooth picture moved by whole pixels


class DoctorConfig(BaseModel):
    """What `kinema doctor` can be told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    json_file: Annotated[Path | None, arg(name="json", metavar="FILE")] = Field(
        default=None, description="Write the report to this JSON file."
    )
    overwrite: bool = Field(default=False, description="Replace the JSON file if it exists.")


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: What was tried.
        passed: Whether it works.
        detail: What came out, or why it failed.
        seconds: How long it took.
    """

    name: str
    passed: bool
    detail: str
    seconds: float


@dataclass(frozen=True)
class Diagnosis:
    """The report.

    Attributes:
        versions: Name -> version of Python, kinema, its dependencies and the FFmpeg libraries.
        machine: The processor: model, cores, memory, instructions that matter.
        devices: What torch can compute on.
        extras: Optional extra -> the packages it lacks; an empty list means that it is complete.
        codecs: Format -> {"decode": name or None, "encode": name or None}.
        checks: What was tried.
    """

    versions: dict[str, str]
    machine: dict[str, str]
    devices: list[str]
    extras: dict[str, list[str]]
    codecs: dict[str, dict[str, str | None]]
    checks: list[Check]

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return [check.name for check in self.checks if not check.passed]


def run(config: DoctorConfig) -> Diagnosis:
    """Look at this installation, try its parts, and write the JSON file if one is wanted.

    Args:
        config: Where to write the report.

    Returns:
        The report. Nothing is raised for a broken part: its check has ``passed`` False and says why.

    Raises:
        OutputError: The JSON file cannot be written.
    """
    devices: list[str] = []
    codecs: dict[str, dict[str, str | None]] = {}
    checks = [
        _check("torch and its devices", lambda: _look_at_devices(devices)),
        _check("codecs", lambda: _look_at_codecs(codecs)),
        _check("warp", _try_warp),
        _check("flow files", _try_flow_files),
        _check("video", _try_video),
        _check("compiled kernels", _try_numba),
        _check("flow of a pair", _try_flow),
    ]
    diagnosis = Diagnosis(_versions(), _machine(), devices, _extras(), codecs, checks)
    if config.json_file is not None:
        from kinema.io.files import write_json

        report = asdict(diagnosis) | {"healthy": not diagnosis.failed}
        write_json(config.json_file, report, overwrite=config.overwrite)
    return diagnosis


def _check(name: str, attempt: Callable[[], str]) -> Check:
    start = time.perf_counter()
    try:
        passed, detail = True, attempt()
    except Exception as error:  # noqa: BLE001  any failure of a part is what this command reports
        passed, detail = False, f"{type(error).__name__}: {error}".splitlines()[0]
    return Check(name, passed, detail, round(time.perf_counter() - start, 3))


def _requirements() -> list[tuple[str, str | None]]:
    """(package, extra or None) for each requirement in the metadata of the installed kinema."""
    try:
        lines = importlib.metadata.requires("kinema") or []
    except importlib.metadata.PackageNotFoundError:  # run from a source tree
        return []
    found = []
    for line in lines:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        found.append((re.split(r"[\s\[<>=!~;(]", line, maxsplit=1)[0], extra[1] if extra else None))
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _versions() -> dict[str, str]:
    own = {"python": platform.python_version(), "kinema": __version__, "system": platform.platform()}
    needed = {
        package: _version(package) or "not installed under this name"
        for package, extra in _requirements()
        if extra is None
    }
    try:
        import av
    except ImportError:
        return own | needed
    libraries = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return own | needed | {"ffmpeg": str(getattr(av, "ffmpeg_version_info", "unknown"))} | libraries


def _extras() -> dict[str, list[str]]:
    missing: dict[str, list[str]] = {}
    for package, extra in _requirements():
        if extra is not None and extra not in _DEVELOPER_EXTRAS:
            missing.setdefault(extra, []).extend([package] if _version(package) is None else [])
    return missing


def _machine() -> dict[str, str]:
    text = ""
    if platform.system() == "Linux":
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    present = set(flags[1].split()) if flags else set()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {
        "processor": model[1] if model else platform.processor() or platform.machine(),
        "cores": f"{usable} of {os.cpu_count()}",
        "instructions": " ".join(flag for flag in _CPU_FLAGS if flag in present) or "unknown",
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine["memory"] = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB"
    return machine


def _look_at_devices(devices: list[str]) -> str:
    """Multiply matrices on each device and compare with the processor."""
    import torch

    from kinema.inference.device import available_devices, describe_device

    a = torch.arange(64.0).reshape(8, 8) / 8  # multiples of 1/8: the products are exact in any order
    for name in available_devices():
        device = torch.device(name)
        devices.append(describe_device(device))
        product = (a.to(device) @ a.to(device)).cpu()
        if not torch.allclose(product, a @ a, rtol=1e-2):  # accelerators may use TF32
            raise ArithmeticError(f"{name} computes a wrong matrix product")
    return f"{len(devices)} usable"


def _look_at_codecs(codecs: dict[str, dict[str, str | None]]) -> str:
    import av

    for name in _FORMATS:
        codecs[name] = {}
        for use, mode in (("decode", "r"), ("encode", "w")):
            try:
                codecs[name][use] = av.codec.Codec(name, mode).name  # type: ignore[arg-type]
            except av.codec.codec.UnknownCodecError:
                codecs[name][use] = None
    if not codecs["h264"]["decode"]:
        raise LookupError("this PyAV cannot decode H.264, which most videos are; install PyAV's own wheel")
    return f"{sum(1 for c in codecs.values() if c['decode'] and c['encode'])} of {len(codecs)} in and out"


def _try_warp() -> str:
    import torch

    from kinema.ops.warp import backward_warp

    image = torch.arange(3.0 * 16 * 24).reshape(1, 3, 16, 24)
    right = torch.zeros(1, 2, 16, 24)
    right[:, 0] = 1
    same = backward_warp(image, torch.zeros_like(right), border="replicate")
    moved = backward_warp(image, right, border="replicate")
    if not torch.allclose(same, image, atol=1e-3):
        raise ArithmeticError("zero flow does not give the image back")
    if not torch.allclose(moved[..., :-1], image[..., 1:], atol=1e-3):
        raise ArithmeticError("flow (+1, 0) does not fetch the pixel to the right")
    return "zero flow and a whole pixel are exact"


def _try_flow_files() -> str:
    import numpy as np

    from kinema.io.flow import read_flow, write_flow

    flow = (np.arange(12 * 17 * 2, dtype=np.float32).reshape(12, 17, 2) - 200) / 64
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.flo", "a.png"):  # 1/64 pixel is what the 16-bit PNG can hold
            write_flow(Path(folder, name), flow)
            if not np.array_equal(read_flow(Path(folder, name)).flow, flow):
                raise ArithmeticError(f"{Path(name).suffix} does not give back what was written")
    return "Middlebury and KITTI files give back what was written"


def _try_video() -> str:
    import numpy as np

    from kinema.io.video import Reader, Writer

    rate, frames = Fraction(30000, 1001), [_picture(shift) for shift in range(5)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.mp4")
        with Writer(path, size_hw=(64, 64), rate=rate) as writer:
            for frame in frames:
                writer.write(frame)
        with Reader(path) as reader:
            back, rate_back = [frame.image for frame in reader], reader.info.rate
    if len(back) != len(frames) or rate_back != rate:
        raise ArithmeticError(f"{len(frames)} frames at {rate}/s came back as {len(back)} at {rate_back}/s")
    error = float(np.mean([np.abs(a.astype(float) - b) for a, b in zip(frames, back, strict=True)]))
    if error > _LARGEST_VIDEO_ERROR:
        raise ArithmeticError(f"written frames differ by {error:.1f} grey levels when read back")
    return f"5 frames at 30000/1001 written and read, mean difference {error:.1f} of 255"


def _try_numba() -> str:
    import numba
    import numpy as np

    @numba.njit
    def total(values: np.ndarray) -> float:
        sum_ = 0.0
        for value in values:
            sum_ += value
        return sum_

    if total(np.arange(10.0)) != 45.0:
        raise ArithmeticError("a compiled loop computes a wrong sum")
    return f"numba {numba.__version__} compiles and runs"


def _try_flow() -> str:
    import numpy as np

    from kinema.inference.loading import load

    truth = (2.0, 0.0)
    flow = load("tvnet", device="cpu", precision="fp32").flow(_picture(0), _picture(2))
    error = float(np.linalg.norm(flow[8:-8, 8:-8] - truth, axis=-1).mean())
    if not error < _LARGEST_FLOW_ERROR:  # also when it is not a number
        raise ArithmeticError(f"the flow of a picture moved by two pixels is wrong by {error:.2f} pixels")
    return f"a picture moved by two pixels: mean error {error:.3f} pixels"


def _picture(shift: int) -> np.ndarray:
    """A smooth (64, 64, 3) uint8 picture without repeats, moved ``shift`` pixels to the right."""
    import numpy as np

    y, x = np.mgrid[0:64, 0:64].astype(np.float64)
    x = x - shift
    waves = np.sin(x / 5 + y / 11) + np.cos(x / 13 - y / 6) + np.sin((x + y) / 8 + np.cos(y / 9))
    grey = np.round(127.5 + 40 * waves).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
