"""Encoders of the published size against those of timm at equal weights and outputs, and bfloat16 against float32.

* swin: Swin V2 with the dimensions of the published image encoder (without the additional norms, which the others
  lack), against timm; swin-transformers: against transformers, which must be installed for it;
* vit: blocks of the Sentinel encoders on sequences of 257 tokens; fusion: the same blocks on sequences of 32.

Each side runs in turns; the median of the ratios of the turns is printed, beside the share of the machine's rate.

Run: ``python benchmarks/encoders.py`` (``--help`` lists sizes); timm comes with the extra ``dev``.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from _ceiling import ceilings, operations, share
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import Block as TimmBlock
from torch import Tensor, nn

from skysense.model.blocks import Block
from skysense.model.config import preset
from skysense.model.swin import Swin

CLOSE = 1e-4
"""Largest difference of outputs in float32, as a share of the largest number."""
Job = Callable[[], object]


def swin(name: str) -> Swin:
    """Our Swin without the additional norms; every norm and bias is something."""
    ours = Swin(replace(preset(name).hr, extra_norm_every=0, position_hidden=512, drop_path=0.0))
    with torch.no_grad():
        for key, parameter in ours.named_parameters():
            if "position_bias" not in key and parameter.ndim == 1:
                parameter.normal_(1.0 if key.endswith("norm.weight") else 0.0, 0.1)
    return ours


def timm_swin(ours: Swin, size: int) -> nn.Module:
    """That of timm with the weights of ours."""
    config = ours.config
    theirs = SwinTransformerV2(
        img_size=size,
        embed_dim=config.embed_dim,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=config.window,
        num_classes=0,
        drop_path_rate=0.0,
    )
    pieces = (
        ("stages.", "layers."), (".merge.", ".downsample."), ("patch_embed.projection", "patch_embed.proj"),
        ("attention.position_bias.hidden", "attn.cpb_mlp.0"), ("attention.position_bias.heads", "attn.cpb_mlp.2"),
        ("attention_norm", "norm1"), ("mlp_norm", "norm2"), ("mlp.up", "mlp.fc1"), ("mlp.down", "mlp.fc2"),
        ("attention.out", "attn.proj"), ("attention.", "attn."), ("output_norms.3", "norm"),
    )  # fmt: skip
    theirs.load_state_dict({**theirs.state_dict(), **renamed(columns_first(ours.state_dict()), pieces)})
    return theirs


def transformers_swin(ours: Swin, size: int) -> nn.Module:
    """That of transformers with the weights of ours."""
    try:
        from transformers import Swinv2Config, Swinv2Model
    except ModuleNotFoundError as error:
        raise SystemExit("transformers is not installed: pip install transformers") from error
    config = ours.config
    theirs = Swinv2Model(
        Swinv2Config(
            image_size=size,
            embed_dim=config.embed_dim,
            depths=config.depths,
            num_heads=config.num_heads,
            window_size=config.window,
            drop_path_rate=0.0,
        ),
        add_pooling_layer=False,
    )
    pieces = (
        ("stages.", "encoder.layers."), ("patch_embed.projection", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"), ("attention_norm", "layernorm_before"),
        ("mlp_norm", "layernorm_after"), ("mlp.up", "intermediate.dense"), ("mlp.down", "output.dense"),
        ("attention.out", "attention.output.dense"), ("attention.logit_scale", "attention.self.logit_scale"),
        ("attention.position_bias.hidden", "attention.self.continuous_position_bias_mlp.0"),
        ("attention.position_bias.heads", "attention.self.continuous_position_bias_mlp.2"),
        ("output_norms.3", "layernorm"),
    )  # fmt: skip
    state = {}
    for key, tensor in renamed(columns_first(ours.state_dict()), pieces).items():
        prefix, found, _ = key.rpartition("attention.q")
        if found and key.endswith("qkv.weight"):
            for part, weight in zip(("query", "key", "value"), tensor.chunk(3), strict=True):
                state[f"{prefix}attention.self.{part}.weight"] = weight
        elif ".merge." in key:  # merging belongs to the stage before
            start, _, end = key.partition(".merge.")
            stage = int(start.rpartition(".")[2])
            state[f"encoder.layers.{stage - 1}.downsample.{end}"] = tensor
        else:
            key = key.replace("attention.q_bias", "attention.self.query.bias")
            state[key.replace("attention.v_bias", "attention.self.value.bias")] = tensor
    theirs.load_state_dict(state)
    return theirs


def columns_first(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The columns of merging in the order of the others: column, row, channel."""
    return {
        key: tensor.unflatten(1, (-1, 2, 2)).permute(0, 3, 2, 1).flatten(1) if "reduction" in key else tensor
        for key, tensor in state.items()
    }


def renamed(state: dict[str, Tensor], pieces: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """Tensors under names of which pieces are replaced, in turn."""
    result = {}
    for key, tensor in state.items():
        for one, other in pieces:
            key = key.replace(one, other)
        result[key] = tensor
    return result


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
    theirs.load_state_dict(renamed(ours.state_dict(), pieces))
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = config.layer_norm_eps
    return ours, theirs


def output(module: nn.Module, x: Tensor) -> Tensor:
    """The last map as ``(N, h, w, D)``, or tokens."""
    if isinstance(module, Swin):
        return module(x)[-1].permute(0, 2, 3, 1)
    if isinstance(module, SwinTransformerV2):
        return module.forward_features(x)
    found = module(x)
    if isinstance(found, Tensor):
        return found
    tokens: Tensor = found.last_hidden_state
    return tokens.unflatten(1, (x.shape[2] // 32, x.shape[3] // 32))


def forward(module: nn.Module, x: Tensor) -> Job:
    """Inference."""

    def job() -> None:
        with torch.inference_mode():
            output(module, x)

    return job


def backward(module: nn.Module, x: Tensor) -> Job:
    """Forward and backward; either side begins without gradients in memory."""

    def job() -> None:
        output(module, x).sum().backward()
        module.zero_grad(set_to_none=True)

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
    parser.add_argument(
        "--what", nargs="+", default=["vit", "fusion", "swin"], choices=("vit", "fusion", "swin", "swin-transformers")
    )
    parser.add_argument("--size", type=int, default=256, help="side of the image, pixels")
    parser.add_argument("--batch-size", type=int, default=1, help="images")
    parser.add_argument("--depth", type=int, default=4, help="blocks of vit and fusion")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.manual_seed(0)
    rates, cuda = ceilings(args.device), args.device.startswith("cuda")
    for what in args.what:
        peer = "transformers" if what == "swin-transformers" else "timm"
        if what.startswith("swin"):
            ours = swin(args.preset)
            theirs = (transformers_swin if peer == "transformers" else timm_swin)(ours, args.size)
            x = torch.randn(args.batch_size, 3, args.size, args.size)
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
        report(f"  {peer} / ours, forward", measured)
        seconds = statistics.median(fast for _, fast in measured)
        print(f"  ours: {share(operations(forward(ours, x)), seconds, rates)}")
        report(
            f"  {peer} / ours, forward and backward", turns(backward(theirs, x), backward(ours, x), args.rounds, cuda)
        )
        half, small = copy.deepcopy(ours).bfloat16(), x.bfloat16()
        with torch.inference_mode():
            error = float((output(half, small).float() - one).norm() / one.norm())
        report("  float32 / bfloat16, forward", turns(forward(ours, x), forward(half, small), args.rounds, cuda))
        print(f"  bfloat16 is off by {error:.1e} of the norm")


if __name__ == "__main__":
    main()
