"""How much faster fusion is where frames are missing, than in the padded and masked form: one ratio, equal output.

* padded: every sequence as long as the longest possible, absent tokens masked out of the attention of all blocks; of
  the last block only what the output needs is computed;
* package: `Fusion.fuse`, sequences of one length together, nothing padded.

Run: ``python benchmarks/fusion_missing.py`` (``--help`` lists sizes).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from _ceiling import ceilings, operations, share
from torch import Tensor
from torch.nn import functional as F

from skysense.model.blocks import Block
from skysense.model.config import preset
from skysense.model.fusion import Fusion

CLOSE = 1e-4
"""Largest difference of outputs, as a share of the largest number."""


def padded(fusion: Fusion, tokens_SNC: Tensor, valid_SN: Tensor) -> Tensor:
    """The fused feature ``(S, D)`` of padded sequences under a mask."""
    cls = fusion.cls_token.expand(len(tokens_SNC), -1, -1)
    x_SND = torch.cat([cls, fusion.projection(tokens_SNC)], dim=1)
    mask_S11N = F.pad(valid_SN, (1, 0), value=True)[:, None, None]
    for index, block in enumerate(fusion.blocks):
        assert isinstance(block, Block)
        queries = 1 if index == len(fusion.blocks) - 1 else x_SND.shape[1]
        x_SND = x_SND[:, :queries] + masked_attention(block, block.attention_norm(x_SND), queries, mask_S11N)
        x_SND = x_SND + block.mlp(block.mlp_norm(x_SND))
    return x_SND[:, 0] * valid_SN.any(1, keepdim=True)


def masked_attention(block: Block, x_SND: Tensor, queries: int, mask_S11N: Tensor) -> Tensor:
    """Attention of the first tokens over those that are there."""
    attention = block.attention
    packed = attention.qkv(x_SND).unflatten(-1, (3, attention.heads, -1))
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    mixed = F.scaled_dot_product_attention(q[:, :, :queries], k, v, attn_mask=mask_S11N)
    return attention.out(mixed.transpose(1, 2).flatten(2))


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="huge")
    parser.add_argument("--depth", type=int, default=4, help="blocks; the ratio hardly depends on more")
    parser.add_argument("--cells", type=int, default=256, help="sequences")
    parser.add_argument("--frames", type=int, default=31)
    parser.add_argument("--missing", type=float, default=0.5, help="share of the frames")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    config = replace(preset(args.preset).fusion, depth=args.depth)
    fusion = Fusion(config).eval().to(args.device)
    tokens_SNC = torch.randn(args.cells, args.frames, config.input_dim, device=args.device)
    # whole frames are missing, here of groups of 16 cells, as of the cells of a place
    seen = torch.rand(-(-args.cells // 16), args.frames, device=args.device) >= args.missing
    valid_SN = seen.repeat_interleave(16, dim=0)[: args.cells]
    rows_SN = torch.arange(valid_SN.numel(), device=args.device).view_as(valid_SN)
    flat_NC = tokens_SNC.flatten(0, 1)
    jobs: tuple[Callable[[], Tensor], ...] = (
        lambda: padded(fusion, tokens_SNC, valid_SN),
        lambda: fusion.fuse(flat_NC, rows_SN, valid_SN),
    )
    with torch.inference_mode():
        one, two = (job() for job in jobs)
        difference = float((one - two).abs().max() / two.abs().max())
        if not difference <= CLOSE:
            raise SystemExit(f"the outputs differ by {difference:.1e}")
        rounds = []
        for number in range(args.rounds):
            costs = {}
            for at in (0, 1) if number % 2 else (1, 0):
                began = time.perf_counter()
                jobs[at]()
                if tokens_SNC.is_cuda:
                    torch.cuda.synchronize()
                costs[at] = time.perf_counter() - began
            rounds.append((costs[0], costs[1]))
            print(f"round {number + 1}: padded {costs[0]:.2f} s, package {costs[1]:.2f} s")
        work = operations(jobs[1])
    ratios = [slow / fast for slow, fast in rounds]
    ceiling = (1 + args.frames) / (1 + float(valid_SN.sum(1).float().mean()))
    print(f"{args.preset}, {args.depth} blocks, {args.cells} cells, {args.frames} frames, {args.missing:.0%} missing")
    print(f"outputs differ by {difference:.1e}; tokens padded / there: {ceiling:.2f}")
    print(f"package: {share(work, statistics.median(fast for _, fast in rounds), ceilings(args.device))}")
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"padded / package, median of {len(rounds)} paired rounds: {statistics.median(ratios):.2f} ({spread})")


if __name__ == "__main__":
    main()
