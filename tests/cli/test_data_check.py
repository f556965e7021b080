"""`kinema data list`, `check` and `prepare` as they are typed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from helpers import checked_trees as trees
from helpers.command import Command
from helpers.flow_trees import write_flo
from helpers.restoration_trees import write_clip
from kinema.data import FAMILIES
from kinema.io.flow import read_flow


@pytest.fixture
def kinema(capsys):
    return Command(capsys)


def test_the_list_shows_every_family_with_its_terms(kinema, tmp_path):
    ended = kinema.done("data", "list", "--json", tmp_path / "sets.json")
    facts = json.loads((tmp_path / "sets.json").read_text())
    assert {fact["name"] for fact in facts} == set(FAMILIES)
    assert all(fact["terms"] and fact["holds"] and fact["layout"] for fact in facts)
    assert all(f"{fact['spec']} " in ended.out for fact in facts)
    sintel = next(fact for fact in facts if fact["name"] == "sintel")
    assert (sintel["counts"]["training"], sintel["size"], sintel["download"]) == (1041, "1024x436", True)


def test_the_list_tells_all_about_one(kinema):
    ended = kinema.done("data", "list", "kitti-raw")
    assert "eigen_train" in ended.out
    assert "CC BY-NC-SA" in ended.out
    assert "kinema data check kitti_raw:PATH" in ended.out
    ended = kinema("data", "list", "kitty")
    assert ended.status == 2
    assert "unknown data set 'kitty'" in ended.err


def test_a_clean_set_is_fine(kinema, tmp_path):
    ended = kinema.done("data", "check", trees.sintel(tmp_path))
    assert ended.out.splitlines() == [
        "sintel-clean: 5 of 1041 pairs, all looked at; 21 files listed",
        "sintel-clean: fine",
    ]


def test_errors_are_a_table_a_line_and_status_2(kinema, tmp_path):
    spec = trees.chairs(tmp_path / "set")
    for path in (tmp_path / "set/data").glob("*.flo"):
        write_flo(path, -np.ascontiguousarray(read_flow(path).flow))
    ended = kinema("data", "check", spec, "--json", tmp_path / "report.json")
    assert ended.status == 2
    assert ended.err.splitlines()[-1] == (
        "kinema: error: flyingchairs: 5 errors found; the table says what to do, --json FILE lists all"
    )
    assert "flow negated: its sign is turned round" in ended.out
    assert "... and 2 more" in ended.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["errors"], report["warnings"], report["notes"]) == (5, 0, 0)
    findings = report["reports"][0]["findings"]
    assert [finding["place"] for finding in findings] == [f"{number:05d}" for number in range(1, 6)]
    assert set(findings[0]) == {"severity", "check", "place", "what", "advice"}
    every = kinema("data", "check", spec, "--all-findings")
    assert (every.out.count("flow negated"), "more" in every.out) == (5, False)


def test_notes_and_warnings_do_not_fail(kinema, tmp_path):
    spec = trees.sintel(tmp_path)
    (tmp_path / "training/clean/preview.mp4").write_bytes(b"x")
    ended = kinema.done("data", "check", spec)
    assert "stray files: 1 file belongs to no part" in ended.out
    assert ended.out.splitlines()[-1] == "sintel-clean: fine"


def test_several_sets_at_once(kinema, tmp_path):
    specs = f"{trees.sintel(tmp_path / 'a')},{trees.posed(tmp_path / 'b')}"
    ended = kinema.done("data", "check", specs, "--samples", 3)
    assert "sintel-clean: fine" in ended.out
    assert "posed: fine" in ended.out


def test_what_cannot_be_checked_is_one_line(kinema, tmp_path):
    for words, said in (
        (["sintel-clean:/nowhere"], "no such folder"),
        (["sintel:" + str(tmp_path)], "a variant is needed"),
        (["sintel-clean:x", "--full", "--samples", "4"], "--full reads everything"),
        ([], "SPEC is missing"),
    ):
        ended = kinema("data", "check", *words)
        assert (ended.status, said in ended.err) == (2, True), ended.err
        assert len(ended.err.splitlines()) == 1


def test_reds_is_regrouped_in_its_own_folder(kinema, tmp_path):
    for part in ("train", "val"):
        write_clip(tmp_path / f"{part}_sharp/000", 0, range(3), sharp=True)
        write_clip(tmp_path / f"{part}_sharp_bicubic/X4/000", 0, range(3), sharp=False)
    ended = kinema.done("data", "prepare", "reds", tmp_path, "--json", tmp_path / "done.json")
    lines = ended.out.splitlines()
    assert lines[0] == f"reds: 2 clips placed -> {tmp_path}"
    assert lines[-1] == f"read as --data reds:{tmp_path}"
    assert json.loads((tmp_path / "done.json").read_text())["placed"] == 2
    again = kinema.done("data", "prepare", "reds", tmp_path)
    assert again.out.splitlines()[0] == f"reds: 0 clips placed, 2 there before -> {tmp_path}"


def test_strips_are_prepared_and_checked(kinema, tmp_path):
    spec = trees.odometry(tmp_path / "odometry")
    out = tmp_path / "strips"
    words = ("--size", "48x96", "--val-share", "0", "--strips", "png")
    ended = kinema.done("data", "prepare", "kitti_odometry@04", spec.partition(":")[2], "-o", out, *words)
    assert ended.out.splitlines()[0] == f"kitti_odometry@04: 4 snippets placed -> {out}"
    checked = kinema.done("data", "check", f"snippets@train:{out}")
    assert checked.out.splitlines()[-1] == "snippets@train: fine"


def test_what_cannot_be_prepared_is_one_line(kinema, tmp_path):
    for words, said in (
        (["vid4", tmp_path, "-o", tmp_path / "out"], "is read as it lies"),
        (["kitti_raw", tmp_path], "--out is missing"),
        (["kitti_raw", tmp_path, "-o", tmp_path / "out", "--frames", "4"], "a snippet has a middle"),
        (["kitti_raw", tmp_path, "-o", tmp_path / "out", "--size", "big"], "HEIGHTxWIDTH"),
        (["reds@train", tmp_path, "-o", tmp_path / "out"], "as a whole"),
        (["reds", tmp_path / "gone"], "no such folder"),
        (["sintel-flat", tmp_path, "-o", tmp_path / "out"], "is flat already"),
    ):
        ended = kinema("data", "prepare", *words)
        assert (ended.status, said in ended.err) == (2, True), ended.err
        assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
