"""Which places a curation is of: drawn ones, near evaluation sets, twice the same ground, across the antimeridian."""

import json
from dataclasses import replace

import numpy as np
import pytest
import rasterio

from skysense.curate.account import read_account
from skysense.curate.grid import grid_at
from skysense.curate.plan import Plan
from skysense.curate.run import curate
from skysense.curate.sample import Settings
from skysense.curate.sentinel2 import AT_20_M
from skysense.curate.settings import Curation, parse_years
from skysense.data.earth import simulate
from skysense.data.shards.check import check as check_shards
from skysense.data.shards.read import Shards
from skysense.errors import ConfigError
from skysense.sensors import SENTINEL2_L2A
from tests.curate.rehearsed import catalogue_file, curation, places_file, positions

FEW = {"most_s2": 2, "most_s1": 1}


def test_places_near_an_evaluation_set_are_left_out(archive, tmp_path):
    near, far = positions((300, 500), (900, 1000))
    settings = curation(catalogue_file(archive, "planetary", tmp_path), places_file(tmp_path, [near, far]), sample=FEW)
    tested = places_file(tmp_path, positions((300, 400)), "tested.csv")
    summary = curate(replace(settings, avoid=(tested,), avoid_km=0.3), tmp_path / "c")
    assert summary.tally.places == {"near an evaluation set": 1, "stored": 1}
    (place,) = Shards(tmp_path / "c")
    assert place.lon == pytest.approx(far[0], abs=1e-4)
    (left_out, _) = read_account(tmp_path / "c", 0).outcomes
    assert left_out.detail == f"within 0.3 km of {tested}" and left_out.traffic.requests == 0
    with pytest.raises(ConfigError, match=r"avoid_km: 0\.3 -> 1"):
        curate(replace(settings, avoid=(tested,), avoid_km=1.0), tmp_path / "c")


def test_evaluation_places_without_a_position_are_announced(tmp_path):
    simulate(tmp_path / "earth", regions=2, places_per_region=2, footprint_cells=4)
    for file in list((tmp_path / "earth").rglob("place.json"))[:3]:
        told = json.loads(file.read_text())
        file.write_text(json.dumps({**told, "lon": None, "lat": None}))
    with pytest.warns(UserWarning, match="earth: 3 examples have no position"):
        Plan(drawn(avoid=(tmp_path / "earth",)))


def test_same_ground_twice_is_listed_once(archive, tmp_path):
    here, there = positions((300, 500), (900, 1000))
    file = places_file(tmp_path, [here, there, here, there, here])
    settings = curation(catalogue_file(archive, "planetary", tmp_path), file, sample=FEW)
    summary = curate(settings, tmp_path / "c")
    assert summary.tally.places == {"stored": 2, "near-duplicate": 3}
    assert summary.near_duplicates == [("p2", 0), ("p3", 1), ("p4", 0)]
    corpus = Shards(tmp_path / "c")
    assert [one.name for one in corpus] == ["p0", "p1"]
    assert [one.places for one in corpus.manifest.shards] == [2, 0, 0]
    assert check_shards(tmp_path / "c").problems == []
    assert json.loads((tmp_path / "c" / "account.json").read_text())["near_duplicates"] == [
        ["p2", 0],
        ["p3", 1],
        ["p4", 0],
    ]
    assert corpus.read_sample(corpus[1]).series["s2"].values.any()


def test_place_after_a_near_duplicate_in_a_shard_is_itself(archive, tmp_path):
    here, there = positions((300, 500), (900, 1000))
    catalogue = catalogue_file(archive, "planetary", tmp_path)
    settings = curation(catalogue, places_file(tmp_path, [here, here, there]), sample=FEW, places_per_shard=3)
    curate(settings, tmp_path / "c")
    alone = replace(settings, places=places_file(tmp_path, [there], "alone.csv"))
    curate(alone, tmp_path / "alone")
    twins, single = Shards(tmp_path / "c"), Shards(tmp_path / "alone")
    assert [one.name for one in twins] == ["p0", "p2"]
    ours, theirs = twins.read_sample(twins[1]), single.read_sample(single[0])
    assert np.array_equal(ours.series["s2"].values, theirs.series["s2"].values)
    assert twins.attributes(twins[1]) == single.attributes(single[0])


