"""The assembled model: from a batch of observations to frame features, fused features and geo-context.

Letters: B batch, T padded time, N present frames of one modality (sample-major, then in time), C bands or width of
aligned features, D width of a feature, H W pixels, h w cells of the lattice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.geo import CELL_HR_PX, RegionTable, region_rule
from skysense.model.align import UpSamplingHead
from skysense.model.config import ModelConfig
from skysense.model.drop_path import stir
from skysense.model.entry import Entry
from skysense.model.fusion import DateTable, Fusion
from skysense.model.geocontext import GeoContext
from skysense.model.swin import Hidden, Swin
from skysense.model.vit import ViT
from skysense.observation import DAYS, Batch, Frames
from skysense.sensors import MODALITIES, Modality, Sensor, sensor_of

if TYPE_CHECKING:
    import xarray

    from skysense.maps.product.read import Product
    from skysense.maps.sources.named import What

Piece = Literal["hr", "s2", "s1", "align_s2", "align_s1", "dates", "fusion"]
PIECES: tuple[Piece, ...] = get_args(Piece)


@dataclass
class FrameFeatures:
    """Features of the present frames of one modality on the cell grid.

    Attributes:
        values_NDhw: aligned features, without date; sample-major, then in time.
        sample_N: row of the batch.
        time_N: position on the padded time axis.
        day_N: day of the year - 1, -1 for none.
        valid_Nhw: bool, cells of which at least half was observed.
        earlier: what the encoder returns of its earlier levels, finest first, ``(N, D_i, H_i, W_i)``; nothing unless
            `set_outputs` of the encoder asked for it.
    """

    values_NDhw: Tensor
    sample_N: Tensor
    time_N: Tensor
    day_N: Tensor
    valid_Nhw: Tensor
    earlier: tuple[Tensor, ...] = ()


@dataclass
class Features:
    """What the model makes of a batch.

    Attributes:
        frames: per modality that was asked for and is there.
        fused_BDhw: fused features; zero where a cell has no token.
        occupied_Bhw: bool, cells that have at least one token.
        context_BDhw: attended prototypes, zero where the sample has no region; None if the model has no prototypes.
    """

    frames: dict[Modality, FrameFeatures]
    fused_BDhw: Tensor
    occupied_Bhw: Tensor
    context_BDhw: Tensor | None

    @property
    def cells_BDhw(self) -> Tensor:
        """Fused feature and context side by side, ``(B, 2D, h, w)``; the fused feature alone without prototypes."""
        if self.context_BDhw is None:
            return self.fused_BDhw
        return torch.cat([self.fused_BDhw, self.context_BDhw], dim=1)

    def wide(self) -> Features:
        """The same in float32: what comes out of bfloat16 is compared and summed up in it."""
        frames = {key: replace(one, values_NDhw=one.values_NDhw.float()) for key, one in self.frames.items()}
        context = None if self.context_BDhw is None else self.context_BDhw.float()
        return Features(frames, self.fused_BDhw.float(), self.occupied_Bhw, context)


class SkySense(nn.Module):
    """The published architecture in the size of a configuration (specification 1).

    Args:
        config: dimensions.
        regions: ascending cell ids of the regions that own prototypes; without any there is no geo-context.
        pieces: what to build; the others are no attributes then.

    Raises:
        InputError: an encoder with a number of bands that no sensor has.
    """

    def __init__(self, config: ModelConfig, regions: Sequence[int] = (), pieces: Collection[Piece] = PIECES) -> None:
        super().__init__()
        self.config = config
        self.card: dict[str, Any] = {}
        self.pieces = tuple(piece for piece in PIECES if piece in pieces)
        width = config.fusion.input_dim
        if "hr" in pieces:
            self.hr = Swin(config.hr)
        if "s2" in pieces:
            self.s2 = ViT(config.s2)
        if "s1" in pieces:
            self.s1 = ViT(config.s1)
        if "align_s2" in pieces:
            self.align_s2 = UpSamplingHead(config.s2.dim, width, config.s2.patch)
        if "align_s1" in pieces:
            self.align_s1 = UpSamplingHead(config.s1.dim, width, config.s1.patch)
        if "dates" in pieces:
            self.dates = DateTable(width)
        if "fusion" in pieces:
            self.fusion = Fusion(config.fusion)
        self.geo = GeoContext(config.geo_context, config.fusion.dim, regions) if len(regions) else None
        self.entry_hr = Entry(sensor_of("hr", config.hr.in_channels))
        self.entry_s2 = Entry(sensor_of("s2", config.s2.in_channels))
        self.entry_s1 = Entry(sensor_of("s1", config.s1.in_channels))

    def part(self, pieces: Collection[Piece]) -> SkySense:
        """A model of some of the pieces, which are shared with this one; without fusion there is no geo-context.

        Raises:
            InputError: one that this model lacks.
        """
        self._need(*pieces)
        geo = self.geo if "fusion" in pieces else None
        with torch.device("meta"):
            smaller = SkySense(self.config, (), pieces)
        for piece in smaller.pieces:
            setattr(smaller, piece, getattr(self, piece))
        smaller.geo, smaller.card = geo, self.card
        smaller.entry_hr, smaller.entry_s2, smaller.entry_s1 = self.entry_hr, self.entry_s2, self.entry_s1
        return smaller.train(self.training)

    def sensor_of(self, modality: Modality) -> Sensor:
        """What the encoder of a modality reads."""
        entry = getattr(self, f"entry_{modality}")
        assert isinstance(entry, Entry)
        return entry.sensor

    def dimensions(self) -> ModelConfig:
        """The configuration, with what `set_input_size` of its encoders has changed."""
        encoders = {key: getattr(self, key).config for key in self.modalities}
        return replace(self.config, **encoders)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``model.safetensors`` and a ``README.md`` for people into a folder; `skysense.load` reads it.

        Raises:
            OutputError: no space, no permission.
        """
        from skysense.model.hub import save_pretrained

        save_pretrained(self, folder)

    def embed(self, what: What, out: str | Path | None = None, **options: Any) -> xarray.Dataset | Product:
        """The features of every cell of some imagery; the same as `skysense.embed`."""
        from skysense.maps.front import embed  # upward, and only when called: the maps know the model

        return embed(self, what, out, **options)

    @classmethod
    def from_pretrained(cls, source: str | Path, **options: Any) -> SkySense:
        """The same as `skysense.load`."""
        from skysense.model.loading import load

        return load(source, **options)

    def push_to_hub(self, repository: str, *, private: bool = True, token: str | None = None) -> str:
        """Put the model on the Hugging Face hub; returns the address. Private unless told, since licences differ.

        Args:
            repository: ``owner/name``.
            private: whether only its owner sees it.
            token: of the hub; the one that is logged in by default.
        """
        from skysense.model.hub import push_to_hub

        return push_to_hub(self, repository, private=private, token=token)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those with an encoder."""
        return tuple(key for key in MODALITIES if key in self.pieces)

    @property
    def region_table(self) -> RegionTable:
        """The regions whose prototypes the model owns, by its own rule; none without geo-context."""
        cells = [] if self.geo is None else self.geo.region_cells.tolist()
        return RegionTable(cells, region_rule(self.config.geo_context.region_rule))

    @property
    def cells_dim(self) -> int:
        """Width of `Features.cells_BDhw`."""
        return self.config.fusion.dim * (1 if self.geo is None else 2)

    def forward(
        self, batch: Batch, modalities: Sequence[Modality] | None = None, hidden: Hidden | None = None
    ) -> Features:
        """Encode, fuse and put into context.

        Args:
            batch: observations in physical units.
            modalities: which to use; the others are not encoded. All that have an encoder by default.
            hidden: cells of the high-resolution image that stay unseen, a row per sample.

        Raises:
            InputError: an unknown modality, a piece that this model lacks, a wrong number of bands, a day outside the
                year, a high-resolution image that is not made of whole cells, or modalities that disagree about the
                cell grid.
        """
        frames = self.encode(batch, modalities, hidden)
        fused, occupied = self.fuse(frames, batch.size, cell_grid(batch), batch.words_B)
        return Features(frames, fused, occupied, self.context(fused, occupied, batch.region_B))

    def encode(
        self, batch: Batch, modalities: Sequence[Modality] | None = None, hidden: Hidden | None = None
    ) -> dict[Modality, FrameFeatures]:
        """Features of every present frame on the cell grid; arguments and errors as in `forward`."""
        wanted = self.modalities if modalities is None else modalities
        unknown = [str(key) for key in (*wanted, *batch.frames) if key not in MODALITIES]
        if unknown:
            raise InputError(f"unknown modality {', '.join(unknown)}; known: {', '.join(MODALITIES)}")
        self._need(*wanted)
        cell_grid(batch)
        encoded: dict[Modality, FrameFeatures] = {}
        for key in MODALITIES:
            if key in wanted and key in batch.frames:
                features = self._encode_modality(key, batch.frames[key], hidden, batch.words_B)
                if features is not None:
                    encoded[key] = features
        return encoded

    def fuse(
        self,
        frames: Mapping[Modality, FrameFeatures],
        size: int,
        grid: tuple[int, int],
        words_B: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Fuse frame features per cell.

        Args:
            frames: from `encode`, or a part of it.
            size: number of samples B.
            grid: height and width in cells.
            words_B: random words of the samples, see `Batch`.

        Returns:
            Fused features ``(B, D, h, w)`` and the bool mask ``(B, h, w)`` of cells that have any token.
        """
        self._need("fusion")
        parts = [frames[key] for key in MODALITIES if key in frames]
        dated = [self._dated(key, frames[key]) for key in MODALITIES if key in frames]
        if not parts:
            weight = self.fusion.projection.weight
            nothing = torch.zeros(size, *grid, dtype=torch.bool, device=weight.device)
            return weight.new_zeros(size, self.fusion.config.dim, *grid), nothing
        words_S = None
        if words_B is not None:
            words_S = stir(words_B[:, None], torch.arange(grid[0] * grid[1], device=words_B.device)).flatten()
        if all(_complete(part, size) for part in parts):
            tokens_BThwC = torch.cat([tokens.unflatten(0, (size, -1)) for tokens in dated], dim=1)
            tokens_SNC = tokens_BThwC.permute(0, 2, 3, 1, 4).flatten(0, 2).contiguous()
            fused = self.fusion(tokens_SNC, words_S=words_S)[:, 0]
            occupied = torch.ones(size, *grid, dtype=torch.bool, device=fused.device)
        else:
            sample_N = torch.cat([part.sample_N for part in parts])
            row_SN, valid_SN = _sequences(sample_N, torch.cat([part.valid_Nhw for part in parts]), size)
            fused = self.fusion.fuse(torch.cat(dated).flatten(0, 2), row_SN, valid_SN, words_S)
            occupied = valid_SN.any(dim=1).view(size, *grid)
        return fused.view(size, *grid, -1).permute(0, 3, 1, 2), occupied

    def context(self, fused_BDhw: Tensor, occupied_Bhw: Tensor, region_B: Tensor) -> Tensor | None:
        """Attended prototypes ``(B, D, h, w)``; None if the model has no prototypes."""
        if self.geo is None:
            return None
        return self.geo(fused_BDhw, occupied_Bhw, region_B)

    def _need(self, *pieces: Piece) -> None:
        missing = [piece for piece in pieces if piece not in self.pieces]
        if missing:
            raise InputError(
                f"this needs {', '.join(missing)}; this model has only {', '.join(self.pieces) or 'nothing'}",
                fix="Load a file that holds it, or use an encoder by itself, e.g. model.hr(image)",
            )

    def _encode_modality(
        self, key: Modality, frames: Frames, hidden: Hidden | None, words_B: Tensor | None
    ) -> FrameFeatures | None:
        sample_N, time_N = frames.present_BT.nonzero(as_tuple=True)
        if not len(sample_N):
            return None
        day_N = frames.day_BT[sample_N, time_N]
        _check_days(key, day_N)
        if len(sample_N) == frames.present_BT.numel():  # nothing to pack, nothing to copy
            values, valid = frames.values_BTCHW.flatten(0, 1), frames.valid_BTHW.flatten(0, 1)
        else:
            values, valid = frames.values_BTCHW[sample_N, time_N], frames.valid_BTHW[sample_N, time_N]
        words_N = None if words_B is None else stir(words_B[sample_N], time_N * len(MODALITIES) + MODALITIES.index(key))
        if key == "hr":
            if hidden is not None:
                hidden = replace(hidden, tokens_Bhw=hidden.tokens_Bhw[sample_N])
            *earlier, features = self.hr(self.entry_hr(values, valid), hidden, words_N)
            valid = valid.unflatten(2, (-1, CELL_HR_PX)).unflatten(1, (-1, CELL_HR_PX)).sum((2, 4))
            valid = valid >= CELL_HR_PX**2 / 2
        elif key == "s2":
            *earlier, last = self.s2(self.entry_s2(values, valid), words_N)
            features = self.aligned("s2", last, valid.shape[1:])
        else:
            *earlier, last = self.s1(self.entry_s1(values, valid), words_N)
            features = self.aligned("s1", last, valid.shape[1:])
        return FrameFeatures(features, sample_N, time_N, day_N, valid, tuple(earlier))

    def aligned(self, key: Modality, map_NDhw: Tensor, grid: Sequence[int]) -> Tensor:
        """A map of a Sentinel encoder in the common width on the cells of its frame, ``(N, C, h, w)``.

        Args:
            key: which encoder it comes from.
            map_NDhw: one vector per patch.
            grid: height and width of the frame, pixels.
        """
        self._need("align_s2" if key == "s2" else "align_s1")
        head = self.align_s2 if key == "s2" else self.align_s1
        features: Tensor = head(map_NDhw)
        return features[:, :, : grid[0], : grid[1]]

    def _dated(self, key: Modality, part: FrameFeatures) -> Tensor:
        """Tokens ``(N, h, w, C)`` with their date embedding."""
        tokens_NhwC = part.values_NDhw.permute(0, 2, 3, 1)
        if key not in self.config.date_on:
            return tokens_NhwC
        self._need("dates")
        return tokens_NhwC + self.dates(part.day_N)[:, None, None]


