"""Released weights into one file of our own, and a look at whether a file is what it should be."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

import skysense
from skysense.errors import ConfigError, InputError
from skysense.model.assembly import PIECES, Piece, SkySense
from skysense.model.config import ModelConfig, preset
from skysense.model.recognise import Recognised, not_finite, recognise, strange_norms
from skysense.model.released import Part, some
from skysense.model.weights import About, is_ours, mismatch, read_about, save_state, weights_sha256
from skysense.sensors import SENTINEL2_10M, SENTINEL2_L2A, Modality, sensor_of

_CARDS = {
    "huge": {
        "origin": "SkySense (CVPR 2024, arXiv 2312.10115), released by its authors",
        "licence": "for non-commercial research only, as the authors of SkySense say",
    },
    "huge++": {
        "origin": "SkySense++ (Nature Machine Intelligence 2025, 10.1038/s42256-025-01078-8), released by its authors",
        "licence": "as the authors of SkySense++ say in their repository: read it first",
    },
}
_UNKNOWN = {"origin": "files of the names of SkySense, in other dimensions", "licence": "ask whoever trained them"}

_KERNELS: dict[Modality, str] = {"hr": "hr.patch_embed.projection.weight", "s2": "s2.patch_embed.weight"}
_CHUNK = 1 << 22

Progress = Callable[[int, int, str], None]
"""``progress(done, in_all, words)``."""


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote, what it left out, and what a person should know."""

    path: Path
    pieces: tuple[Piece, ...]
    parameters: int
    ignored: tuple[str, ...]
    notes: tuple[str, ...]


