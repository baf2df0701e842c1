from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from skysense.errors import InputError, OutputError
from skysense.report import Report, curves, pca_colours, picture_sheet, png, prototypes_in_use

EVIL = "<script>alert('x')</script>\"&"


class _Page(HTMLParser):
    """Tags with their attributes, and a check that every tag is closed."""

    void = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _full(simulated: bool = True) -> Report:
    report = Report(EVIL, simulated=simulated)
    report.heading(EVIL)
    report.paragraph(EVIL)
    report.note(EVIL)
    report.commands(EVIL)
    report.facts({EVIL: EVIL, "steps": 3})
    report.table([EVIL, "value"], [[EVIL, "**61.2 [55.0, 67.1]**"], ["b", 3.14159], ["c", None]], caption=EVIL)
    report.figure(np.zeros((4, 5, 3), np.uint8), alt=EVIL, caption=EVIL)
    report.figure(curves([{"step": s, EVIL: 1 / (s + 1)} for s in range(20)], {EVIL: {EVIL: EVIL}}), alt="falls")
    return report


def test_whatever_is_given_is_text_and_never_markup() -> None:
    page = _Page(_full().html())
    assert "script" not in {tag for tag, _ in page.found}
    assert sum(EVIL in word for word in page.words) >= 9
    assert [attrs["alt"] for tag, attrs in page.found if tag == "img"] == [EVIL, "falls"]


def test_nothing_comes_from_outside() -> None:
    html = _full().html()
    page = _Page(html)
    for tag, attrs in page.found:
        assert tag not in {"link", "iframe", "object"}
        for name in ("src", "href", "srcset"):
            assert (attrs.get(name) or "data:").startswith("data:")
    assert not re.search(r"https?:|url\(|@import", html)


def test_simulated_is_said_first_and_in_the_title() -> None:
    html = _full(simulated=True).html()
    assert html.index("Simulated data.") < html.index("<h2>")
    assert "(simulated data)</title>" in html
    assert "imulated" not in Report("Real", simulated=False).html()


def test_numbers_are_right_aligned_and_the_best_is_bold() -> None:
    report = Report("t", simulated=False)
    report.table(["method", "mAP", "remark"], [["a", "**61.2 [55.0, 67.1]**", "good"], ["b", -3.14159, "12 of 13"]])
    html = report.html()
    assert '<td class="number best">61.2 [55.0, 67.1]</td>' in html
    assert '<td class="number">-3.142</td>' in html
    assert "<td>good</td>" in html
    assert '<th scope="row">a</th>' in html
    with pytest.raises(InputError, match="2 cells"):
        report.table(["a", "b"], [["only one"]])


def test_a_png_holds_the_very_pixels() -> None:
    image = pytest.importorskip("matplotlib.image")
    import io

    pixels = np.random.default_rng(0).integers(0, 256, (7, 11, 3), dtype=np.uint8)
    again = image.imread(io.BytesIO(png(pixels)), format="png")
    assert np.array_equal((again[..., :3] * 255).round().astype(np.uint8), pixels)
    grey = image.imread(io.BytesIO(png(pixels[:, :, 0])), format="png")
    assert np.array_equal((grey.reshape(7, 11, -1)[..., 0] * 255).round().astype(np.uint8), pixels[:, :, 0])
    for wrong in (pixels.astype(float), pixels[:, :, :2], pixels[0, :, 0]):
        with pytest.raises(InputError, match="uint8"):
            png(wrong)


def test_pictures_need_words() -> None:
    with pytest.raises(InputError, match="alt"):
        Report("t", simulated=False).figure(np.zeros((2, 2), np.uint8), alt=" ")


