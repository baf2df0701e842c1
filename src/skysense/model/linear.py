"""Linear layers on the faster of two products that torch brings for float32 on a CPU.

`torch.nn.functional.linear` calls the BLAS that torch was built with. oneDNN, which torch brings as well and uses for
convolutions and bfloat16, is faster for inputs and their gradients where there is enough to do: by a tenth against MKL
with AVX-512, on one thread and on two. The gradient of the weights is as fast or faster with the BLAS
(``benchmarks/products.py`` measures all three).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_WIDE = 256  # numbers in and out; the narrow layers of a small model gain nothing
_WORTHWHILE = 2**24  # multiplications; the call itself takes microseconds longer


class Linear(nn.Linear):
    """`torch.nn.Linear` by `linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D_in)`` to ``(..., D_out)``."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight_OD: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """``x W^T + b`` as `torch.nn.functional.linear` computes it, to rounding."""
    if _is_for_onednn(x, weight_OD, bias_O):
        product: Tensor = _Product.apply(x, weight_OD, bias_O)
        return product
    return F.linear(x, weight_OD, bias_O)


def has_onednn() -> bool:
    """Whether this build of torch brings oneDNN and it is switched on."""
    return _ONEDNN is not None and bool(torch.backends.mkldnn.enabled)


def onednn(x: Tensor, weight_OD: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """The linear layer of oneDNN, without a gradient."""
    assert _ONEDNN is not None
    product: Tensor = _ONEDNN(x, weight_OD, bias_O, "none", [], "")
    return product


def _is_for_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    # Whatever looks inside a model knows the usual call only: compilers (which must not see the sizes either), tracing,
    # the transforms of torch.func, mixed precision, sharded, quantised and fake tensors. Shapes that do not fit go
    # there too, for its message.
    if (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()  # type: ignore[attr-defined]
        or torch._C._are_functorch_transforms_active()
    ):
        return False
    return (
        has_onednn()
        and all(
            type(one) in (Tensor, nn.Parameter) and one.dtype == torch.float32 and one.device.type == "cpu"
            for one in (x, weight, *(() if bias is None else (bias,)))
        )
        and x.ndim > 1
        and x.shape[-1] == weight.shape[1]
        and (bias is None or bias.shape == weight.shape[:1])
        and min(weight.shape) >= _WIDE
        and x.numel() * weight.shape[0] >= _WORTHWHILE
        and not torch.is_autocast_enabled("cpu")
    )


class _Product(torch.autograd.Function):
    """The product of oneDNN, which has no gradient of its own in torch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        return onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        rows = grad.flatten(0, -2)
        return (
            None if weight is None else linear(grad, weight.t()),
            None if x is None else rows.t() @ x.flatten(0, -2),
            rows.sum(0) if ctx.needs_input_grad[2] else None,
        )
