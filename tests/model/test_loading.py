"""One call to a model: only what was asked for, in any type, without more memory than the weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

import skysense
from skysense.errors import ConfigError, InputError
from skysense.model.assembly import PIECES, SkySense
from skysense.model.config import preset
from skysense.model.loading import find
from skysense.model.weights import save_model, save_state
from skysense.observation import Batch


@pytest.fixture
def file(model: SkySense, tmp_path: Path) -> Path:
    assert model.geo is not None
    model.geo.initialised[1] = True
    model.card = {"licence": "for tests", "sources": [{"file": "x.pth", "sha256": "ab"}]}
    save_model(tmp_path / "model.safetensors", model)
    return tmp_path / "model.safetensors"


def test_a_file_and_its_folder_are_the_model(model: SkySense, file: Path, batch_of: Callable[..., Batch]) -> None:
    batch = batch_of(region=1)
    with torch.no_grad():
        expected = model(batch).cells_BDhw
    for source in (file, str(file), file.parent):
        again = skysense.load(source)
        with torch.no_grad():
            assert torch.equal(again(batch).cells_BDhw, expected)
        assert not again.training and again.card["licence"] == "for tests"
    assert not any(tensor.is_meta for tensor in (*again.parameters(), *again.buffers()))
    again.train()(batch).cells_BDhw.sum().backward()
    assert again.s1.position.grad is not None


def test_only_what_was_asked_for_is_built(model: SkySense, file: Path, batch_of: Callable[..., Batch]) -> None:
    some = skysense.load(file, modalities=("s2", "s1"))
    assert some.pieces == ("s2", "s1", "align_s2", "align_s1", "dates", "fusion")
    assert not any(name.startswith("hr.") for name in some.state_dict())
    batch = batch_of(region=1)
    with torch.inference_mode():
        assert torch.equal(some(batch).cells_BDhw, model(batch, ["s2", "s1"]).cells_BDhw)
        with pytest.raises(InputError, match="this needs hr; this model has only s2, s1"):
            some(batch, ["hr"])
    assert skysense.load(file, modalities=["hr"]).pieces == ("hr", "dates", "fusion")
    assert skysense.load(file, modalities="s1").modalities == ("s1",)
    with pytest.raises(InputError, match="has no encoder for nothing; it has hr, s2, s1"):
        skysense.load(file, modalities=[])


def test_an_encoder_by_itself(model: SkySense, tmp_path: Path, batch_of: Callable[..., Batch]) -> None:
    state = {key: tensor for key, tensor in model.state_dict().items() if key.startswith("hr.")}
    save_state(tmp_path / "hr.safetensors", state, model.config, ["hr"])
    alone = skysense.load(tmp_path / "hr.safetensors")
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(alone.hr(image)[-1], model.hr(image)[-1])
        assert set(alone.encode(batch_of())) == {"hr"}
        with pytest.raises(InputError, match="this needs fusion; this model has only hr"):
            alone(batch_of())
    with pytest.raises(InputError, match=r"hr.safetensors: has no encoder for s2; it has hr"):
        skysense.load(tmp_path / "hr.safetensors", modalities=["s2"])


def test_bfloat16_is_near_and_inputs_keep_their_numbers(
    model: SkySense, file: Path, batch_of: Callable[..., Batch]
) -> None:
    half = skysense.load(file, dtype=torch.bfloat16)
    assert {tensor.dtype for tensor in half.parameters()} == {torch.bfloat16}
    assert half.entry_s2.mean.dtype == torch.float32
    values, valid = torch.full((1, 10, 4, 4), 2001.0), torch.ones(1, 4, 4, dtype=torch.bool)
    assert torch.equal(half.entry_s2(values, valid), model.entry_s2(values, valid).bfloat16())
    cast = SkySense(model.config, regions=[11, 42]).bfloat16()
    assert torch.equal(cast.entry_s2(values, valid), half.entry_s2(values, valid))
    assert cast.double().entry_s2.mean.flatten().tolist() == list(cast.entry_s2.sensor.mean)
    batch = batch_of(region=1)
    with torch.no_grad():
        expected = half(batch).cells_BDhw
        for moved in (half.to("cpu"), half.float().bfloat16(), skysense.load(file).bfloat16().cpu()):
            assert torch.equal(moved(batch).cells_BDhw, expected)
    tame = SkySense(model.config).eval()
    save_model(file, tame)
    batch = batch_of()
    with torch.inference_mode():
        near, exact = skysense.load(file, dtype=torch.bfloat16)(batch).fused_BDhw.float(), tame(batch).fused_BDhw
    assert (near - exact).norm() < 0.02 * exact.norm()


def test_what_the_encoders_were_set_to_is_saved(model: SkySense, tmp_path: Path) -> None:
    model.s2.set_input_size(16)
    model.hr.set_input_size(256, window_size=4)
    image, frame = torch.randn(1, 3, 128, 128), torch.randn(1, 10, 16, 16)
    save_model(tmp_path / "x.safetensors", model)
    again = skysense.load(tmp_path / "x.safetensors")
    with torch.no_grad():
        assert torch.equal(again.hr(image)[-1], model.hr(image)[-1])
        assert torch.equal(again.s2(frame)[-1], model.s2(frame)[-1])


def test_tied_tensors_are_saved_twice(model: SkySense, tmp_path: Path) -> None:
    model.s2.blocks[1].mlp.up.weight = model.s2.blocks[0].mlp.up.weight
    save_model(tmp_path / "x.safetensors", model)
    assert torch.equal(
        skysense.load(tmp_path / "x.safetensors").s2.blocks[1].mlp.up.weight, model.s2.blocks[0].mlp.up.weight
    )


def test_more_outputs_begin_with_fresh_norms(model: SkySense, file: Path) -> None:
    four = skysense.load(file, hr_outputs=(0, 1, 2, 3))
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        maps = four.hr(image)
        assert torch.equal(maps[3], model.hr(image)[-1])
        raw = four.hr.levels(image, [1])[1]
    width = raw.shape[-1]
    torch.testing.assert_close(
        maps[1].permute(0, 2, 3, 1), torch.nn.functional.layer_norm(raw, (width,)), rtol=0, atol=1e-5
    )
    with pytest.raises(ConfigError, match="out_indices"):
        skysense.load(file, hr_outputs=(0, 4))


def test_a_preset_has_no_weights_here_and_the_message_says_where(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'huge' is a preset.*non-commercial research only.*skysense weights convert"):
        skysense.load("huge")
    with pytest.raises(InputError, match="kang-wu/SkySensePlusPlus"):
        skysense.load("huge++")
    with pytest.raises(InputError, match="train your own: skysense pretrain"):
        skysense.load("tiny")
    for source in (tmp_path / "nothing.safetensors", tmp_path, "nothing.pth"):
        with pytest.raises(InputError, match="there is no such file"):
            skysense.load(source)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        skysense.lod  # noqa: B018


def test_a_file_that_is_not_whole_is_refused(model: SkySense, tmp_path: Path) -> None:
    state = dict(model.state_dict())
    del state["s1.position"]
    save_state(tmp_path / "x.safetensors", state, model.config, model.pieces)
    with pytest.raises(InputError, match=r"x.safetensors: the tensors do not match the model; 1 missing: s1.position"):
        skysense.load(tmp_path / "x.safetensors")
    assert skysense.load(tmp_path / "x.safetensors", modalities=["s2"]).modalities == ("s2",)


def test_a_name_on_the_hub_is_fetched(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        if repository == "someone/nothing":
            raise huggingface_hub.errors.LocalEntryNotFoundError("cannot be reached")
        return str(file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert find("someone/skysense-1.0") == file
    assert asked == [("someone/skysense-1.0", "model.safetensors")]
    with pytest.raises(InputError, match=r"someone/nothing has no model.safetensors on the hub, or cannot be reached"):
        skysense.load("someone/nothing")


def test_saved_for_the_hub_and_pushed(
    model: SkySense, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = SkySense.from_pretrained(file)
    loaded.save_pretrained(tmp_path / "folder")
    page = (tmp_path / "folder" / "README.md").read_text()
    assert "Licence: for tests." in page and "`x.pth`, sha256 `ab`" in page
    assert "| s1 | sentinel-1-grd | VV, VH | dB | 10 m |" in page
    assert skysense.load(tmp_path / "folder").card == loaded.card
    seen: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None) -> None:
            seen["token"] = token

        def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> str:
            seen["private"] = private
            return f"https://hub/{repository}"

        def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
            seen["files"] = sorted(path.name for path in Path(folder_path).iterdir())
            seen["state"] = load_file(Path(folder_path) / "model.safetensors")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert loaded.push_to_hub("me/skysense") == "https://hub/me/skysense"
    assert seen["private"] is True and seen["files"] == ["README.md", "model.safetensors"]
    assert torch.equal(seen["state"]["hr.patch_embed.norm.bias"], model.hr.patch_embed.norm.bias)


PEAK = """
import sys, torch, skysense
used = lambda: int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024
skysense.load(sys.argv[1], modalities=["hr"])  # what the first use of a library costs
before = used()
model = skysense.load(sys.argv[1], dtype=getattr(torch, sys.argv[2]))
total = sum(p.sum() for p in model.parameters())  # touches every page
weights = sum(tensor.nbytes for tensor in model.state_dict().values())
print(used() - before, weights)
"""


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_memory_holds_the_weights_and_little_more(tmp_path: Path, dtype: str) -> None:
    """The Sentinel-2 encoder of the published size: 1.2 GB in float32."""
    torch.manual_seed(0)
    model = SkySense(preset("tiny"))
    config = preset("huge")
    big = SkySense(config, pieces=["s2"])
    state = {key: value for key, value in model.state_dict().items() if key.startswith("hr.")}
    config = type(config)(hr=model.config.hr, s2=config.s2, s1=model.config.s1, fusion=model.config.fusion)
    save_state(tmp_path / "x.safetensors", state | big.state_dict(), config, ["hr", "s2"])
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "x.safetensors"), dtype], capture_output=True, text=True, check=True
    )
    grown, weights = (int(number) for number in ran.stdout.split())
    assert weights > 5e8
    assert grown <= 1.1 * weights, f"{grown / weights:.2f}"


WHOLE = """
import sys, torch, skysense
from skysense.observation import Batch, Frames

