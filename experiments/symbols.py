"""Characters, bytes, words and byte pairs: what the same network makes of the same text in different symbols.

Command:
    python -m experiments.symbols warpeace --run runs/symbols --csv experiments/results/symbols.csv

An LSTM of 128 units, Adam, the same number of epochs of the first 80 % of the text, the next 10 % to choose the best
parameters, the last 10 % to test. The parts are of the same characters for all, and so is what is scored: every
character of the test part but its first. Bytes are those of the text as it is read, with line feeds alone.
"""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts

from jaxrnn import TrainConfig, load_corpus, open_run, train
from jaxrnn.checks import check_count
from jaxrnn.data import split_text
from jaxrnn.data.corpus import Corpus, corpus_from_text
from jaxrnn.storage import write_atomically
from jaxrnn.terminal import run_app

KINDS: dict[str, dict[str, Any]] = {
    "characters": {},
    "bytes": {"bytes": True},
    "bpe-1000": {"symbols": "bpe", "vocabulary_size": 1000},
    "bpe-4000": {"symbols": "bpe", "vocabulary_size": 4000},
    "words-8000": {"symbols": "words", "vocabulary_size": 8000},
}
RECIPE: dict[str, Any] = {"cell": "lstm", "hidden": 128, "batch_size": 32, "bptt_length": 64, "loss_reduction": "mean"}
RECIPE |= {"optimizer": "adam", "learning_rate": 5e-3, "init": "uniform", "init_scale": 0.08, "sample_every": 0}
SHARE = 0.1
TIMES = "seconds.json"


class Row(NamedTuple):
    """One kind of symbols: how many there are, and what the network made of them."""

    symbols: str
    size: int
    characters_per_symbol: float
    parameters: int
    updates: int
    valid_nats_per_char: float
    test_loss_nats: float
    test_nats_per_char: float
    seconds: float


def same_text_in_bytes(corpus: Corpus) -> tuple[Corpus, dict[str, float]]:
    """The text as UTF-8, a byte a symbol, and the fractions of its bytes that part it at the same characters."""
    parts = [corpus.vocabulary.decode(part).encode() for part in split_text(corpus.ids, SHARE, SHARE)]
    whole = b"".join(parts)
    read = corpus_from_text(whole.decode("latin-1"), corpus.name)
    return read, {"validation_fraction": len(parts[1]) / len(whole), "test_fraction": len(parts[2]) / len(whole)}
