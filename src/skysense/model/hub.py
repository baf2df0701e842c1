"""Models in folders and on the Hugging Face hub: the weights beside a page for people."""

from __future__ import annotations

import tempfile
from pathlib import Path

from skysense.files import make_folder, write_text
from skysense.model.assembly import SkySense
from skysense.model.loading import MODEL_FILE
from skysense.model.weights import save_model


def save_pretrained(model: SkySense, folder: str | Path) -> None:
    """Write a model and its page into a folder.

    Raises:
        OutputError: no space, no permission.
    """
    folder = make_folder(folder)
    save_model(folder / MODEL_FILE, model)
    write_text(folder / "README.md", page(model))


def page(model: SkySense, repository: str = "OWNER/NAME") -> str:
    """What a person should know about a model, in Markdown with the head that the hub reads."""
    card = model.card
    sources = [f"- `{source['file']}`, sha256 `{source['sha256']}`" for source in card.get("sources", [])]
    sensors = {key: model.sensor_of(key) for key in model.modalities}
    rows = [
        f"| {key} | {sensor.name} | {', '.join(sensor.bands)} | {sensor.unit} | {sensor.gsd:g} m |"
        for key, sensor in sensors.items()
    ]
    lines = [
        "---",
        "license: other",
        "library_name: skysense",
        "tags: [remote-sensing, earth-observation, sentinel-2, sentinel-1]",
        "---",
        "",
        "# SkySense",
        "",
        f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters: {', '.join(model.pieces)}.",
        "",
        "```python",
        "import skysense",
        "",
        f'model = skysense.load("{repository}")',
        "```",
        "",
        "| input | sensor | bands, in this order | unit | pixel |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "Numbers go in as they are stored, in this unit; the model normalises them itself.",
        "",
        f"Licence: {card.get('licence', 'ask whoever trained it')}.",
        "",
        *([f"Origin: {card['origin']}.", ""] if "origin" in card else []),
        *(["Made from:", "", *sources, ""] if sources else []),
    ]
    return "\n".join(lines)


def push_to_hub(model: SkySense, repository: str, *, private: bool = True, token: str | None = None) -> str:
    """Create a repository if need be and upload a model; returns the address."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    address = str(api.create_repo(repository, private=private, exist_ok=True))
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder)
        write_text(Path(folder) / "README.md", page(model, repository))
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a SkySense model")
    return address
