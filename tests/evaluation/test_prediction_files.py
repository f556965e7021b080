"""Depth maps, camera paths and restored frames of anyone, matched and scored."""

import math

import cv2
import numpy as np
import pytest

from helpers.flow_trees import write_picture
from kinema.data import parse_spec
from kinema.errors import InputError
from kinema.evaluation.file_tasks import open_files
from kinema.evaluation.protocols import get_protocol
from kinema.evaluation.scoring import Scorer
from kinema.evaluation.truths import pose_data
from kinema.io.depth import read_depth
from kinema.io.poses import Trajectory, write_kitti_poses, write_tum


def opened(predictions, truth, protocol, **options):
    return open_files(predictions, truth, get_protocol(protocol), **options)


def scored(task, protocol):
    scorer = Scorer(get_protocol(protocol))
    for index in range(len(task.names)):
        task.score(scorer, index)
    return scorer


def write_depth_png(path, metres, steps=256):
    write_picture(path, np.round(np.float64(metres) * steps).astype(np.uint16))


def forward(count, speed=1.0):
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 2, 3] = speed * np.arange(count)
    return T


class TestDepth:
    TRUE = np.float32([[2, 4, 6], [0, 8, 10]])

    def truth(self, tmp_path):
        write_depth_png(tmp_path / "truth/drive/0001.png", self.TRUE)
        write_depth_png(tmp_path / "truth/drive/0002.png", self.TRUE)
        return tmp_path / "truth"

    def test_all_formats_are_read_alike(self, tmp_path):
        np.savez(tmp_path / "a.npz", depth=self.TRUE)
        np.save(tmp_path / "a.npy", self.TRUE[None])
        write_depth_png(tmp_path / "a.png", self.TRUE)
        write_depth_png(tmp_path / "mm.png", self.TRUE, steps=1000)
        (tmp_path / "a.pfm").write_bytes(b"Pf\n3 2\n-1\n" + self.TRUE[::-1].astype("<f4").tobytes())
        for suffix in ("npz", "npy", "png", "pfm"):
            np.testing.assert_array_equal(read_depth(tmp_path / f"a.{suffix}"), self.TRUE)
        np.testing.assert_allclose(read_depth(tmp_path / "mm.png", steps=1000), self.TRUE)

    def test_folders_by_hand(self, tmp_path):
        truth = self.truth(tmp_path)
        (tmp_path / "mine/drive").mkdir(parents=True)
        np.savez(tmp_path / "mine/drive/0001_depth.npz", depth=3 * self.TRUE)
        np.savez(tmp_path / "mine/drive/0002_depth.npz", depth=np.ones((2, 3)))
        scorer = scored(opened(tmp_path / "mine", truth, "depth"), "depth")
        constant = [6 - 2, 6 - 4, 0, 8 - 6, 10 - 6]  # the median is 6
        rmse = math.sqrt(sum(e * e for e in constant) / 5)
        assert scorer.metrics()["rmse"] == pytest.approx(rmse / 2, abs=1e-6)
        assert scorer.yardstick()["rmse"] == pytest.approx(rmse)
        assert scorer.counts()["pixels"] == 10
        # In metres three times the truth is wrong by twice its value.
        metric = scored(opened(tmp_path / "mine", truth, "depth-metric"), "depth-metric")
        assert metric.items()[0].metrics["abs_rel"] == pytest.approx(2)

    def test_a_stack_is_taken_in_order(self, tmp_path):
        truth = self.truth(tmp_path)
        np.save(tmp_path / "stack.npy", np.stack([self.TRUE, np.ones_like(self.TRUE)]))
        scorer = scored(opened(tmp_path / "stack.npy", truth, "depth"), "depth")
        assert [item.name for item in scorer.items()] == ["drive/0001", "drive/0002"]
        assert scorer.items()[0].metrics["a1"] == 100.0
        np.save(tmp_path / "short.npy", self.TRUE[None])
        with pytest.raises(InputError, match="holds 1 depth maps for 2 true ones"):
            opened(tmp_path / "short.npy", truth, "depth")

    def test_what_is_no_depth_is_refused(self, tmp_path):
        truth = self.truth(tmp_path)
        np.savez(tmp_path / "a.npz", disp=self.TRUE)
        with pytest.raises(InputError, match=r"a.npz has no array 'depth'"):
            scored(opened(tmp_path / "a.npz", truth / "drive/0001.png", "depth"), "depth")
        write_picture(tmp_path / "a.png", np.ones((2, 3), np.uint8))
        with pytest.raises(InputError, match="16 bits, this picture has 8"):
            read_depth(tmp_path / "a.png")
        np.save(tmp_path / "text.npy", np.array(["x"]))
        with pytest.raises(InputError, match="no \\(H, W\\) depth map"):
            read_depth(tmp_path / "text.npy")
        (tmp_path / "cut.npy").write_bytes((tmp_path / "text.npy").read_bytes()[:20])
        with pytest.raises(InputError, match="no whole npy file"):
            read_depth(tmp_path / "cut.npy")

    def test_truth_of_a_data_set(self, shared, tmp_path):
        root = shared / "data" / "hololens"
        # Names come from the data set: SEQUENCE/FRAME.
        (spec,) = parse_spec(f"posed:{root}")
        sequence = tmp_path / "out" / root.name
        sequence.mkdir(parents=True)
        for path in sorted((root / "depth").iterdir()):
            stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            np.savez(sequence / f"{path.stem}.npz", depth=stored.astype(np.float32))
        scorer = scored(opened(tmp_path / "out", spec, "depth"), "depth")
        assert len(scorer) == 5
        assert scorer.metrics()["abs_rel"] == pytest.approx(0, abs=1e-6)
        assert scorer.metrics()["scale"] == pytest.approx(1e-3)  # millimetres against metres
        assert scorer.metrics()["a1"] == 100.0


