"""What a curation costs, against numbers that were worked out by hand."""

import math

import numpy as np
import pytest

from skysense.curate.cost import (
    FILES,
    DataPlan,
    Files,
    Machine,
    PerPlace,
    Wanted,
    amplification,
    per_place,
)
from skysense.curate.cost_figures import draw_all, figures
from skysense.curate.remote import AHEAD
from skysense.errors import ConfigError

BAND = FILES[0]


def sure(**numbers):
    """Figures without doubt: a value and one draw that is the same; those that are not named are one."""
    return {name: np.full(2, float(numbers.get(name, 1))) for name in figures()}


def each(requests=0.0, received=0.0, searches=0.0, processor=0.0):
    one = {name: np.full(2, float(value)) for name, value in locals().items()}
    return PerPlace(
        {"all": one["requests"]},
        {"all": one["received"]},
        {"all": np.full(2, 10.0)},
        one["searches"],
        one["processor"],
        np.full(2, 0.5),
        np.zeros(2),
    )


@pytest.mark.parametrize(("cells", "spare", "tile"), [(8, 0, 32), (32, 2, 32), (40, 11, 16)])
def test_tiles_that_a_window_meets_are_the_mean_over_all_its_positions(cells, spare, tile):
    files = Files("", "s2", 1, 10, tile, spare, 2)
    side = cells + spare
    met = [(begin + side - 1) // tile - begin // tile + 1 for begin in range(tile)]
    assert files.rows(cells) == pytest.approx(np.mean(met))
    assert files.tiles(cells) == pytest.approx(np.mean(met) ** 2)


def test_a_window_of_a_place_in_a_band_of_sentinel2():
    assert BAND.rows(64) == pytest.approx(1 + 63 / 1024)
    assert BAND.tiles(64) == pytest.approx(1.12683, abs=1e-5)
    assert BAND.wanted(64) == 64 * 64 * 2
    assert FILES[-1].window(64) == pytest.approx(1066.7, abs=0.1)


def test_requests_and_bytes_of_a_place():
    drawn = sure(frames_s2=10, tile_s2_10m=1000, tile_s2_20m=500, tile_s2_classes=100, kept=0.5, retries=0.25)
    drawn |= {"reads": np.full(2, 2.0), "stored_s2": np.full(2, 30.0), "secure": np.zeros(2)}
    found = per_place(drawn, Wanted(years=2, most_s2=15, most_s1=0, hr=0))
    assert set(found.requests) == set(found.received) == set(found.stored) == {"s2"}
    fine, coarse = 1 + 63 / 1024, 1 + (32 + 2 - 1) / 1024
    # 20 frames in two years, of which 15 are taken, two acquisitions each: four files of 10 m, seven of 20 m
    assert found.requests["s2"][0] == pytest.approx(15 * 2 * (4 * (1 + fine) + 7 * (1 + coarse)) * 1.25)
    tiles = 4 * 1000 * fine**2 + (6 * 500 + 100) * coarse**2
    assert found.received["s2"][0] == pytest.approx(15 * 2 * (11 * AHEAD + tiles))
    assert found.stored["s2"][0] == 15 * 30
    assert found.searches[0] == 1.25 / 0.5  # one page, for each of two places that are looked at, a quarter again
    assert found.processor[0] == pytest.approx(15 * 2 * 11 + 15)  # a second a file and a second a frame


def test_an_image_counts_for_those_places_that_have_one():
    drawn = sure(images=1.5, stored_hr=8e6, made_image=3, read_hr=5, kept=1) | {"secure": np.zeros(2)}
    found = per_place(drawn | {"retries": np.zeros(2)}, Wanted(hr=0.2, most_s2=0, most_s1=0))
    assert set(found.requests) == {"hr"}
    rows = 1 + (64 * 10 / 0.6 + 11 - 1) / 512
    assert found.requests["hr"][0] == pytest.approx(0.3 * (1 + rows))
    assert found.stored["hr"][0] == pytest.approx(0.2 * 8e6)
    assert found.processor[0] == pytest.approx(0.3 * 5 + 0.2 * 3)
    assert found.searches[0] == 1


def test_long_series_take_more_pages_of_a_search():
    drawn = sure(frames_s2=120, frames_s1=20) | {"retries": np.zeros(2)}
    assert per_place(drawn, Wanted(years=2, hr=0)).searches[0] == pytest.approx(240 / 100 + 1)


def test_smaller_places_store_less_and_receive_nearly_as_much():
    drawn = draw_all()
    whole, quarter = per_place(drawn, Wanted(hr=0)), per_place(drawn, Wanted(hr=0, cells=32))
    assert quarter.stored["s2"][0] == pytest.approx(whole.stored["s2"][0] / 4)
    assert 0.9 < quarter.received["s2"][0] / whole.received["s2"][0] < 1


SPEEDS = {"line": 1e6, "latency": 0.5, "stream": 2e6, "archive": 5e6, "catalogue": 4}


def test_time_is_that_of_what_takes_longest():
    plan = DataPlan(1000, each(10, 4e6, 2, 8), Machine(cores=4, connections=8), sure(**SPEEDS), days=0.01)
    bounds = {name: one[0] for name, one in plan.bounds.items()}
    assert bounds == {
        "line": 1000 * 4e6 / 1e6,
        "waiting": (1000 * 12 * 0.5 + 1000 * 4e6 / 2e6) / 8,
        "processor": 1000 * 8 / 4,
        "archive": 1000 * 4e6 / 5e6,
        "catalogue": 1000 * 2 / 4,
    }
    assert plan.one_machine[0] == 4000 and plan.at_least[0] == 800
    assert plan.machines[0] == math.ceil(4000 / 864) == 5
    assert plan.seconds(1)[0] == 4000 and plan.decides(1) == "line"
    assert plan.seconds(4)[0] == 1000
    assert plan.seconds(6)[0] == 800 and plan.decides(6) == "archive"
    assert plan.seconds(500)[0] == 800
    assert plan.engine == "Ray"
    assert plan.stored[0] == 10_000


def test_one_machine_is_enough_if_it_is_done_in_time():
    plan = DataPlan(1000, each(received=4e6), Machine(), sure(**SPEEDS), days=1)
    assert plan.machines[0] == 1 and plan.engine == "one machine"


def test_numbers_of_ones_own_take_the_place_of_figures():
    machine = Machine(bandwidth=2, latency=0.1, archive_rate=0.5, search_rate=10, connections=1)
    plan = DataPlan(100, each(1, 1e6, 1), machine, sure(**SPEEDS))
    bounds = {name: one[0] for name, one in plan.bounds.items()}
    assert bounds["line"] == 50 and bounds["archive"] == 200 and bounds["catalogue"] == 10
    assert bounds["waiting"] == pytest.approx(100 * 2 * 0.1 + 100 * 1e6 / 2e6)


def test_a_place_alone_shares_no_tile_and_many_places_share_all():
    drawn = sure(frames_s2=1, tile_s2_10m=1e6, tile_s2_20m=1e6, tile_s2_classes=1e6)
    wanted = Wanted(years=1, most_s1=0, hr=0, km2=1e5)
    alone = amplification(1e-6, drawn, wanted)["s2"]
    assert alone.shared == pytest.approx(alone.received)
    assert alone.wanted == 4 * 64 * 64 * 2 + 6 * 32 * 32 * 2 + 32 * 32
    many = 1e7
    fine, coarse = 1e11 / 10240**2, 1e11 / 20480**2
    assert amplification(many, drawn, wanted)["s2"].shared == pytest.approx(1e6 * (4 * fine + 7 * coarse) / many)
    assert set(amplification(10, drawn, wanted)) == {"s2"}


def test_sums_of_a_plan_are_those_of_its_places():
    drawn = draw_all()
    plan = DataPlan(21_500_000, per_place(drawn, Wanted()), Machine(), drawn)
    told = plan.to_json()
    assert told["received"]["value"] == pytest.approx(
        21.5e6 * sum(one["value"] for one in told["each"]["received"].values())
    )
    assert told["received"]["low"] < told["received"]["value"] < told["received"]["high"]
    assert told["stored"]["low"] > 150e12 and told["stored"]["high"] < 300e12
    assert told["seconds"]["value"] == plan.at_least[0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Wanted(years=0), "years must be more than 0; got 0"),
        (lambda: Wanted(hr=1.5), "hr a share"),
        (lambda: Wanted(hr=0, most_s1=0, most_s2=0), "without any image"),
        (lambda: Machine(cores=0), "cores must be more than 0; got 0"),
        (lambda: Machine(bandwidth=-1), "bandwidth must be more than 0; got -1"),
        (lambda: DataPlan(0, each(), Machine(), {}), "places and days"),
    ],
)
def test_numbers_out_of_range(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
