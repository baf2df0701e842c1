"""SkySense: a multi-modal remote-sensing foundation model, from imagery to maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skysense.model.loading import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """``skysense.load`` is looked up when it is first used, so that ``import skysense`` imports nothing."""
    if name == "load":
        from skysense.model.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
