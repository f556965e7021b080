"""Footage: clips found, repeats and cuts found, windows that never cross a cut, read in any order."""

import pickle  # noqa: TID251 - as a data loader sends it to its workers
from fractions import Fraction
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest
from torch.utils.data import DataLoader

from helpers.clips import index_of, make_clip, moving_texture, truncated_clip
from helpers.flow_trees import write_picture
from kinema.data import FootageConfig, open_dataset, open_flow, open_footage, parse_spec
from kinema.data.footage import cut_windows
from kinema.data.frame_changes import SMALL_HW, dissimilarity, is_repeat, watch
from kinema.errors import InputError, UsageError
from kinema.io.video import Reader


def opened(text):
    return open_dataset(parse_spec(text)[0])


def names(dataset):
    return [dataset.name_of(index) for index in range(len(dataset))]


def seconds_of(window):
    """Which frames of `moving_texture` a window holds."""
    return [index_of(image) for image in window.frames]


def scene(seed, index=0, size_hw=SMALL_HW):
    """A picture of one of many scenes that moves two pixels a frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 40, 3)).astype(np.float32)
    wide = cv2.resize(coarse, (3 * size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC)
    return np.clip(wide[:, 2 * index : 2 * index + size_hw[1]], 0, 255).astype(np.uint8)


# Repeats and cuts


def test_cuts_are_found_where_the_scene_changes_and_nowhere_else():
    pictures = (
        [scene(0, i) for i in range(12)] + [scene(1, i) for i in range(9)] + [scene(2, i) for i in range(5)]
    )
    seen = watch(pictures)
    assert seen.cuts == [12, 21]
    assert seen.duplicates == []


def test_fast_pans_flashes_and_fades_of_one_scene_are_no_cuts():
    pan = [scene(3, 6 * i) for i in range(10)]
    assert watch(pan).cuts == []
    brighter = [
        np.clip(scene(4, i).astype(int) * 0.6 + 60 * (i >= 5), 0, 255).astype(np.uint8) for i in range(10)
    ]
    assert watch(brighter).cuts == []
    noise = np.random.default_rng(0)
    grainy = [
        np.clip(scene(5, i) + noise.normal(0, 12, (*SMALL_HW, 3)), 0, 255).astype(np.uint8) for i in range(10)
    ]
    assert watch(grainy).cuts == []


def test_the_same_layout_from_calm_is_a_cut():
    # Shot and reverse shot: half of the picture stays. 0.5 < change < 0.85, after frames that hardly changed.
    first, other = scene(6), scene(7)
    second = first.copy()
    second[:, : SMALL_HW[1] * 3 // 5] = other[:, : SMALL_HW[1] * 3 // 5]
    calm = [np.roll(first, i, axis=1) for i in range(6)]
    after = [np.roll(second, i, axis=1) for i in range(5, 10)]
    assert watch([*calm, *after]).cuts == [6]


def test_repeats_are_counted_against_the_last_frame_that_was_kept():
    still = scene(8).astype(np.int16)
    drifting = [
        np.clip(still + i // 4, 0, 255).astype(np.uint8) for i in range(12)
    ]  # one level every 4 frames
    assert watch(drifting).duplicates == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    assert is_repeat(scene(8).astype(np.float32), scene(8).astype(np.float32))
    assert not is_repeat(scene(8, 0).astype(np.float32), scene(8, 1).astype(np.float32))


def test_unrelated_pictures_are_as_different_as_can_be():
    apart = [
        dissimilarity(scene(a)[::4, ::4].astype(np.float32), scene(b)[::4, ::4].astype(np.float32))
        for a, b in pairwise(range(20, 40))
    ]
    assert min(apart) > 0.85
    same = scene(1)[::4, ::4].astype(np.float32)
    assert dissimilarity(same, same + 30) == pytest.approx(0, abs=1e-5)


def test_real_cuts_are_found(shared):
    dataset = opened(f"footage:{shared / 'data/clips/bikes.mp4'}")
    assert dataset.clips[0].cuts == (30, 76, 137, 187, 242)
    assert len(dataset) == 250 - 6
    firsts = {int(name[-6:]) for name in names(dataset)}
    assert not firsts & {29, 75, 136, 186, 241}


# Windows


def test_pairs_of_a_video_follow_each_other(tmp_path):
    make_clip(tmp_path / "a.mp4", frames=8)
    dataset = opened(f"footage:{tmp_path / 'a.mp4'}")
    assert names(dataset) == [f"a/{number:06d}" for number in range(7)]
    assert [seconds_of(window) for window in dataset] == [[i, i + 1] for i in range(7)]
    assert dataset.official_count is None
    assert dataset.paths_of(0) == {"video": tmp_path / "a.mp4"}
    assert dataset.notes == ()


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("-pairs", [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]]),
        ("-triplets", [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5]]),
        ("-4", [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]),
        ("-2x3", [[0, 3], [1, 4], [2, 5]]),
        ("-3x2", [[0, 2, 4], [1, 3, 5]]),
    ],
)
def test_variants_say_how_long_and_how_far_apart(tmp_path, variant, expected):
    make_clip(tmp_path / "a.mp4", frames=6)
    assert [seconds_of(window) for window in opened(f"footage{variant}:{tmp_path}")] == expected


def test_windows_in_python_may_begin_every_so_many_frames(tmp_path):
    make_clip(tmp_path / "a.mp4", frames=9)
    dataset = opened(f"footage:{tmp_path}")
    sparse = cut_windows(dataset.spec, dataset.clips, FootageConfig(length=3, stride=4))
    assert [seconds_of(window) for window in sparse] == [[0, 1, 2], [4, 5, 6]]
    for wrong in ({"length": 1}, {"step": 0}, {"stride": 0}):
        with pytest.raises(UsageError, match="or more"):
            FootageConfig(**wrong)


@pytest.mark.parametrize("variant", ["1", "0x2", "3x0", "pairsx2", "quads"])
def test_unknown_variants_are_named(tmp_path, variant):
    with pytest.raises(UsageError, match="write footage-pairs or footage-triplets"):
        opened(f"footage-{variant}:{tmp_path}")


def changing(index, size_hw):
    """Frames 0..5 of one scene, 6..11 of another; 3 and 8 repeat the frame before."""
    index -= (index >= 3) + (index >= 8)
    return cv2.resize(scene(10 + (index > 4), index), size_hw[::-1])


def test_no_window_crosses_a_cut_and_repeats_are_dropped_and_counted(tmp_path):
    make_clip(tmp_path / "a.mp4", frames=12, size_hw=(144, 256), picture=changing)
    dataset = opened(f"footage:{tmp_path / 'a.mp4'}")
    clip = dataset.clips[0]
    assert (clip.duplicates, clip.cuts) == ((3, 8), (6,))
    assert [dataset.frames_of(index)[1] for index in range(len(dataset))] == [
        [0, 1], [1, 2], [2, 4], [4, 5], [6, 7], [7, 9], [9, 10], [10, 11],
    ]  # fmt: skip
    assert dataset.notes == (
        "2 of 12 frames repeat the one before and are left out",
        "1 cuts between scenes: no window reaches across one",
    )
    everything = FootageConfig(drop_duplicates=False, split_at_cuts=False)
    assert len(cut_windows(dataset.spec, dataset.clips, everything)) == 11


def test_a_clip_in_which_nothing_moves_has_no_window(tmp_path):
    size_hw = (144, 256)
    make_clip(tmp_path / "a.mp4", frames=6, size_hw=size_hw, picture=lambda *_: scene(9, 0, size_hw))
    with pytest.raises(
        InputError, match="no window of 2 frames in a row: the longest run has 1; 5 of 6 frames"
    ):
        opened(f"footage:{tmp_path}")


def test_any_order_gives_the_same_frames(tmp_path):
    for name in "abcdef":
        make_clip(tmp_path / f"{name}.mp4", frames=6)
    dataset = opened(f"footage:{tmp_path}")
    in_order = [window.frames for window in dataset]
    for index in np.random.default_rng(0).permutation(len(dataset)):
        np.testing.assert_array_equal(dataset[int(index)].frames, in_order[index])
    assert len(dataset._open) <= 4
    dataset.close()
    np.testing.assert_array_equal(dataset[3].frames, in_order[3])
    whole = [frame.image for frame in Reader(tmp_path / "b.mp4")]
    np.testing.assert_array_equal(dataset[5].frames, whole[:2])


def test_a_slice_is_footage_and_the_end_is_an_end(tmp_path):
    make_clip(tmp_path / "a.mp4", frames=6)
    dataset = opened(f"footage:{tmp_path}")
    assert names(dataset[1::2]) == ["a/000001", "a/000003"]
    assert seconds_of(dataset[-1]) == [4, 5]
    with pytest.raises(IndexError):
        dataset[5]
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301 - our own
    assert seconds_of(copy[2]) == [2, 3]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_give_what_one_process_gives(tmp_path):
    for name in "ab":
        make_clip(tmp_path / f"{name}.mp4", frames=8)
    dataset = opened(f"footage:{tmp_path}")
    alone = [seconds_of(window) for window in dataset]
    for workers in (0, 2):
        loader = DataLoader(dataset, batch_size=None, num_workers=workers)
        assert [seconds_of(window) for window in loader] == alone


# Where clips are found


def write_frames(folder, count, *, size_hw=(48, 64), start=0):
    for number in range(start, start + count):
        write_picture(folder / f"frame_{number}.png", moving_texture(number, size_hw)[..., ::-1])


def test_folders_of_frames_are_clips_however_deep(tmp_path):
    write_frames(tmp_path / "one", 3, start=8)
    write_frames(tmp_path / "deep/two", 2)
    make_clip(tmp_path / "deep/three.mp4", frames=3)
    write_frames(tmp_path / ".hidden", 3)
    (tmp_path / "notes.txt").write_text("x")
    dataset = opened(f"footage:{tmp_path}")
    assert names(dataset) == [
        "deep/three/000000",
        "deep/three/000001",
        "deep/two/000000",
        "one/000000",
        "one/000001",
    ]
    assert seconds_of(dataset[4]) == [9, 10], "frame_10 comes after frame_9"
    assert [path.name for path in dataset.paths_of(4).values()] == ["frame_9.png", "frame_10.png"]


def test_patterns_find_videos_images_and_folders(tmp_path):
    for name in ("a", "b", "c"):
        make_clip(tmp_path / f"{name}.mp4", frames=3)
    write_frames(tmp_path / "frames", 3)
    assert names(opened(f"footage:{tmp_path}/[ab].mp4")) == ["a/000000", "a/000001", "b/000000", "b/000001"]
    assert len(opened(f"footage:{tmp_path}/frames/*.png")) == 2
    assert len(opened(f"footage:{tmp_path}/f*")) == 2
    assert len(opened(f"footage:{tmp_path}/**/*")) == 8


def test_clips_of_one_name_stay_apart(tmp_path):
    make_clip(tmp_path / "a.mp4", frames=2)
    make_clip(tmp_path / "a.mkv", frames=2)
    assert names(opened(f"footage:{tmp_path}")) == ["a/000000", "a.mp4/000000"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("gone", "no such file or folder"),
        ("*.mov", "nothing matches this pattern"),
        ("empty", "no video and no image in .*: expected a video, a folder of videos or frames"),
        ("one/frame_0.png", "one image is no clip"),
        ("one", "no window of 2 frames in a row: the longest run has 1"),
    ],
)
def test_what_is_no_footage_is_said_in_one_line(tmp_path, path, text):
    (tmp_path / "empty").mkdir()
    write_frames(tmp_path / "one", 1)
    with pytest.raises(InputError, match=text) as caught:
        opened(f"footage:{tmp_path / path}")
    assert "\n" not in str(caught.value)


def test_one_bad_clip_among_good_ones_is_left_out_and_told(tmp_path):
    make_clip(tmp_path / "good.mp4", frames=4)
    (tmp_path / "bad.mp4").write_text("no video")
    truncated_clip(tmp_path / "cut.mp4", frames=24)
    write_frames(tmp_path / "mixed", 1)
    write_frames(tmp_path / "mixed", 1, size_hw=(48, 72), start=1)
    dataset = opened(f"footage:{tmp_path}")
    assert len(dataset) == 3
    assert sum("a clip is left out" in note for note in dataset.notes) == 3
    assert any("bad.mp4" in note for note in dataset.notes)
    assert any("72x48 but frame_0.png is 64x48" in note for note in dataset.notes)


def test_a_clip_that_is_damaged_on_the_way_gives_its_beginning(tmp_path):
    path = make_clip(tmp_path / "a.mp4", frames=24, size_hw=(96, 128))
    with av.open(str(path)) as container:
        target = [packet for packet in container.demux(video=0) if packet.size][12]
    content = bytearray(path.read_bytes())
    content[target.pos : target.pos + target.size] = b"\xff" * target.size
    path.write_bytes(bytes(content))
    dataset = opened(f"footage:{path}")
    assert 2 <= dataset.clips[0].frame_count < 24
    assert [seconds_of(window) for window in dataset] == [[i, i + 1] for i in range(len(dataset))]
    assert f"a: only its first {dataset.clips[0].frame_count} frames: " in dataset.notes[0]


def test_no_window_reaches_across_missing_frames(tmp_path):
    there = [0, 1, 2, 3, 9, 10, 11, 12, 13, 14]
    path = make_clip(
        tmp_path / "a.mkv",
        frames=len(there),
        rate=Fraction(25),
        times=[Fraction(index, 25) for index in there],
        picture=lambda index, size_hw: moving_texture(there[index], size_hw),
    )
    dataset = opened(f"footage:{path}")
    expected = [[a, b] for a, b in pairwise(there) if b == a + 1]
    assert [seconds_of(window) for window in dataset] == expected
    assert dataset.notes == ("frames are missing in 1 places: no window reaches across one",)


def test_footage_is_refused_where_truth_is_needed(tmp_path):
    make_clip(tmp_path / "a.mp4", frames=3)
    with pytest.raises(UsageError, match="footage has no true flow; choose from middlebury, sintel"):
        open_flow(parse_spec(f"footage:{tmp_path}")[0])
    assert len(open_footage(parse_spec(f"footage:{tmp_path}")[0])) == 2


def test_real_folders_of_frames(shared):
    assert len(opened(f"footage-triplets:{shared / 'data/kitti_odometry'}")) == 7 + 3
    vid4 = opened(f"footage:{shared / 'data/vid4/GT'}")
    assert len(vid4) == 6
    assert vid4[0].frames.shape == (2, 576, 720, 3)
