"""The text of DOTA: what is read, what is refused, and that a line comes back."""

from __future__ import annotations

import pytest

from skysense.data.labelled.dota_text import DotaObject, dota_line, parse_dota
from skysense.errors import InputError

TEXT = """imagesource:GoogleEarth
gsd:0.146343590398
2753 2408 2861 2385 2888 2468 2805 2502 plane 0

3445.5 3391.0 3484.0 3409.0 3478.0 3422.0 3437.0 3402.0 large-vehicle 1
"""


def test_headers_and_empty_lines_are_passed_over() -> None:
    one, two = parse_dota(TEXT)
    assert one == DotaObject((2753, 2408, 2861, 2385, 2888, 2468, 2805, 2502), "plane", 0)
    assert (two.corners[0], two.label, two.difficult) == (3445.5, "large-vehicle", 1)
    assert parse_dota("1 2 3 4 5 6 7 8 plane") == [DotaObject((1, 2, 3, 4, 5, 6, 7, 8), "plane", 0)]
    assert parse_dota("\ufeffimagesource:GoogleEarth\r\ngsd:null\r\n") == []


def test_a_line_comes_back() -> None:
    objects = parse_dota(TEXT)
    assert dota_line(objects[0]) == "2753 2408 2861 2385 2888 2468 2805 2502 plane 0"
    assert parse_dota("\n".join(map(dota_line, objects))) == objects


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2 3 4 5 6 7 8", "line 2 is no object of DOTA, it has 8 words"),
        ("1 2 3 4 5 6 7 8 small vehicle 0", "line 2 is no object of DOTA, it has 11 words"),
        ("1 2 3 4 5 6 7 x plane 0", "line 2 is no object of DOTA, 'x' is no coordinate"),
        ("1 2 3 4 5 6 7 nan plane 0", "line 2 is no object of DOTA, 'nan' is no coordinate"),
        ("1 2 3 4 5 6 7 8 plane no", "line 2 is no object of DOTA, 'no' is no difficulty"),
    ],
)
def test_a_wrong_line_is_named(line: str, message: str) -> None:
    with pytest.raises(InputError, match="P0001.txt: " + message):
        parse_dota("gsd:1\n" + line, file="P0001.txt")


def test_what_no_line_can_hold_is_refused() -> None:
    with pytest.raises(InputError, match="not one word"):
        dota_line(DotaObject((0.0,) * 8, "small vehicle"))
    with pytest.raises(InputError, match="eight finite numbers"):
        dota_line(DotaObject((0.0,) * 7, "plane"))
