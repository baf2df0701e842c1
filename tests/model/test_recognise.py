"""Files of released weights in every layout that circulates, at the published names, of small sizes where possible."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from skysense.errors import ConfigError, InputError
from skysense.model import convert as converting
from skysense.model.assembly import PIECES, SkySense
from skysense.model.config import preset
from skysense.model.convert import convert, verify
from skysense.model.fingerprints import FINGERPRINTS
from skysense.model.loading import load as load_model
from skysense.model.recognise import recognise
from skysense.model.released import Part, to_released
from skysense.model.weights import read_about, weights_sha256
from skysense.sensors import OPTICAL_HR_NIR, SENTINEL2_10M, SENTINEL2_L2A

TINY = preset("tiny")


@pytest.fixture
def model() -> SkySense:
    return SkySense(TINY)


@pytest.fixture
def released(model: SkySense) -> dict[str, Tensor]:
    """The whole model under the released names."""
    return to_released(model.state_dict(), "model")


def of(released: dict[str, Tensor], prefix: str, new: str = "") -> dict[str, Tensor]:
    return {new + key.removeprefix(prefix): value for key, value in released.items() if key.startswith(prefix)}


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


MODULES: tuple[tuple[Part, str], ...] = (
    ("hr", "backbone_gep."),
    ("s2", "backbone_s2."),
    ("s1", "backbone_s1."),
    ("head_s2", "head_s2."),
    ("head_s1", "head_s1."),
    ("fusion", "fusion."),
)


def test_the_full_checkpoint_is_all_modules_and_the_date_table(tmp_path: Path, released: dict[str, Tensor]) -> None:
    extra = {"backbone_gep.mask_token": torch.zeros(1, 1, 16), "head_gep.0.weight": torch.zeros(2)}
    path = save(tmp_path / "full.pth", {"model": released | extra, "epoch": 3, "optimizer": {"lr": 0.1}})
    found = recognise(path, dimensions="tiny")
    assert [one.part for one in found.parts] == [part for part, _ in MODULES]
    assert found.whole and not found.unknown
    assert found.dates is not None
    assert found.layout.startswith("model: backbone_gep.")
    assert found.ignored == ("head_gep.0.weight",)
    assert found.parts[0].ignored == ("mask_token",)
    assert {name.partition(".")[0] for name in found.state()} == {*PIECES}


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.", "backbone_hr.", "visual.", "model.backbone."])
def test_an_encoder_with_and_without_prefix(tmp_path: Path, released: dict[str, Tensor], prefix: str) -> None:
    path = save(tmp_path / "x.pth", {"state_dict": of(released, "backbone_gep.", prefix)})
    found = recognise(path, dimensions="tiny")
    assert [one.part for one in found.parts] == ["hr"]
    assert found.whole
    assert len(found.state()) == len(list(SkySense(TINY, pieces=["hr"]).state_dict()))


def test_each_module_by_itself(tmp_path: Path, released: dict[str, Tensor]) -> None:
    for part, prefix in MODULES:
        tensors = of(released, prefix) | ({"ctpe": released["ctpe"]} if part in ("s2", "s1") else {})
        found = recognise(save(tmp_path / f"skysense_model_{part}.pth", tensors), dimensions="tiny")
        assert [one.part for one in found.parts] == [part]
        assert found.whole, found.parts[0].faults()
        assert (found.dates is not None) == (part in ("s2", "s1"))
    save_file(of(released, "fusion."), tmp_path / "fusion.safetensors")
    assert recognise(tmp_path / "fusion.safetensors", dimensions="tiny").whole


def test_a_head_needs_to_be_told_which(tmp_path: Path, released: dict[str, Tensor]) -> None:
    path = save(tmp_path / "head.pth", of(released, "head_s1."))
    with pytest.raises(InputError, match=r"head.pth: is an up-sampling head.*--part head_s2"):
        recognise(path, dimensions="tiny")
    assert recognise(path, dimensions="tiny", part="head_s1").parts[0].part == "head_s1"


def test_what_does_not_match_is_named_and_refused(tmp_path: Path, released: dict[str, Tensor]) -> None:
    tensors = of(released, "fusion.")
    del tensors["layers.1.ln1.weight"]
    tensors |= {"porj_linear.weight": torch.zeros(96, 96), "layers.9.ln1.weight": torch.zeros(96)}
    path = save(tmp_path / "fusion.pth", tensors)
    found = recognise(path, dimensions="tiny")
    (one,) = found.parts
    assert one.missing == ("layers.1.ln1.weight",)
    assert one.unexpected == ("layers.9.ln1.weight",)
    assert one.misshapen == ("porj_linear.weight is (96, 96), not (96, 128)",)
    assert (len(one.tensors), one.expected) == (25, 27)
    with pytest.raises(InputError, match=r"fusion.pth: does not hold the published model \(tiny\).*25 of 27 tensors"):
        convert([path], tmp_path / "out.safetensors", dimensions="tiny")
    assert not (tmp_path / "out.safetensors").exists()
    assert verify(path, dimensions="tiny") == [f"fusion: {one.faults()}"]


def test_names_of_no_module_are_refused(tmp_path: Path, released: dict[str, Tensor]) -> None:
    path = save(tmp_path / "x.pth", released | {"classifier.weight": torch.zeros(2)})
    assert recognise(path, dimensions="tiny").unknown == ("classifier.weight",)
    with pytest.raises(InputError, match=r"1 tensors belong to no module: classifier.weight"):
        convert([path], tmp_path / "out.safetensors", dimensions="tiny")
    resnet = save(tmp_path / "resnet.pth", {"conv1.weight": torch.zeros(1), "fc.bias": torch.zeros(1)})
    with pytest.raises(InputError, match=r"resnet.pth: holds 2 tensors, and none of a SkySense module: conv1.weight"):
        recognise(resnet)


class Bomb:
    """What a pickle runs when it is opened."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("(_ for _ in ()).throw(SystemExit('the pickle ran'))",)


