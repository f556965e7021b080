"""Compiled loops work where nothing can be remembered: read-only installations, damaged caches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from kinema.ops._compile import compiled

@compiled(nogil=True)
def total(count):
    result = 0
    for number in range(count):
        result += number
    return result

if __name__ == "__main__":
    print(total(5), sum(total.stats.cache_hits.values()))
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "package" / "loops.py"
    path.parent.mkdir()
    path.write_text(MODULE)
    return path


def _run(module: Path, **environment: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"} | environment
    ended = subprocess.run(
        [sys.executable, module], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_neither_the_package_nor_the_home_can_be_written_to(module: Path, tmp_path: Path) -> None:
    """Files in the way of the folders stand for read-only ones: they also stop a superuser."""
    (module.parent / "__pycache__").touch()
    (tmp_path / "home").touch()
    nowhere = str(tmp_path / "home")
    assert _run(module, HOME=nowhere, XDG_CACHE_HOME=nowhere, LOCALAPPDATA=nowhere) == "10 0\n"


def test_a_damaged_cache_is_passed_over(module: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert _run(module, NUMBA_CACHE_DIR=str(cache)) == "10 0\n"
    assert _run(module, NUMBA_CACHE_DIR=str(cache)) == "10 1\n"
    files = [path for path in cache.rglob("*") if path.is_file()]
    assert files
    for content in (b"", b"\x93 not what was written here"):
        for path in files:
            path.write_bytes(content)
        assert _run(module, NUMBA_CACHE_DIR=str(cache)) == "10 0\n"
