"""`python -m measure.speed.threads`: a two-thread training loop alone and beside two busy processes.

OpenMP's threads spin at a barrier while they wait for each other. Alone that is fast; beside other processes a thread
that spins keeps the core from the one that it waits for. GOMP_SPINCOUNT says how long they spin before they yield.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from tasks.core.io.cli import OneLineParser, run_tool
from tasks.core.io.given import whole_number

SPINS = ("default", "20000", "5000", "1000")
LOOP = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
torch.manual_seed(0)
net = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Linear(128, 128), torch.nn.GELU()) for _ in range(12)])
optimizer = torch.optim.AdamW(net.parameters())
rows = torch.randn(512, 128)
times = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    net(rows).square().mean().backward(); optimizer.step(); optimizer.zero_grad()
    times.append(time.perf_counter() - start)
times.sort()
print(1000 * times[len(times) // 2])
"""


def milliseconds(spin: str, threads: int, steps: int, busy: int) -> float:
    """Median milliseconds of a step."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    if spin != "default":
        environment["GOMP_SPINCOUNT"] = spin
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
    try:
        command = [sys.executable, "-c", LOOP, str(threads), str(steps)]
        return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    finally:
        for other in others:
            other.kill()
            other.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per setting."""
    parser = OneLineParser(prog="python -m measure.speed.threads", description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=whole_number(), default=2)
    parser.add_argument("--steps", type=whole_number(), default=200)
    parser.add_argument("--busy", type=whole_number(0), default=2, help="processes beside it")
    options = parser.parse_args(arguments)
    print(f"{'GOMP_SPINCOUNT':<16}{'alone, ms':>12}{f'beside {options.busy}, ms':>16}{'times':>8}")
    for spin in SPINS:
        alone, beside = (milliseconds(spin, options.threads, options.steps, busy) for busy in (0, options.busy))
        print(f"{spin:<16}{alone:>12.2f}{beside:>16.2f}{beside / alone:>8.1f}", flush=True)
    return 0


if __name__ == "__main__":
    run_tool(main)
