"""TensorFlow's checkpoints, read without TensorFlow: exact, whole, and never trusted."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.tf_bundle import need_tensorflow, save_by_tensorflow, table, write_bundle
from kinema.errors import InputError
from kinema.io.formats.tf_bundle import TfBundle, _crc32c, bundle_prefix

TINY = Path(__file__).parent / "tensorflow" / "tiny.ckpt"  # 484 bytes that TensorFlow 2.21 wrote
ARRAYS = {
    f"scope/layer{number}/{kind}": np.random.default_rng(number).normal(size=shape).astype(dtype)
    for number in range(40)
    for kind, shape, dtype in (("kernel", (3, 3, 2, 1 + number), "float32"), ("bias", (5,), "float64"))
} | {"global_step": np.int64(7) * np.ones((), np.int64), "a": np.zeros((0, 2), np.float16)}


def test_the_checksum_is_the_published_one() -> None:
    """The check value of CRC-32C, and the examples of RFC 3720, B.4."""
    assert _crc32c(b"123456789") == 0xE3069283
    assert _crc32c(bytes(32)) == 0x8A9136AA
    assert _crc32c(b"\xff" * 32) == 0x62A8AB43
    assert _crc32c(bytes(range(32))) == 0x46DD794E
    assert _crc32c(b"") == 0


def test_what_tensorflow_wrote() -> None:
    bundle = TfBundle(TINY)
    assert set(bundle.variables) == {"a/kernel", "a/kernel/Adam", "half", "step", "empty", "text", "sliced"}
    kernel = bundle.read("a/kernel")
    np.testing.assert_array_equal(kernel, (np.arange(12, dtype=np.float32) / 8 - 0.5).reshape(2, 3, 1, 2))
    assert kernel.dtype == np.float32
    assert bundle.read("a/kernel/Adam").tolist() == [0.25, 0.25]
    assert bundle.read("half").tolist() == [1.5, -2, 65504]
    assert bundle.read("step") == 595000
    assert bundle.read("empty").shape == (0, 3)
    for name, words in (("text", "no plain numbers"), ("sliced", "stored in slices")):
        with pytest.raises(InputError, match=words):
            bundle.read(name)


@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001", ".meta"])
def test_any_of_its_names(ending: str) -> None:
    path = TINY.with_name(TINY.name + ending)
    assert bundle_prefix(path) == TINY
    assert TfBundle(path).index == TINY.with_name("tiny.ckpt.index")
    assert bundle_prefix(TINY.with_name("other.ckpt")) is None


def test_many_variables_in_many_blocks(tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.ckpt-5", ARRAYS)
    bundle = TfBundle(tmp_path / "model.ckpt-5")
    assert set(bundle.variables) == set(ARRAYS)
    for name, array in ARRAYS.items():
        back = bundle.read(name)
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
        assert back.flags.writeable


def test_several_data_files(tmp_path: Path) -> None:
    """The header says how many there are, an entry says in which it lies."""
    write_bundle(tmp_path / "one.ckpt", {"x": np.arange(3, dtype=np.float32)})
    index = (tmp_path / "one.ckpt.index").read_bytes()
    entries = {b"": b"\x08\x02", b"x": _entry_of(index) + b"\x18\x01"}
    (tmp_path / "two.ckpt.index").write_bytes(table(entries))
    (tmp_path / "one.ckpt.data-00000-of-00001").rename(tmp_path / "two.ckpt.data-00001-of-00002")
    assert TfBundle(tmp_path / "two.ckpt").read("x").tolist() == [0, 1, 2]


def _entry_of(index: bytes) -> bytes:
    from kinema.io.formats.tf_bundle import _table

    return dict(_table(index))[b"x"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda index, data: (index[:-1], data), "its end"),
        (lambda index, data: (b"", data), "is empty"),
        (lambda index, data: (index[:10] + b"\xff" + index[11:], data), "differs from its checksum"),
        (lambda index, data: (index, data[:-1]), "cut short"),
        (lambda index, data: (index, data[:-1] + b"\x01"), "damaged: x differs"),
        (lambda index, data: (table({b"x": b""}), data), "no index"),
        (lambda index, data: (table({b"": b"", b"x": b""}, compression=1), data), "compressed"),
        (lambda index, data: (table({b"": b"", b"x": b"\x08\x01\x18\x01"}), data), "a file that it does not"),
        (lambda index, data: (table({b"": b"", b"x": b"\x08\x01\x28\x08"}), data), "size"),
    ],
)
def test_damage_is_one_line(tmp_path: Path, spoil, words: str) -> None:
    prefix = tmp_path / "model.ckpt"
    write_bundle(prefix, {"x": np.arange(3, dtype=np.float32)})
    files = [prefix.with_name(f"model.ckpt.{end}") for end in ("index", "data-00000-of-00001")]
    for path, content in zip(files, spoil(*(path.read_bytes() for path in files)), strict=True):
        path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        TfBundle(prefix).read("x")
    assert "model.ckpt" in str(caught.value)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.ckpt\.index"):
        TfBundle(tmp_path / "model.ckpt")
    write_bundle(tmp_path / "model.ckpt", {"x": np.ones(3, np.float32)})
    (tmp_path / "model.ckpt.data-00000-of-00001").unlink()
    with pytest.raises(InputError, match=r"data-00000-of-00001: no such file"):
        TfBundle(tmp_path / "model.ckpt").read("x")


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_whatever_the_index_says_it_is_an_array_or_an_error(tmp_path_factory, data) -> None:
    """Checksums would hide most damage from what lies behind them, so entries are spoilt and sealed again."""
    prefix = tmp_path_factory.mktemp("fuzz") / "model.ckpt"
    write_bundle(prefix, {"x": np.arange(6, dtype=np.float32).reshape(2, 3)})
    entry = bytearray(_entry_of(prefix.with_name("model.ckpt.index").read_bytes()))
    for _ in range(data.draw(st.integers(1, 3))):
        entry[data.draw(st.integers(0, len(entry) - 1))] = data.draw(st.integers(0, 255))
    entry = entry[: data.draw(st.integers(0, len(entry)))] + data.draw(st.binary(max_size=4))
    prefix.with_name("model.ckpt.index").write_bytes(table({b"": b"", b"x": bytes(entry)}))
    with contextlib.suppress(InputError):
        assert TfBundle(prefix).read("x").nbytes <= 24


def test_tensorflow_writes_what_is_read_here(tmp_path: Path) -> None:
    need_tensorflow()
    arrays = {name: array for name, array in ARRAYS.items() if name != "global_step"}
    save_by_tensorflow(tmp_path / "model.ckpt", arrays)
    bundle = TfBundle(tmp_path / "model.ckpt")
    assert set(bundle.variables) == set(ARRAYS)
    for name, array in arrays.items():
        np.testing.assert_array_equal(bundle.read(name), array)
