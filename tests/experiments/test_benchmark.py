"""The benchmarks' own arithmetic, on fakes whose speed is known, and their processes, on tiny models."""

import io
import json
import math
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from experiments.benchmark import cell_worker
from experiments.benchmark import cells as benchmark_cells
from experiments.benchmark.book import JaxrnnBook
from experiments.benchmark.cell_baselines import CellSetting
from experiments.benchmark.cell_worker import JaxrnnCells, serve
from experiments.benchmark.cells import Worker, all_started, measure, starts_of, table_row, target_lines
from experiments.benchmark.cells_figure import save_figure
from experiments.benchmark.timing import ROOT, in_rounds, interleaved_rates, median_ratio, seconds_of
from jaxrnn.data.corpus import corpus_from_text

TEXT = "to be or not to be, that is the question. " * 20
TINY = {"batch_size": 2, "bptt_length": 5}


class Sleeper:
    def __init__(self, seconds, loss=1.0):
        self.seconds, self.loss, self.calls = seconds, loss, []

    def advance(self, updates):
        self.calls.append(updates)
        time.sleep(self.seconds * updates)
        return self.loss

    def sample(self, length):
        time.sleep(self.seconds * length)
        return np.zeros(length)


def test_rates_are_updates_per_second_in_every_round():
    sleepers = {"slow": Sleeper(0.002), "fast": Sleeper(0.001)}
    rates = interleaved_rates(sleepers, rounds=2, seconds=0.1)
    assert [len(values) for values in rates.values()] == [2, 2]
    assert max(rates["slow"]) <= 500 and max(rates["fast"]) <= 1000
    assert min(rates["fast"]) > max(rates["slow"])
    assert sleepers["fast"].calls[0] == 1  # the update that compiles is not timed


def test_every_other_round_runs_in_reverse():
    order: list[str] = []

    def place(name):
        order.append(name)
        return len(order)

    assert in_rounds({"b": lambda: place("b"), "a": lambda: place("a")}, 3) == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert "".join(order) == "abbaab"


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    assert median_ratio([2.0, 30.0, 4.0], [1.0, 10.0, 1.0]) == 3.0


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
    monkeypatch.setattr("jaxrnn.training.chunk.MAX_CHUNK_UPDATES", 4)
    monkeypatch.setattr("jaxrnn.training.trainer.MAX_CHUNK_UPDATES", 4)
    corpus = corpus_from_text(TEXT)
    whole, split = JaxrnnBook(corpus), JaxrnnBook(corpus)
    losses = [split.advance(updates) for updates in (1, 5, 4)]
    assert whole.advance(10) == losses[-1] != losses[0]


