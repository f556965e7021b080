"""The page of `kinema demo`: pictures of one pair, the errors of all, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinema import viz
from kinema.apps.versions import versions
from kinema.data.procedural.demo_scene import RenderedClip
from kinema.inference.flow import FlowPrediction

ERROR_SHOWN = 3.0
"""Pixels of error that are shown in the brightest colour."""

_HEADS = {
    "epe": "all pixels",
    "epe_nonoccluded": "visible in the next frame",
    "epe_occluded": "hidden or gone there",
    "out_1px": "wrong by > 1 px, %",
    "out_3px": "wrong by > 3 px, %",
}


def demo_report(
    scene: RenderedClip,
    predictions: Sequence[FlowPrediction],
    *,
    scale: float,
    scores: Mapping[str, Mapping[str, float | None]],
    protocol: str,
    seconds_per_pair: float,
    device: str,
    video: Path,
    out: Path,
) -> viz.HtmlReport:
    """Lay out the page.

    Args:
        scene: frames and truth.
        predictions: flow and occlusion of every pair.
        scale: of the colours of flow, in pixels.
        scores: method -> metric -> number; the model first, zero flow last.
        protocol: the name of what the numbers mean.
        seconds_per_pair: for both directions.
        device: that computed, in words.
        video: frame, computed and true flow, to be embedded.
        out: the folder that holds the files of the demo, for the commands.

    Returns:
        The page.
    """
    model, yardstick = next(iter(scores)), list(scores)[-1]
    height, width = scene.frames.shape[1:3]
    page = viz.HtmlReport(
        "The motion of every pixel",
        lead="A scene was rendered whose motion is known exactly, and kinema computed its optical flow from "
        "the frames alone. This page compares the two.",
    )
    page.facts(
        [
            ("mean error", f"{scores[model]['epe']:.2f} px"),
            ("if nothing had moved", f"{scores[yardstick]['epe']:.2f} px"),
            ("a pair, both directions", f"{1000 * seconds_per_pair:.0f} ms"),
            ("frames", f"{len(scene.frames)} of {width}×{height}"),
        ]
    )
    page.video(
        video,
        alt="The clip: a ring, a star, a ball and a rod move over a sea floor. Beside it the computed and "
        "the true flow, which look alike.",
        title="The clip, its flow as computed, and its true flow.",
        caption="The hue is the direction of motion, the saturation its speed; both flows on one scale.",
    )
    _one_pair(page, scene, predictions, len(predictions) // 2, model=model, scale=scale)
    _numbers(page, scene, scores, protocol)
    _what_next(page, out, protocol)
    page.footer(
        ", ".join(f"{name} {version}" for name, version in versions().items())
        + f". Computed on {device}. Scene, truth and flow are the same in every run; times are not."
    )
    return page


def _one_pair(
    page: viz.HtmlReport,
    scene: RenderedClip,
    predictions: Sequence[FlowPrediction],
    index: int,
    *,
    model: str,
    scale: float,
) -> None:
    prediction, true = predictions[index], scene.flow[index]
    error = np.hypot(*np.moveaxis(prediction.flow - true, -1, 0))
    page.heading(f"One pair, looked at closely: frames {index} and {index + 1}")
    page.comparison(
        viz.Figure(viz.flow_to_rgb(prediction.flow, max_flow=scale), "The computed flow.", title=model),
        viz.Figure(viz.flow_to_rgb(true, max_flow=scale), "The true flow.", title="truth"),
        caption="Move the bar: left of it the computed flow, right of it the truth.",
    )
    wheel = viz.Figure(
        viz.wheel_legend(240, max_flow=scale),
        f"A disc of colours: red right, yellow down, blue left, violet up; {scale:.1f} pixels at its rim.",
        title="Direction and speed.",
        caption=f"White stands still, full colour is {scale:.1f} pixels a frame. Faster is darker.",
        small=True,
    )
    bar = viz.Figure(
        viz.error_legend((30, 220), max_error=ERROR_SHOWN),
        "A band of colours from black over purple and orange to pale yellow.",
        title="Error.",
        caption=f"From none, black, to {ERROR_SHOWN:g} pixels and more.",
        small=True,
    )
    page.figures([wheel, bar], least_width=20)
    page.figures(
        [
            viz.Figure(scene.frames[index], "The frame.", title=f"Frame {index}.", photo=True),
            viz.Figure(
                viz.error_to_rgb(error, max_error=ERROR_SHOWN),
                "Black nearly everywhere, bright along the outlines of what moves.",
                title="Error.",
                caption=_error_caption(error, scene.visible[index]),
            ),
            *_occlusion_figures(scene, prediction, index),
        ],
        least_width=24,
    )


def _error_caption(error: NDArray[np.float32], visible: NDArray[np.bool_]) -> str:
    good = 100 * float((error[visible] < 0.5).mean())
    return (
        f"{good:.1f} % of the pixels that stay visible are right to within half a pixel. What is left lies "
        "where something appears or vanishes, and where a thing is thinner than its own step."
    )


def _occlusion_figures(scene: RenderedClip, prediction: FlowPrediction, index: int) -> tuple[viz.Figure, ...]:
    frame, hidden, found = scene.frames[index], ~scene.visible[index], prediction.occluded
    truth = viz.Figure(
        viz.mask_overlay(frame, hidden),
        "Crescents in front of each moving thing are marked.",
        title="Hidden in the next frame: truth.",
        caption=f"{100 * hidden.mean():.1f} % of all pixels are covered there, or leave the frame.",
        photo=True,
    )
    if found is None:
        return (truth,)
    both = int((found & hidden).sum())
    computed = viz.Figure(
        viz.mask_overlay(frame, found),
        "Nearly the same crescents are marked.",
        title="Hidden in the next frame: computed.",
        caption=f"{100 * both / max(int(hidden.sum()), 1):.0f} % of those are found; "
        f"{100 * both / max(int(found.sum()), 1):.0f} % of what is marked is right.",
        photo=True,
    )
    return truth, computed


def _numbers(
    page: viz.HtmlReport,
    scene: RenderedClip,
    scores: Mapping[str, Mapping[str, float | None]],
    protocol: str,
) -> None:
    page.heading("The error over the whole clip")
    page.table(
        ["", *_HEADS.values()],
        [[method, *(metrics[name] for name in _HEADS)] for method, metrics in scores.items()],
        caption=f"Mean endpoint error in pixels, and shares of wrong pixels; all pixels of {len(scene.flow)} "
        f"pairs pooled (protocol {protocol}). Zero flow, that is no motion at all, is the yardstick.",
    )
    speed = np.hypot(*np.moveaxis(scene.flow, -1, 0))
    rows: list[list[str | float | None]] = []
    for layer, name in enumerate(scene.names):
        seen = speed[scene.layer == layer]
        if seen.size:
            rows.append([name, 100 * seen.size / speed.size, float(seen.mean()), float(seen.max())])
    page.table(
        ["", "of the picture, %", "mean speed", "largest speed"],
        rows,
        caption="What moves, and how fast: true motion in pixels per frame.",
    )


def _what_next(page: viz.HtmlReport, out: Path, protocol: str) -> None:
    page.heading("Your turn")
    flow, truth, folder = (shlex.quote(str(path)) for path in (out / "flow", out / "truth" / "flow", out))
    page.commands(
        [
            "# the flow of your own clip, as a video with the same frames and sound",
            "kinema flow YOUR.mp4 -o flow.mp4",
            "",
            "# as numbers, with what is hidden and how sure it is",
            "kinema flow YOUR.mp4 -o out --format npz --backward --occlusion --confidence",
            "",
            "# two images",
            "kinema flow frame1.png frame2.png -o motion.flo",
            "",
            "# the numbers of this page, from the files beside it",
            f"kinema evaluate --predictions {flow} --truth {truth} --protocol {protocol}",
            "",
            "# another scene",
            f"kinema demo -o {folder} --seed 1 --overwrite",
        ]
    )
