"""SkySense: a multi-modal remote-sensing foundation model, from imagery to maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skysense.export.front import to_onnx
    from skysense.maps.front import embed, fewshot, predict, search
    from skysense.maps.product.read import open_product
    from skysense.model.loading import load

__version__ = "0.1.0"
__all__ = ["__version__", "embed", "fewshot", "load", "open_product", "predict", "search", "to_onnx"]

_HOMES = {"load": "skysense.model.loading", "open_product": "skysense.maps.product.read"}
_HOMES |= {"to_onnx": "skysense.export.front"}
_HOMES |= dict.fromkeys(("embed", "fewshot", "predict", "search"), "skysense.maps.front")


def __getattr__(name: str) -> Any:
    """``skysense.load`` and the like are looked up when first used, so that ``import skysense`` imports nothing."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """What completion offers."""
    return sorted({*globals(), *__all__})
