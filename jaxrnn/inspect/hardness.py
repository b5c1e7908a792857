"""Which places of a text, and which characters, are hard for a model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxrnn.data.vocabulary import named
from jaxrnn.inspect.novelty import WORD

LETTERS_APART = 5  # the letters of a word that are told apart by their place
# The first letter of a sentence: after a mark that ends one, quotes or brackets, and a blank or a line end.
_SENTENCE = re.compile(r"[.!?…][\"'”’»)\]]*\s+[\"'“‘„«(\[]*([^\W\d_])")


class Hardness(NamedTuple):
    """How hard the characters of one place are.

    Args:
      characters: how many there are.
      loss_nats: mean of - ln p over them.
      loss_share: of the loss of the whole text, what they have.
      right: the share of them to which the model gave at least 0.5.
    """

    characters: int
    loss_nats: float
    loss_share: float
    right: float


def hard_places(
    log_p: np.ndarray, text: str, *, rivals: Sequence[tuple[str, str]] = (("the", "that"),)
) -> dict[str, Hardness]:
    r"""How hard each place of a text is, then each character, the one that costs most in all first.

    The places: "letter 1 of a word", ... "letter 6 or later", "after a word" (the character that ends it), "capital
    after a full stop" and "other capital", and of each pair of rivals "e of the, not that": the letter at which the two
    words part, where the text has the whole word, written small. A full stop is . ! ? or …, with what closes and opens
    quotes. Places that the text lacks are left out. A word is a run of letters, apostrophes inside it kept.

    Args:
      log_p: ln p of each scored character, (T,), such as `guess` gives.
      text: N characters, N at least T: the last T are those scored, those before are only read.
      rivals: pairs of words with a common beginning, such as the thesis looks at: "the" for "that".

    Raises:
      ValueError: if `log_p` is longer than the text, or two rivals do not part.

    Example:
      >>> found = hard_places(np.log([0.9, 0.25, 0.5]), "go on")
      >>> found["letter 1 of a word"].right, list(found)[-1]
      (0.0, "character ' ' (U+0020)")

    Source: the thesis, section 5.4, tells of word beginnings, capitals after a full stop, and "the" against "that".
    """
    log_p = np.asarray(log_p, np.float64)
    first = len(text) - len(log_p)
    if log_p.ndim != 1 or first < 0:
        raise ValueError(f"expected at most {len(text)} logarithms of probabilities, got shape {log_p.shape}")
    letter, after, begins = (np.zeros(len(text) + 1, np.int64) for _ in range(3))
    at_rival: dict[str, list[int]] = {}
    for pair in rivals:
        for word, other in (pair, pair[::-1]):
            part = next((i for i, (a, b) in enumerate(zip(word, other, strict=False)) if a != b), None)
            if part is None:
                raise ValueError(f"expected rivals that part at a letter of both, got {word!r} and {other!r}")
            name = f"{word[part]} of {word}, not {other}"
            at_rival[name] = [m.start() + part for m in WORD.finditer(text) if m[0] == word]
    for match in WORD.finditer(text):
        letter[match.start() : match.end()] = np.arange(len(match[0])) + 1
        after[match.end()] = 1
    begins[[match.start(1) for match in _SENTENCE.finditer(text)]] = 1
    capital = np.array([*map(str.isupper, text), False])
    later = f"letter {LETTERS_APART + 1} or later"
    places = {f"letter {n} of a word": letter == n for n in range(1, LETTERS_APART + 1)}
    places |= {later: letter > LETTERS_APART, "after a word": after == 1}
    places |= {"capital after a full stop": capital & (begins == 1), "other capital": capital & (begins == 0)}
    places |= {name: np.isin(np.arange(len(text) + 1), at) for name, at in at_rival.items()}
    found = {name: _hardness(log_p, at[first:-1]) for name, at in places.items()}
    scored = np.array(list(text[first:]))
    symbols = {f"character {named(c)}": _hardness(log_p, scored == c) for c in sorted(set(text[first:]))}
    found |= dict(sorted(symbols.items(), key=lambda item: -item[1].loss_share))
    return {name: of for name, of in found.items() if of.characters}


def _hardness(log_p: np.ndarray, at: np.ndarray) -> Hardness:
    of = log_p[at]
    total, right = float(-of.sum()), int(np.count_nonzero(of >= np.log(0.5)))
    share = total / -log_p.sum() if log_p.any() else float("nan")
    return Hardness(len(of), total / max(len(of), 1), float(share), right / max(len(of), 1))
