from pathlib import Path

import pytest
import yaml

from skysense.curate.catalogue import PRESETS, BandSource, OffsetWord, open_catalogue, read_catalogues
from skysense.curate.http import Signing
from skysense.errors import ConfigError, InputError

OWN = {
    "mine": {
        "title": "Our orthophotos",
        "files": "images/*.tif",
        "taken": r"_(\d{8})\.tif",
        "collections": [
            {
                "id": "ortho",
                "modality": "hr",
                "licence": "ours",
                "attribution": "us",
                "unit": "uint8",
                "bands": {"R": 1, "G": 2, "B": 3},
            }
        ],
    }
}


def written(tmp_path: Path, tree: object) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return path


def test_presets_say_where_bands_are():
    aws, older, azure = (
        open_catalogue(name) for name in ("earth-search", "earth-search-all-baselines", "planetary-computer")
    )
    assert set(read_catalogues(PRESETS)) == {aws.name, older.name, azure.name}
    (s2,) = aws.of("s2")
    assert (s2.id, s2.bands["B8A"], s2.masks["SCL"]) == (
        "sentinel-2-c1-l2a",
        BandSource("nir08", 1),
        BandSource("scl", 1),
    )
    assert s2.offset_applied is False and s2.nodata == 0 and s2.unit == "dn"
    assert older.of("s2")[0].offset_applied == OffsetWord("earthsearch:boa_offset_applied", (True,))
    assert [azure.of(modality)[0].id for modality in ("s2", "s1", "hr")] == ["sentinel-2-l2a", "sentinel-1-rtc", "naip"]
    assert azure.of("hr")[0].bands["NIR"] == BandSource("image", 4)
    assert azure.of("s1")[0].unit == "power" and azure.of("s1")[0].nodata == -32768
    assert (
        azure.signing is not None
        and azure.signing.where("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/22/M/x.tif")
        == "https://planetarycomputer.microsoft.com/api/sas/v1/token/sentinel2l2a01/sentinel2-l2"
    )
    assert all(one.attribution and one.licence for catalogue in (aws, older, azure) for one in catalogue.collections)


def test_what_a_preset_does_not_have_is_explained():
    with pytest.raises(
        ConfigError, match="offers no s1 that can be used: sentinel-1-grd holds uncalibrated amplitudes"
    ):
        open_catalogue("earth-search").of("s1")
    with pytest.raises(ConfigError, match="bucket where the reader pays"):
        open_catalogue("earth-search").of("hr")


def test_a_catalogue_of_your_own(tmp_path):
    own = open_catalogue(written(tmp_path, OWN))
    assert own.files == tmp_path / "images/*.tif" and own.of("hr")[0].bands["B"] == BandSource("image", 3)
    with pytest.raises(ConfigError, match=r"'mine' offers no s2 that can be used$"):
        own.of("s2")


def test_signing_of_your_own(tmp_path):
    signing = {"files": "https://{box}.store/", "token_url": "https://store/token/{box}"}
    tree = {"mine": OWN["mine"] | {"signing": signing}}
    assert open_catalogue(written(tmp_path, tree)).signing == Signing(**signing)
    tree["mine"]["signing"] = signing | {"token_url": "https://store/{bucket}"}
    with pytest.raises(ConfigError, match=r"mine: signing: 'token_url' has \{bucket\}, which is not in 'files'"):
        open_catalogue(written(tmp_path, tree))


def test_unknown_names_list_the_presets():
    with pytest.raises(ConfigError, match="no catalogue is called 'earth'; known: earth-search, "):
        open_catalogue("earth")


def without(key: str):
    return lambda entry, collection: (entry if key in entry else collection).pop(key)


def changed(**values):
    return lambda entry, collection: collection.update(values)


def top(**values):
    return lambda entry, collection: entry.update(values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("files"), "mine: give one of 'url', 'items' and 'files'"),
        (top(url="https://x"), "mine: give one of 'url', 'items' and 'files'"),
        (without("taken"), "mine: 'files' and 'taken' belong together"),
        (without("collections"), "mine: 'collections' is missing"),
        (top(collections=[]), "mine: has no collection"),
        (top(collections=["x"]), "mine: collection: expected keys and values, found 'x'"),
        (top(querry=True), "mine: unknown key 'querry'"),
        (top(query="no"), "mine: 'query' has to be true or false, found 'no'"),
        (top(taken="("), "mine: 'taken' is no regular expression"),
        (top(taken=r"\d{8}"), "mine: 'taken' has to have one group"),
        (without("licence"), "mine: ortho: 'licence' is missing"),
        (changed(modality="optical"), "mine: ortho: 'modality' is one of hr, s2, s1; found 'optical'"),
        (changed(unit="power"), "mine: ortho: hr is read from uint8 or dn, not from power"),
        (changed(unit="reflectance"), "mine: ortho: 'unit' is one of dn, power"),
        (changed(nodata="0"), "mine: ortho: 'nodata' has to be a number, found '0'"),
        (changed(nodata=True), "mine: ortho: 'nodata' has to be a number, found True"),
        (changed(bands={"R": 1, "G": 2}), "missing: B; unknown: none"),
        (changed(bands={"R": 1, "G": 2, "B": 3, "N": 4}), "missing: none; unknown: N"),
        (changed(bands={"R": 0, "G": 2, "B": 3}), "mine: ortho: bands: R is the key of an asset"),
        (changed(bands={"R": "image:x", "G": 2, "B": 3}), "bands: R is the key of an asset, or key:band"),
        (changed(offset_applied="no"), "'offset_applied' has to be true or false or keys and values"),
        (changed(offset_applied={"property": "x", "believe": []}), "offset_applied: 'believe' is"),
    ],
)
def test_errors_say_where_and_what(tmp_path, spoil, message):
    entry = {**OWN["mine"], "collections": [dict(OWN["mine"]["collections"][0])]}
    spoil(entry, entry["collections"][0])
    with pytest.raises(ConfigError) as raised:
        open_catalogue(written(tmp_path, {"mine": entry}))
    assert message in str(raised.value) and "mine.yaml" in str(raised.value)


def test_files_that_are_no_catalogue(tmp_path):
    with pytest.raises(InputError, match="is not YAML"):
        open_catalogue(written(tmp_path, "a: [1"))
    with pytest.raises(ConfigError, match="holds no catalogue"):
        open_catalogue(written(tmp_path, "- 1"))
    with pytest.raises(ConfigError, match="holds 2 catalogues"):
        open_catalogue(written(tmp_path, OWN | {"other": OWN["mine"]}))
    with pytest.raises(InputError, match="cannot be read"):
        open_catalogue(tmp_path / "none.yaml")