def test_a_worker_answers_each_command_with_a_line(monkeypatch):
    monkeypatch.setattr(cell_worker, "WARM_SECONDS", 0.05)
    answers = io.StringIO()
    setting = CellSetting("lstm", 4, 1, **TINY)
    sleeper = Sleeper(0.01, loss=1.5)
    serve(sleeper, setting, io.StringIO("go 0.1\nsample 20\npeak\nquit\ngo 1\n"), answers)
    assert sleeper.calls[0] == 1
    first, ready, *lines = answers.getvalue().splitlines()
    assert (first, ready, len(lines)) == ("first update", "ready", 3)
    trained, written, peak = (json.loads(line) for line in lines)
    assert trained["loss"] == 1.5
    assert 500 < trained["chars_per_second"] <= 1000  # 10 characters in 10 ms
    assert 50 < written["chars_per_second"] <= 100
    assert peak["peak_bytes"] > 20e6
    with pytest.raises(ValueError, match="expected go, sample, peak or quit; got 'stop'"):
        serve(sleeper, setting, io.StringIO("stop"), io.StringIO())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_peak_is_the_processes_own_and_stays():
    held = np.ones(60_000_000)  # the parent's, which `ru_maxrss` of a child would count
    code = (
        "from experiments.benchmark.cell_worker import peak_bytes; print(peak_bytes()); "
        "block = b'x' * 200_000_000; del block; "
        "print(peak_bytes())"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    before, after = map(int, out.split())
    assert before < held.nbytes
    assert before + 190e6 < after < before + 250e6


@pytest.mark.slow
def test_processes_are_measured_and_ended(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    symbols = len(set(TEXT))
    setting = CellSetting("lstm", 4, 1, **TINY)
    result = measure(
        setting,
        starts_of(setting, {"flax": ("flax", {}), "product": ("product", {})}, str(tmp_path / "text.txt")),
        vocabulary_size=symbols,
        rounds=1,
        seconds=0.05,
        sampled={"flax": 10, "ours malloc": 10},
    )
    assert result["loss_nats"]["flax"] < 1.05 * math.log(symbols)
    assert result["chars_per_second"]["flax"] > 0 and result["product_gflops"] > 0
    assert list(result["sampling_chars_per_second"]) == ["flax"]
    assert result["first_update_seconds"]["flax"] > 0.1 and result["peak_bytes"]["flax"] > 50e6
    json.dumps(result)


def test_a_process_that_fails_is_reported(tmp_path, capfd):
    with pytest.raises(RuntimeError, match="ended with 1; its error is above"):
        Worker("product", CellSetting("lstm", 4, 1, **TINY), str(tmp_path / "no-such.txt"), {}, "float32")
    assert "no-such.txt" in capfd.readouterr().err


def test_no_other_stack_passes_for_one_in_bfloat16():
    with pytest.raises(ValueError, match="bf16 is measured of jaxrnn and jaxrnn-1-device only, not of torch"):
        cell_worker.make_competitor("torch", corpus_from_text(TEXT), CellSetting("lstm", 4, 1, **TINY), "bf16")


class FakeWorker:
    """Rates by stack: ours twice as fast as PyTorch with the settings, products at ten million characters a second."""

    def __init__(self, stack, setting, text, environment, precision):
        malloc = bool(environment)
        self.rate = {"torch": 1e5 + 2e5 * malloc, "jaxrnn": 5e5 + 1e5 * malloc, "flax": 2e5, "product": 1e7}.get(
            stack, 4e5
        )
        self.peak = 300.0 if stack == "torch" else 330.0
        self.first_update_seconds = 1.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def ask(self, command):
        return {"chars_per_second": self.rate, "loss": 3.0, "peak_bytes": self.peak * 1e6}


def test_ratios_of_a_row_and_targets(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark_cells, "Worker", FakeWorker)
    setting = CellSetting.from_name("lstm-64-1")
    result = measure(
        setting,
        starts_of(setting, benchmark_cells.COMPETITORS),
        vocabulary_size=83,
        rounds=2,
        seconds=1.0,
        sampled=benchmark_cells.SAMPLED,
    )
    assert result["ours_over"] == {"torch malloc": 2.0, "flax": 2.5, "torch": 5.0}
    assert result["product_gflops"] == pytest.approx(1e7 * 2 * 4 * 64**2 / 1e9)
    assert result["share_of_products"] == pytest.approx(6e5 * 6 * (4 * 64**2 + 64 * 83) / (1e7 * 2 * 4 * 64**2))
    assert result["memory_over_torch"] == pytest.approx(1.1)
    rates = "100.0 | 300.0 | 200.0 | 400.0 | 500.0 | 600.0 | 2.00 | 2.50 | 24%"
    assert table_row(result) == f"| lstm-64-1 | {rates} | 330 / 300 | 1.0 / 1.0 / 1.0 |"
    assert table_row(result).count("|") == len(benchmark_cells.COLUMNS) + 1
    assert target_lines([result]) == [
        "  2.00  lstm-64-1: ours / torch malloc, at least 1.8: reached",
        "  2.50  lstm-64-1: ours / flax, at least 2.2: reached",
        "  1.10  lstm-64-1: peak memory, ours / torch, at most 1: MISSED",
    ]
    low = {**result, "row": "lstm-128-1", "ours_over": {"torch malloc": 1.34}, "memory_over_torch": 1.0}
    words = [line.rsplit(": ")[-1] for line in target_lines([low])]
    assert words == ["MISSED", "MISSED", "reached"]  # training, sampling (2 of 14), memory
    pytest.importorskip("matplotlib")
    save_figure([result, low], tmp_path / "cells.png")
    assert (tmp_path / "cells.png").read_bytes().startswith(b"\x89PNG")


def test_without_torch_its_columns_are_empty(monkeypatch):
    monkeypatch.setattr(benchmark_cells, "Worker", FakeWorker)
    setting = CellSetting.from_name("lstm-64-1")
    others = {name: entry for name, entry in benchmark_cells.COMPETITORS.items() if entry[0] != "torch"}
    result = measure(
        setting,
        starts_of(setting, others),
        vocabulary_size=83,
        rounds=1,
        seconds=1.0,
        sampled=benchmark_cells.SAMPLED,
    )
    assert table_row(result) == (
        "| lstm-64-1 | - | - | 200.0 | 400.0 | 500.0 | 600.0 | - | 2.50 | 24% | 330 / - | 1.0 / - / 1.0 |"
    )
    assert len(target_lines([result])) == 1


def test_rows_that_start_together_are_all_there_before_the_first_is_measured(monkeypatch):
    meeting = threading.Barrier(4, timeout=30)  # of four, each of which waits for the others

    class Meets(FakeWorker):
        def __init__(self, *given):
            meeting.wait()
            super().__init__(*given)

    monkeypatch.setattr(benchmark_cells, "Worker", Meets)
    competitors: dict[str, tuple[str, dict[str, str]]] = {"torch": ("torch", {}), "ours": ("jaxrnn", {})}
    rows = [starts_of(CellSetting.from_name(name), competitors) for name in ("lstm-64-1", "gru-64-1")]
    rates = [[start().ask("go 1")["chars_per_second"] for start in row.values()] for row in all_started(rows)]
    assert rates == [[1e5, 5e5]] * 2


def test_every_target_has_its_row():
    aimed = {row for targets in benchmark_cells.TRAINING_TARGETS.values() for row in targets}
    assert aimed | set(benchmark_cells.SAMPLING_TARGETS) <= set(benchmark_cells.ROWS)


@pytest.mark.parametrize("kind", ["lstm", pytest.param("vanilla", marks=pytest.mark.slow)])
def test_the_library_trains_and_writes(kind):
    corpus = corpus_from_text(TEXT)
    setting = CellSetting(kind, 4, 1, **TINY)
    ours = JaxrnnCells(corpus, setting, devices="1")
    assert ours.advance(1) == pytest.approx(math.log(len(corpus.vocabulary)), rel=0.05)
    ours.advance(4)
    split = ours.advance(5)
    assert JaxrnnCells(corpus, setting, devices="1").advance(10) == split
    ids = ours.sample(30)
    assert ids.shape == (30,) and ids.max() < len(corpus.vocabulary)