def cell_grid(batch: Batch) -> tuple[int, int]:
    """Height and width in cells that all modalities of a batch share.

    Raises:
        InputError: no imagery at all, high-resolution images not made of whole cells, or grids that differ.
    """
    grids: dict[Modality, tuple[int, int]] = {}
    for key, frames in batch.frames.items():
        height, width = frames.values_BTCHW.shape[-2:]
        if key == "hr":
            if height % CELL_HR_PX or width % CELL_HR_PX:
                raise InputError(
                    f"the high-resolution image is {height} x {width} px; its sides must be multiples of {CELL_HR_PX}"
                )
            height, width = height // CELL_HR_PX, width // CELL_HR_PX
        grids[key] = (height, width)
    if not grids:
        raise InputError("the batch holds no imagery")
    if len(set(grids.values())) > 1:
        found = ", ".join(f"{key} {height} x {width}" for key, (height, width) in grids.items())
        raise InputError(f"the modalities of a batch must share one grid of cells; got {found}")
    return next(iter(grids.values()))


def _check_days(key: Modality, day_N: Tensor) -> None:
    low, high = (int(day) for day in day_N.aminmax())
    if low < -1 or high >= DAYS:
        raise InputError(
            f"{key} holds the day index {high if high >= DAYS else low}; days are 0 .. {DAYS - 1}, or -1 for no date",
            fix="31 December of a leap year is day index 364",
        )


