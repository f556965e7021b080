"""Time of a pair by kinema's PWC-Net beside ptlflow's, alternating in one run.

make bench-ptlflow                             # creates the peer's environment and runs this
python benchmarks/pwcnet_against_ptlflow.py --peer-python .venv-ptlflow/bin/python

ptlflow's ``pwcnet`` has no context network, ``pwcdcnet`` is the network that kinema's ``dc`` is; both compute
in float32. Weights are random: they do not change the time. The processor's time is told beside that of the
clock, because it depends less on what else the machine does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

import kinema
from kinema.apps.bench import moving_texture
from kinema.inference.flow import FlowPredictor
from peers import Peer, peer

PEERS = ("pwcnet", "pwcdcnet")
Times = tuple[float, float]  # seconds: on the clock, of the processor over all threads


def ours(model: FlowPredictor, images: tuple[torch.Tensor, torch.Tensor]) -> Times:
    """Time of one pair."""
    start, work = time.perf_counter(), time.process_time()
    model.flow(*images)
    return time.perf_counter() - start, time.process_time() - work


def theirs(server: Peer, model: str, size_hw: tuple[int, int], threads: int) -> Times:
    """Time of one pair in the peer's process."""
    answer = server.ask({"model": model, "size": size_hw, "threads": threads})
    return answer["seconds"], answer["processor"]


def row(name: str, times: Sequence[Times], reference: Sequence[Times]) -> list[str]:
    """Medians, and how many times kinema's time that is: median and range over the rounds."""
    cells = [name]
    for kind in (0, 1):
        ratios = [one[kind] / mine[kind] for one, mine in zip(times, reference, strict=True)]
        cells.append(f"{statistics.median(one[kind] for one in times):.3f}")
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return cells


def main() -> None:
    """Parse the arguments, compute in turn, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--peer-python", required=True, help="Python of an environment with ptlflow 0.4.2")
    parser.add_argument("--size", default="436x1024", help="height and width of the frames")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2, help="of each process")
    arguments = parser.parse_args()
    h, w = map(int, arguments.size.split("x"))
    torch.set_num_threads(arguments.threads)
    images = moving_texture((h, w))
    models = {p: kinema.load("pwcnet", weights="random", device="cpu", precision=p) for p in ("bf16", "fp32")}
    with peer(arguments.peer_python, "ptlflow_peer.py") as server:
        said = server.ask({"model": "pwcnet", "size": (h, w), "threads": arguments.threads})
        times: dict[str, list[Times]] = {}
        for number in range(arguments.rounds + 1):
            taken = {f"kinema {name}": ours(model, images) for name, model in models.items()}
            taken |= {f"ptlflow {n}": theirs(server, n, (h, w), arguments.threads) for n in PEERS}
            for name, one in taken.items():
                times.setdefault(name, [])
                if number:  # the first round compiles and allocates
                    times[name].append(one)
    table = Table("", "seconds", "times kinema bf16", "processor's", "times kinema bf16")
    for name, column in times.items():
        table.add_row(*row(name, column, times["kinema bf16"]))
    console = Console(width=110, highlight=False)
    console.print(table)
    console.print(
        f"{h}x{w}, {arguments.threads} threads each, median of {arguments.rounds} rounds in turn; "
        f"kinema {kinema.__version__} with torch {torch.__version__}, "
        f"ptlflow {said['ptlflow']} with torch {said['torch']}"
    )


if __name__ == "__main__":
    main()
