"""The command ``skysense``: what must be set before PyTorch is loaded, then everything else."""

from __future__ import annotations

import os


def main() -> int:
    """Run the command line; see `skysense.cli.main`."""
    # Threads of a parallel loop wait for each other by spinning. Beside any other busy program that takes the CPU from
    # the very thread they wait for: steps of a small model became many times slower. So they soon go to sleep.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    from skysense import cli

    return cli.main()
