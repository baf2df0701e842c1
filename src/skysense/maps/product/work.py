"""A map while it is being made: a hidden folder beside the output that any number of processes fill part by part.

``.NAME.work`` holds what the run is (``work.json``), for every finished part what it said of itself, what all parts
share (``kept-*``), and the pixels as the format stores them (`CogStore`, `ZarrStore`). The same parts make the same
output to the byte, in whatever order and by how many processes they were finished. The output appears by rename, after
the picture that lies beside it: an output that is there lacks nothing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skysense.errors import OutputError
from skysense.files import atomic_path, make_folder, output_error, plain, read_json, write_json
from skysense.maps.grid import Grid
from skysense.maps.parts import Part, Parting
from skysense.maps.product import overviews
from skysense.maps.product.cog import CogStore
from skysense.maps.product.layer import Layer
from skysense.maps.product.levels import Level, levels_of, tile_of
from skysense.maps.product.lock import hold, release
from skysense.maps.product.metadata import FORMAT, VERSION, grid_to_json
from skysense.maps.product.store import Put, Store
from skysense.maps.product.zarr import ZarrStore

_ABOUT, _METADATA, _FINISHED, _PICTURE = "work.json", "metadata.json", "finished.json", "picture.png"
_TIFFS, _ZARRS = (".tif", ".tiff"), (".zarr",)


class PartWriter:
    """Takes the pixels of one part, layer by layer in rows; made by `Work.open`."""

    def __init__(self, layers: Mapping[str, tuple[Layer, int, Part, Put]]) -> None:
        self._layers = layers
        self._rows = dict.fromkeys(layers, 0)
        self.account: dict[str, Any] = {}

    def put(self, layer: str, row: int, stored_KHW: NDArray) -> None:
        """Write rows of a layer.

        Args:
            layer: its name.
            row: first pixel row within the part; rows come in order and without gaps.
            stored_KHW: stored numbers (`Layer.encode`) of the whole width of the part; a multiple of `tile_of` rows but
                for the last.

        Raises:
            ValueError: rows that are not the next ones of this part.
            OutputError: no space.
        """
        what, tile, part, put = self._layers[layer]
        rows = stored_KHW.shape[1]
        end = row + rows
        wanted = (len(what.bands), rows, part.window.width)
        if row != self._rows[layer] or stored_KHW.shape != wanted or stored_KHW.dtype != what.dtype:
            raise ValueError(
                f"{layer}: rows from {self._rows[layer]} of {wanted} {what.dtype} are due, "
                f"not from {row} {stored_KHW.shape} {stored_KHW.dtype}"
            )
        if end > part.window.height or (end < part.window.height and rows % tile):
            raise ValueError(f"{layer}: {rows} rows from {row} are no whole tiles of {tile} rows")
        put(row, stored_KHW)
        self._rows[layer] = end

    def say(self, account: Mapping[str, Any]) -> None:
        """Remember plain JSON values with the part: windows that were skipped, counts."""
        self.account |= account

    def check(self) -> None:
        """Refuse a part that is not complete.

        Raises:
            ValueError: rows are missing.
        """
        for name, (_, _, part, _) in self._layers.items():
            if self._rows[name] != part.window.height:
                raise ValueError(f"{name}: {self._rows[name]} of {part.window.height} rows were written")


def picture_of(out: Path) -> Path:
    """Where the picture of a map lies: ``a.tif.png`` and ``a.zarr.png`` do not meet."""
    return out.with_name(f"{out.name}.png")


@dataclass(frozen=True)
class Work:
    """A map that is being made; holds only paths and plain values, so that it can be sent to other processes.

    Attributes:
        out: the output: ``.tif`` or ``.zarr``.
        grid: of the cells of the map.
        layers: of the map.
        parting: in cells.
        run: names the run: a hash of its identity, layers, grid and parts.
        picture: that is made along with the output, if one is wanted.
    """

    out: Path
    grid: Grid
    layers: tuple[Layer, ...]
    parting: Parting
    run: str
    picture: Path | None = None

    @classmethod
    def begin(
        cls,
        out: Path,
        grid: Grid,
        layers: Sequence[Layer],
        parting: Parting,
        identity: dict[str, Any],
        *,
        picture: Path | None = None,
        overwrite: bool = False,
        source_files: Sequence[Path] = (),
    ) -> Work:
        """Start a map, or go on with one of the same identity whose run ended early.

        Args:
            out: ``name.tif`` (further layers become ``name_layer.tif``) or ``name.zarr``; without layers any file.
            grid: of the cells of the map.
            layers: of the map.
            parting: of the map, in cells; sides of parts are multiples of a tile of every layer (`tile_of`), unless a
                single part covers the side.
            identity: JSON values that decide what the pixels are: model, source, windows.
            picture: a PNG that `finish` is going to draw beside the output.
            overwrite: replace an existing output or picture, and begin anew where another run left its work.
            source_files: files that are read; none of them may be the output.

        Raises:
            OutputError: the output or the picture exists, is one of the inputs, or the output is neither .tif nor
                .zarr; another run left its work, or is at it.
        """
        about = {
            "format": FORMAT,
            "version": VERSION,
            "grid": grid_to_json(grid),
            "layers": [layer.to_json() for layer in layers],
            "parting": [parting.height, parting.width, parting.part_height, parting.part_width],
            "identity": plain(identity),
        }
        run = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
        work = cls(Path(out), grid, tuple(layers), parting, run, picture)
        _check_parting(work.layers, parting)
        work._check_out([Path(file) for file in source_files])
        before = read_json(work.folder / _ABOUT) if (work.folder / _ABOUT).exists() else None
        same = before == plain(about)
        if before is not None and not same and not overwrite:
            raise OutputError(
                "another run left its unfinished work here",
                file=work.folder,
                fix="Run that one to its end, choose another name for the output, or --overwrite true begins anew",
            )
        if not (overwrite or (same and (work.folder / _FINISHED).exists())):
            for path in work._files:
                if path.exists():
                    raise OutputError(
                        "exists already", file=path, fix="Choose another name, or --overwrite true replaces it"
                    )
        work._prepare(about, same)
        return work

    @property
    def folder(self) -> Path:
        """Where work in progress lies."""
        return self.out.parent / f".{self.out.name}.work"

    @property
    def outputs(self) -> tuple[Path, ...]:
        """What `finish` will make; that of the first layer first."""
        if self._is_zarr:
            return (self.out,)
        rest = (self.out.with_name(f"{self.out.stem}_{layer.name}{self.out.suffix}") for layer in self.layers[1:])
        return (self.out, *rest)

    def account(self, part: Part) -> dict[str, Any] | None:
        """What a finished part said of itself; None if it is not finished."""
        path = self._account(part)
        if not path.exists():
            return None
        store = self._store
        for layer in self.layers:
            if not all(store.holds(layer, *level) for level in self._within(layer, part)):
                return None
        return read_json(path)

    @contextmanager
    def open(self, part: Part) -> Iterator[PartWriter]:
        """Write a part, in any process; it counts once the block ended well, and replaces what was there of it.

        Raises:
            OutputError: no space; what was finished before stays.
        """
        self._account(part).unlink(missing_ok=True)
        store = self._store
        with ExitStack() as writing:
            layers = {}
            for layer in self.layers:
                within = self._within(layer, part)
                puts = [writing.enter_context(store.writing(layer, *level)) for level in within]
                pixels = within[0][1]
                layers[layer.name] = (layer, tile_of(layer), pixels, overviews.with_overviews(layer, within, puts))
            writer = PartWriter(layers)
            yield writer
            writer.check()
        write_json(self._account(part), writer.account)

    def keep(self, name: str, values: dict[str, Any]) -> None:
        """Remember small JSON values beside the parts."""
        write_json(self.folder / f"kept-{name}.json", values)

    def kept(self, name: str) -> dict[str, Any] | None:
        """What `keep` was given; None if it was not."""
        path = self.folder / f"kept-{name}.json"
        return read_json(path) if path.exists() else None

    def keep_array(self, name: str, arrays: Mapping[str, NDArray]) -> None:
        """Remember arrays by name beside the parts."""
        from safetensors.numpy import save_file

        with atomic_path(self.folder / f"kept-{name}.safetensors") as temporary:
            save_file({key: np.ascontiguousarray(one) for key, one in arrays.items()}, temporary)

    def kept_array(self, name: str) -> dict[str, NDArray] | None:
        """What `keep_array` was given; None if it was not."""
        from safetensors.numpy import load_file

        path = self.folder / f"kept-{name}.safetensors"
        return load_file(path) if path.exists() else None

    def finish(
        self,
        metadata: Mapping[str, Any],
        progress: Callable[[int, int], None] | None = None,
        *,
        write: Callable[[Path], None] | None = None,
        draw: Callable[[Path, Path], object] | None = None,
    ) -> tuple[Path, ...]:
        """Make the overviews, put the output together, draw its picture and remove the work folder.

        Called again after it was stopped at whatever moment, it goes on and makes the same output.

        Args:
            metadata: JSON values that are kept with the map. Where it was begun to be put together before, those of
                then hold.
            progress: called with steps done and steps in all.
            write: writes the output of a map without layers to a path, out of what was kept beside the parts.
            draw: given the output of the first layer, which does not have its name yet, and the path of the picture;
                it may decide to draw none.

        Returns:
            The output; that of the first layer first.

        Raises:
            OutputError: parts are missing, or no space; what was finished stays.
        """
        self._clean(self.gone)
        if not self.folder.exists() and all(path.exists() for path in self.outputs):
            return self.outputs
        if write is not None or not (self.folder / _FINISHED).exists():
            self._make(metadata, progress, write, draw)
        try:
            for made, out in reversed(list(zip(self._made, self._files, strict=True))):
                self._hand_over(made, out)
            self.folder.rename(self.gone)
            release(self.folder)
        except OSError as error:
            raise output_error(error, self.out) from error
        self._clean(self.gone)
        return self.outputs

    @property
    def drawn(self) -> Path | None:
        """The picture, if it is there."""
        return self.picture if self.picture is not None and self.picture.exists() else None

    @property
    def gone(self) -> Path:
        """The work folder while it is being removed."""
        return self.folder.with_suffix(".done")

    @property
    def _files(self) -> tuple[Path, ...]:
        """The output and its picture, which appears first."""
        return self.outputs if self.picture is None else (*self.outputs, self.picture)

    @property
    def _made(self) -> tuple[Path, ...]:
        """`_files` before they are handed over."""
        made = tuple(self._store.made()) if self.layers else (self.folder / f"made{self.out.suffix}",)
        return made if self.picture is None else (*made, self.folder / _PICTURE)

    def _make(
        self,
        metadata: Mapping[str, Any],
        progress: Callable[[int, int], None] | None,
        write: Callable[[Path], None] | None,
        draw: Callable[[Path, Path], object] | None,
    ) -> None:
        """Make all that is to be handed over."""
        if write is not None:
            write(self._made[0])
        else:
            self._assemble(metadata, progress)
        if draw is not None and self.picture is not None:
            draw(self._made[0], self.folder / _PICTURE)
        before = self.picture or (picture_of(self.out) if self.out.exists() else None)
        if before is not None and not (self.folder / _PICTURE).exists():
            before.unlink(missing_ok=True)  # of what is being replaced
        write_json(self.folder / _FINISHED, [path.name for path in self._made if path.exists()])

    def _assemble(self, metadata: Mapping[str, Any], progress: Callable[[int, int], None] | None) -> None:
        missing = [part.name for part in self.parting.parts if self.account(part) is None]
        if missing:
            raise OutputError(
                f"{len(missing)} of {len(self.parting.parts)} parts are not finished: {', '.join(missing[:5])}",
                file=self.out,
                fix="The same command goes on with them",
            )
        levels = {layer.name: levels_of(layer, self.parting) for layer in self.layers}
        store = self._store
        total = sum(len(level.parting.parts) for some in levels.values() for level in some if not level.within)
        total += sum(map(store.pieces, self.layers))
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        common = self._metadata(metadata)
        for layer in self.layers:
            overviews.build(store, layer, levels[layer.name], step)
            store.assemble(layer, common, step)
        store.close(common)

    def _metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """What every layer says; remembered, so that all layers and tries say the same."""
        path = self.folder / _METADATA
        if not path.exists():
            common = {
                "format": FORMAT,
                "version": VERSION,
                "run": self.run,
                "grid": grid_to_json(self.grid),
                "layers": [layer.name for layer in self.layers],
            }
            write_json(path, {**metadata, **common})
        return read_json(path)

    def _hand_over(self, made: Path, out: Path) -> None:
        if not made.exists():
            return  # done before this run
        if out.is_dir():  # cannot be replaced by rename
            replaced = self.folder / "replaced"
            self._clean(replaced)
            out.rename(replaced)
        made.replace(out)

    def _within(self, layer: Layer, part: Part) -> list[tuple[Level, Part]]:
        """A part at full resolution and at the levels that are made along with it."""
        levels = levels_of(layer, self.parting)
        return [(level, level.part(part.row, part.col)) for level in levels if level.within]

    def _account(self, part: Part) -> Path:
        return self.folder / f"part-{part.name}.json"

    @property
    def _is_zarr(self) -> bool:
        return self.out.suffix.lower() in _ZARRS

    @property
    def _store(self) -> Store:
        kind = ZarrStore if self._is_zarr else CogStore
        return kind(self.folder, self.grid, self.layers, self.parting)

    def _check_out(self, sources: Sequence[Path]) -> None:
        if self.layers and self.out.suffix.lower() not in (*_TIFFS, *_ZARRS):
            raise OutputError("is neither a GeoTIFF nor a Zarr", file=self.out, fix="Call it .tif or .zarr")
        for path in self._files:
            for source in sources:
                if path.resolve() in (source.resolve(), *source.resolve().parents):
                    raise OutputError(
                        f"is the input {source} or holds it", file=path, fix="Choose another name for the output"
                    )
            if path.is_dir() and not (self._is_zarr and path == self.out and (path / "zarr.json").is_file()):
                raise OutputError("is a folder with something else in it", file=path, fix="Choose another name")

    def _prepare(self, about: dict[str, Any], same: bool) -> None:
        if self.folder.exists():
            hold(self.folder)
        self._clean(self.gone)
        try:
            if not same and self.folder.exists():
                (self.folder / _ABOUT).unlink(missing_ok=True)  # first: half a folder is nobody's work
                self._clean(self.folder)
        except OSError as error:
            raise output_error(error, self.folder) from error
        make_folder(self.folder)
        hold(self.folder)
        for left in self.folder.glob(".*"):  # a writer that was killed
            left.unlink(missing_ok=True)
        if not (self.folder / _FINISHED).exists():
            self._store.begin()
        write_json(self.folder / _ABOUT, about)

    @staticmethod
    def _clean(folder: Path) -> None:
        try:
            if folder.exists():
                shutil.rmtree(folder)
        except OSError as error:
            raise output_error(error, folder) from error


def _check_parting(layers: Sequence[Layer], parting: Parting) -> None:
    for layer in layers:
        tile = tile_of(layer)
        sides = ((parting.part_height, parting.height), (parting.part_width, parting.width))
        for part, whole in sides:
            if part < whole and part * layer.per_cell % tile:
                raise ValueError(f"{layer.name}: parts of {part} cells are no multiple of a tile of {tile} pixels")
