"""Run a snippet in a fresh interpreter, where the run-time shape checks do not stand in a tracer's way."""

import subprocess
import sys
import textwrap

_PRELUDE = """
import torch
torch.manual_seed(0)

def check(function, *inputs):
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), function(*inputs), atol=1e-4, rtol=1e-4)
"""


def run_compiled(snippet: str) -> None:
    """Run `snippet`, which may call `check(function, *inputs)`: compiled as one graph it equals eager."""
    code = _PRELUDE + textwrap.dedent(snippet)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
