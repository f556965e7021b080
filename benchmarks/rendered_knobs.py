"""What each knob of the rendered scenes does to flow: errors with a knob at one end and at the other.

    python benchmarks/rendered_knobs.py [--pairs 16] [--size 256x320]

For every knob the same seeds are rendered with it off and fully on, all others at their defaults. Told are
the mean endpoint errors over visible pixels of zero flow, TVNet and PWC-Net. It says what is hard to see,
not what is good to learn from: that would take a training run for each.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

import kinema
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.render_config import RenderConfig

SHARES = (
    *("forward", "parallax", "perspective", "nonrigid", "shake", "thin", "hole", "weak"),
    *("blur", "light", "shadow", "noise", "grey", "jpeg", "video"),
)
ENDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "spectrum (alpha 0.5 | 3.5)": ({"spectrum": (0.5, 0.5)}, {"spectrum": (3.5, 3.5)}),
    "softness (0.5 | 2 px)": ({"softness": (0.5, 0.5)}, {"softness": (2.0, 2.0)}),
    "displacement (under 3 | over 80 px)": (
        {"displacement_shares": (1.0, 0.0, 0.0, 0.0)},
        {"displacement_shares": (0.0, 0.0, 0.0, 1.0)},
    ),
    "photometric (all off | on)": ({"photometric": False}, {"photometric": True}),
}
SEED = 7  # neither of training nor of validation


def errors(config: RenderConfig, models: list[Any], pairs: int) -> list[float]:
    """Mean endpoint errors over visible pixels, of zero flow first."""
    sums = torch.zeros(1 + len(models))
    for index in range(pairs):
        pair = render_pair(config, SEED, [index])
        seen = pair.visible[0, 0]
        flows = [torch.zeros_like(pair.flow), *(model.flow(pair.image1, pair.image2) for model in models)]
        sums += torch.stack([(flow - pair.flow)[0].norm(dim=0)[seen].mean() for flow in flows])
    found: list[float] = (sums / pairs).tolist()
    return found


def main() -> None:
    """Measure every knob."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--size", default="256x320")
    args = parser.parse_args()
    height, width = map(int, args.size.split("x"))
    models = [kinema.load("tvnet", device="cpu"), kinema.load("pwcnet", device="cpu", refine="none")]
    knobs = {f"{name}_share": ({f"{name}_share": 0.0}, {f"{name}_share": 1.0}) for name in SHARES}
    knobs["forward_share"] = ({"forward_share": 0.0}, {"forward_share": 1.0, "parallax_share": 0.0})
    knobs["parallax_share"] = ({"parallax_share": 0.0}, {"parallax_share": 1.0, "forward_share": 0.0})
    print(f"{'':38s}   off: zero  TVNet PWC-Net  |  on: zero  TVNet PWC-Net")
    for name, ends in {"none (defaults)": ({}, {}), **knobs, **ENDS}.items():
        off, on = (
            errors(RenderConfig(size_hw=(height, width), **settings), models, args.pairs) for settings in ends
        )
        told = "  |  ".join(" ".join(f"{value:7.2f}" for value in row) for row in (off, on))
        print(f"{name:38s} {told}", flush=True)


if __name__ == "__main__":
    main()