def convert(
    files: Sequence[str | Path],
    out: str | Path,
    *,
    dimensions: str | None = None,
    part: Part | None = None,
    dtype: torch.dtype | None = None,
    four_bands: Iterable[Modality] = (),
    fine_tuned: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Put released files together into one safetensors file with a card.

    Args:
        files: one of the whole model, or several of its modules.
        out: the file to write.
        dimensions: preset to compare with, see `recognise`.
        part: which module a file holds, see `recognise`; only with one file.
        dtype: of the written tensors; as they are by default.
        four_bands: encoders to widen or narrow to four bands: ``"hr"`` gets near infrared, which begins as red;
            ``"s2"`` keeps blue, green, red and near infrared, at 10/4 of their weight (specification 2.1, 2.4).
        fine_tuned: accept norms that are not the published ones.
        progress: called while files are hashed.

    Raises:
        InputError: a file that is not whole, NaN or infinite numbers, norms that are not those of the published
            weights, the same module twice, or modules of different models.
        ConfigError: settings that contradict each other, or tensors of several types and no ``dtype``.
        OutputError: ``out`` cannot be written.
    """
    if part is not None and len(files) != 1:
        raise ConfigError("a part can only be named for one file at a time")
    found = [recognise(file, dimensions=dimensions, part=part) for file in files]
    name, state, config = _merge(found)
    if bad := not_finite(state):
        raise InputError(f"{len(bad)} tensors hold NaN or infinite numbers: {some(bad)}", file=found[0].path)
    if not fine_tuned and name == "huge" and (strange := strange_norms(state)):
        raise InputError(
            f"these are not the published weights: {some(strange, 2)}",
            file=found[0].path,
            fix="A random encoder looks like this, and a fine-tuned one; if it is that: --fine_tuned true",
        )
    for modality in four_bands:
        state, config = _to_four_bands(state, config, modality)
    if dtype is not None:
        state = {key: tensor.to(dtype) for key, tensor in state.items()}
    types = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in state.values()})
    if len(types) > 1:
        raise ConfigError(f"the files hold tensors of {' and '.join(types)}: choose one, e.g. --dtype {types[0]}")
    pieces, notes = _pieces(state), list[str]()
    if "fusion" in pieces and "dates" not in pieces:
        config = replace(config, date_on=())
        notes.append("no file has a date table: what this model fuses does not know dates")
    card = _card(name, found, config, pieces, fine_tuned, progress) | {"weights_sha256": weights_sha256(state)}
    notes.append(f"{card['origin']}; {card['licence']}")
    save_state(out, state, config, pieces, card)
    ignored = [name for one in found for name in (*one.ignored, *(name for p in one.parts for name in p.ignored))]
    parameters = sum(tensor.numel() for tensor in state.values())
    return Converted(Path(out), pieces, parameters, tuple(ignored), tuple(notes))


def verify(path: str | Path, *, dimensions: str | None = None, part: Part | None = None) -> list[str]:
    """Everything that is wrong with a file of ours or a released one; reads all of it.

    Args:
        path: a released file, or one that `convert` or pre-training wrote.
        dimensions: as in `recognise`.
        part: as in `recognise`.

    Raises:
        InputError: it cannot be read at all.
    """
    path = Path(path)
    about = read_about(path) if is_ours(path) else None
    if about is None:
        found = recognise(path, dimensions=dimensions, part=part)
        state = {key: tensor for one in found.parts for key, tensor in one.tensors.items()}
        published = found.preset == "huge"
        problems = [f"{one.part}: {one.faults()}" for one in found.parts if not one.whole]
        problems += [f"of no module: {some(found.unknown)}"] if found.unknown else []
    else:
        published = about.card.get("preset") == "huge" and not about.card.get("fine_tuned")
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        wrong = unfit(path, about)
        problems = [wrong] if wrong else []
        recorded = about.card.get("weights_sha256")
        if recorded not in (None, weights_sha256(state)):
            problems.append("the tensors are not those that its card has the hash of")
    if bad := not_finite(state):
        problems.append(f"NaN or infinite numbers in {some(bad)}")
    return problems + (strange_norms(state) if published else [])


def unfit(path: str | Path, about: About) -> str:
    """What does not match between header and tensors of a file of ours, in words; reads names and shapes only."""
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        held = {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
        cells = file.get_tensor("geo.region_cells").tolist() if "geo.region_cells" in held else []
    with torch.device("meta"):
        skeleton = SkySense(about.config, cells, about.pieces)
    return mismatch(skeleton.state_dict(), held)


def _merge(found: Sequence[Recognised]) -> tuple[str, dict[str, Tensor], ModelConfig]:
    """Preset, tensors and configuration of several files together; those decide that can be of one model only."""
    names = {one.preset for one in found if one.decided} or {found[0].preset}
    if len(names) != 1:
        listed = ", ".join(f"{one.path.name}: {one.preset}" for one in found if one.decided)
        raise InputError(f"these files belong to different models ({listed})", fix="Convert them one by one")
    name = names.pop()
    state: dict[str, Tensor] = {}
    config = preset(name)
    for one in found:
        more = one.state()
        twice = [key for key in more if key in state and key != "dates.table"]
        if twice:
            raise InputError(f"holds what another file holds already: {some(twice)}", file=one.path)
        state = more | state  # of two date tables the first counts
        parts = {found_part.part for found_part in one.parts}
        config = replace(
            config,
            hr=one.config.hr if "hr" in parts else config.hr,
            s2=one.config.s2 if "s2" in parts else config.s2,
        )
    return name, state, config


def _pieces(state: Mapping[str, Tensor]) -> tuple[Piece, ...]:
    begins = {key.partition(".")[0] for key in state}
    return tuple(piece for piece in PIECES if piece in begins)


def _to_four_bands(
    state: Mapping[str, Tensor], config: ModelConfig, modality: Modality
) -> tuple[dict[str, Tensor], ModelConfig]:
    kernel = _KERNELS.get(modality)
    if kernel is None or kernel not in state:
        raise ConfigError(f"there is no encoder of {modality} here that can have four bands")
    weight = state[kernel]
    if modality == "hr":
        if weight.shape[1] != 3:
            raise ConfigError(f"the high-resolution encoder has {weight.shape[1]} bands already")
        new = torch.cat([weight, weight[:, :1]], dim=1)
        return dict(state) | {kernel: new}, replace(config, hr=replace(config.hr, in_channels=4))
    if weight.shape[1] != len(SENTINEL2_L2A.bands):
        raise ConfigError(f"the Sentinel-2 encoder has {weight.shape[1]} bands already")
    kept = [SENTINEL2_L2A.bands.index(band) for band in SENTINEL2_10M.bands]
    new = weight[:, kept] * (len(SENTINEL2_L2A.bands) / len(kept))
    return dict(state) | {kernel: new}, replace(config, s2=replace(config.s2, in_channels=4))


def _card(
    name: str,
    found: Sequence[Recognised],
    config: ModelConfig,
    pieces: Sequence[Piece],
    fine_tuned: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    """Where the weights come from, what they read, and how they may be used."""
    bands = {"hr": config.hr.in_channels, "s2": config.s2.in_channels, "s1": config.s1.in_channels}
    sensors = {key: sensor_of(key, count) for key, count in bands.items() if key in pieces}  # type: ignore[arg-type]
    return {
        **_CARDS.get(name, _UNKNOWN),
        "sources": [
            {"file": one.path.name, "sha256": sha256_of(one.path, progress), "layout": one.layout} for one in found
        ],
        "converted_by": f"skysense {skysense.__version__}",
        "preset": name,
        "fine_tuned": fine_tuned,
        "preprocessing": {
            key: {"sensor": it.name, "bands": it.bands, "unit": str(it.unit), "mean": it.mean, "std": it.std}
            for key, it in sensors.items()
        },
    }


def sha256_of(path: Path, progress: Progress | None = None) -> str:
    """Hash of the bytes of a file."""
    digest, done, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            if progress is not None:
                progress(done >> 20, total >> 20, f"hashing {path.name}")
    return digest.hexdigest()