def test_bad_files_are_refused_in_words(tmp_path: Path, released: dict[str, Tensor]) -> None:
    with pytest.raises(InputError, match=r"bomb.pth: is a pickle that wants to do more than hold tensors"):
        recognise(save(tmp_path / "bomb.pth", {"model": released, "hook": Bomb()}))
    torch.save({"hook": Bomb()}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"old.pth: is a pickle that wants"):
        recognise(tmp_path / "old.pth")
    whole = save(tmp_path / "whole.pth", released).read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut.pth: is truncated"):
            recognise(tmp_path / "cut.pth")
    with pytest.raises(InputError, match="holds no tensors"):
        recognise(save(tmp_path / "empty.pth", {"model": {}}))
    with pytest.raises(InputError, match="holds a list"):
        recognise(save(tmp_path / "list.pth", [torch.zeros(1)]))
    with pytest.raises(InputError, match="there is no such file"):
        recognise(tmp_path / "nothing.pth")


def test_an_old_file_of_torch_is_read_too(tmp_path: Path, released: dict[str, Tensor]) -> None:
    torch.save(of(released, "fusion."), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert recognise(tmp_path / "old.pth", dimensions="tiny").whole


def test_modules_become_one_file_with_a_card(tmp_path: Path, model: SkySense, released: dict[str, Tensor]) -> None:
    files = [save(tmp_path / f"{part}.pth", of(released, prefix)) for part, prefix in MODULES]
    torch.save(of(released, "backbone_s2.") | {"ctpe": released["ctpe"]}, tmp_path / "s2.pth")
    told: list[tuple[int, int, str]] = []
    out = tmp_path / "model.safetensors"
    done = convert(files, out, dimensions="tiny", progress=lambda *args: told.append(args))
    assert done.parameters == sum(parameter.numel() for parameter in model.parameters())
    again = load_model(out)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    card = read_about(out).card
    assert [source["file"] for source in card["sources"]] == [file.name for file in files]
    assert len(card["sources"][0]["sha256"]) == 64
    assert card["weights_sha256"] == weights_sha256(model.state_dict())
    assert card["licence"] == "ask whoever trained them" and card["preset"] == "tiny"
    assert card["preprocessing"]["s2"]["bands"] == list(SENTINEL2_L2A.bands)
    assert {words for _, _, words in told} == {f"hashing {file.name}" for file in files}
    assert verify(out) == []


def test_some_modules_are_a_model_of_some_pieces(tmp_path: Path, released: dict[str, Tensor]) -> None:
    files = [save(tmp_path / f"{part}.pth", of(released, prefix)) for part, prefix in MODULES[1:4:2]]
    out = tmp_path / "s2.safetensors"
    assert convert(files, out, dimensions="tiny", dtype=torch.bfloat16).pieces == ("s2", "align_s2")
    again = load_model(out)
    assert again.pieces == ("s2", "align_s2")
    assert {tensor.dtype for tensor in load_file(out).values()} == {torch.bfloat16}
    with pytest.raises(AttributeError):
        again.hr  # noqa: B018
    with pytest.raises(InputError, match=r"holds what another file holds already: s2"):
        convert([files[0], files[0]], out, dimensions="tiny")
    with pytest.raises(ConfigError, match="one file at a time"):
        convert(files, out, part="s2")


def test_files_that_contradict_themselves_are_refused(tmp_path: Path, released: dict[str, Tensor]) -> None:
    hr = of(released, "backbone_gep.")
    both = hr | {"backbone.norm3.bias": torch.ones_like(hr["norm3.bias"])}
    with pytest.raises(InputError, match=r"holds 'norm3.bias' twice, under different prefixes; one is 'backbone.norm3"):
        recognise(save(tmp_path / "x.pth", both), dimensions="tiny")
    table = released | {"ctpe": torch.zeros(1, 366, 128)}
    found = recognise(save(tmp_path / "x.pth", table), dimensions="tiny")
    assert not found.whole and found.unknown == ("ctpe is (1, 366, 128), not (1, 365, 128)",)
    inside = {"backbone_s2.ctpe": released["ctpe"]} | {key: it for key, it in released.items() if key != "ctpe"}
    assert recognise(save(tmp_path / "x.pth", inside), dimensions="tiny").dates is not None
    two = {"student": of(released, "fusion."), "teacher": of(released, "fusion.")}
    found = recognise(save(tmp_path / "x.pth", two), dimensions="tiny")
    assert found.whole and found.layout == "teacher:" and found.ignored == ("student: unread",)
    itself: dict[str, object] = dict(of(released, "fusion."))
    itself["model"] = itself
    assert recognise(save(tmp_path / "x.pth", itself), dimensions="tiny").whole


def test_one_part_of_a_file_is_taken_alone(tmp_path: Path, released: dict[str, Tensor]) -> None:
    full, out = save(tmp_path / "full.pth", released), tmp_path / "fusion.safetensors"
    assert convert([full], out, dimensions="tiny", part="fusion").pieces == ("dates", "fusion")
    with pytest.raises(ConfigError, match="unknown part 'model'"):
        recognise(full, dimensions="tiny", part="model")
    with pytest.raises(InputError, match="is converted already"):
        convert([out], tmp_path / "again.safetensors", dimensions="tiny")


def test_types_are_not_mixed_and_missing_dates_are_said_aloud(tmp_path: Path, released: dict[str, Tensor]) -> None:
    fusion = save(tmp_path / "fusion.pth", of(released, "fusion."))
    half = {key: tensor.bfloat16() for key, tensor in of(released, "backbone_gep.").items()}
    hr, out = save(tmp_path / "hr.pth", half), tmp_path / "out.safetensors"
    with pytest.raises(ConfigError, match="tensors of bfloat16 and float32"):
        convert([fusion, hr], out, dimensions="tiny")
    done = convert([fusion, hr], out, dimensions="tiny", dtype=torch.float32)
    assert any("no file has a date table" in note for note in done.notes)
    assert load_model(out).config.date_on == ()


def test_a_changed_number_is_seen(tmp_path: Path, released: dict[str, Tensor]) -> None:
    path = save(tmp_path / "fusion.pth", of(released, "fusion."))
    out = tmp_path / "fusion.safetensors"
    convert([path], out, dimensions="tiny")
    about = {"format": "skysense-model", "version": "1", "pieces": "fusion"}
    about |= {"config": json.dumps(TINY.to_dict()), "card": json.dumps(read_about(out).card)}
    state = load_file(out)
    state["fusion.cls_token"][0, 0, 3] += 1
    save_file(state, out, about)
    assert verify(out) == ["the tensors are not those that its card has the hash of"]
    del state["fusion.cls_token"]
    save_file(state, out, about)
    assert verify(out)[0] == "1 missing: fusion.cls_token"


def test_numbers_that_are_none_are_refused(tmp_path: Path, released: dict[str, Tensor]) -> None:
    tensors = {key: tensor.clone() for key, tensor in of(released, "fusion.").items()}
    tensors["layers.0.ln2.bias"][4] = float("nan")
    path = save(tmp_path / "fusion.pth", tensors)
    assert verify(path, dimensions="tiny") == ["NaN or infinite numbers in fusion.blocks.0.mlp_norm.bias"]
    with pytest.raises(InputError, match=r"1 tensors hold NaN or infinite numbers: fusion.blocks.0.mlp_norm.bias"):
        convert([path], tmp_path / "out.safetensors", dimensions="tiny")


def test_four_bands(tmp_path: Path, model: SkySense, released: dict[str, Tensor]) -> None:
    path = save(tmp_path / "full.pth", {"model": released})
    out = tmp_path / "four.safetensors"
    convert([path], out, dimensions="tiny", four_bands=("hr", "s2"))
    again = load_model(out)
    assert again.entry_hr.sensor == OPTICAL_HR_NIR and again.entry_s2.sensor == SENTINEL2_10M
    old, new = model.hr.patch_embed.projection.weight, again.hr.patch_embed.projection.weight
    assert torch.equal(new[:, :3], old) and torch.equal(new[:, 3], old[:, 0])
    assert torch.equal(again.s2.patch_embed.weight, model.s2.patch_embed.weight[:, [0, 1, 2, 6]] * 2.5)
    four = to_released(again.state_dict(), "model")
    assert recognise(save(tmp_path / "rgbnir.pth", of(four, "backbone_gep.")), dimensions="tiny").whole
    with pytest.raises(ConfigError, match="4 bands already"):
        convert([tmp_path / "rgbnir.pth"], out, dimensions="tiny", four_bands=("hr",))
    with pytest.raises(ConfigError, match="no encoder of s2"):
        convert([tmp_path / "rgbnir.pth"], out, dimensions="tiny", four_bands=("s2",))


def published(name: str, prefix: str = "") -> dict[str, Tensor]:
    """A file of the published names and shapes that takes no space: every tensor repeats one number."""
    with torch.device("meta"):
        state = to_released(SkySense(preset(name)).state_dict(), "model")
    return {
        key.removeprefix(prefix): torch.full((1,), 0.01).expand(tensor.shape)
        for key, tensor in state.items()
        if key.startswith(prefix)
    }


def test_published_shapes_are_recognised_and_random_weights_are_told(tmp_path: Path) -> None:
    path = save(tmp_path / "skysense_model_backbone_hr.pth", published("huge", "backbone_gep."))
    assert path.stat().st_size < 2**20
    found = recognise(path)
    assert (found.preset, found.whole, found.parts[0].expected) == ("huge", True, 429)
    for missing in ("norm3.bias", "stages.2.blocks.11.norm3.weight"):
        less = published("huge", "backbone_gep.")
        del less[missing]
        assert recognise(save(tmp_path / "less.pth", less)).parts[0].missing == (missing,)
    full = recognise(save(tmp_path / "full.pth", {"model": published("huge")}))
    assert full.whole
    assert [one.expected for one in full.parts] == [429, 292, 292, 2, 2, 291]
    assert sum(tensor.numel() for tensor in full.state().values()) == 1_659_008_144


def test_four_outputs_and_the_successor_are_recognised(tmp_path: Path) -> None:
    hr = published("huge", "backbone_gep.")
    for stage, width in enumerate((352, 704, 1408)):
        hr |= {f"norm{stage}.weight": torch.ones(1).expand(width), f"norm{stage}.bias": torch.ones(1).expand(width)}
    found = recognise(save(tmp_path / "hr.pth", hr))
    assert found.whole and found.parts[0].expected == 435 and found.config.hr.out_indices == (0, 1, 2, 3)
    s2 = published("huge++", "backbone_s2.")
    extra = {"cls_token": (1, 1, 1024), "mask_token": (1, 1, 1024), "vocabulary_token": (65, 1024)}
    s2 |= {key: torch.zeros(1).expand(shape) for key, shape in (extra | {"vocabulary_weight": (1, 16)}).items()}
    attention = {key.replace(".in_proj_", ".Wqkv."): value for key, value in s2.items()}
    for tensors in (s2, attention):
        found = recognise(save(tmp_path / "skysensepp_release_s2.pth", tensors))
        assert (found.preset, found.whole) == ("huge++", True)
        assert set(found.parts[0].ignored) == {*extra, "vocabulary_weight"}


def test_the_successor_is_put_together_whatever_order_its_files_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its image encoder and fusion are those of SkySense by shape; norms were recorded for SkySense only."""
    written: list[tuple[str, ...]] = []
    monkeypatch.setattr(
        converting, "save_state", lambda out, state, config, pieces, card: written.append(card["origin"])
    )
    monkeypatch.setattr(converting, "weights_sha256", lambda state: "")
    monkeypatch.setattr(converting, "not_finite", lambda state: [])
    files = [
        save(tmp_path / f"{part}.pth", published("huge++", prefix)) for part, prefix in MODULES if part in ("hr", "s2")
    ]
    files.append(save(tmp_path / "fusion.pth", published("huge++", "fusion.")))
    for order in (files, files[::-1]):
        convert(order, tmp_path / "out.safetensors")
    assert len(written) == 2 and all("SkySense++" in origin for origin in written)
    with pytest.raises(InputError, match=r"belong to different models \(s2.pth: huge\+\+, s1.pth: huge\)"):
        convert([files[1], save(tmp_path / "s1.pth", published("huge", "backbone_s1."))], tmp_path / "out.safetensors")
    hr = published("huge", "backbone_gep.") | {"vocabulary_token": torch.zeros(1).expand(65, 352)}
    assert recognise(save(tmp_path / "hr.pth", hr)).preset == "huge++"


def test_norms_that_are_not_the_published_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the published dimensions, without writing gigabytes: what `convert` would write is replaced."""
    written: list[dict[str, Tensor]] = []
    monkeypatch.setattr(converting, "save_state", lambda out, state, *_: written.append(state))
    monkeypatch.setattr(converting, "weights_sha256", lambda state: "")
    monkeypatch.setattr(converting, "not_finite", lambda state: [])
    hr = published("huge", "backbone_gep.")
    path = save(tmp_path / "hr.pth", hr)
    with pytest.raises(InputError, match=r"not the published weights: hr.stages.0.blocks.0.attention.qkv.weight has"):
        convert([path], tmp_path / "out.safetensors")
    assert len(verify(path)) == len(FINGERPRINTS)
    convert([path], tmp_path / "out.safetensors", fine_tuned=True)
    with torch.device("meta"):
        encoder = SkySense(preset("huge"), pieces=["hr"])
    right = {}
    for name, tensor in encoder.state_dict().items():
        level = FINGERPRINTS.get(name, 1.0) / tensor.numel() ** 0.5
        right[name.removeprefix("hr.")] = torch.full((1,), level).expand(tensor.shape)
    convert([save(tmp_path / "right.pth", to_released(right, "hr"))], tmp_path / "out.safetensors")
    assert len(written) == 2
