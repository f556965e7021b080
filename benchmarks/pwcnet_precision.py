"""How far the flow of PWC-Net in bfloat16 lies from that in float32, and whether its error changes.

    python benchmarks/pwcnet_precision.py middlebury:PATH sintel-clean:PATH kitti2012:PATH [--weights FILE]

HxW are eight rendered pairs of that size. For each: the mean length of the difference over all pixels; its
99th percentile; both again where the motion in float32 is longer than 80 pixels; the endpoint error of both.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice

import numpy as np

import kinema
from kinema.data import open_flow, parse_spec
from kinema.data.procedural.pairs import render_pair
from kinema.data.procedural.render_config import RenderConfig
from kinema.data.sample import FlowSample

LARGE = 80.0


def rendered(size: str, count: int) -> Iterator[FlowSample]:
    """Rendered pairs of any size, so that motion can be as large as it likes."""
    height, width = map(int, size.split("x"))
    for index in range(count):
        pair = render_pair(RenderConfig(size_hw=(height, width)), 7, [index])
        images = (pair.image1, pair.image2)
        first, second = ((one[0] * 255).round().byte().permute(1, 2, 0).numpy() for one in images)
        flow, valid = pair.flow[0].permute(1, 2, 0).numpy(), pair.valid[0, 0].numpy()
        yield FlowSample(name=f"{index}", image1=first, image2=second, flow=flow, valid=valid)


def main() -> None:
    """Measure every data set that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("specs", nargs="+", metavar="SPEC|HxW")
    parser.add_argument("--weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, help="of each data set, at most")
    args = parser.parse_args()
    exact, short = (
        kinema.load("pwcnet", weights=args.weights, device=args.device, precision=precision, refine="none")
        for precision in ("fp32", "bf16")
    )
    print("data                     mean     p99  | over 80 px: pixels    mean     p99  | epe fp32    bf16")
    for text in args.specs:
        apart, large, errors = [], [], []
        samples = rendered(text, args.pairs or 8) if text[0].isdigit() else open_flow(parse_spec(text)[0])
        for sample in islice(samples, args.pairs):
            one, other = (model.flow(sample.image1, sample.image2) for model in (exact, short))
            difference = np.linalg.norm(one - other, axis=-1)
            apart.append(difference.ravel())
            large.append(difference[np.linalg.norm(one, axis=-1) > LARGE])
            errors.append(
                [np.linalg.norm(f - sample.flow, axis=-1)[sample.valid].mean() for f in (one, other)]
            )
        every, fast = np.concatenate(apart), np.concatenate(large)
        told = f"{fast.size:10d} {fast.mean():7.3f} {np.percentile(fast, 99):7.3f}" if fast.size else " " * 26
        means = np.mean(errors, axis=0)
        name = text.partition(":")[0]
        print(
            f"{name:20s} {every.mean():8.4f} {np.percentile(every, 99):7.3f}  |        {told}"
            f"  | {means[0]:8.3f} {means[1]:7.3f}"
        )


if __name__ == "__main__":
    main()
