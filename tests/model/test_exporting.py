"""Programs of `torch.export` equal the model for every batch, number of dates and size they are open to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from skysense.errors import ConfigError, InputError
from skysense.model.assembly import SkySense
from skysense.model.config import preset
from skysense.model.exporting import export, export_encoder
from skysense.model.swin import Swin
from skysense.model.vit import ViT
from skysense.observation import Batch, Frames
from skysense.sensors import Modality

CONFIG = replace(preset("tiny"), hr=replace(preset("tiny").hr, pad_small_map=False))
Imagery = tuple[dict[Modality, Tensor], dict[Modality, Tensor]]


@pytest.fixture(scope="module")
def model() -> SkySense:
    torch.manual_seed(0)
    return SkySense(CONFIG).eval()


def imagery(batch: int, height: int, width: int, s2: int, s1: int, *, hr: bool = False) -> Imagery:
    values: dict[Modality, Tensor] = {
        "s2": torch.randint(0, 5000, (batch, s2, 10, height, width)).float(),
        "s1": torch.randn(batch, s1, 2, height, width) * 5 - 15,
    }
    days: dict[Modality, Tensor] = {"s2": torch.randint(-1, 365, (batch, s2)), "s1": torch.randint(0, 365, (batch, s1))}
    if hr:
        values["hr"] = torch.randint(0, 256, (batch, 1, 3, 32 * height, 32 * width)).float()
        days["hr"] = torch.randint(0, 365, (batch, 1))
    order: tuple[Modality, ...] = ("hr", "s2", "s1") if hr else ("s2", "s1")
    return {key: values[key] for key in order}, {key: days[key] for key in order}


def by_the_model(model: SkySense, values: dict[Modality, Tensor], days: dict[Modality, Tensor]) -> Tensor:
    frames = {
        key: Frames(
            it, days[key], torch.ones_like(days[key], dtype=torch.bool), torch.ones_like(it[:, :, 0], dtype=torch.bool)
        )
        for key, it in values.items()
    }
    size = len(next(iter(values.values())))
    with torch.inference_mode():
        return model(Batch(frames, torch.full((size,), -1), [str(number) for number in range(size)])).fused_BDhw


def test_series_of_any_size_batch_and_number_of_dates(model: SkySense, tmp_path: Path) -> None:
    torch.export.save(export(model, ["s2", "s1"]), tmp_path / "program.pt2")
    program = torch.export.load(tmp_path / "program.pt2").module()
    # 16 x 16 and 8 x 32 have as many tokens as the position table: taken as it is, in raster order
    for size in ((1, 8, 8, 5, 1), (3, 16, 16, 1, 7), (2, 24, 8, 20, 10), (1, 8, 32, 3, 3)):
        inputs = imagery(*size)
        torch.testing.assert_close(program(*inputs), by_the_model(model, *inputs), rtol=0, atol=1e-5)
    with pytest.raises(Exception, match=r"(?i)guard|expected"):
        program(*imagery(1, 10, 8, 2, 2))


@pytest.mark.long
def test_all_sensors_from_256_px_on(model: SkySense) -> None:
    """At 256 px the last map is one window, which is not shifted; it is at 512."""
    program = export(model).module()
    for size in ((1, 8, 8, 5, 2), (2, 16, 8, 3, 3), (1, 16, 24, 2, 1)):
        inputs = imagery(*size, hr=True)
        torch.testing.assert_close(program(*inputs), by_the_model(model, *inputs), rtol=0, atol=1e-5)


def test_another_size_has_a_program_of_its_own() -> None:
    torch.manual_seed(0)
    model = SkySense(preset("tiny")).eval()
    program = export(model, cells=(4, 12)).module()
    inputs = imagery(3, 4, 12, 2, 4, hr=True)
    torch.testing.assert_close(program(*inputs), by_the_model(model, *inputs), rtol=0, atol=1e-5)
    with pytest.raises(Exception, match=r"(?i)guard|expected"):
        program(*imagery(3, 8, 8, 2, 4, hr=True))
    for cells in ((6, 8), (0, 4)):
        with pytest.raises(ConfigError, match="both must be multiples of 4"):
            export(model, cells=cells)


@pytest.mark.parametrize("encoder", [Swin(CONFIG.hr), ViT(replace(CONFIG.s2, out_indices=(0, 1)))])
def test_an_encoder_by_itself(encoder: Swin | ViT) -> None:
    program, step = export_encoder(encoder).module(), 256 if isinstance(encoder, Swin) else 8
    assert encoder.training
    encoder.eval()
    for height, width in ((1, 1), (2, 2), (1, 3)):
        x = torch.randn(3, encoder.config.in_channels, step * height, step * width)
        with torch.no_grad():
            for ours, theirs in zip(program(x), encoder(x), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    encoder.train()


def test_a_model_without_what_a_program_needs_is_refused() -> None:
    with pytest.raises(InputError, match="a program needs fusion; this model has hr, dates"):
        export(SkySense(CONFIG, pieces=["hr", "dates"]))
    with pytest.raises(InputError, match="a program needs a modality"):
        export(SkySense(CONFIG), [])