def _complete(part: FrameFeatures, size: int) -> bool:
    """Whether every sample has as many frames as the others and no cell is missing."""
    per_sample = len(part.sample_N) // size
    if per_sample * size != len(part.sample_N) or not bool(part.valid_Nhw.all()):
        return False
    expected = torch.arange(size, device=part.sample_N.device).repeat_interleave(per_sample)
    return torch.equal(part.sample_N, expected)


def _sequences(sample_N: Tensor, valid_Nhw: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Lay the tokens of frames out as one sequence per cell.

    Args:
        sample_N: row of the batch per frame, any order.
        valid_Nhw: cells to use.
        size: number of samples B.

    Returns:
        Token rows ``(B * h * w, T)`` into the flattened frames, and the bool mask of those that are there.
    """
    cells = valid_Nhw[0].numel()
    order_N = sample_N.argsort(stable=True)
    count_B = torch.bincount(sample_N, minlength=size)
    longest = int(count_B.max())
    start_B = count_B.cumsum(0) - count_B
    place_T = torch.arange(longest, device=sample_N.device)
    there_BT = place_T < count_B[:, None]
    frame_BT = order_N[(start_B[:, None] + place_T).clamp(max=len(order_N) - 1)]
    row_BTc = frame_BT[:, :, None] * cells + torch.arange(cells, device=sample_N.device)
    valid_BTc = valid_Nhw.flatten(1)[frame_BT] & there_BT[:, :, None]
    return row_BTc.transpose(1, 2).flatten(0, 1), valid_BTc.transpose(1, 2).flatten(0, 1)