def test_place_across_the_antimeridian(tmp_path):
    """Two products of one pass on either side, of which each shows a half."""
    lon, lat = 179.9995, 52.0
    grid = grid_at(lon, lat, 16)
    west, _, east, _ = grid.bbox
    assert west > 179 and east < -179
    rng = np.random.default_rng(0)
    values = {band: rng.integers(1000, 3000, (16, 16)).astype(np.uint16) for band in SENTINEL2_L2A.bands}
    values |= {band: values[band][::2, ::2].repeat(2, axis=0).repeat(2, axis=1) for band in AT_20_M if band in values}
    items = []
    for side, (left, bbox) in enumerate([(True, [179.0, 51.0, 180.0, 53.0]), (False, [-180.0, 51.0, -179.0, 53.0])]):
        assets = {}
        for band, whole in values.items():
            half = whole.copy()
            half[:, 8:] *= not left
            half[:, :8] *= left
            file = tmp_path / f"{band}_{side}.tif"
            shape = {"width": 16, "height": 16, "count": 1, "dtype": "uint16"}
            with rasterio.open(file, "w", crs=grid.crs, transform=grid.transform(10), nodata=0, **shape) as target:
                target.write(half, 1)
            assets[band] = {"href": file.name}
        w, s, e, n = bbox
        ring = [[w, s], [e, s], [e, n], [w, n], [w, s]]
        told = {"datetime": f"2021-06-01T23:00:0{side}Z", "platform": "sentinel-2a", "baseline": "03.00"}
        items.append(
            {
                "id": f"item{side}",
                "bbox": bbox,
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": told,
                "assets": assets,
            }
        )
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    bands = ", ".join(f"{band}: {band}" for band in SENTINEL2_L2A.bands)
    (tmp_path / "own.yaml").write_text(
        "own:\n  items: items.json\n  collections:\n    - {id: mine, modality: s2, unit: dn, licence: none, "
        f"attribution: me, baseline: baseline, bands: {{{bands}}}}}\n"
    )
    settings = curation(str(tmp_path / "own.yaml"), places_file(tmp_path, [(lon, lat)]), sample={"required": ("s2",)})
    summary = curate(replace(settings, years=(2021, 2021)), tmp_path / "c")
    assert summary.tally.places == {"stored": 1} and summary.tally.counts["s2"] == {"found": 2, "merged": 1}
    series = Shards(tmp_path / "c").read_sample(Shards(tmp_path / "c")[0]).series["s2"]
    assert series.valid.all() and not Shards(tmp_path / "c").simulated
    assert np.array_equal(series.values[0], np.stack(list(values.values())))


def drawn(**more):
    return Curation(**{"years": (2021, 2021), "area": "7,47,9,49", "number": 40, "places_per_shard": 7, **more})


def test_blocks_hold_every_drawn_place_once_and_in_any_order():
    plan = Plan(drawn())
    assert plan.blocks == 6 and [plan.size(block) for block in range(6)] == [7, 7, 7, 7, 7, 5]
    forward = [place.position for block in range(6) for place in plan.block(block)]
    assert [one.number for one in forward] == list(range(40))
    backward = {block: [place.position for place in Plan(drawn()).block(block)] for block in reversed(range(6))}
    assert forward == [one for block in range(6) for one in backward[block]]
    assert {one.split for one in forward} <= {"train", "val"}


def test_plan_is_known_by_its_number_area_and_seed():
    told = Plan(drawn()).identity
    assert Plan(drawn(number=41)).identity != told
    assert Plan(drawn(area="7,47,9,49.1")).identity != told
    assert Plan(drawn()).identity == told


def test_years():
    assert parse_years("2019-2021") == (2019, 2021) and parse_years("2021") == (2021, 2021)
    for wrong in ("21", "2019-", "2019..2021"):
        with pytest.raises(ConfigError, match="2019-2021"):
            parse_years(wrong)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"years": (2021, 2020), "number": 3}, "must ascend"),
        ({"years": (2021, 2021)}, "either a list of places or how many"),
        ({"years": (2021, 2021), "number": 3, "catalogues": ()}, "no catalogue"),
        ({"years": (2021, 2021), "number": 3, "most_cloud": 120.0}, "0 .. 100"),
    ],
)
def test_settings_that_make_no_sense(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Curation(**wrong)


def test_drawn_places_of_any_size_share_no_ground():
    def least(cells):
        plan = Plan(drawn(area="7,47,7.3,47.2", number=400, sample=Settings(cells=cells)))
        grids = [
            grid_at(one.position.lon, one.position.lat, cells) for at in range(plan.blocks) for one in plan.block(at)
        ]
        assert len(grids) > 10 and {one.crs for one in grids} == {"EPSG:32632"}
        corner_N2 = np.array([(one.west, one.north) for one in grids])
        apart_NN = np.abs(corner_N2[:, None] - corner_N2).max(
            axis=2
        )  # squares share ground if they are nearer than a side
        return apart_NN[np.triu_indices(len(grids), 1)].min()

    assert least(96) >= 960 and least(256) >= 2560
    assert 160 <= least(16) < 640
    with pytest.raises(ConfigError, match="cells 1024: places that are drawn have at most 700 cells"):
        Plan(drawn(sample=Settings(cells=1024)))
