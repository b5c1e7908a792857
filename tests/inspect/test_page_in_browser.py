"""The report in a real browser: text stays text, nothing is asked of a network, guesses and traces are there to see.

Of 20,000 characters, of a vocabulary full of markup; the numbers are drawn, as no model is needed to draw them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.inspect.errors_by_kind import kinds_of_errors
from jaxrnn.inspect.properties import properties_of
from jaxrnn.inspect.reading import GateShares, Guesses, LayerSummary, LossAlong
from jaxrnn.inspect.report import Inside, calibration_of_guesses
from jaxrnn.inspect.report_page import POLICY, page
from jaxrnn.inspect.tracking_units import TrackingUnit
from jaxrnn.terminal.printable import printable
from tests.inspect import chromium
from tests.inspect.test_coloured_text import NASTY

pytestmark = pytest.mark.skipif(chromium.COMMAND is None, reason="no Chromium here: install Debian's package chromium")

N, UNITS = 20_000, 4
EVIL = "<img src=x onerror=evil=1><svg onload=evil=1>\"'><script>evil=1</script>&lt;</pre></details></title>" + NASTY
TEXT = (f'"The <b>cat</b>", said {EVIL} (1 & 2).\n' * 200)[:N]


def drawn() -> Inside:
    """What `look_inside` would have found."""
    generator, vocabulary = np.random.default_rng(0), Vocabulary.from_text(TEXT)
    ids, size = vocabulary.encode(TEXT), len(vocabulary)
    guesses = Guesses(
        np.log(generator.random(N - 1)),
        generator.integers(0, size, (N - 1, 3)),
        generator.dirichlet([1, 1, 1], N - 1),
        np.ones(N - 1),
    )
    properties = properties_of(TEXT[:-1])
    units = [TrackingUnit(name, n % UNITS, 0.5, 0.5, 0.1, True, 0.6, 3) for n, name in enumerate(properties)]
    layer = LayerSummary({"forget": GateShares(*np.full((3, UNITS), 0.3))}, {"h": np.zeros(UNITS)}, {})
    return Inside(
        vocabulary,
        ids,
        N,
        1000,
        guesses,
        Guesses(*(of[:300] for of in guesses)),
        [layer],
        generator.standard_normal((N - 1, UNITS)),
        properties,
        units,
        calibration_of_guesses(guesses, ids[1:]),
        EVIL,
        (EVIL * 3, None),
        {"training": LossAlong(np.arange(9), np.ones(9)), "validation": LossAlong(np.arange(9, 12), np.ones(3))},
        np.array([3.0, 2.0]),
        kinds_of_errors(guesses.log_p, ids, ids[:500], vocabulary),
    )


@pytest.fixture(scope="module")
def shown() -> str:
    return page(drawn(), EVIL)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    made = chromium.Chromium(tmp_path_factory.mktemp("browser"))
    made.size(1200)
    yield made
    made.close()


@pytest.fixture(scope="module")
def opened(browser: chromium.Chromium, shown: str, tmp_path_factory: pytest.TempPathFactory) -> chromium.Chromium:
    """The page with scripts off, and nothing done to it."""
    browser("Emulation.setScriptExecutionDisabled", value=True)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(shown, encoding="utf-8")
    browser.open(path)
    return browser


def requests_of(browser: chromium.Chromium) -> list[str]:
    return [told["request"]["url"] for method, told in browser.events if method == "Network.requestWillBeSent"]


def tell_of(browser: chromium.Chromium, selector: str, expression: str) -> Any:
    """A value of the first element of a kind, `e`."""
    return browser.tell(f"(e => {expression})(document.querySelector({selector!r}))")


def middle_of(browser: chromium.Chromium, selector: str) -> list[float]:
    place = "(b => [b.x + b.width / 2, b.y + b.height / 2])(e.getBoundingClientRect())"
    return tell_of(browser, selector, f"(e.scrollIntoView({{block: 'center'}}), {place})")


def test_it_opens_in_two_seconds_of_the_processor_and_asks_no_network(opened: chromium.Chromium, shown: str) -> None:
    assert [url.rsplit("/", 1)[1] for url in requests_of(opened)] == ["report.html"]
    metrics = {of["name"]: of["value"] for of in opened("Performance.getMetrics")["metrics"]}
    assert 0 < metrics["TaskDuration"] < 2 and metrics["ScriptDuration"] == 0
    coloured = shown[shown.index('<div class="jx jx-orange">') : shown.index("<h3>The same")]
    assert len(coloured.encode()) < 100 * N


def test_with_scripts_off_all_of_it_is_there(opened: chromium.Chromium) -> None:
    assert tell_of(opened, ".jx:not(.legend)", "e.textContent") == printable(TEXT)
    headings = opened.tell("[...document.querySelectorAll('h2')].map(e => e.textContent)")
    links = "[...document.querySelectorAll('nav a')].map(e => document.querySelector(e.hash).textContent)"
    assert headings == opened.tell(links) and len(headings) == 7
    hidden = ":is(h2, h3, p, table, svg, pre):not(details *)"
    assert opened.tell(f"[...document.querySelectorAll('{hidden}')].every(e => e.checkVisibility())")
    opened.size(400)  # a telephone: only pictures move sideways
    assert opened.tell("document.documentElement.scrollWidth") <= 400
    opened.size(1200)


def test_markup_and_escape_sequences_are_text_even_where_scripts_may_run(
    browser: chromium.Chromium, shown: str, tmp_path: Path
) -> None:
    """Without the page's policy: that markup is text must not hang on it."""
    assert POLICY in shown
    browser("Emulation.setScriptExecutionDisabled", value=False)
    path = tmp_path / "report.html"
    path.write_text(shown.replace(POLICY, ""), encoding="utf-8")
    browser.open(path)
    assert browser.tell("typeof evil") == "undefined"
    assert (
        browser.tell("document.querySelectorAll('script, img, b:not(p b, summary b), [onload], [onerror]').length") == 0
    )
    assert len(requests_of(browser)) == 1 and browser.tell("document.title") == " ".join(printable(EVIL).split())
    assert printable(EVIL * 3) in browser.tell("document.body.textContent")
    browser("Emulation.setScriptExecutionDisabled", value=True)