def frames(values):
    batch, time = values.shape[:2]
    there = torch.ones(batch, time, dtype=torch.bool)
    valid = torch.ones(batch, time, *values.shape[-2:], dtype=torch.bool)
    return Frames(values, torch.arange(time).expand(batch, -1), there, valid)

torch.set_num_threads(2)
model = skysense.load(sys.argv[1])
batch = Batch(
    {
        "hr": frames(torch.randint(0, 256, (1, 1, 3, 512, 512), dtype=torch.uint8)),
        "s2": frames(torch.randint(0, 8000, (1, 10, 10, 16, 16), dtype=torch.int32)),
        "s1": frames(torch.randn(1, 4, 2, 16, 16) * 5 - 15),
    },
    torch.tensor([-1]),
    ["here"],
)
with torch.inference_mode():
    fused = model(batch).fused_BDhw
assert fused.isfinite().all()
weights = {parameter.dtype for parameter in model.parameters()}
peak = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024
print(peak, *fused.shape, *weights)
"""


@pytest.mark.long
def test_the_whole_published_model_runs_below_4_5_gb_in_bfloat16(tmp_path: Path) -> None:
    """One place: an image of 512 px, ten frames of Sentinel-2 and four of Sentinel-1 over 16 x 16 cells."""
    config = preset("huge")
    with torch.device("meta"):
        names = SkySense(config).state_dict()
    torch.manual_seed(0)
    numbers = torch.randn(2**20).to(torch.bfloat16) * 0.02  # the same again and again: quick to make
    state = {
        name: numbers.repeat(tensor.numel() // len(numbers) + 1)[: tensor.numel()].view(tensor.shape).clone()
        for name, tensor in names.items()
    }
    total = sum(tensor.nbytes for tensor in state.values())
    save_state(tmp_path / "whole.safetensors", state, config, PIECES)
    del state
    ran = subprocess.run(
        [sys.executable, "-c", WHOLE, str(tmp_path / "whole.safetensors")], capture_output=True, text=True, check=True
    )
    peak, *shape, dtype = ran.stdout.split()
    assert total == 2 * 1_659_008_144
    assert shape == ["1", "1024", "16", "16"] and dtype == "torch.bfloat16"
    assert total < int(peak) < 4.5e9, f"{int(peak) / 1e9:.2f} GB"
