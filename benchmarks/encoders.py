"""Encoders of the published size against those of timm at equal weights and outputs, and bfloat16 against float32.

* swin: Swin V2 with the dimensions of the published image encoder (without the additional norms, which timm lacks);
* vit: blocks of the Sentinel encoders on sequences of 257 tokens; fusion: the same blocks on sequences of 32.

Each side runs in turns; the median of the ratios of the turns is printed, beside the share of the machine's rate.

Run: ``python benchmarks/encoders.py`` (``--help`` lists sizes); timm comes with the extra ``dev``.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from _ceiling import operations, share
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from skysense.doctor import matmul_rate
from skysense.model.blocks import Block
from skysense.model.config import preset
from skysense.model.swin import Swin

CLOSE = 1e-4
"""Largest difference of outputs in float32, as a share of the largest number."""
Job = Callable[[], object]


def swin_pair(name: str, size: int) -> tuple[nn.Module, nn.Module, Tensor]:
    """Our Swin and timm's with its weights, and an image."""
    config = replace(preset(name).hr, extra_norm_every=0, drop_path=0.0)
    ours = Swin(config)
    theirs = SwinTransformerV2(
        img_size=size,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=config.window,
        num_classes=0,
        drop_path_rate=0.0,
    )
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if "position_bias" not in name and parameter.ndim == 1:
                parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.1)
    theirs.load_state_dict({**theirs.state_dict(), **translated(ours)})
    return ours, theirs, torch.randn(1, 3, size, size)


def translated(ours: Swin) -> dict[str, Tensor]:
    """Our weights under the names of timm, the columns of merging in its order: column, row, channel."""
    pieces = (
        ("stages.", "layers."), (".merge.", ".downsample."), ("patch_embed.projection", "patch_embed.proj"),
        ("attention.position_bias.hidden", "attn.cpb_mlp.0"), ("attention.position_bias.heads", "attn.cpb_mlp.2"),
        ("attention_norm", "norm1"), ("mlp_norm", "norm2"), ("mlp.up", "mlp.fc1"), ("mlp.down", "mlp.fc2"),
        ("attention.out", "attn.proj"), ("attention.", "attn."), ("output_norms.3", "norm"),
    )  # fmt: skip
    state = {}
    for name, tensor in ours.state_dict().items():
        if name.endswith("reduction.weight"):
            tensor = tensor.unflatten(1, (-1, 2, 2)).permute(0, 3, 2, 1).flatten(1)
        for one, other in pieces:
            name = name.replace(one, other)
        state[name] = tensor
    return state


def block_pair(name: str, depth: int) -> tuple[nn.Module, nn.Module]:
    """Blocks of ours, and of timm with their weights."""
    config = preset(name).fusion
    ours = nn.Sequential(
        *(Block(config.dim, config.heads, config.mlp_ratio, 0.0, config.layer_norm_eps) for _ in range(depth))
    )
    theirs = nn.Sequential(
        *(TimmBlock(config.dim, config.heads, config.mlp_ratio, qkv_bias=True) for _ in range(depth))
    )
    pieces = (
        ("attention_norm", "norm1"), ("mlp_norm", "norm2"), ("attention.qkv", "attn.qkv"),
        ("attention.out", "attn.proj"), ("mlp.up", "mlp.fc1"), ("mlp.down", "mlp.fc2"),
    )  # fmt: skip
    state = {}
    for key, tensor in ours.state_dict().items():
        for one, other in pieces:
            key = key.replace(one, other)
        state[key] = tensor
    theirs.load_state_dict(state)
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = config.layer_norm_eps
    return ours, theirs


def output(module: nn.Module, x: Tensor) -> Tensor:
    """The last map as ``(N, h, w, D)``, or tokens."""
    if isinstance(module, Swin):
        return module(x)[-1].permute(0, 2, 3, 1)
    return module.forward_features(x) if isinstance(module, SwinTransformerV2) else module(x)


def forward(module: nn.Module, x: Tensor) -> Job:
    """Inference."""

    def job() -> None:
        with torch.inference_mode():
            output(module, x)

    return job


def backward(module: nn.Module, x: Tensor) -> Job:
    """Forward and backward."""

    def job() -> None:
        module.zero_grad(set_to_none=True)
        output(module, x).sum().backward()

    return job


def turns(slow: Job, fast: Job, rounds: int, cuda: bool) -> list[tuple[float, float]]:
    """Seconds of both, in turns, after one round that warms up."""

    def cost(job: Job) -> float:
        began = time.perf_counter()
        job()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    measured = []
    for number in range(rounds + 1):
        costs = {at: cost((slow, fast)[at]) for at in ((0, 1) if number % 2 else (1, 0))}
        if number:
            measured.append((costs[0], costs[1]))
    return measured


def report(what: str, measured: list[tuple[float, float]]) -> None:
    """The median of the ratios, and their spread."""
    ratios = [slow / fast for slow, fast in measured]
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    slow, fast = (statistics.median(one) for one in zip(*measured, strict=True))
    print(f"{what}: {middle:.2f} ({low:.2f} to {high:.2f}, {len(ratios)} rounds: {slow:.2f} s against {fast:.2f} s)")


def main() -> None:
    """Check, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--preset", default="huge")
    parser.add_argument("--what", nargs="+", default=["vit", "fusion", "swin"], choices=("vit", "fusion", "swin"))
    parser.add_argument("--size", type=int, default=256, help="side of the image, pixels")
    parser.add_argument("--depth", type=int, default=4, help="blocks of vit and fusion")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    rate, cuda = matmul_rate(args.device), args.device.startswith("cuda")
    for what in args.what:
        if what == "swin":
            ours, theirs, x = swin_pair(args.preset, args.size)
        else:
            ours, theirs = block_pair(args.preset, args.depth)
            x = torch.randn(*((8, 257) if what == "vit" else (64, 32)), preset(args.preset).fusion.dim)
        ours, theirs, x = ours.eval().to(args.device), theirs.eval().to(args.device), x.to(args.device)
        with torch.inference_mode():
            one, two = output(ours, x), output(theirs, x)
        difference = float((one - two).abs().max() / two.abs().max())
        if not difference <= CLOSE:
            raise SystemExit(f"{what}: the outputs differ by {difference:.1e}")
        threads = torch.get_num_threads()
        print(f"{what} of {args.preset} on {args.device}, {threads} threads: outputs differ by {difference:.1e}")
        measured = turns(forward(theirs, x), forward(ours, x), args.rounds, cuda)
        report("  timm / ours, forward", measured)
        seconds = statistics.median(fast for _, fast in measured)
        print(f"  ours: {share(operations(forward(ours, x)), seconds, rate)}")
        report("  timm / ours, forward and backward", turns(backward(theirs, x), backward(ours, x), args.rounds, cuda))
        half, small = copy.deepcopy(ours).bfloat16(), x.bfloat16()
        with torch.inference_mode():
            error = float((output(half, small).float() - one).norm() / one.norm())
        report("  float32 / bfloat16, forward", turns(forward(ours, x), forward(half, small), args.rounds, cuda))
        print(f"  bfloat16 is off by {error:.1e} of the norm")


if __name__ == "__main__":
    main()
