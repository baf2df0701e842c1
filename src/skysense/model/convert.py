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
from skysense.model.weights import is_ours, mismatch, read_about, save_state, weights_sha256
from skysense.sensors import SENTINEL2_10M, SENTINEL2_L2A, Modality, sensor_of

LICENCE = "SkySense weights: for non-commercial research only, as their authors say"
ORIGIN = "SkySense (CVPR 2024, arXiv 2312.10115); the authors' repository links the page that the weights are on"

_KERNELS: dict[Modality, str] = {"hr": "hr.patch_embed.projection.weight", "s2": "s2.patch_embed.weight"}
_CHUNK = 1 << 22

Progress = Callable[[int, int, str], None]
"""``progress(done, in_all, words)``."""


@dataclass(frozen=True)
class Converted:
    """What `convert` wrote."""

    path: Path
    pieces: tuple[Piece, ...]
    parameters: int
    ignored: tuple[str, ...]


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
        ConfigError: settings that contradict each other.
        OutputError: ``out`` cannot be written.
    """
    if part is not None and len(files) != 1:
        raise ConfigError("a part can only be named for one file at a time")
    found = [recognise(file, dimensions=dimensions, part=part) for file in files]
    state, config = _merge(found)
    if bad := not_finite(state):
        raise InputError(f"{len(bad)} tensors hold NaN or infinite numbers: {some(bad)}", file=found[0].path)
    if not fine_tuned and (strange := _strange(state, config)):
        raise InputError(
            f"these are not the published weights: {some(strange, 2)}",
            file=found[0].path,
            fix="A random encoder looks like this, and a fine-tuned one; if it is that: --fine_tuned true",
        )
    for modality in four_bands:
        state, config = _to_four_bands(state, config, modality)
    if dtype is not None:
        state = {name: tensor.to(dtype) for name, tensor in state.items()}
    pieces = _pieces(state)
    card = _card(found, config, pieces, fine_tuned, progress) | {"weights_sha256": weights_sha256(state)}
    save_state(out, state, config, pieces, card)
    ignored = [name for one in found for name in (*one.ignored, *(name for p in one.parts for name in p.ignored))]
    return Converted(Path(out), pieces, sum(tensor.numel() for tensor in state.values()), tuple(ignored))


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
        config, fine_tuned = found.config, False
        problems = [f"{one.part}: {one.faults()}" for one in found.parts if not one.whole]
        problems += [f"of no module: {some(found.unknown)}"] if found.unknown else []
    else:
        config, fine_tuned = about.config, bool(about.card.get("fine_tuned"))
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no dict
        cells = state.get("geo.region_cells")
        with torch.device("meta"):
            skeleton = SkySense(config, [] if cells is None else cells.tolist(), about.pieces)
        wrong = mismatch(skeleton.state_dict(), state)
        problems = [wrong] if wrong else []
        recorded = about.card.get("weights_sha256")
        if recorded not in (None, weights_sha256(state)):
            problems.append("the tensors are not those that its card has the hash of")
    if bad := not_finite(state):
        problems.append(f"NaN or infinite numbers in {some(bad)}")
    if not fine_tuned:
        problems += _strange(state, config)
    return problems


def _merge(found: Sequence[Recognised]) -> tuple[dict[str, Tensor], ModelConfig]:
    """The tensors of several files, and the configuration they have together."""
    names = {one.preset for one in found}
    if len(names) != 1:
        listed = ", ".join(f"{one.path.name}: {one.preset}" for one in found)
        raise InputError(f"these files belong to different models ({listed})", fix="Convert them one by one")
    state: dict[str, Tensor] = {}
    config = preset(names.pop())
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
    return state, config


def _pieces(state: Mapping[str, Tensor]) -> tuple[Piece, ...]:
    begins = {key.partition(".")[0] for key in state}
    return tuple(piece for piece in PIECES if piece in begins)


def _strange(state: Mapping[str, Tensor], config: ModelConfig) -> list[str]:
    """Norms of the published high-resolution encoder that a state does not have; nothing for another one."""
    published = config.hr.dims == preset("huge").hr.dims and config.hr.depths == preset("huge").hr.depths
    return strange_norms(state) if published and "hr.patch_embed.norm.weight" in state else []


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
        "origin": ORIGIN,
        "sources": [
            {"file": one.path.name, "sha256": sha256_of(one.path, progress), "layout": one.layout} for one in found
        ],
        "converted_by": f"skysense {skysense.__version__}",
        "preset": found[0].preset,
        "fine_tuned": fine_tuned,
        "preprocessing": {
            key: {"sensor": it.name, "bands": it.bands, "unit": str(it.unit), "mean": it.mean, "std": it.std}
            for key, it in sensors.items()
        },
        "licence": LICENCE,
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
