"""How many tokens a process of this machine trains per second, with a given number of threads.

``python -m harness.engines.probe`` prints ``ready``, then reads a number of threads per line. It prints tokens per
second of a forward and a backward pass through some feed-forward layers of SmolLM2-135M's shape (matrix products are
three quarters of a training step; memory traffic and thread hand-over come with them), and the share of the time for
which a thread waited for a core.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from harness import processes
from harness.engines.local import ALLOCATOR

TOKENS, HIDDEN, INNER, LAYERS = 256, 576, 1536, 6
SECONDS = 1.2


def main() -> None:
    """Answer until the input closes."""
    if any(name not in os.environ for name in ALLOCATOR):
        os.execve(sys.executable, processes.python("harness.engines.probe"), {**ALLOCATOR, **processes.environment()})
    import torch

    layers = [
        torch.nn.Sequential(torch.nn.Linear(HIDDEN, INNER), torch.nn.SiLU(), torch.nn.Linear(INNER, HIDDEN))
        for _ in range(LAYERS)
    ]
    for layer in layers:
        layer.requires_grad_(False)

    def step() -> None:
        hidden = torch.randn(TOKENS, HIDDEN, requires_grad=True)
        out = hidden
        for layer in layers:
            out = out + layer(torch.nn.functional.layer_norm(out, (HIDDEN,)))
        out.square().mean().backward()

    print("ready", flush=True)
    for line in sys.stdin:
        torch.set_num_threads(int(line))
        step()
        started, waited, done = time.perf_counter(), _waited(), 0
        while time.perf_counter() - started < SECONDS:
            step()
            done += 1
        took = time.perf_counter() - started
        print(TOKENS * done / took, (_waited() - waited) / (took * int(line)), flush=True)


def _waited() -> float:
    """Return the seconds for which threads of this process waited for a core; 0 where the kernel does not say."""
    waited = 0
    for thread in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has just ended
            waited += int(thread.read_text().split()[1])
    return waited / 1e9


if __name__ == "__main__":
    main()
