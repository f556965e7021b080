"""`kinema doctor`: the report, its JSON, and that a broken part is told instead of raised."""

from __future__ import annotations

import builtins
import json
import platform
import sys

import pytest

from kinema._version import __version__
from kinema.apps import doctor
from kinema.apps.doctor import DoctorConfig
from kinema.cli.main import main


@pytest.fixture(scope="module")
def diagnosis():
    return doctor.run(DoctorConfig())


def test_this_installation_is_healthy(diagnosis):
    assert [(check.name, check.detail) for check in diagnosis.checks if not check.passed] == []


def test_versions_are_those_that_run(diagnosis):
    import av
    import numpy
    import torch

    assert diagnosis.versions["python"] == platform.python_version()
    assert diagnosis.versions["kinema"] == __version__
    assert diagnosis.versions["torch"] == torch.__version__
    assert diagnosis.versions["numpy"] == numpy.__version__
    assert diagnosis.versions["av"] == av.__version__
    assert diagnosis.versions["libavcodec"].count(".") == 2


def test_devices_begin_with_the_processor(diagnosis):
    assert diagnosis.devices[0].startswith("cpu")


def test_codecs_say_both_ways(diagnosis):
    assert set(diagnosis.codecs) == {"h264", "hevc", "vp9", "av1", "ffv1", "aac", "opus"}
    assert all(set(uses) == {"decode", "encode"} for uses in diagnosis.codecs.values())
    assert diagnosis.codecs["ffv1"] == {"decode": "ffv1", "encode": "ffv1"}  # always in FFmpeg


def test_extras_follow_the_metadata(diagnosis):
    assert {"mat", "hub", "onnx"} <= set(diagnosis.extras)
    assert not {"dev", "docs"} & set(diagnosis.extras)


def test_the_command_prints_and_writes_the_same(tmp_path, capsys):
    path = tmp_path / "doctor.json"
    assert main(["doctor", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    report = json.loads(path.read_text())
    assert report["healthy"] is True
    assert out.splitlines()[-1].startswith("healthy")
    for title in ("versions", "machine", "codecs", "extras", "tried"):
        assert f"\n{title}\n" in out
    assert f"torch                   {report['versions']['torch']}" in out
    assert all(check["name"] in out and check["passed"] for check in report["checks"])


def test_an_existing_report_is_kept(tmp_path, capsys):
    path = tmp_path / "doctor.json"
    path.write_text("mine")
    assert main(["doctor", "--json", str(path)]) == 2
    assert path.read_text() == "mine"
    assert "--overwrite" in capsys.readouterr().err
    assert main(["doctor", "--json", str(path), "--overwrite"]) == 0


def test_a_broken_part_is_told(monkeypatch, capsys):
    """An installation without PyAV still gets its report; status 2 and one line on stderr."""
    really = builtins.__import__

    def without_av(name, *args, **kwargs):
        if name.split(".")[0] == "av":
            raise ImportError("No module named 'av'")
        return really(name, *args, **kwargs)

    for name in [n for n in sys.modules if n.split(".")[0] == "av" or n.startswith("kinema.io.video")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_av)
    assert main(["doctor"]) == 2
    captured = capsys.readouterr()
    assert "FAILED" in captured.out
    assert "No module named 'av'" in captured.out
    assert captured.err.startswith("kinema: error: 2 of 7 checks (codecs, video) failed")
    assert captured.err.count("\n") == 1
