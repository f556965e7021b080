"""Frames by number: the same as a full decode gives, whatever the order, the container and the process."""

import itertools
import multiprocessing
import pickle  # noqa: TID251 - as a data loader sends it to its workers
from fractions import Fraction

import av
import numpy as np
import pytest

from helpers.clips import NTSC, index_of, make_clip, rotated_clip
from kinema.errors import InputError, UsageError
from kinema.io.video import IndexedReader, Reader

SMALL = (12, 16)


def indexed(path):
    reader = IndexedReader(path)
    assert [glance.number for glance in reader.glances(SMALL)] == list(range(len(reader.times)))
    return reader


def played(path):
    return [frame.image for frame in Reader(path)]


def open_gop(tmp_path):
    options = {"crf": "12", "x264-params": "open-gop=1:keyint=8:bframes=3:scenecut=0"}
    return make_clip(tmp_path / "open.mp4", frames=24, options=options)


def strips(tmp_path):
    options = {"crf": "12", "preset": "ultrafast", "x264-params": "intra-refresh=1:keyint=12:bframes=0"}
    return make_clip(tmp_path / "strips.mp4", frames=24, options=options)


CLIPS = {
    "mp4": lambda path: make_clip(path / "a.mp4", frames=24),
    "mkv": lambda path: make_clip(path / "a.mkv", frames=24),
    "webm": lambda path: make_clip(path / "a.webm", frames=24, codec="libvpx-vp9"),
    "avi": lambda path: make_clip(path / "a.avi", frames=24, codec="mpeg4", rate=Fraction(25)),
    "ts": lambda path: make_clip(path / "a.ts", frames=24),
    "variable": lambda path: make_clip(
        path / "v.mp4", frames=24, times=[Fraction(index * index, 600) for index in range(24)]
    ),
    "open group": open_gop,
    "intra refresh": strips,
}


@pytest.mark.parametrize("kind", CLIPS)
def test_frames_by_number_are_those_of_a_full_decode(tmp_path, kind):
    path = CLIPS[kind](tmp_path)
    whole, reader = played(path), indexed(path)
    assert len(reader.times) == len(whole) == 24
    order = np.random.default_rng(0).permutation(23)
    for number in [*order, *range(23)]:
        first, second = reader.read([int(number), int(number) + 1])
        np.testing.assert_array_equal(first, whole[number])
        np.testing.assert_array_equal(second, whole[number + 1])
    np.testing.assert_array_equal(reader.read([2, 9, 23])[1], whole[9])


@pytest.mark.parametrize("kind", ["open group", "intra refresh", "ts"])
def test_a_reader_that_starts_late_gives_what_a_full_decode_gives(tmp_path, kind):
    path = CLIPS[kind](tmp_path)
    frames = list(Reader(path))
    for number in (5, 13, 23):
        late = [frame.image for frame in Reader(path, start=frames[number].time)]
        np.testing.assert_array_equal(late, [frame.image for frame in frames[number:]])


def test_reading_in_order_decodes_every_frame_once(tmp_path, monkeypatch):
    reader = indexed(make_clip(tmp_path / "a.mp4", frames=24))
    starts = []
    begin = IndexedReader._begin_at
    monkeypatch.setattr(
        IndexedReader, "_begin_at", lambda self, number: (starts.append(number), begin(self, number))
    )
    for number in range(23):
        assert [index_of(image) for image in reader.read([number, number + 1])] == [number, number + 1]
    # The clip has a key frame every six frames; the second frame of each pair is kept for the next one.
    assert starts == [0]


def test_a_jump_ahead_starts_at_the_key_frame(tmp_path, monkeypatch):
    reader = indexed(make_clip(tmp_path / "a.mp4", frames=24))
    starts = []
    begin = IndexedReader._begin_at
    monkeypatch.setattr(
        IndexedReader, "_begin_at", lambda self, number: (starts.append(number), begin(self, number))
    )
    for number in (0, 3, 20, 22, 21):
        assert index_of(reader.read([number])[0]) == number
    assert starts == [0, 20, 21], "3 and 22 are ahead in the same group; 20 has a key frame in between"


def test_it_travels_to_another_process(tmp_path):
    path = make_clip(tmp_path / "a.mp4", frames=12)
    reader = indexed(path)
    reader.read([3, 4])
    copy = pickle.loads(pickle.dumps(reader))  # noqa: S301 - our own
    assert index_of(copy.read([7])[0]) == 7
    assert index_of(reader.read([5])[0]) == 5


def _read_in_child(reader, numbers, answers):
    answers.put([index_of(reader.read([number])[0]) for number in numbers])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_disturb_the_decoder_of_its_parent(tmp_path):
    reader = indexed(make_clip(tmp_path / "a.mp4", frames=24))
    assert index_of(reader.read([2])[0]) == 2
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_read_in_child, args=(reader, [3, 17, 4], answers))
    child.start()
    assert answers.get(timeout=60) == [3, 17, 4]
    assert [index_of(reader.read([number])[0]) for number in (3, 4, 5)] == [3, 4, 5]
    child.join(timeout=60)
    assert child.exitcode == 0


def test_what_cannot_be_read_is_named(tmp_path):
    path = make_clip(tmp_path / "a.mp4", frames=6)
    fresh = IndexedReader(path)
    with pytest.raises(UsageError, match="not among the 0 seen"):
        fresh.read([0])
    reader = indexed(path)
    for numbers, message in (([], "not among"), ([6], "not among"), ([-1], "not among"), ([2, 2], "rising")):
        with pytest.raises(UsageError, match=message):
            reader.read(numbers)


def test_a_file_that_was_replaced_is_noticed(tmp_path):
    path = make_clip(tmp_path / "a.mp4", frames=12)
    reader = indexed(path)
    make_clip(path, frames=4, rate=Fraction(10))
    with pytest.raises(InputError, match="has changed"):
        reader.read([8])


def test_small_pictures_keep_what_is_where(tmp_path):
    def half(index, size_hw):
        image = np.zeros((*size_hw, 3), np.uint8)
        image[:, size_hw[1] // 2 :] = 200
        return image

    path = make_clip(tmp_path / "a.mp4", frames=2, picture=half)
    glance = next(iter(IndexedReader(path).glances(SMALL)))
    assert glance.picture.shape == (*SMALL, 3)
    assert glance.picture[:, :7].max() < 20
    assert abs(int(glance.picture[:, 9:].min()) - 200) < 20


def test_rotation_is_applied(tmp_path):
    path = rotated_clip(tmp_path / "r.mp4", 90)
    whole = played(path)
    np.testing.assert_array_equal(indexed(path).read([3])[0], whole[3])


@pytest.mark.slow
def test_the_cockatoo_has_key_frames_that_are_none(shared):
    path = shared / "data/clips/cockatoo.mp4"
    with av.open(str(path)) as container:
        keys = [packet.pts for packet in container.demux(video=0) if packet.is_keyframe]
    assert len(keys) == 3
    late = [frame.image for frame in Reader(path, start=Fraction(277, 20))]
    last = list(itertools.islice(iter(Reader(path)), 277, None))
    np.testing.assert_array_equal(late, [frame.image for frame in last])


def test_ntsc_times_are_exact(tmp_path):
    reader = indexed(make_clip(tmp_path / "a.mkv", frames=9))
    assert list(reader.times) == [index / NTSC for index in range(9)]
