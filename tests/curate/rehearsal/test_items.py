import re

import pytest
import rasterio

from skysense.curate.rehearsal.earth_search import EARTH_SEARCH
from skysense.curate.rehearsal.items import displaced
from skysense.curate.rehearsal.planetary import PLANETARY

HOST = "http://127.0.0.1:1"
CATALOGUES = [EARTH_SEARCH, PLANETARY]


def items(catalogue, scenes):
    return [(scene, catalogue.item(scene, HOST)) for scene in scenes.values() if catalogue.collection_of(scene)]


def test_numbers_and_names(scenes):
    told = {one.name: [item["id"] for _, item in items(one, scenes)] for one in CATALOGUES}
    assert len(told["earth-search"]) == 15 and len(told["planetary"]) == 15 + 6 + 2
    forms = {
        "earth-search": r"S2[AB]_1[56]T[A-Z]{2}_2022\d{4}_[01]_L2A",
        "planetary": r"S2[AB]_MSIL2A_\d{8}T\d{6}_R\d{3}_T1[56]T[A-Z]{2}_\d{8}T\d{6}"
        r"|S1A_IW_GRDH_1S[DS]V_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_rtc|il_m_\d{7}_n[ew]_16_060_\d{8}",
    }
    for name, ids in told.items():
        assert len(set(ids)) == len(ids) and all(re.fullmatch(forms[name], one) for one in ids)


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda one: one.name)
def test_valid_stac(catalogue, scenes):
    pystac = pytest.importorskip("pystac")
    validation = pytest.importorskip("pystac.validation")
    pytest.importorskip("jsonschema")
    for _, told in items(catalogue, scenes):
        item = pystac.Item.from_dict(told)
        # Schemas of extensions are not at hand offline; test_extensions looks at their fields.
        validation.validate_dict({**item.to_dict(transform_hrefs=False), "stac_extensions": []})
    for told in catalogue.collections.values():
        collection = pystac.Collection.from_dict(told)
        validation.validate_dict({**collection.to_dict(transform_hrefs=False), "stac_extensions": []})


PREFIXES = {"eo": "eo", "grid": "grid", "mgrs": "mgrs", "projection": "proj", "raster": "raster", "view": "view"}
PREFIXES |= {"sat": "sat", "sar": "sar", "processing": "processing"}


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda one: one.name)
def test_extensions(catalogue, scenes):
    for _, item in items(catalogue, scenes):
        declared = {url.split("/")[3]: url.split("/")[4] for url in item["stac_extensions"]}
        used = {key.split(":")[0] for key in item["properties"] if ":" in key}
        used |= {key.split(":")[0] for asset in item["assets"].values() for key in asset if ":" in key}
        assert {PREFIXES[name] for name in declared if name != "file"} <= used
        assert used <= {PREFIXES.get(name) for name in declared} | {"s2", "s1", "naip", "earthsearch"}
        new = declared["projection"] == "v2.0.0"
        assert (item["stac_version"] == "1.1.0") == new
        assert ("proj:code" in item["properties"]) == new == ("proj:epsg" not in item["properties"])


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda one: one.name)
def test_projection_is_that_of_the_file(catalogue, scenes, folder):
    seen = 0
    for scene, item in items(catalogue, scenes):
        files = {HOST + path: file for path, file in catalogue.files(scene).items()}
        for asset in item["assets"].values():
            if asset["href"] in files:
                fields = item["properties"] | asset
                with rasterio.open(folder / files[asset["href"]]) as file:
                    crs = fields.get("proj:code") or f"EPSG:{fields['proj:epsg']}"
                    assert file.crs.to_string() == crs
                    assert list(file.shape) == fields["proj:shape"]
                    assert list(file.transform)[:6] == pytest.approx(fields["proj:transform"][:6])
                seen += 1
        assert set(files) <= {asset["href"] for asset in item["assets"].values()}
    assert seen == (15 * 11 if catalogue is EARTH_SEARCH else 15 * 11 + 6 * 2 - 2 + 2)


def test_offset_is_told_as_each_catalogue_does(scenes, folder):
    for scene, item in items(EARTH_SEARCH, scenes):
        flag, raster = item["properties"]["earthsearch:boa_offset_applied"], item["assets"]["blue"]["raster:bands"][0]
        assert flag == (scene.baseline >= "04.00")
        assert (raster["scale"], raster["offset"]) == (0.0001, -0.1 if flag else 0)
        assert "offset" not in item["assets"]["scl"]["raster:bands"][0]
        assert all(
            "harmonised" in file for path, file in EARTH_SEARCH.files(scene).items() if flag and "SCL" not in path
        )
    for scene, item in items(PLANETARY, scenes):
        assert not any("offset" in key for key in item["properties"])
        assert not any("harmonised" in file for file in PLANETARY.files(scene).values())
        if scene.sensor == "s2":
            assert "raster:bands" not in item["assets"]["B02"] and item["properties"]["s2:processing_baseline"]


def test_datatake_is_one_and_times_differ(scenes):
    one, other = (scenes[f"S2B_{tile}_20220105_0"] for tile in ("16TBL", "16TBK"))
    times = [
        [catalogue.item(scene, HOST)["properties"]["datetime"] for scene in (one, other)] for catalogue in CATALOGUES
    ]
    assert times[0][0] != times[0][1]  # when the granule was seen
    assert times[1][0] == times[1][1]  # when the datatake began


def test_displaced_items_contradict_their_files(scenes):
    for catalogue in CATALOGUES:
        for _, item in items(catalogue, scenes):
            wrong = displaced(item)
            key = "proj:epsg" if "proj:epsg" in item["properties"] else "proj:code"
            assert wrong["properties"][key] != item["properties"][key]
            moved = [(a, b) for a, b in zip(fields(item), fields(wrong), strict=True) if "proj:transform" in a]
            assert moved and all(b["proj:transform"][2] - a["proj:transform"][2] == 3000 for a, b in moved)


def fields(item):
    return [item["properties"], *item["assets"].values()]
