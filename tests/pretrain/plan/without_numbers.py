"""A training step of any size without numbers: FLOPs by torch's counter, and the memory that is alive at every moment.

A `skysense.pretrain.run.Run` makes the step. Floating-point tensors are on torch's meta device, which knows shapes and
strides only; what chooses shapes (masks, rows, frames) is real. The model takes the paths it takes on an accelerator,
since the device is no CPU, and attention is the fused kernel that a GPU would run.

The ledger adds up the storages that are alive after each operation; it is exact for tensors, and knows nothing of what
kernels take inside and of what an allocator loses.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import flop_registry

from skysense.geo import RegionTable
from skysense.model import recompute
from skysense.model.config import PRESETS, ModelConfig
from skysense.observation import Batch, Frames
from skysense.pretrain import run
from skysense.pretrain.batch import FramePairs, ViewBatch
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.heads import TeacherMemory
from skysense.pretrain.objective import Objective
from skysense.pretrain.views import Look
from skysense.sensors import Modality
from skysense.train.ranks import Ranks
from skysense.train.together import Together

aten = torch.ops.aten


class Shapes(TorchDispatchMode):
    """Computes what is real, follows the shapes of the rest, and adds up what is alive.

    Attributes:
        alive: bytes of meta storages.
        peak: most of it since `reset`.
        flops: since `reset`, by the formulas of torch's counter. The counter itself, as a mode, keeps what is computed
            again in a backward pass alive.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = self.flops = 0
        self._known: set[int] = set()

    def reset(self) -> None:
        """Begin a new peak and a new count."""
        self.peak, self.flops = self.alive, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            return torch.ones((), dtype=args[0].dtype).item()
        if func is aten.nonzero.default and args[0].is_meta:
            return torch.empty(0, args[0].ndim, dtype=torch.int64)  # no prototype is dead
        if func is aten._to_copy.default and args[0].is_meta and args[0].is_floating_point():
            kwargs["device"] = torch.device("meta")  # there is nothing to bring to the host
        elif _device(kwargs) == "meta" and not _is_float(func, args, kwargs):
            kwargs["device"] = torch.device("cpu")
        tensors = [one for one in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        if any(one.is_meta for one in tensors):
            if func in (aten.index.Tensor, aten.index_put_.default, aten.index_put.default):
                args = (args[0], _chosen(args[1]), *args[2:])
            args, kwargs = tree_map_only(Tensor, lambda one: one.to("meta"), (args, kwargs))
        result = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.flops += flop_registry[func._overloadpacket](*args, **kwargs, out_val=result)
        tree_map_only(Tensor, self._enter, result)
        return result

    def _enter(self, tensor: Tensor) -> Tensor:
        if tensor.is_meta:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key not in self._known:
                self._known.add(key)
                self.alive += size
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self._leave, key, size)
        return tensor

    def _leave(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.alive -= size


def _device(kwargs: dict[str, Any]) -> str:
    return torch.device(kwargs["device"]).type if kwargs.get("device") is not None else ""


def _is_float(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    dtype = kwargs.get("dtype")
    if dtype is None and args and isinstance(args[0], Tensor):
        dtype = args[0].dtype
    if dtype is None and func in (aten.arange.default, aten.arange.start, aten.arange.start_step):
        return False
    return dtype is None or dtype.is_floating_point


def _chosen(indices: list[Tensor | None]) -> list[Tensor | None]:
    """Masks as the rows they choose; a mask without numbers chooses all."""
    found: list[Tensor | None] = []
    for one in indices:
        if one is None or one.dtype != torch.bool:
            found.append(one)
        else:
            real = torch.ones(one.shape, dtype=torch.bool) if one.is_meta else one
            found.extend(real.nonzero(as_tuple=True))
    return found


def _fused_attention(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """The kernel that a GPU takes: flash attention in half precision without a bias, else the memory-efficient one."""
    if MixedPrecision.active is not None:
        q, k, v = (one.to(torch.bfloat16) for one in (q, k, v))
    if q.ndim < 4:
        return _PLAIN_ATTENTION(q, k, v, attn_mask=attn_mask, scale=scale)
    if attn_mask is None and q.dtype == torch.bfloat16:
        return aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)[0]
    if attn_mask is not None:
        attn_mask = attn_mask.expand(q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    grad = torch.is_grad_enabled() and any(one.requires_grad for one in (q, k, v))
    return aten._scaled_dot_product_efficient_attention(q, k, v, attn_mask, grad, scale=scale)[0]


_PLAIN_ATTENTION = F.scaled_dot_product_attention


class MixedPrecision(TorchFunctionMode):
    """What `torch.autocast` does on a GPU, which it does not do on the meta device.

    Products take bfloat16, norms and softmax float32.

    Args:
        shared: keep the copies of weights until the end.
    """

    active: MixedPrecision | None = None

    def __init__(self, *, shared: bool = True) -> None:
        super().__init__()
        self._shared, self._copies = shared, dict[int, Tensor]()
        self._outer: MixedPrecision | None = None

    def __enter__(self) -> Self:
        self._outer, MixedPrecision.active = MixedPrecision.active, self
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        MixedPrecision.active, self._copies = self._outer, {}
        super().__exit__(*error)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, kwargs = getattr(func, "__name__", ""), dict(kwargs or {})
        if name in _NARROW:
            args, kwargs = tree_map_only(Tensor, self._narrow, (args, kwargs))
        elif name == "layer_norm":
            args, kwargs = tree_map_only(Tensor, Tensor.float, (args, kwargs))
        elif name == "softmax":
            kwargs["dtype"] = torch.float32
        return func(*args, **kwargs)

    def _narrow(self, tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.float32:
            return tensor
        if not (self._shared and tensor.requires_grad and tensor.is_leaf):
            return tensor.to(torch.bfloat16)
        if id(tensor) not in self._copies:
            self._copies[id(tensor)] = tensor.to(torch.bfloat16)
        return self._copies[id(tensor)]


_NARROW = ("linear", "conv2d", "matmul", "__matmul__", "einsum", "scaled_dot_product_attention")


def _checkpoint(function: Any, *args: Any, **options: Any) -> Any:
    """As `skysense.model.recompute` casts weights."""
    if MixedPrecision.active is None:
        return checkpoint(function, *args, **options)

    def mixed(*args: Any, **settings: Any) -> Any:
        with MixedPrecision(shared=False):
            return function(*args, **settings)

    return checkpoint(mixed, *args, **options)


_PLAIN_LIST = Tensor.tolist


def _to_list(tensor: Tensor) -> Any:
    return _PLAIN_LIST(torch.ones(tensor.shape, device="cpu") if tensor.is_meta else tensor)


class _NoOptimiser:
    """The optimiser's averages are no part of what is measured."""

    param_groups: tuple[dict[str, Any], ...] = ()

    def __init__(self, modules: Sequence[nn.Module], **settings: Any) -> None:
        self._modules = modules

    def zero_grad(self, set_to_none: bool) -> None:
        for module in self._modules:
            module.zero_grad(set_to_none)

    def step(self) -> None:
        """Nothing."""


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[Shapes]:
    """Everything inside runs without numbers."""
    with pytest.MonkeyPatch.context() as patch, Shapes() as shapes:
        patch.setattr(F, "scaled_dot_product_attention", _fused_attention)
        patch.setattr(Tensor, "tolist", _to_list)
        patch.setattr(recompute, "checkpoint", _checkpoint)
        patch.setattr(run, "adamw", _NoOptimiser)
        patch.setattr(
            Objective, "_precision", lambda self: MixedPrecision() if self.mixed else contextlib.nullcontext()
        )
        yield shapes


def frames(rows: int, count: int, bands: int, side: int, dtype: torch.dtype) -> Frames:
    """Frames of which everything was observed."""
    there = torch.ones(rows, count, dtype=torch.bool)
    day = torch.arange(count).expand(rows, count)
    valid = torch.ones(rows, count, side, side, dtype=torch.bool)
    return Frames(torch.empty(rows, count, bands, side, side, dtype=dtype, device="meta"), day, there, valid)


def batch(model: ModelConfig, rows: int, cells: int, counts: dict[Modality, int]) -> Batch:
    """Views of one size; every row has all modalities."""
    found: dict[Modality, Frames] = {
        "hr": frames(rows, 1, model.hr.in_channels, 32 * cells, torch.float32),
        "s2": frames(rows, counts["s2"], model.s2.in_channels, cells, torch.int32),
        "s1": frames(rows, counts["s1"], model.s1.in_channels, cells, torch.float32),
    }
    names, words = [str(row) for row in range(rows)], torch.arange(rows)
    return Batch(found, torch.arange(rows) // 2 % 2, names, words)


def view_batch(model: ModelConfig, config: PretrainConfig, places: int, common: int) -> ViewBatch:
    """Views whose frames all have a partner, with ``common`` cells that both global views of a place contain."""
    views, rows = config.views, 2 * places
    counts: dict[Modality, int] = {"hr": 1, "s2": views.s2_frames, "s1": views.s1_frames}
    crops = views.local_crops * places
    globally = [(row, row ^ 1) for row in range(rows)]
    locally = [(row, row // views.local_crops * 2 + view) for row in range(crops) for view in range(2)]
    hidden = None
    if config.objective.masked:
        hidden = torch.zeros(rows, views.global_cells**2, dtype=torch.bool)
        hidden[
            : round(rows * config.objective.masked_views), : round(config.objective.masked_share * hidden[0].numel())
        ] = 1
        hidden = hidden.view(rows, views.global_cells, views.global_cells)
    cells = torch.arange(common).expand(rows, common)
    plain = Look(brightness=1, contrast=1, saturation=1, blur=0, solarise_from=None)
    return ViewBatch(
        globals=batch(model, rows, views.global_cells, counts),
        locals=batch(model, crops, views.local_cells, counts) if crops else None,
        student_cells=cells,
        teacher_cells=cells,
        common=torch.ones(rows, common, dtype=torch.bool),
        global_pairs={key: _pairs(globally, count) for key, count in counts.items()},
        local_pairs={key: _pairs(locally, count) for key, count in counts.items()} if crops else {},
        looks=[[plain] * rows, [plain] * crops],
        places=places,
        hidden=hidden,
    )


def _pairs(rows: list[tuple[int, int]], count: int) -> FramePairs:
    times = torch.arange(count).repeat(len(rows))
    student, teacher = (torch.tensor(side).repeat_interleave(count) for side in zip(*rows, strict=True))
    return FramePairs(student, times, teacher, times)


@dataclass
class Measured:
    """What a step took, but for the first: gradients of the step before are there until the backward pass begins.

    Attributes:
        flops: of everything, backward pass and what is computed twice included.
        parameters: that learn.
        kept: bytes alive after the forward pass beside weights, gradients and what views show.
        forward: the most of them in the forward pass.
        peak: the most of them in the whole step.
    """

    flops: int = 0
    parameters: int = 0
    kept: int = 0
    forward: int = 0
    peak: int = 0


def measure(model: ModelConfig, config: PretrainConfig, places: int, common: int, *, regions: int = 2) -> Measured:
    """Let a run make a step; views as in `view_batch`."""
    found = Measured()
    with as_on_a_gpu() as shapes, pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setitem(PRESETS, config.preset, model)
        one = run.Run(config, RegionTable(range(regions)), Together(Ranks(device=torch.device("meta"))))
        if one.student.model.geo is not None:
            one.student.model.geo.initialised.fill_(True)
        for memory in one.objective.memories.values():
            assert isinstance(memory, TeacherMemory)
            memory.seen.fill_(config.objective.memory_rows)
        learning = [*one.student.parameters(), *one.objective.parameters()]
        found.parameters = sum(parameter.numel() for parameter in learning)
        compare, clip, before = one._compare, one._clip, 0

        def compared(*args: Any) -> Any:
            nonlocal before
            before = shapes.alive
            shapes.reset()
            result = compare(*args)
            found.kept, found.forward = shapes.alive - before, shapes.peak - before
            return result

        def clipped(largest: float) -> float:
            # A later step begins with gradients and gives them up after the forward pass: they are beside what counts.
            gradients = sum(parameter.numel() * parameter.element_size() for parameter in learning)
            found.peak = max(found.forward, shapes.peak - before - gradients)
            return clip(largest)

        patch.setattr(one, "_compare", compared)
        patch.setattr(one, "_clip", clipped)
        one.step = 1  # the first one looks at collapse
        one.advance(view_batch(model, config, places, common))
        found.flops = shapes.flops
    return found
