"""What a terminal would obey is escaped; the rest is left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.terminal.printable import printable


@given(st.text(st.characters(), max_size=50))
def test_only_printable_characters_come_out(text: str) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in printable(text))
    assert printable(text, keep="").isprintable()


@given(st.text(st.characters(), max_size=50))
def test_nothing_is_lost_where_no_backslash_was(text: str) -> None:
    text = text.replace("\\", "")
    back = printable(text, keep="").encode("ascii", "backslashreplace").decode("unicode_escape")
    assert back.encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_known_attacks_are_escaped() -> None:
    for text in (
        "\x1b]0;title\x07",
        "\x1b[2J",
        "\u202e",
        "\u2066",
        "\x9b31m",
        "\x08\x08",
        "\r",
        "\u200b",
        "\ufeff",
        "\x7f",
    ):
        assert "\\" in printable(text) and not set(printable(text)) & set(text) - set("]0;title[2J31m")


def test_text_is_left_alone() -> None:
    for text in ("plain", "two\nlines\t", "é ü 漢字 🎉", ""):
        assert printable(text) == text
