"""Hard places against a slow loop over characters that knows no pattern."""

from __future__ import annotations

import numpy as np
import pytest

from jaxrnn.inspect import hard_places

TEXT = (
    'The man said that the "Theatre" was that\'s. "Then? He" went... the Prince Andrew-that one! (Was it?)\n\n'
    "'No.' said Ivan. 3 men, the\u00e9 THE.That's all. \u00c9t\u00e9 that the"
)


def by_hand(text: str) -> list[set[str]]:
    """The names of the places of each character, by walking through the text."""
    names: list[set[str]] = [set() for _ in text]
    words: list[tuple[int, str]] = []
    for t, c in enumerate(text):
        joins = c in "'\u2019" and 0 < t < len(text) - 1 and text[t - 1].isalpha() and text[t + 1].isalpha()
        if c.isalpha() or joins:
            if words and words[-1][0] + len(words[-1][1]) == t:
                words[-1] = (words[-1][0], words[-1][1] + c)
            else:
                words.append((t, c))
    for start, word in words:
        for k in range(len(word)):
            names[start + k].add(f"letter {k + 1} of a word" if k < 5 else "letter 6 or later")
        if start + len(word) < len(text):
            names[start + len(word)].add("after a word")
        if word in ("the", "that"):
            names[start + 2].add("e of the, not that" if word == "the" else "a of that, not the")
    for t, c in enumerate(text):
        if not c.isupper():
            continue
        back = t - 1
        while back >= 0 and text[back] in "\"'([":
            back -= 1
        blanks = back
        while blanks >= 0 and text[blanks] in " \n":
            blanks -= 1
        stop = blanks
        while stop >= 0 and text[stop] in "\"')]":
            stop -= 1
        ends = blanks < back and stop >= 0 and text[stop] in ".!?\u2026"
        names[t].add("capital after a full stop" if ends else "other capital")
    return names


@pytest.mark.parametrize("first", [0, 23])
def test_each_place_equals_a_slow_loop(first: int) -> None:
    p = np.random.default_rng(first).uniform(0.01, 1, len(TEXT) - first)
    found = hard_places(np.log(p), TEXT)
    expected: dict[str, list[float]] = {}
    for t, of in enumerate(by_hand(TEXT)):
        for name in of | {f"character '{TEXT[t]}' (U+{ord(TEXT[t]):04X})".replace("\n", "\\n")}:
            if t >= first:
                expected.setdefault(name, []).append(float(p[t - first]))
    assert set(found) == set(expected)
    total = sum(-np.log(value) for value in p)
    for name, values in expected.items():
        losses = [-np.log(value) for value in values]
        assert found[name].characters == len(values), name
        assert found[name].loss_nats == pytest.approx(sum(losses) / len(losses), rel=1e-12)
        assert found[name].loss_share == pytest.approx(sum(losses) / total, rel=1e-12)
        assert found[name].right == sum(value >= 0.5 for value in values) / len(values)
    symbols = [of.loss_share for name, of in found.items() if name.startswith("character")]
    assert symbols == sorted(symbols, reverse=True) and sum(symbols) == pytest.approx(1)
    assert {"capital after a full stop", "other capital", "e of the, not that", "a of that, not the"} < set(found)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="at most 2 logarithms"):
        hard_places(np.zeros(3), "ab")
    with pytest.raises(ValueError, match="part at a letter of both, got 'the' and 'then'"):
        hard_places(np.zeros(2), "ab", rivals=[("the", "then")])
