"""TVNet and PWC-Net beside OpenCV's DualTVL1 and DIS: errors on real pairs, and speed.

make bench-peers                               # creates the peers' environment and runs this
python benchmarks/flow_against_opencv.py --peer-python .venv-peers/bin/python --data ../shared/data
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import kinema
from kinema.data import open_dataset, parse_spec
from kinema.data.sample import FlowSample
from kinema.io.images import write_image
from kinema.ops.variational import DataTerm, tvl1_iterations
from peers import Peer, peer

SPECS = (
    "middlebury:{data}/middlebury",
    "sintel-clean:{data}/sintel",
    "sintel-final:{data}/sintel",
    "kitti2012:{data}/kitti2012",
    "flyingchairs:{data}/flyingchairs",
)
ITERATION_COUNTS = (60, 260)  # time per iteration is the slope between the two: set-up cancels


def opencv_flow(server: Peer, method: str, sample: FlowSample, **settings: float) -> tuple[np.ndarray, float]:
    """OpenCV's flow (H, W, 2) and the seconds that the computation alone took."""
    paths = [server.folder / f"{name}.png" for name in ("image1", "image2")]
    for path, image in zip(paths, (sample.image1, sample.image2), strict=True):
        write_image(path, image)
    out = server.folder / "flow.npy"
    request = {"method": method, "settings": settings, "image1": str(paths[0]), "image2": str(paths[1])}
    answer = server.ask(request | {"out": str(out)})
    return np.load(out, allow_pickle=False), answer["seconds"]


def endpoint_error(flow: np.ndarray, sample: FlowSample) -> float:
    """Mean endpoint error over the valid pixels of one pair."""
    error = np.linalg.norm(flow.astype(np.float64) - sample.flow, axis=-1)
    return float(error[sample.valid].mean())


def errors(samples: list[FlowSample], server: Peer, console: Console, *, weights: str | None) -> None:
    """Print the table of endpoint errors."""
    corrected, reference = kinema.load("tvnet"), kinema.load("tvnet", preset="reference")
    learned, polished = (
        kinema.load("pwcnet", weights=weights, precision="fp32", refine=refine) for refine in ("none", "tvl1")
    )
    methods = {
        "zero": lambda s: np.zeros_like(s.flow),
        "TVNet reference": lambda s: reference.flow(s.image1, s.image2),
        "TVNet corrected": lambda s: corrected.flow(s.image1, s.image2),
        "PWC-Net": lambda s: learned.flow(s.image1, s.image2),
        "PWC-Net, refined": lambda s: polished.flow(s.image1, s.image2),
        "DualTVL1": lambda s: opencv_flow(server, "dual_tvl1", s)[0],
        "DIS medium": lambda s: opencv_flow(server, "dis", s)[0],
    }
    table = Table("pair", *methods, title="Endpoint error, pixels, mean over valid pixels of each pair")
    rows = []
    for sample in samples:
        rows.append([endpoint_error(method(sample), sample) for method in methods.values()])
        table.add_row(sample.name, *(f"{value:.3f}" for value in rows[-1]))
    console.print(table)


def speed(sample: FlowSample, server: Peer, console: Console, *, runs: int) -> None:
    """Print whole-pair times at default settings, alternating, and the median of the pairwise ratios."""
    model = kinema.load("tvnet")
    model.flow(sample.image1, sample.image2)
    ours, theirs = [], []
    for _ in range(runs):
        start = time.perf_counter()
        model.flow(sample.image1, sample.image2)
        ours.append(time.perf_counter() - start)
        theirs.append(opencv_flow(server, "dual_tvl1", sample)[1])
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    size = "x".join(map(str, sample.image1.shape[:2]))
    console.print(
        f"Defaults at {size}, {runs} runs in turn: TVNet median {statistics.median(ours):.3f} s, "
        f"DualTVL1 median {statistics.median(theirs):.3f} s, ratio median {statistics.median(ratios):.1f} "
        f"(min {min(ratios):.1f}, max {max(ratios):.1f})"
    )


def iteration_speed(sample: FlowSample, server: Peer, console: Console, *, runs: int) -> None:
    """Print the time of one full-size iteration: the slope between two counts, at one scale and one warp."""
    h, w = sample.image1.shape[:2]
    flow, dual = torch.zeros(1, 2, h, w), torch.zeros(1, 4, h, w)
    data = DataTerm(5 * torch.randn(1, 2, h, w), 10 * torch.randn(1, 1, h, w))
    few, many = ITERATION_COUNTS

    def ours(count: int) -> float:
        start = time.perf_counter()
        tvl1_iterations(flow, dual, data, iterations=count, tau=0.25, lbda=0.15, theta=0.3, epsilon=1e-12)
        return time.perf_counter() - start

    def theirs(count: int) -> float:
        fixed = {
            "ScalesNumber": 1,
            "WarpingsNumber": 1,
            "OuterIterations": 1,
            "MedianFiltering": 1,
            "Epsilon": 0.0,
        }
        return opencv_flow(server, "dual_tvl1", sample, **fixed, InnerIterations=count)[1]

    slopes: list[tuple[float, float]] = []
    ours(few)
    for _ in range(runs):
        a = (ours(many) - ours(few)) / (many - few)
        b = (theirs(many) - theirs(few)) / (many - few)
        slopes.append((1e3 * a, 1e3 * b))
    mine, other = (statistics.median(column) for column in zip(*slopes, strict=True))
    ratio = statistics.median(b / a for a, b in slopes)
    console.print(
        f"One iteration at {h}x{w}, {runs} runs in turn: TVNet {mine:.3f} ms, DualTVL1 {other:.3f} ms, "
        f"ratio median {ratio:.1f}"
    )


def main() -> None:
    """Parse the arguments and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer-python", required=True, help="Python with opencv-contrib-python-headless")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the real pairs")
    parser.add_argument("--weights", help="of PWC-Net; without it those that come with kinema")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--part", choices=("all", "errors", "speed"), default="all")
    arguments = parser.parse_args()
    console = Console(width=120)
    samples = [
        s for spec in parse_spec(",".join(SPECS).format(data=arguments.data)) for s in open_dataset(spec)
    ]
    large = next(s for s in samples if s.image1.shape[:2] == (436, 1024))
    console.print(
        f"kinema {kinema.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    with peer(arguments.peer_python, "opencv_peer.py") as server:
        if arguments.part != "speed":
            errors(samples, server, console, weights=arguments.weights)
        if arguments.part != "errors":
            speed(large, server, console, runs=arguments.runs)
            iteration_speed(large, server, console, runs=arguments.runs)


if __name__ == "__main__":
    main()
