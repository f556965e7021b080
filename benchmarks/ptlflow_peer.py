"""ptlflow's PWC-Net behind a pipe, for `pwcnet_against_ptlflow.py`; runs in an environment of its own.

Reads JSON lines with the keys model (``pwcnet``, or ``pwcdcnet`` with the context network), size (height and
width) and threads, and answers each with the seconds of one pair, clock and processor.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import types
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn


@lru_cache(maxsize=4)
def build(name: str) -> nn.Module:
    """The network with random weights; its own code, unchanged.

    ptlflow's package of models imports all of them, and with them torchvision's compiled part, which a torch
    for CPUs alone does not have. An empty package in its place leaves the module of this one model reachable.
    """
    found = importlib.util.find_spec("ptlflow")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("ptlflow is not installed here: make bench-ptlflow")
    models = types.ModuleType("ptlflow.models")
    models.__path__ = [str(Path(found.submodule_search_locations[0]) / "models")]
    sys.modules.setdefault("ptlflow.models", models)
    from ptlflow.models.pwcnet.pwcnet import PWCDCNet, PWCNet

    torch.manual_seed(0)
    return {"pwcnet": PWCNet, "pwcdcnet": PWCDCNet}[name]().eval()


@lru_cache(maxsize=2)
def frames(height: int, width: int) -> torch.Tensor:
    """(1, 2, 3, H, W) in [0, 1]."""
    return torch.rand(1, 2, 3, height, width, generator=torch.Generator().manual_seed(0))


def main() -> None:
    """Answer requests until the pipe closes."""
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        network, images = build(request["model"]), frames(*request["size"])
        start, work = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            flow = network({"images": images})["flows"]
        answer = {"seconds": time.perf_counter() - start, "processor": time.process_time() - work}
        assert tuple(flow.shape[-2:]) == tuple(request["size"])
        import ptlflow

        answer |= {"torch": torch.__version__, "ptlflow": ptlflow.__version__}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
