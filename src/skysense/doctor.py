"""What this machine has and can do: what is installed, which kernels run, how fast a product is, what is missing."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from skysense.model.linear import has_onednn, linear

_SIDE, _TRIES = 1024, 9
_ATTENTION = {"64, as in the Sentinel encoders and fusion": (64, False), "48 with a bias, as in the Swin": (48, True)}
_KERNELS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
_SETTINGS = ("SKYSENSE_DATA", "SKYSENSE_REFERENCE", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: was looked at.
        found: in words.
        good: False if something does not work that should.
    """

    what: str
    found: str
    good: bool = True


def examine() -> Iterator[Finding]:
    """Look at everything; takes some seconds, since products are timed."""
    yield Finding("python", platform.python_version())
    yield Finding("torch", f"{torch.__version__} on {platform.machine()}, {torch.get_num_threads()} threads")
    yield _torchvision()
    yield from _extras()
    for name in _SETTINGS:
        yield Finding(name, os.environ.get(name, "not set"))
    for device in ("cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))):
        yield Finding(device, _describe(device))
        for dtype in (torch.float32, torch.bfloat16):
            kind = str(dtype).removeprefix("torch.")
            rate = matmul_rate(device, dtype)
            yield Finding(f"{device}, product in {kind}", f"{rate / 1e9:,.0f} GFLOP/s at {_SIDE} x {_SIDE}")
        if device == "cpu":
            brand = "oneDNN" if has_onednn() else "the BLAS"
            rate = matmul_rate(device, product=linear)
            yield Finding(f"{device}, linear layer in float32", f"{rate / 1e9:,.0f} GFLOP/s by {brand}")
        for what, (width, biased) in _ATTENTION.items():
            yield Finding(f"{device}, fused attention, heads of {what}", kernel(device, width, biased=biased))


def matmul_rate(
    device: str, dtype: torch.dtype = torch.float32, product: Callable[[Tensor, Tensor], Tensor] = torch.matmul
) -> float:
    """Operations per second of a product of two square matrices that lie in the cache: best of several."""
    a, b = (torch.randn(_SIDE, _SIDE, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(_TRIES):
        began = time.perf_counter()
        product(a, b)
        if a.is_cuda:
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best


def kernel(device: str, width: int, *, biased: bool) -> str:
    """Which fused attention kernel torch has for heads of a width, in words; a CPU may be faster without it."""
    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    q = torch.randn(2, 8, 64, width, device=device, dtype=dtype)
    bias = torch.zeros(1, 8, 64, 64, device=device, dtype=dtype) if biased else None
    for backend in _KERNELS:
        try:
            with sdpa_kernel(backend):
                scaled_dot_product_attention(q, q, q, attn_mask=bias)
        except RuntimeError:
            continue
        return str(backend).rpartition(".")[2].lower().replace("_", " ")
    return "two products (math)"


def _describe(device: str) -> str:
    if device == "cpu":
        features = [name for name in ("avx512_bf16", "amx_bf16") if name in _flags()]
        return ", ".join([torch.backends.cpu.get_cpu_capability(), *features])
    about = torch.cuda.get_device_properties(device)
    return f"{about.name}, {about.total_memory >> 30} GiB"


def _flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return next((set(line.split()) for line in file if line.startswith("flags")), set())
    except OSError:
        return set()


def _torchvision() -> Finding:
    """A torchvision built for another torch does not import, and breaks lightning and timm with it."""
    try:
        module = importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return Finding("torchvision", "not installed; the core does not need it")
    except (RuntimeError, ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        return Finding("torchvision", f"does not fit this torch ({reason}): take both from one index", good=False)
    return Finding("torchvision", module.__version__)


def _extras() -> Iterator[Finding]:
    """For each extra, whether everything in it is installed."""
    requirements = importlib.metadata.requires("skysense") or []
    names: dict[str, list[str]] = {}
    for requirement in requirements:
        name, _, marker = requirement.partition(";")
        if "extra ==" in marker and not name.startswith("skysense"):
            extra = marker.rpartition("==")[2].strip(" \"')")
            names.setdefault(extra, []).append(_package(name))
    names.pop("all", None)
    for extra, packages in names.items():
        missing = [package for package in packages if not _installed(package)]
        found = f"missing {', '.join(missing)}: pip install 'skysense[{extra}]'" if missing else "complete"
        yield Finding(f"extra {extra}", found)


def _package(requirement: str) -> str:
    end = next((at for at, letter in enumerate(requirement) if not (letter.isalnum() or letter in "-_.")), None)
    return requirement[:end]


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
