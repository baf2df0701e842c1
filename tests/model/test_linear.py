"""Linear layers by oneDNN are those of torch, to rounding, and only where they are faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skysense.model import linear as module
from skysense.model.linear import Linear, has_onednn, linear

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this build of torch has no oneDNN")
TOKENS, INTO, OUT = 300, 256, 320  # above the smallest worthwhile product


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of the weights that oneDNN was called with."""
    seen: list[tuple[int, ...]] = []
    real = module._ONEDNN

    def spy(x: Tensor, weight: Tensor, *rest: object) -> Tensor:
        seen.append(tuple(weight.shape))
        return real(x, weight, *rest)

    monkeypatch.setattr(module, "_ONEDNN", spy if real is not None else None)
    return seen


@needs_onednn
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("transposed", [True, False], ids=["strided", "contiguous"])
def test_values_and_gradients_are_those_of_torch(
    with_bias: bool, transposed: bool, calls: list[tuple[int, ...]]
) -> None:
    torch.manual_seed(0)
    leaf = torch.randn(INTO, 3, TOKENS // 3) if transposed else torch.randn(3, TOKENS // 3, INTO)
    tensors = [leaf, torch.randn(OUT, INTO), *([torch.randn(OUT)] if with_bias else [])]

    def run(fn: object, dtype: torch.dtype) -> list[Tensor]:
        leaves = [tensor.to(dtype, copy=True).requires_grad_() for tensor in tensors]
        x, *rest = leaves
        out = fn(x.movedim(0, -1) if transposed else x, *rest)  # type: ignore[operator]
        # a weighted sum, so that no gradient is the same everywhere
        (out * torch.linspace(0, 1, out.numel(), dtype=dtype).view_as(out)).sum().backward()
        return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]

    expected = run(F.linear, torch.float64)
    assert not calls
    found = run(linear, torch.float32)
    assert calls == [(OUT, INTO), (INTO, OUT)]  # forward, gradient of the input
    assert len(found) == len(expected) == 3 + with_bias
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).norm() / other.norm()) < 1e-6


@needs_onednn
def test_inputs_without_gradient_cost_none(calls: list[tuple[int, ...]]) -> None:
    layer = Linear(INTO, OUT)
    layer(torch.randn(TOKENS, INTO)).sum().backward()
    assert calls == [(OUT, INTO)]
    assert layer.weight.grad is not None and layer.bias.grad is not None


@needs_onednn
@pytest.mark.parametrize(
    "case", ["small", "narrow", "bfloat16", "float64", "autocast", "subclass", "vector", "switched off"]
)
def test_everything_else_is_the_usual_call(
    case: str, calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(TOKENS, INTO), torch.randn(OUT, INTO)
    if case == "small":
        x = x[:3]
    elif case == "narrow":
        weight = torch.randn(100, INTO)
        x = torch.randn(TOKENS * 10, INTO)
    elif case in ("bfloat16", "float64"):
        x, weight = x.to(getattr(torch, case)), weight.to(getattr(torch, case))
    elif case == "subclass":
        x = x.as_subclass(type("Other", (Tensor,), {}))
    elif case == "vector":
        x, weight = torch.randn(2**13), torch.randn(2**11, 2**13)
    elif case == "switched off":
        monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        assert torch.equal(linear(x, weight), F.linear(x, weight))
    assert not calls


@needs_onednn
def test_layer_is_a_linear_layer_of_torch(calls: list[tuple[int, ...]]) -> None:
    ours, theirs = Linear(INTO, OUT), nn.Linear(INTO, OUT)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(TOKENS, INTO)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    assert len(calls) == 1 and isinstance(ours, nn.Linear)


@needs_onednn
@pytest.mark.parametrize("trained", ["x", "weight"])
def test_only_what_a_gradient_needs_is_kept(trained: str) -> None:
    tensors = {"x": torch.randn(TOKENS, INTO), "weight": torch.randn(OUT, INTO)}
    tensors[trained].requires_grad_()
    saved: list[tuple[int, ...]] = []

    def keep(one: Tensor) -> Tensor:
        saved.append(tuple(one.shape))
        return one

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda one: one):
        linear(tensors["x"], tensors["weight"])
    assert saved == [(OUT, INTO) if trained == "x" else (TOKENS, INTO)]


@needs_onednn
@pytest.mark.parametrize("case", ["grad of grad", "func.grad", "vmap", "jvp", "trace"])
def test_large_layers_can_be_transformed_as_small_ones_can(case: str) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, TOKENS, INTO), torch.randn(OUT, INTO)

    def outcome(fn: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if case == "grad of grad":
            leaf = x.clone().requires_grad_()
            (first,) = torch.autograd.grad(fn(leaf, weight).square().sum(), leaf, create_graph=True)
            return torch.autograd.grad(first.square().sum(), leaf)[0]
        if case == "func.grad":
            return torch.func.grad(lambda one: fn(one, weight).square().sum())(x)
        if case == "vmap":
            return torch.vmap(fn, (0, None))(x, weight)
        if case == "jvp":
            return torch.func.jvp(lambda one: fn(one, weight), (x,), (x,))[1]
        traced: Tensor = torch.jit.trace(lambda one: fn(one, weight), (x,), check_trace=False)(x)
        return traced

    found, expected = outcome(linear), outcome(F.linear)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@needs_onednn
def test_what_does_not_fit_is_said_as_torch_says_it() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear(torch.randn(TOKENS, INTO), torch.randn(OUT, INTO + 1))


@needs_onednn
def test_compilers_see_the_usual_call_at_every_size(calls: list[tuple[int, ...]]) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., Any]:
        graphs.append(graph)
        return graph.forward

    layer = torch.compile(Linear(INTO, OUT), backend=backend, dynamic=True)
    for tokens in (2, TOKENS):
        layer(torch.randn(tokens, INTO))
    (graph,) = graphs
    targets = [node.target for node in graph.graph.nodes if node.op == "call_function"]
    assert targets == [torch._C._nn.linear]
    assert not calls