class TestPaths:
    def test_kitti_and_tum_files_mix_and_names_may_differ(self, tmp_path):
        write_kitti_poses(tmp_path / "true.txt", forward(6))
        write_tum(tmp_path / "mine.txt", Trajectory(forward(6, 2.0), np.arange(6.0)))
        scorer = scored(opened(tmp_path / "mine.txt", tmp_path / "true.txt", "trajectory"), "trajectory")
        assert scorer.metrics()["ate_max"] == 5.0
        assert [item.name for item in scorer.items()] == ["true"]

    def test_folders_of_snippets(self, tmp_path):
        """As GeoNet writes them: one file for each, named after the first frame; missing ones are told."""
        for first in range(3):
            times = np.arange(first, first + 5.0)
            write_tum(tmp_path / f"true/{first:06d}.txt", Trajectory(forward(5), times), decimals=6)
            if first < 2:
                snippet = Trajectory(forward(5, 0.1), times + 0.004)
                write_tum(tmp_path / f"mine/{first:06d}.txt", snippet, decimals=6)
        task = opened(tmp_path / "mine", tmp_path / "true", "snippet-ate-5")
        assert task.matched.without_prediction == ("000002",)
        scorer = scored(task, "snippet-ate-5")
        assert [item.name for item in scorer.items()] == ["000000", "000001"]
        assert scorer.metrics()["ate"] == pytest.approx(0, abs=1e-9)

    def test_paths_of_a_data_set(self, shared, tmp_path):
        (spec,) = parse_spec(f"kitti_odometry@00:{shared / 'data' / 'kitti_odometry'}")
        ((name, truth),) = pose_data(spec).by_name.items()
        write_kitti_poses(tmp_path / "mine" / f"{name}.txt", truth.read().T_world_from_camera)
        task = opened(tmp_path / "mine", spec, "snippet-ate-5")
        scorer = scored(task, "snippet-ate-5")
        assert scorer.metrics()["ate"] == pytest.approx(0, abs=1e-9)
        assert scorer.yardstick()["ate"] > 0