def test_a_character_shows_its_guesses_when_pointed_at_or_given_the_focus(opened: chromium.Chromium) -> None:
    def bar(selector: str) -> list[str]:
        return tell_of(opened, selector, "(s => [s.content, s.position])(getComputedStyle(e, '::before'))")

    assert bar(".jx i")[0] == "none"
    opened.pointer(*middle_of(opened, ".jx i"))
    title = tell_of(opened, ".jx i", "e.title")
    assert bar(".jx i") == [f'"{title}"', "fixed"] and title.count("%") == 1
    opened.pointer(0, 0)
    assert bar(".jx i")[0] == "none"
    opened.tell("document.querySelector('.jx i').focus()")
    opened.key("Tab", 9)
    second = ".jx span i:focus"
    assert tell_of(opened, second, "e === document.querySelectorAll('.jx i')[1]") and bar(second)[1] == "fixed"


def test_a_unit_that_is_chosen_shows_its_trace(opened: chromium.Chromium) -> None:
    count = "[...document.querySelectorAll('details')].map(e => e.querySelector('svg').checkVisibility())"
    assert opened.tell(count) == [True, *[False] * (len(drawn().units) - 1)]
    opened.pointer(*middle_of(opened, "details:nth-of-type(3) summary"), click=True)
    assert [n for n, seen in enumerate(opened.tell(count)) if seen] == [2]
    drawn_text = tell_of(
        opened, "details:nth-of-type(3) svg", "[...e.querySelectorAll('text')].map(t => t.textContent)"
    )
    assert len("".join(drawn_text)) == 360
