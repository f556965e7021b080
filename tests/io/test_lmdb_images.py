import sys

import numpy as np
import pytest

from helpers import restoration_trees as trees
from kinema.errors import InputError, MissingExtraError
from kinema.io.lmdb_images import list_lmdb_images, read_lmdb_image


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("lmdb")
    trees.write_lmdb(tmp_path / "x.lmdb", {"000": 0, "001": 1}, range(2), sharp=False)
    return tmp_path / "x.lmdb"


def test_keys_have_no_suffix_and_pictures_are_rgb(folder):
    assert list_lmdb_images(folder) == ("000/00000000", "000/00000001", "001/00000000", "001/00000001")
    picture = read_lmdb_image(folder, "001/00000001")
    assert picture.shape == (*trees.LOW_HW, 3)
    assert picture.dtype == np.uint8
    assert (picture == trees.shade(1, 1, sharp=False)).all()


def test_the_list_says_what_is_there_without_opening_the_data(folder):
    (folder / "data.mdb").write_bytes(b"")
    assert len(list_lmdb_images(folder)) == 4


def test_grey_shapes_and_names_with_blanks_are_listed(tmp_path):
    (tmp_path / "meta_info.txt").write_text("my clip/a 1.png (4,6,1) 1\nb.png (4, 6) 0\n\n")
    assert list_lmdb_images(tmp_path) == ("my clip/a 1", "b")


def test_a_broken_list_is_named_with_its_line(folder):
    (folder / "meta_info.txt").write_text("a.png (4,6,3) 1\na.png 4 6\n")
    with pytest.raises(InputError, match=r"meta_info\.txt: line 2 does not read NAME\.png"):
        list_lmdb_images(folder)
    (folder / "meta_info.txt").unlink()
    with pytest.raises(InputError, match="no such file"):
        list_lmdb_images(folder)


def test_damage_is_told_in_one_sentence(folder, tmp_path):
    with pytest.raises(InputError, match="gone: is in meta_info"):
        read_lmdb_image(folder, "gone")
    with pytest.raises(InputError, match=r"cannot be read from data\.mdb"):
        read_lmdb_image(tmp_path / "absent.lmdb", "a")
    broken = tmp_path / "broken.lmdb"
    broken.mkdir()
    (broken / "data.mdb").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match=r"cannot be read from data\.mdb"):
        read_lmdb_image(broken, "a")


def test_a_picture_that_is_none(folder):
    import lmdb

    with lmdb.open(str(folder), map_size=2**22) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"bad", b"no picture")
    with pytest.raises(InputError, match=r"x\.lmdb: bad"):
        read_lmdb_image(folder, "bad")


def test_without_the_package_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'kinema\[lmdb\]'"):
        read_lmdb_image(folder, "000/00000000")


def test_real_list_and_pictures(shared):
    pytest.importorskip("lmdb")
    folder = shared / "fixtures/edvr/basicsr_lmdb/gt.lmdb"
    assert list_lmdb_images(folder) == ("baboon", "comic")
    assert read_lmdb_image(folder, "baboon").shape == (480, 492, 3)
