"""The page that ``kinema adapt`` leaves: what got better, shown on frames that were not learned from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kinema.recipes.adapt_validation import AdaptValidation
from kinema.viz import Figure, HtmlReport, error_to_rgb, flow_to_rgb

_SHOWN = 3


def write_report(
    path: Path,
    validation: AdaptValidation,
    *,
    before: nn.Module,
    after: nn.Module,
    start: Mapping[str, float],
    end: Mapping[str, float],
    log: Path,
    kept_step: int,
) -> Path:
    """Write the page.

    Args:
        path: of the page.
        validation: the frames to show.
        before: the network with the starting weights.
        after: the same with those that were kept.
        start: scores before.
        end: scores after.
        log: the run's JSON lines.
        kept_step: from which step the weights are; 0 is the start.

    Returns:
        The page.
    """
    lead = (
        f"The weights of step {kept_step} are better on footage that was not learned from."
        if kept_step
        else "Nothing learned here was better than the start, so the starting weights were kept."
    )
    page = HtmlReport("Adaptation without labels", lead=lead)
    page.facts(
        [
            ("error where the flow is known, before", f"{start['rewarped_epe']:.2f} px"),
            ("after", f"{end['rewarped_epe']:.2f} px"),
            ("photometric error on fixed pixels, before", f"{start['photometric']:.3f}"),
            ("after", f"{end['photometric']:.3f}"),
        ]
    )
    page.paragraph(
        "Both are measured on held-out blocks of the footage. The photometric error looks at one fixed set "
        "of pixels, those that the starting weights call visible. The other is an endpoint error: pictures "
        "of the footage, cut out, laid over each other, moved by known flows."
    )
    with torch.no_grad():
        _held_out(page, validation, before, after)
        _known(page, validation, before, after)
    _curve(page, log, start)
    page.save(path)
    return path


def _held_out(page: HtmlReport, validation: AdaptValidation, before: nn.Module, after: nn.Module) -> None:
    page.heading("Held-out footage")
    count = len(validation.frames.held_out)
    for place in sorted({count * shown // _SHOWN for shown in range(_SHOWN)}):
        first, second = validation.held_pair(place)
        flows = [_numpy(network(first, second).flow) for network in (before, after)]
        longest = max(float(np.quantile(np.hypot(*np.moveaxis(flow, -1, 0)), 0.99)) for flow in flows)
        pictures = [flow_to_rgb(flow, max_flow=max(longest, 1e-3)) for flow in flows]
        name = validation.frames.held_out.name_of(place)
        page.figures(
            [
                Figure(_bytes(first), f"frame {name}", title="Frame", caption=name, photo=True),
                Figure(pictures[0], "flow before", title="Before"),
                Figure(pictures[1], "flow after", title="After"),
            ]
        )


def _known(page: HtmlReport, validation: AdaptValidation, before: nn.Module, after: nn.Module) -> None:
    page.heading("Footage moved by known flows")
    for number in range(min(_SHOWN, validation.rewarped_pairs)):
        pair = validation.known_pair(number)
        truth = _numpy(pair.flow)
        longest = max(float(np.hypot(*np.moveaxis(truth, -1, 0)).max()), 1e-3)
        device = next(before.parameters()).device
        errors = [
            np.hypot(
                *np.moveaxis(_numpy(n(pair.image1.to(device), pair.image2.to(device)).flow) - truth, -1, 0)
            )
            for n in (before, after)
        ]
        worst = max(float(np.quantile(error, 0.98)) for error in errors) or 1.0
        page.figures(
            [
                Figure(_bytes(pair.image1), "frame", title="Frame", photo=True),
                Figure(flow_to_rgb(truth, max_flow=longest), "true flow", title="True flow"),
                Figure(
                    error_to_rgb(errors[0], max_error=worst),
                    "error before",
                    title="Error before",
                    caption=f"{errors[0].mean():.2f} px",
                ),
                Figure(
                    error_to_rgb(errors[1], max_error=worst),
                    "error after",
                    title="Error after",
                    caption=f"{errors[1].mean():.2f} px, in the same colours",
                ),
            ],
            least_width=12,
        )


def _curve(page: HtmlReport, log: Path, start: Mapping[str, float]) -> None:
    """The validations, at most a dozen of them."""
    rows: list[tuple[str | float | None, ...]] = [("start", start["photometric"], start["rewarped_epe"], 1.0)]
    for line in log.read_text().splitlines() if log.is_file() else []:
        entry = json.loads(line)
        if "rewarped_epe" in entry:
            rows.append((str(entry["step"]), entry["photometric"], entry["rewarped_epe"], entry["score"]))
    step = max(1, -(-len(rows) // 12))
    page.heading("The run")
    page.table(
        ("step", "photometric error", "error where flow is known (px)", "score"),
        [*rows[:1], *rows[1::step]],
        caption="Score: how much of both errors is left; 1 is the start. The lowest is kept.",
    )


def _numpy(flow: Tensor) -> np.ndarray:
    return np.ascontiguousarray(flow[0].permute(1, 2, 0).float().cpu().numpy())


def _bytes(image: Tensor) -> np.ndarray:
    return np.ascontiguousarray((image[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy())
