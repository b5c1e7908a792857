"""How good a generated text is, as numbers: words, names, misspellings, repeats, entropy, and what it copied."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import numpy as np

from jaxrnn.data.vocabulary import code_points
from jaxrnn.inspect.novelty import WORD

REPEATED_WORDS = 4
# What between two words begins a sentence or a speech: a mark that ends one, a quotation mark, or an empty line.
_BEGINS = re.compile(r"[.!?:…\"“”„«»]|\n\s*\n")


class TrainingText(NamedTuple):
    """What `quality_of_sample` must know of the text that a model was trained on; made by `read_training_text`.

    Args:
      text: the text.
      words: its words, in small letters.
      names: those written with a capital inside a sentence and never without; of two letters or more.
      letters: the characters of its words.
    """

    text: str
    words: frozenset[str]
    names: frozenset[str]
    letters: str


class SampleQuality(NamedTuple):
    """Numbers about a generated text beside the text that its model was trained on.

    Words are runs of letters, apostrophes inside them kept; capitals count as small letters unless said otherwise. The
    first and the last word of a sample may be cut, so they are left out where there are others. A share without
    anything to be a share of is NaN.

    Args:
      characters: length of the sample.
      words: how many words were looked at.
      known_share: of the words, those that the training text has.
      name_share: of the words, those that are names of the training text, written with a capital. A name is a word
        that the training text writes with a capital inside a sentence and nowhere without one.
      new_name_share: of the words, those with a capital inside a sentence that the training text does not have.
      misspelt_share: of the words, those that it does not have but are one edit from one that it has: a letter left
        out, put in, or replaced, or two neighbours swapped.
      repeated_share: of the sequences of four words in a row, those that stood before in the sample.
      longest_repeat: characters of the longest run that the sample has twice; the two may overlap.
      longest_copy: characters of the longest run that the training text has too.
      character_entropy_nats: - sum_v f(v) ln f(v), f the shares of the characters in the sample.
      word_entropy_nats: the same of the words. Both are below those of the language in a short sample.
    """

    characters: int
    words: int
    known_share: float
    name_share: float
    new_name_share: float
    misspelt_share: float
    repeated_share: float
    longest_repeat: int
    longest_copy: int
    character_entropy_nats: float
    word_entropy_nats: float


def read_training_text(text: str) -> TrainingText:
    """Reads a training text once, for any number of samples.

    Example:
      >>> training = read_training_text("Yes, said Natásha. The day was fine. I saw Natásha.")
      >>> sorted(training.names), "yes" in training.words
      (['natásha'], True)
    """
    inside, small, words = set(), set(), set()
    for word, begins in _words_and_places(text):
        words.add(word.lower())
        if not word[0].isupper():
            small.add(word.lower())
        elif not begins and len(word) > 1:
            inside.add(word.lower())
    return TrainingText(text, frozenset(words), frozenset(inside - small), "".join(sorted(set("".join(words)))))


def quality_of_sample(sample: str, training: TrainingText) -> SampleQuality:
    """The numbers of one sample, as `SampleQuality` says.

    Takes about a second for a training text of three million characters, for the longest copy.

    Args:
      sample: generated text, without the prompt.
      training: of `read_training_text`.
    """
    found = list(_words_and_places(sample))
    found = found[1:-1] if len(found) > 2 else found
    words = [word.lower() for word, _ in found]
    unknown = set(words) - training.words
    misspelt = {word for word in unknown if not training.words.isdisjoint(_edits(word, training.letters))}
    capitals = [word for word, _ in found if word[0].isupper()]
    new_names = [word for word, begins in found if word[0].isupper() and not begins and word.lower() in unknown]
    runs = list(zip(*(words[i:] for i in range(REPEATED_WORDS)), strict=False))
    return SampleQuality(
        characters=len(sample),
        words=len(words),
        known_share=_share(sum(word not in unknown for word in words), len(words)),
        name_share=_share(sum(word.lower() in training.names for word in capitals), len(words)),
        new_name_share=_share(len(new_names), len(words)),
        misspelt_share=_share(sum(word in misspelt for word in words), len(words)),
        repeated_share=_share(len(runs) - len(set(runs)), len(runs)),
        longest_repeat=longest_repeat(sample),
        longest_copy=longest_copy(sample, training.text),
        character_entropy_nats=_entropy(sample),
        word_entropy_nats=_entropy(words),
    )


def quality_table(samples: Iterable[tuple[int, float, str]], training: TrainingText) -> str:
    """The numbers of samples by update and temperature, as a Markdown table; those of the same two are one text.

    Args:
      samples: update, temperature and text of each, such as `read_samples` gives of a run.
      training: of `read_training_text`.

    Example:
      >>> print(quality_table([(5, 1.0, "a cat sad a")], read_training_text("a cat sat")).splitlines()[2][:37])
      | 5 | 1 | 11 | 2 | 0.500 | 0.000 | 0.
    """
    texts: dict[tuple[int, float], list[str]] = {}
    for update, temperature, text in samples:
        texts.setdefault((update, temperature), []).append(text)
    names = "update", "temperature", *(name.replace("_", " ") for name in SampleQuality._fields)
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for (update, temperature), of in sorted(texts.items()):
        numbers = quality_of_sample("\n".join(of), training)
        cells = [f"{update:,}", f"{temperature:g}", *(f"{n:,}" if isinstance(n, int) else f"{n:.3f}" for n in numbers)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def longest_repeat(text: str) -> int:
    """Characters of the longest run that stands in a text twice, perhaps overlapping.

    Example:
      >>> longest_repeat("abcabcab"), longest_repeat("abc")
      (5, 0)
    """
    return _longest(text, "", lambda run: len(run.text) > 0 and int(np.bincount(run.text).max()) > 1)


def longest_copy(text: str, source: str) -> int:
    """Characters of the longest run of a text that stands in another text too.

    Example:
      >>> longest_copy("I said good bye", "say goodbye")
      5
    """
    return _longest(text, source, lambda run: bool((run.source >= 0).any()))


class _Runs(NamedTuple):
    """Runs of one length at every place of both texts, as numbers: equal where equal; -1 in the source for others."""

    length: int
    text: np.ndarray
    source: np.ndarray


def _numbered(length: int, text: np.ndarray, source: np.ndarray) -> _Runs:
    distinct, numbers = np.unique(text, return_inverse=True)
    if not len(distinct):
        return _Runs(length, numbers, np.full(0, -1))
    places = np.minimum(np.searchsorted(distinct, source), len(distinct) - 1)
    return _Runs(length, numbers, np.where(distinct[places] == source, places, -1))


def _joined(first: _Runs, second: _Runs) -> _Runs:
    """Runs as long as both together."""
    size = len(second.text) + 1

    def pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        b = b[first.length :]
        a = a[: len(b)]
        return np.where((a >= 0) & (b >= 0), a * size + b, -1)

    return _numbered(first.length + second.length, pairs(first.text, second.text), pairs(first.source, second.source))


def _longest(text: str, source: str, has: Callable[[_Runs], bool]) -> int:
    """The length of the longest runs of which `has` is true: by doubling, then by halves."""
    best = _numbered(1, code_points(text).astype(np.int64), code_points(source).astype(np.int64))
    if not has(best):
        return 0
    shorter = []
    while has(longer := _joined(best, best)):
        shorter.append(best)
        best = longer
    for half in reversed(shorter):
        if has(longer := _joined(best, half)):
            best = longer
    return best.length


def _words_and_places(text: str) -> Iterable[tuple[str, bool]]:
    """Each word, and whether a sentence or a speech begins with it."""
    end = 0
    for match in WORD.finditer(text):
        yield match[0], end == 0 or _BEGINS.search(text, end, match.start()) is not None
        end = match.end()


def _edits(word: str, letters: str) -> Iterable[str]:
    for i in range(len(word) + 1):
        before, after = word[:i], word[i:]
        if after:
            yield before + after[1:]
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
        for letter in letters:
            yield before + letter + after
            if after:
                yield before + letter + after[1:]


def _share(count: int, of: int) -> float:
    return count / of if of else float("nan")


def _entropy(symbols: Iterable[Hashable]) -> float:
    counts = np.array(list(Counter(symbols).values()), np.float64)
    shares = counts / counts.sum()
    return float(-np.sum(shares * np.log(shares))) if len(counts) else float("nan")
