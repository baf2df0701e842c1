"""What consumers of encoders ask of them: verbs in the manner of timm, for decoders, pyramids and layer-wise rates.

Letters: N images or frames, D width, h w tokens of a map.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal

from torch import Tensor

from skysense.errors import ConfigError
from skysense.model.recompute import Blocks

Format = Literal["NCHW", "NHWC"]


class Encoder(Blocks):
    """An encoder made of levels: the stages of a Swin, the blocks of a ViT.

    Attributes:
        feature_info: per level its width (``num_chs``), pixels per token along a side (``reduction``) and the submodule
            (``module``), as timm describes them.
    """

    feature_info: list[dict[str, Any]]

    def levels(self, x: Tensor, wanted: Collection[int]) -> dict[int, Tensor]:
        """The maps ``(N, h, w, D)`` of some levels, not normalised; nothing beyond the last of them is computed."""
        raise NotImplementedError

    def _normed(self, map_NhwD: Tensor, level: int) -> Tensor:
        """A map with the norm that belongs to the output of its level, if there is one."""
        return map_NhwD

    def forward_features(self, x: Tensor) -> Tensor:
        """The last map ``(N, D, h, w)``, as `forward` returns it last."""
        last = len(self.feature_info) - 1
        return self._normed(self.levels(x, [last])[last], last).permute(0, 3, 1, 2)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: Format = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps of several levels.

        Args:
            x: normalised images or frames, as for `forward`.
            indices: levels, negative ones from the end; a number for so many of the last; all if None.
            norm: normalise each with the norm of its level, where the encoder has one.
            stop_early: compute no level beyond the last that is wanted; only with ``intermediates_only``.
            output_fmt: order of the axes of the intermediates.
            intermediates_only: return these alone.

        Returns:
            What `forward_features` returns, and the intermediates in the order of the levels; or these alone.

        Raises:
            ConfigError: levels that do not exist, another format, or stopping early where the end is wanted.
        """
        chosen = self._which(indices)
        if output_fmt not in ("NCHW", "NHWC"):
            raise ConfigError(f"output_fmt {output_fmt!r} is neither NCHW nor NHWC")
        if stop_early and not intermediates_only:
            raise ConfigError("stop_early leaves out the last features: ask for intermediates_only")
        last = len(self.feature_info) - 1
        maps = self.levels(x, chosen if stop_early else {*chosen, last})
        found = [self._normed(maps[level], level) if norm else maps[level] for level in chosen]
        if output_fmt == "NCHW":
            found = [one.permute(0, 3, 1, 2) for one in found]
        if intermediates_only:
            return found
        return self._normed(maps[last], last).permute(0, 3, 1, 2), found

    def _which(self, indices: int | Sequence[int] | None) -> list[int]:
        count = len(self.feature_info)
        if indices is None:
            return list(range(count))
        wanted = list(range(-indices, 0)) if isinstance(indices, int) else list(indices)
        levels = sorted({level + count if level < 0 else level for level in wanted})
        if not levels or levels[0] < 0 or levels[-1] >= count:
            raise ConfigError(f"levels {indices}: this encoder has {count}")
        return levels

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Trade time for memory in training: keep only what goes into each block."""
        self.checkpointing = "full" if enable else "none"