def test_writing(tmp_path: Path) -> None:
    _full().write(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == _full().html()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        _full().write(tmp_path / "file" / "report.html")


def test_curves_show_every_value() -> None:
    rows = [{"step": step, "loss": 10.0 - step} | ({"rare": 1.0} if step % 5 == 0 else {}) for step in range(10)]
    panels = {"The loss": {"": "loss"}, "Both": {"one": "loss", "two": "rare"}, "None": {"": "absent"}}
    figure = curves(rows, panels, mark=3)
    loss, both = (axis for axis in figure.axes if axis.get_visible())
    assert [axis.get_title(loc="left") for axis in (loss, both)] == ["The loss", "Both"]
    raw, smooth, mark = loss.lines
    assert raw.get_ydata().tolist() == [10.0 - step for step in range(10)]
    assert smooth.get_ydata()[:2] == pytest.approx([10, (0.8 * 0.2 * 10 + 0.2 * 9) / (0.8 * 0.2 + 0.2)])
    assert list(mark.get_xdata()) == [3, 3]
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["one", "two"]
    assert both.lines[2].get_xdata().tolist() == [0, 5] and both.lines[2].get_marker() == "."
    assert loss.get_legend() is None and loss.get_xlim() == both.get_xlim()
    (line,) = curves(rows, {"loss": {"": "loss"}}, exact=["loss"], from_zero=True).axes[0].lines
    assert line.get_ydata().tolist() == raw.get_ydata().tolist()
    assert line.axes.get_ylim() == pytest.approx((0, 10.5))
    for nothing in ([{"step": 0}], []):
        with pytest.raises(InputError, match="no values"):
            curves(nothing, panels)


def test_curves_of_a_long_log_keep_its_extremes_and_its_mean() -> None:
    values = np.random.default_rng(0).normal(5, 1, 10_007)
    values[4321] = 40
    rows = [{"step": step, "loss": value} for step, value in enumerate(values.tolist())]
    pale, smooth = curves(rows, {"loss": {"": "loss"}}).axes[0].lines
    assert len(pale.get_ydata()) < 1100 and len(smooth.get_ydata()) < 550
    assert (pale.get_ydata().max(), pale.get_ydata().min()) == (40, values.min())
    assert smooth.get_ydata()[-1] == pytest.approx(5, abs=0.2)
    assert smooth.get_xdata()[-1] == 10_006


def test_drawn_figures_follow_a_dark_page_and_pictures_do_not() -> None:
    report = Report("t", simulated=False)
    report.figure(prototypes_in_use([1, 2]), alt="bars")
    report.figure(picture_sheet([[np.zeros((8, 8, 3), np.uint8)]], ["image"]), alt="photos")
    assert [attrs["class"] for tag, attrs in _Page(report.html()).found if tag == "img"] == ["plot drawn", "plot"]


def test_prototype_bars_are_shares_most_used_first() -> None:
    figure = prototypes_in_use([1, 3, 0, 4])
    assert [bar.get_height() for bar in figure.axes[0].patches] == pytest.approx([50, 37.5, 12.5, 0])
    assert figure.axes[0].get_title(loc="left").startswith("3 of 4 in use")
    with pytest.raises(InputError, match="no prototype"):
        prototypes_in_use([0, 0])


def test_a_picture_sheet_has_a_panel_per_picture() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    figure = picture_sheet([[picture, picture[..., 0]], [picture, picture]], ["image", "nearest"], ["a", "b"])
    assert [axis.get_title() for axis in figure.axes] == ["image", "nearest", "", ""]
    assert [axis.get_ylabel() for axis in figure.axes] == ["a", "", "b", ""]
    with pytest.raises(InputError, match="2 pictures"):
        picture_sheet([[picture]], ["image", "nearest"])


def test_equal_features_get_equal_colours_in_every_picture() -> None:
    rng = np.random.default_rng(0)
    cells = rng.normal(size=(8, 6, 6))
    occupied = np.ones((6, 6), bool)
    occupied[0, 0] = False
    first, second = pca_colours([cells, cells[:, ::-1]], [occupied, occupied[::-1]])
    assert np.array_equal(first, second[::-1])
    assert first[0, 0].tolist() == [128, 128, 128]
    assert first[1:].std() > 40
    with pytest.raises(InputError, match="three feature channels"):
        pca_colours([cells[:2]], [occupied])


def test_the_picture_in_the_page_is_the_picture_given() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    report = Report("t", simulated=False)
    report.figure(pixels, alt="noise")
    (data,) = re.findall(r"base64,([^\"]+)", report.html())
    assert base64.b64decode(data) == png(pixels)
