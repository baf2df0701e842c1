"""Three places from a public archive, for whoever has the internet: ``SKYSENSE_ONLINE=1 pytest -m online``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.curate.run import Pace, curate
from skysense.curate.sample import Settings
from skysense.curate.settings import Curation
from skysense.data.shards.check import check
from skysense.data.shards.read import Shards

PLACES = """name,lon,lat
fields_in_iowa,-93.62,42.03
forest_in_bavaria,11.80,49.00
rice_in_punjab,75.60,30.90
"""


@pytest.mark.online
def test_three_places_of_a_public_archive(tmp_path: Path) -> None:
    listed = tmp_path / "places.csv"
    listed.write_text(PLACES)
    sample = Settings(cells=16, fewest_s2=3, fewest_s1=3, most_s2=6, most_s1=4)
    wanted = Curation(years=(2021, 2021), places=listed, catalogues=("planetary-computer",), sample=sample)
    summary = curate(wanted, tmp_path / "corpus", Pace(budget=2 * 10**9))
    assert summary is not None
    corpus = Shards(tmp_path / "corpus")
    assert check(corpus.root).problems == []
    assert not corpus.simulated
    assert sorted(corpus.names) == ["fields_in_iowa", "forest_in_bavaria", "rice_in_punjab"]
    for place in corpus:
        sample_read = corpus.read_sample(place)
        s2, s1 = sample_read.series["s2"], sample_read.series["s1"]
        assert 3 <= len(s2.dates) <= 6
        assert 3 <= len(s1.dates) <= 4
        red = s2.values[:, s2.sensor.bands.index("B4")]
        clear = s2.valid if s2.clear is None else s2.valid & s2.clear
        assert 100 < np.median(red[clear]) < 4000  # land, without the offset of 1000 twice or not at all
        assert -25 < np.median(s1.values[:, 0][s1.valid]) < 0
        assert (s2.dates.astype("datetime64[Y]") == np.datetime64("2021")).all()
    iowa = next(place for place in corpus if place.name == "fields_in_iowa")
    assert "hr" in iowa.modalities  # NAIP
    products = corpus.attributes(iowa)["products"]["s2"]
    assert all(source["item"] for frame in products for source in frame)
