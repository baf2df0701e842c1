"""What `import skysense` costs on top of `import torch`: seconds, median of several fresh processes.

Run: ``python benchmarks/import_time.py``
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 7
PROGRAM = """
import time, torch
began = time.perf_counter()
import {module}
print(time.perf_counter() - began)
"""


def main() -> None:
    """Measure and print."""
    for module in ("skysense", "skysense.model.assembly", "skysense.cli"):
        command = [sys.executable, "-c", PROGRAM.format(module=module)]
        costs = [float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(ROUNDS)]
        low, middle, high = min(costs), statistics.median(costs), max(costs)
        print(f"import {module}: {middle:.3f} s over torch, median of {ROUNDS} processes ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
