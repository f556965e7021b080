"""Shards behind http:// and s3://: one range read for each sample, and errors that say what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from helpers.shard_sets import chairs, differences, opened
from helpers.web import serving
from kinema.apps.data_convert import run
from kinema.apps.data_convert_config import DataConvertConfig
from kinema.data import shard_store
from kinema.errors import InputError, UsageError


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(shard_store, "_FIRST_PAUSE_S", 0.0)


@pytest.fixture
def original(tmp_path):
    spec = chairs(tmp_path / "chairs", 6)
    run(DataConvertConfig(spec=spec, out=tmp_path / "site/shards", num_shards=3))
    return opened(spec)


@pytest.fixture
def site(tmp_path, original):
    pytest.importorskip("aiohttp")
    with serving(tmp_path / "site") as served:
        yield served


def test_http_reads_one_range_for_each_sample(site, original):
    shards = opened(f"shards:{site.url}/shards")
    assert [path for _, path, _ in site.seen] == ["/shards/manifest.json"]
    for index in (4, 0, 5, 1, 3, 2, 4):
        assert differences(shards[index], original[index]) == []
    ranges = [asked for asked in site.asked("range") if asked]
    assert len(ranges) == 7
    assert {method for method, _, _ in site.seen} == {"GET"}
    paths = [path for _, path, headers in site.seen if "range" not in headers]
    assert len(paths) == len(set(paths)) == 4, "manifest and indexes are read once"
    assert shards.spec.label == "flyingchairs"


def test_a_forked_process_reads_by_a_connection_of_its_own(site, original):
    shards = opened(f"shards:{site.url}/shards")
    assert shards[0].name == "00001"
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if differences(shards[5], original[5]) == [] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert differences(shards[3], original[3]) == []


def test_a_server_that_is_busy_is_asked_again(site, original):
    shards = opened(f"shards:{site.url}/shards")
    site.failing = [503, 502]
    assert differences(shards[0], original[0]) == []
    site.failing = [503] * 9
    with pytest.raises(InputError, match=r"flyingchairs@00000\.tar cannot be read: .*check the address"):
        shards[1]
    assert len(site.failing) == 5


def test_a_refusal_is_not_repeated(site):
    site.failing = [403, 200]
    with pytest.raises(InputError, match=r"manifest\.json cannot be read"):
        opened(f"shards:{site.url}/shards")
    assert site.failing == [200]


def test_a_connection_that_breaks_is_made_again(site, original):
    shards = opened(f"shards:{site.url}/shards")
    site.cut_after, site.cuts = 1000, 2
    assert differences(shards[0], original[0]) == []
    assert site.cuts == 0


def test_a_server_without_ranges_is_told(site):
    site.ranges = False
    shards = opened(f"shards:{site.url}/shards")
    with pytest.raises(InputError, match="sends whole files only, no ranges"):
        shards[0]


def test_wrong_addresses(site):
    for address, says in (
        (f"{site.url}/nowhere", "nowhere/manifest.json: no such file; check the address"),
        ("http://127.0.0.1:9/x", "cannot be read"),
    ):
        with pytest.raises(InputError, match=says):
            opened(f"shards:{address}")
    with pytest.raises(UsageError, match="use a folder, https:// or s3://"):
        opened("shards:smell://x")


@pytest.mark.parametrize(("address", "package"), [("http://x/y", "aiohttp"), ("s3://x/y", "s3fs")])
def test_a_missing_package_names_the_extra(address, package):
    code = (
        f"import sys; sys.modules[{package!r}] = None; from kinema.data.shard_store import open_store; "
        f"open_store('{address}').read('manifest.json')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in ended.stderr
    assert f"needs the package {package}: pip install 'kinema[shards]'" in ended.stderr


def test_s3_at_any_endpoint(tmp_path, original, monkeypatch):
    """A bucket is a folder of the web server; GET and HEAD of objects are all that reading needs."""
    pytest.importorskip("s3fs")
    with serving(tmp_path / "site") as site:  # the bucket is called shards
        monkeypatch.setenv("AWS_ENDPOINT_URL", site.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        shards = opened("shards:s3://shards")
        for index in (4, 0, 5):
            assert differences(shards[index], original[index]) == []
        assert all("authorization" in headers for _, _, headers in site.seen)
        assert len([asked for asked in site.asked("range") if asked]) == 3
        with pytest.raises(InputError, match=r"manifest\.json: no such file|cannot be read"):
            opened("shards:s3://shards/nowhere")
