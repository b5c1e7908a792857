"""A coloured text is the text, whatever is in it, in ten steps that are seen without colour too."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.coloured_text import ColouredText, colours_of
from jaxrnn.terminal.printable import printable

NASTY = '<script>alert("1")</script>&amp;\'\n\t\x1b[2J\x1b]0;x\x07\x00\u202ea\\</div><!--]]>--><style>'


class Page(HTMLParser):
    """The text of a page without its styles, the elements, and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags, self.attributes = "", list[str](), list[tuple[str, str | None]]()
        self.inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag == "style"
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        self.text += "" if self.inside else data


def seen_of(text: str, **options: Any) -> ColouredText:
    generator = np.random.default_rng(0)
    p = np.concatenate([[np.nan], generator.random(len(text) - 1)])
    letters = np.array(sorted(set(text)))
    best = generator.choice(letters, (len(text), 3))
    return ColouredText(text, p, best, np.full((len(text), 3), 0.25), **options)


@pytest.mark.parametrize("beneath", [False, True])
def test_html_of_markup_and_escape_sequences_is_their_text(beneath: bool) -> None:
    page = Page(seen_of(NASTY * 20, beneath=beneath).to_html(hover=True))
    assert page.text == printable(NASTY * 20)
    assert set(page.tags) == {"style", "div", "span", "i"}
    assert {name for name, _ in page.attributes} == {"class", "tabindex", "title"} | ({"data-g"} if beneath else set())
    assert all(value is not None and value.isprintable() for _, value in page.attributes)


def test_a_run_of_one_step_is_one_element_and_escaped() -> None:
    page = Page(ColouredText(NASTY, np.full(len(NASTY), 0.5)).to_html())
    assert page.text == printable(NASTY) and page.tags == ["style", "div", "span"]


@pytest.mark.parametrize("beneath", [False, True])
def test_a_terminal_gets_the_text_and_no_command_of_its(beneath: bool) -> None:
    seen = seen_of(NASTY * 20, beneath=beneath)
    made = seen.to_ansi(40).plain
    assert all(c.isprintable() or c == "\n" for c in made)
    lines = made.splitlines()[:: 2 if beneath else 1]
    assert "".join(lines) == printable((NASTY * 20).replace("\n", "").replace("\t", "    "))
    assert max(map(len, made.splitlines())) <= 40
    console = Console(force_terminal=True, color_system="truecolor", width=40)
    with console.capture() as captured:
        console.print(seen.to_ansi(40))
    assert "\x1b[" in captured.get() and not re.search(r"\x1b(?!\[[\d;]*m)", captured.get())


def test_ten_steps_and_a_line_below_a_tenth() -> None:
    p = np.array([np.nan, 0.0, 0.0999, 0.1, 0.55, 0.9, 1.0])
    seen = ColouredText("abcdefg", p)
    assert seen.to_html(style=False) == (
        '<div class="jx jx-orange">a<span class=p0>bc</span><span class=p1>d</span><span class=p5>e</span>'
        "<span class=p9>fg</span></div>"
    )
    underlined = {
        seen.to_ansi().plain[n]
        for span in seen.to_ansi().spans
        if span.style.underline
        for n in range(span.start, span.end)
    }
    assert underlined == {"b", "c"}
    rules = re.findall(r"\.jx-orange \.p(\d)\{([^}]*)\}", seen.style())
    assert [number for number, rule in rules if "underline" in rule] == ["0"]
    assert len({rule for _, rule in rules if "background" in rule}) == 10
    assert len({*colours_of("red to green"), *colours_of("orange to blue")}) == 20
    of_then = ColouredText("a", np.array([1.0]), scale="thesis")  # what it was called
    assert of_then.scale == "red to green" and colours_of("thesis") == colours_of("red to green")
    with pytest.raises(ConfigurationError, match="scale expects orange to blue or red to green; got 'rainbow'"):
        ColouredText("a", np.array([1.0]), scale="rainbow")


def test_html_of_many_characters_is_small() -> None:
    text = "It was the best of times, & it was the <worst> of times.\n" * 350
    assert len(seen_of(text).to_html().encode()) < 30 * len(text)
    assert len(seen_of(text, beneath=True).to_html(hover=True).encode()) < 100 * len(text)


def test_the_guess_beneath_is_the_wrong_one() -> None:
    best = np.array([[""], ["b"], ["\n"], ["x"]])
    seen = ColouredText("abcd", np.array([np.nan, 0.9, 0.2, 0.05]), best, np.full((4, 1), 0.9), beneath=True)
    assert seen.to_ansi().plain == "abcd\n  \N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}x\n"
    assert [value for name, value in Page(seen.to_html()).attributes if name == "data-g"] == [
        "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
        "x",
    ]


def test_a_picture_has_a_patch_and_a_letter_for_each_character() -> None:
    pytest.importorskip("matplotlib")
    seen = ColouredText("a $b\nc", np.array([np.nan, 0.95, 0.05, 0.5, 0.3, 0.2]))
    (axes,) = seen.to_figure(10, "$x$").axes
    assert len(axes.patches) == 4 + 10 and len(axes.lines) == 1 + 1  # with those of the legend
    assert [text.get_text() for text in axes.texts][:4] == ["a", "$", "b", "c"]
