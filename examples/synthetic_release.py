"""Write a file of the names, prefixes and wrapper of the full released checkpoint, with random numbers in it.

To try `skysense weights` and `skysense embed` without the released weights: python examples/synthetic_release.py OUT
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from skysense.model.assembly import SkySense
from skysense.model.config import PRESETS, preset
from skysense.model.released import to_released


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="the .pth file to write")
    parser.add_argument("--dimensions", choices=sorted(PRESETS), default="tiny", help="huge takes 6.6 GB")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = SkySense(preset(options.dimensions))
    mask_token = torch.zeros(1, 1, model.config.hr.embed_dim)  # a left-over that released files have
    state = to_released(model.state_dict(), "model") | {"backbone_gep.mask_token": mask_token}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": state}, options.out)
    print(f"{options.out}: {len(state)} tensors of {options.dimensions}, all random")


if __name__ == "__main__":
    main()
