"""A tour of the page: whatever it offers to click, drag, choose or press, and what of it was used.

A control is called by the part of the page it is in and by its name there, which must therefore be one of a kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.viewer.browser import place, until
from tests.viewer.farm import pixels_of

Colour = tuple[int, ...]

_NAMED = """window.controls = () => [...document.querySelectorAll(
  "button, input, select, textarea, summary, a[href], [tabindex], [role=slider], [role=button]")].map((element) => {
  const part = element.closest("#similar, #label, #layers, #panel, #help, #stage")?.id ?? "page";
  const words = element.getAttribute("aria-label") || element.labels?.[0]?.textContent || element.textContent
    || element.type;
  return [`${part}: ${words.trim().replace(/class \\\\d+$/, "class")}`, element];
})"""


class Tour:
    """What was used of a page.

    Args:
        page: of playwright, started.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        page.set_default_timeout(10_000)
        self.offered, self.used = set[str](), set[str]()
        page.evaluate(_NAMED.replace("\\\\d", "\\d"))
        self.look()

    def look(self) -> None:
        """Remember what the page offers now; some of it comes and goes."""
        self.offered |= set(self.page.evaluate("controls().map(([name]) => name)"))

    def __call__(self, name: str) -> Any:
        """A control, which counts as used: the first one of the name that can be seen, else the first."""
        self.look()
        found = self.page.evaluate_handle(
            """wanted => { const some = controls().filter(([name]) => name === wanted).map(([, element]) => element);
            return some.find((element) => element.checkVisibility()) ?? some[0]; }""",
            name,
        ).as_element()
        assert found is not None, f"the page has no {name!r}, but {sorted(self.offered)}"
        self.used.add(name)
        return found

    def slide(self, name: str, value: float) -> None:
        """Set a slider."""
        self(name).fill(str(value))

    def press(self, key: str, *, called: str | None = None) -> None:
        """Press a key, which counts as used by what the help calls it."""
        self.page.keyboard.press(key)
        self.used.add(f"key: {called or key}")

    def keys(self) -> set[str]:
        """What the help lists."""
        return {f"key: {words}" for words in self.page.locator("#keys dt").all_text_contents()}

    def saved(self, name: str) -> Any:
        """Press a button that downloads something; the path of what came."""
        button = self(name)
        with self.page.expect_download(timeout=60_000) as waiting:
            button.click()
        return waiting.value.path()

    def told(self, words: str) -> None:
        """Wait for words below the map."""
        until(self.page, "(words) => document.getElementById('notice').textContent.includes(words)", words)

    def show(self, spots: Sequence[tuple[float, float]], good: Callable[[Colour], bool]) -> list[Colour]:
        """Wait until the screen shows good colours at positions: frames take their time without a graphics card."""
        self.page.evaluate(
            """() => Promise.all(skysense.stack.maps().map((map) => new Promise((done) => {
            map.once("idle", () => done()); map.triggerRepaint(); })))"""
        )
        found: list[Colour] = []
        for _ in range(150):
            picture = pixels_of(self.page.screenshot())
            found = [tuple(picture[:3, int(y), int(x)].tolist()) for x, y in (place(self.page, *at) for at in spots)]
            if all(map(good, found)):
                return found
            self.page.wait_for_timeout(80)
        raise AssertionError(f"{spots} are {found}")


def near(wanted: Colour, within: int = 4) -> Callable[[Colour], bool]:
    """Whether a colour is nearly another one."""
    return lambda found: max(abs(one - other) for one, other in zip(found, wanted, strict=True)) <= within


def unlike(unwanted: Colour) -> Callable[[Colour], bool]:
    """Whether a colour is another one."""
    return lambda found: not near(unwanted)(found)


def rgb(colour: str) -> Colour:
    """Of ``#rrggbb``."""
    red, green, blue = (int(pair, 16) for pair in re.findall("..", colour[1:]))
    return red, green, blue
