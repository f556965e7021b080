"""Hosted weights: fetched once from a server, found in the cache afterwards, and clear errors."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import kinema
from kinema.errors import InputError, MissingExtraError, UsageError
from kinema.inference import loading
from kinema.io.checkpoints import save_tensors
from kinema.weights.hub import HubFile, fetch, parse_hub

FILES = {"pwcnet-dc.safetensors": b"default", "sub/other.safetensors": b"other"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FETCH = """
import json, sys
from kinema.errors import KinemaError
from kinema.weights.hub import fetch
for name in sys.argv[1:]:
    try:
        print(json.dumps(fetch(name, default_file="pwcnet-dc.safetensors").read_text()))
    except KinemaError as error:
        print(json.dumps(f"{type(error).__name__}: {error}"))
print(json.dumps("torch" in sys.modules))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for one public repository, me/flow, and a gated one, me/gated."""

    requests: list[str]

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        type(self).requests.append(f"{self.command} {self.path}")
        owner, name, _, revision, *path = self.path.strip("/").split("/")
        data, error = FILES.get("/".join(path)), None
        if (owner, name) == ("me", "gated"):
            error = (403, "GatedRepo")
        elif (owner, name) != ("me", "flow"):
            error = (401, "RepoNotFound")
        elif revision not in ("main", "v1", COMMIT):
            error = (404, "RevisionNotFound")
        elif data is None:
            error = (404, "EntryNotFound")
        self.send_response(error[0] if error else 200)
        if error:
            self.send_header("X-Error-Code", error[1])
            data = b""
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{path[-1]}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    Hub.requests = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetched(endpoint: str, home: Path, *names: str, offline: bool = False) -> list[str]:
    """What each name gives, in a process that knows no other server: its text, or its error."""
    hidden = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, *names],
        env=hidden | told | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    *answers, torch_is_there = [json.loads(line) for line in done.stdout.splitlines()]
    assert not torch_is_there
    return answers


@pytest.mark.slow
def test_files_and_reasons(hub: str, tmp_path: Path) -> None:
    names = {
        "hf:me/flow": "default",
        "hf:me/flow/sub/other.safetensors": "other",
        "hf:me/flow@v1": "default",
        "hf:me/flow/none.safetensors": "InputError: --weights hf:me/flow/none.safetensors: me/flow has no",
        "hf:me/flow@v2": "has no revision v2",
        "hf:me/nothing": "no repository me/nothing, or it is private",
        "hf:me/gated": "its owner must let you in",
    }
    for answer, expected in zip(fetched(hub, tmp_path, *names), names.values(), strict=True):
        assert answer == expected if expected in ("default", "other") else expected in answer
    before = len(Hub.requests)
    again = ("hf:me/flow/sub/other.safetensors", "hf:me/flow/none.safetensors")
    found, missing = fetched(hub, tmp_path, *again, offline=True)
    assert found == "other"
    assert "not in the cache, and there is no connection" in missing
    assert len(Hub.requests) == before


@pytest.mark.slow
def test_no_server(tmp_path: Path) -> None:
    (answer,) = fetched("http://127.0.0.1:9", tmp_path, "hf:me/flow")
    assert answer.startswith(
        "InputError: --weights hf:me/flow: it is not in the cache, and there is no connect"
    )


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf:me/flow", ("me/flow", None, None)),
        ("hf:me/flow/a.safetensors", ("me/flow", "a.safetensors", None)),
        ("hf:me/flow-2.1/sub/a.safetensors@v1", ("me/flow-2.1", "sub/a.safetensors", "v1")),
        ("hf:me/flow@refs/pr/3", ("me/flow", None, "refs/pr/3")),
    ],
)
def test_names(text: str, parts: tuple[str | None, ...]) -> None:
    assert parse_hub(text) == HubFile(*parts)


@pytest.mark.parametrize(
    "text", ["hf:", "hf:me", "hf:me/", "hf:/me/flow", "hf:me/flow@", "hf:../x/y", "hf:me/fl ow"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"write hf:OWNER/NAME"):
        parse_hub(text)


def test_only_safetensors_are_taken() -> None:
    with pytest.raises(UsageError, match=r"only \.safetensors.*kinema weights convert"):
        kinema.load("pwcnet", weights="hf:me/flow/pwc_net.pth.tar")


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.utils", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kinema\[hub\]'"):
        fetch("hf:me/flow", default_file="a.safetensors")


def test_the_default_file_is_that_of_the_preset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`load` hands the name on, and takes what comes back as it takes a file that was named."""
    asked = []

    def bring(text: str, *, default_file: str) -> Path:
        asked.append((text, default_file))
        path = tmp_path / default_file
        save_tensors(path, {}, metadata={"model": "geonet"})
        return path

    monkeypatch.setattr(loading, "fetch", bring)
    for preset, file in ((None, "pwcnet-dc.safetensors"), ("tfoptflow", "pwcnet-tfoptflow.safetensors")):
        with pytest.raises(InputError, match=r"pwcnet-.*holds weights of geonet"):
            kinema.load("pwcnet", weights="hf:me/flow", preset=preset)
        assert asked[-1] == ("hf:me/flow", file)
