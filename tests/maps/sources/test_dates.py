"""Days in names of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from skysense.errors import InputError
from skysense.maps.sources.dates import day_in_name, day_of_file


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("S2A_MSIL2A_20220715T103031_N0400_R108_T32TQM_20220716T170000", "2022-07-15"),
        ("T32TQM_20220715T103031_B04_10m", "2022-07-15"),
        ("2022-07-15", "2022-07-15"),
        ("field_2022_07_15_b", "2022-07-15"),
        ("x20220715103031y", "2022-07-15"),
        ("20221315_20220715", "2022-07-15"),  # the first is no date
        ("19990101_20220715", "2022-07-15"),  # nor is a day before the satellite flew
        ("v20990101_2022.07.15", "2022-07-15"),  # nor one that has not come
        ("tile_32632_12345678", "NaT"),
        ("a202207151", "NaT"),
        ("2022-07.15", "NaT"),
    ],
)
def test_the_first_plausible_day_of_a_name(name: str, day: str) -> None:
    np.testing.assert_array_equal(day_in_name(name, "s2"), np.datetime64(day, "D"))


def test_a_radar_product_and_an_old_aerial_image() -> None:
    radar = "S1A_IW_GRDH_1SDV_20140501T053000_20140501T053025_001"
    assert day_in_name(radar, "s1") == np.datetime64("2014-05-01")
    assert np.isnat(day_in_name(radar, "s2"))
    assert day_in_name("ortho_19450612", "hr") == np.datetime64("1945-06-12")


def test_what_was_said_then_tags_then_names_then_the_time_of_writing() -> None:
    path, names = Path("2022-07-15/a.tif"), ("a", "2022-07-15")
    tags = {"SKYSENSE_DATE": "2021-01-02", "TIFFTAG_DATETIME": "2023:05:06 11:12:13"}

    def day(given, tags, names=names) -> str:
        return str(day_of_file(given, tags, path, names, "s2")[0])

    assert day("2020-02-03", tags) == "2020-02-03"
    assert day(None, tags) == "2021-01-02"
    del tags["SKYSENSE_DATE"]
    assert day(None, tags) == "2022-07-15"
    assert day(None, tags, ("a",)) == "2023-05-06"
    assert day(None, {}, ("a",)) == "NaT"
    with pytest.raises(InputError, match="argument says '2022-13-01', which is no date"):
        day("2022-13-01", tags)