class TestFrames:
    def clip(self, root, clip, values, size_hw=(16, 16)):
        for number, value in enumerate(values):
            write_picture(root / clip / f"{number:08d}.png", np.full((*size_hw, 3), value, np.uint8))

    def test_mean_of_clips_and_of_frames(self, tmp_path):
        self.clip(tmp_path / "true", "a", [100, 100, 100])
        self.clip(tmp_path / "true", "b", [100])
        self.clip(tmp_path / "mine", "a", [101, 101, 101])
        self.clip(tmp_path / "mine", "b", [110])
        scorer = scored(opened(tmp_path / "mine", tmp_path / "true", "reds4"), "reds4")
        one, ten = 20 * math.log10(255), 20 * math.log10(25.5)
        assert scorer.metrics()["psnr"] == pytest.approx((one + ten) / 2)
        assert scorer.metrics()["psnr_per_frame"] == pytest.approx((3 * one + ten) / 4)
        counts = scorer.counts()
        assert (counts["clips"], counts["frames"]) == (2, 4)

    def test_only_the_middle_frame_of_each_clip(self, tmp_path):
        self.clip(tmp_path / "true", "00001/0266", [9, 9, 9, 100, 9, 9, 9])
        self.clip(tmp_path / "mine", "00001/0266", [50, 50, 50, 110, 50, 50, 50])
        task = opened(tmp_path / "mine", tmp_path / "true", "vimeo90k-rgb")
        assert task.matched.without_truth == ()
        scorer = scored(task, "vimeo90k-rgb")
        assert scorer.metrics()["psnr"] == pytest.approx(20 * math.log10(25.5))
        assert scorer.counts()["frames"] == 1

    def test_luma_of_grey_steps_is_smaller(self, tmp_path):
        self.clip(tmp_path / "true", "a", [100])
        self.clip(tmp_path / "mine", "a", [110])
        for protocol in ("vid4-y", "vimeo90k-y", "frames-y"):
            scorer = scored(opened(tmp_path / "mine", tmp_path / "true", protocol), protocol)
            step = 10 * (65.481 + 128.553 + 24.966) / 255
            assert scorer.metrics()["psnr"] == pytest.approx(20 * math.log10(255 / step))
        for protocol in ("vid4-rgb", "vimeo90k-rgb", "frames-rgb"):
            scorer = scored(opened(tmp_path / "mine", tmp_path / "true", protocol), protocol)
            assert scorer.metrics()["psnr"] == pytest.approx(20 * math.log10(25.5))

    def test_missing_frames_are_told(self, tmp_path):
        self.clip(tmp_path / "true", "a", [1, 2, 3])
        self.clip(tmp_path / "mine", "a", [1, 2])
        self.clip(tmp_path / "mine", "b", [1])
        task = opened(tmp_path / "mine", tmp_path / "true", "frames-rgb")
        assert task.matched.without_prediction == ("a/00000002",)
        assert task.matched.without_truth == ("b/00000000",)

    def test_one_frame_and_one_flat_folder(self, tmp_path):
        self.clip(tmp_path / "true", "", [100, 100])
        self.clip(tmp_path / "mine", "", [110, 110])
        flat = scored(opened(tmp_path / "mine", tmp_path / "true", "frames-rgb"), "frames-rgb")
        assert [item.name for item in flat.items()] == ["frames"]
        one = opened(tmp_path / "mine/00000000.png", tmp_path / "true/00000001.png", "frames-rgb")
        assert scored(one, "frames-rgb").metrics() == flat.metrics()

    def test_sharp_frames_of_a_data_set(self, shared, tmp_path):
        root = shared / "data" / "vid4"
        (spec,) = parse_spec(f"vid4:{root}")
        for number, path in enumerate(sorted((root / "GT" / "calendar").iterdir())):
            picture = cv2.imread(str(path))
            picture[0, 0] ^= 1 + number % 2  # nearly perfect
            write_picture(tmp_path / "calendar" / path.name, picture)
        task = opened(tmp_path, spec, "vid4-y")
        assert task.official_count == 4
        scorer = scored(task, "vid4-y")
        assert scorer.counts()["frames"] == 7
        assert scorer.metrics()["psnr"] > 90
