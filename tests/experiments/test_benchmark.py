"""The benchmark's own arithmetic, on fakes whose speed is known."""

import sys
import time

import pytest

from experiments import benchmark
from experiments.benchmark import JaxrnnBook, interleaved_rates, seconds_of
from jaxrnn.data.corpus import corpus_from_text


class Sleeper:
    def __init__(self, seconds, loss=1.0):
        self.seconds, self.loss, self.calls = seconds, loss, []

    def advance(self, updates):
        self.calls.append(updates)
        time.sleep(self.seconds * updates)
        return self.loss


def test_rates_are_updates_per_second_in_every_round():
    sleepers = {"slow": Sleeper(0.002), "fast": Sleeper(0.001)}
    rates = interleaved_rates(sleepers, rounds=2, seconds=0.1)
    assert [len(values) for values in rates.values()] == [2, 2]
    assert max(rates["slow"]) <= 500 and max(rates["fast"]) <= 1000
    assert min(rates["fast"]) > max(rates["slow"])
    assert sleepers["fast"].calls[0] == 1  # the update that compiles is not timed


def test_a_diverged_competitor_is_refused():
    with pytest.raises(RuntimeError, match="the loss is nan"):
        interleaved_rates({"lost": Sleeper(0.001, float("nan"))}, rounds=1, seconds=0.01)


def test_seconds_until_a_line_and_to_the_end():
    code = "import time; time.sleep(0.1); print('update 1', flush=True); time.sleep(0.2)"
    seen, whole = seconds_of([sys.executable, "-c", code], "update 1")
    assert 0.1 <= seen and seen + 0.2 <= whole
    with pytest.raises(RuntimeError, match="no such text"):
        seconds_of([sys.executable, "-c", "raise SystemExit('no such text')"])
    with pytest.raises(RuntimeError, match="ended with 0"):
        seconds_of([sys.executable, "-c", "print('another line')"], "update 1")


def test_bare_training_is_the_same_over_any_chunks(monkeypatch):
    monkeypatch.setattr(benchmark, "MAX_CHUNK_UPDATES", 4)
    corpus = corpus_from_text("to be or not to be, that is the question. " * 20)
    whole, split = JaxrnnBook(corpus), JaxrnnBook(corpus)
    losses = [split.advance(updates) for updates in (1, 5, 4)]
    assert whole.advance(10) == losses[-1] != losses[0]
