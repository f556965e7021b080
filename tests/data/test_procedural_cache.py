"""The cache of rendered pairs: what is read is what was rendered, from whole files of the right scenes."""

import pytest
import torch

from kinema.data.procedural import cache as module
from kinema.data.procedural.cache import RenderCache
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.render_config import RenderConfig
from kinema.errors import InputError, UsageError

CONFIG = RenderConfig(size_hw=(64, 96), bank_textures=4, bank_shapes=4)


def cache(folder, config=CONFIG, seed=1, **options):
    return RenderCache(folder, config, seed, **{"pairs_per_file": 3, **options})


def test_what_is_read_is_what_was_rendered(tmp_path):
    kept = cache(tmp_path)
    assert len(kept) == 0
    assert kept.fill(5) == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"pairs-00000{n}.safetensors" for n in (0, 1)]
    read, rendered = kept.batch([4, 0, 5]), render_pair(CONFIG, 1, [4, 0, 5])
    for part in ("image1", "image2", "valid", "occluded", "in_frame"):
        assert torch.equal(getattr(read, part), getattr(rendered, part)), part
    error = (read.flow - rendered.flow).abs()
    assert 0 < error.max() <= 1 / 256 + 1e-5


def test_flow_too_fast_to_store_is_not_valid():
    batch = render_pair(CONFIG, 1, [0])
    batch.flow[0, 0, 3, 4] = 300.0
    packed = module._packed(batch)
    assert packed["masks"][0, 3, 4] & 1 == 0
    assert packed["flow"][0, 0, 3, 4] == 0
    assert packed["masks"][0, 3, 5] & 1 == 1


def test_filling_goes_on_where_it_stopped(tmp_path):
    cache(tmp_path).fill(3)
    before = (tmp_path / "pairs-000000.safetensors").stat().st_mtime_ns
    files = []
    assert cache(tmp_path).fill(9, progress=lambda: files.append(1)) == 9
    assert len(files) == 3
    assert (tmp_path / "pairs-000000.safetensors").stat().st_mtime_ns == before


def test_two_processes_share_the_work(tmp_path):
    other = tmp_path / "other"
    assert cache(tmp_path).fill(9, part=1, parts=2) == 0  # a gap at the beginning
    assert cache(tmp_path).fill(9, part=0, parts=2) == 9
    cache(other).fill(9)
    for name in ("pairs-000000.safetensors", "pairs-000001.safetensors"):
        assert (tmp_path / name).read_bytes() == (other / name).read_bytes()


def test_an_interrupted_file_is_no_file(tmp_path, monkeypatch):
    kept = cache(tmp_path)
    kept.fill(3)

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_tensors", stopped)
    with pytest.raises(KeyboardInterrupt):
        kept.fill(6)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["pairs-000000.safetensors"]
    assert kept.fill(6) == 6


def test_its_size_is_bounded(tmp_path):
    one_file = 3 * 64 * 96 * 11 + 4096
    kept = cache(tmp_path, max_gib=2.5 * one_file / 2**30)
    assert kept.max_pairs == 6
    assert kept.fill(100) == 6
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2.5 * one_file
    with pytest.raises(UsageError, match="holds no file"):
        cache(tmp_path, max_gib=0.5 * one_file / 2**30)


def test_other_scenes_are_refused(tmp_path):
    cache(tmp_path).fill(3)
    for other in (cache(tmp_path, seed=2), cache(tmp_path, CONFIG.model_copy(update={"grey_share": 0.5}))):
        with pytest.raises(InputError, match="other scenes"):
            other.fill(3)
        with pytest.raises(InputError, match="other scenes"):
            other.batch([0])


def test_absent_and_damaged_pairs(tmp_path):
    kept = cache(tmp_path)
    kept.fill(3)
    for index in (3, -1):
        with pytest.raises(InputError, match="has not been rendered"):
            kept.batch([index])
    path = tmp_path / "pairs-000000.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="delete it"):
        cache(tmp_path).batch([0])
