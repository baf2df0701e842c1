"""What GPUs can do, by the public data sheets of their vendors; rates without sparsity."""

from __future__ import annotations

from dataclasses import dataclass

from skysense.errors import ConfigError

SHARE_OF_PEAK = 0.35
"""Share of a GPU's dense peak that a step reaches. Well-tuned trainings of transformers report 0.35 to 0.5 in bfloat16;
windows, norms and terms between the products are slower than the wide products that peaks are quoted for."""


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        title: what its vendor calls it.
        memory: GiB.
        bfloat16: TFLOP/s of dense products in bfloat16.
        tf32: TFLOP/s of dense products of float32 numbers that are rounded to TF32 (xf32).
        float32: TFLOP/s in float32 proper, which torch uses unless told otherwise.
        bandwidth: of its memory, GB/s.
    """

    title: str
    memory: float
    bfloat16: float
    tf32: float
    float32: float
    bandwidth: float


GPUS: dict[str, Gpu] = {
    "a100-40": Gpu("NVIDIA A100 40 GB SXM", 40, 312, 156, 19.5, 1555),
    "a100": Gpu("NVIDIA A100 80 GB SXM", 80, 312, 156, 19.5, 2039),
    "rtx4090": Gpu("NVIDIA GeForce RTX 4090", 24, 165.2, 82.6, 82.6, 1008),
    "l40s": Gpu("NVIDIA L40S", 48, 362, 183, 91.6, 864),
    "h20": Gpu("NVIDIA H20", 96, 148, 74, 44, 4000),
    "h100": Gpu("NVIDIA H100 SXM", 80, 989.4, 494.7, 66.9, 3350),
    "h200": Gpu("NVIDIA H200 SXM", 141, 989.4, 494.7, 66.9, 4800),
    "b200": Gpu("NVIDIA B200 (HGX)", 180, 2250, 1125, 75, 7700),
    "mi300x": Gpu("AMD Instinct MI300X", 192, 1307.4, 653.7, 163.4, 5300),
}


def gpu(name: str) -> Gpu:
    """A GPU by name.

    Raises:
        ConfigError: none of that name.
    """
    if name not in GPUS:
        raise ConfigError(f"unknown GPU {name!r}; known: {', '.join(GPUS)}")
    return GPUS[name]
