"""One call to a model: from a file, a folder or the hub; only what was asked for, straight into its place."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from skysense.errors import InputError
from skysense.model.assembly import PIECES, Piece, SkySense
from skysense.model.config import PRESETS, ModelConfig
from skysense.model.entry import Entry
from skysense.model.position_bias import RelativePositionBias
from skysense.model.weights import About, mismatch, read_about
from skysense.sensors import MODALITIES, Modality

MODEL_FILE = "model.safetensors"
_FILES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
_CONVERT = "Download them, then: skysense weights convert FILES --out skysense.safetensors, and load that file"
_WHERE = {
    "huge": "Its authors give them away for non-commercial research only; their repository (Jack-bo1220/SkySense on "
    f"GitHub) links the page. {_CONVERT}",
    "huge++": f"Its authors' repository (kang-wu/SkySensePlusPlus on GitHub) links them. {_CONVERT}",
}
_OUTPUT_NORMS = "hr.output_norms."
_AT_ONCE = 16 << 20  # bytes read before the file is mapped anew, when their type is changed


def load(
    source: str | Path,
    *,
    modalities: Sequence[Modality] | Modality | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    hr_outputs: Sequence[int] | None = None,
) -> SkySense:
    """Load a model, or the part of it that some sensors need.

    It is built without memory and filled from the file, which is mapped: memory never holds much more than the weights.

    Args:
        source: a file of `skysense weights convert` or of pre-training, a folder with ``model.safetensors``, or
            ``owner/name`` on the Hugging Face hub.
        modalities: sensors whose encoders are loaded, with what fuses them; all that the file has by default.
        dtype: of the weights; as in the file by default.
        device: where to.
        hr_outputs: stages that the high-resolution encoder shall return, e.g. ``(0, 1, 2, 3)`` for a decoder. Norms of
            outputs that the file does not have begin as identity, as the authors' fine-tuning does.

    Returns:
        The model in eval mode; `SkySense.card` says where its weights come from.

    Raises:
        InputError: no such file, one that is not ours or not whole, or a sensor it has no encoder for. A preset has no
            weights in this package: the message says where they are to be had, and under which licence.
        ConfigError: outputs that do not exist.
    """
    path = find(source)
    about = read_about(path)
    pieces = _wanted(about, modalities, path)
    config = about.config
    if hr_outputs is not None:
        config = replace(config, hr=replace(config.hr, out_indices=tuple(hr_outputs)))
    model = _skeleton(path, config, pieces)
    state = _read(path, model, dtype, torch.device(device))
    model.load_state_dict(state, assign=True)
    like = next(model.parameters())
    for module in model.modules():
        if isinstance(module, Entry | RelativePositionBias):
            module.place_constants(like)
    model.card = about.card
    return model.eval()


def find(source: str | Path) -> Path:
    """The file that a source means.

    Raises:
        InputError: there is none.
    """
    path = Path(source)
    if path.is_dir():
        path = path / MODEL_FILE
    if path.is_file():
        return path
    if str(source) in PRESETS:
        fix = _WHERE.get(str(source), "Nobody has published any; train your own: skysense pretrain")
        raise InputError(f"{str(source)!r} is a preset, and its weights are no part of this package", fix=fix)
    parts = str(source).split("/")
    if len(parts) == 2 and all(parts) and path.suffix not in _FILES and not path.parent.exists():
        return _from_hub(str(source))
    raise InputError("there is no such file", file=path, fix="Give a file, a folder, or owner/name on the hub")


def _from_hub(repository: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, MODEL_FILE))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{repository} has no {MODEL_FILE} on the hub, or cannot be reached ({reason})") from error


def _wanted(about: About, modalities: Collection[Modality] | Modality | None, path: Path) -> tuple[Piece, ...]:
    """The pieces of a file that some modalities need."""
    if modalities is None:
        return about.pieces
    modalities = (modalities,) if isinstance(modalities, str) else modalities
    missing = [key for key in modalities if key not in about.pieces]
    if missing or not modalities:
        held = ", ".join(key for key in MODALITIES if key in about.pieces) or "none"
        raise InputError(f"has no encoder for {', '.join(missing) or 'nothing'}; it has {held}", file=path)
    others = [key for key in MODALITIES if key not in modalities]
    unwanted = {*others, *(f"align_{key}" for key in others)}
    return tuple(piece for piece in about.pieces if piece not in unwanted)


def _skeleton(path: Path, config: ModelConfig, pieces: Sequence[Piece]) -> SkySense:
    with safe_open(path, framework="pt") as file:
        has_regions = "geo.region_cells" in file.keys() and "fusion" in pieces  # noqa: SIM118 - it is no dict
        cells = file.get_tensor("geo.region_cells").tolist() if has_regions else []
    with torch.device("meta"):
        return SkySense(config, cells, pieces)


def _read(path: Path, model: SkySense, dtype: torch.dtype | None, device: torch.device) -> dict[str, Tensor]:
    """Every tensor of a model, from the file that is mapped, or copied where type or device differ."""
    wanted = model.state_dict()
    has = {*model.pieces, *(["geo"] if model.geo is not None else [])}
    with safe_open(path, framework="pt") as file:
        held = {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in file.keys()}  # noqa: SIM118
    fresh = {name for name in wanted if name.startswith(_OUTPUT_NORMS) and name not in held}
    unread = [
        name
        for name in held
        if name not in wanted and (name.startswith(_OUTPUT_NORMS) or name.partition(".")[0] in {*PIECES, "geo"} - has)
    ]
    shapes = {name: tensor for name, tensor in held.items() if name not in unread}
    wrong = mismatch({name: tensor for name, tensor in wanted.items() if name not in fresh}, shapes)
    if wrong:
        raise InputError(f"the tensors do not match the model; {wrong}", file=path)
    state: dict[str, Tensor] = {}
    names = list(shapes)
    while names:
        read = 0
        with safe_open(path, framework="pt") as file:
            while names and read < _AT_ONCE:
                name = names.pop()
                tensor = file.get_tensor(name)
                changed = tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
                read += tensor.nbytes if changed is not tensor else 0
                state[name] = changed
                del tensor
    kind = next(tensor.dtype for tensor in state.values() if tensor.is_floating_point())
    for name in fresh:  # identity
        begin = torch.ones if name.endswith("weight") else torch.zeros
        state[name] = begin(wanted[name].shape, dtype=kind, device=device)
    return state
