"""Speed, memory and start of LSTM and GRU language models against PyTorch and Flax, measured in one run.

Command: python -m experiments.benchmark cells [--only lstm-128-1,gru-512-1] [--json FILE] [--figure FILE] [--quick]
         [--stacks torch ours] [--precision tf32] [--together]

Setting: batch 100, windows of 100 characters, War and Peace if JAXRNN_DATA has it; recipe in `cell_baselines.py`. Each
competitor is a process (`cell_worker.py`), started alone without a compile cache. All of a row then train in turn, some
seconds each, every other round in reverse order; a rate is the median of the rounds, a ratio the median of the rounds'
ratios. "malloc" keeps glibc from giving memory back to the system, which PyTorch gains most from: its fair best. The
share is ours malloc's of what the products of this shape reach alone in a compiled scan, at 3 x 2 operations a
character and parameter. Memory is the largest resident size after training, the start the time to the end of the
first update.

Obtained on two cores of an AMD EPYC (Zen 4), no GPU, jax 0.10.2, torch 2.13, 2026-11-21, 12 min, with --only and the
ten rows of the README's table, which holds the rates. Ours / torch malloc, goals in brackets:
    LSTM  64 x1 1.70 (goal 1.8: missed), 128 x1 1.51 (1.35), 256 x1 1.23 (1.2), 512 x1 0.89 (0.85), 128 x2 1.20 (1.05),
          128 x3 1.02 (0.95)
    GRU   128 x1 2.39 (2.3), 128 x3 2.03 (1.9), 512 x1 1.25 (1.3: missed)
    Flax  LSTM 64, 128, 256, 512: 3.3, 3.3, 1.9, 1.2 (2.2, 2.2, 1.6, 1.2)
    sampling against PyTorch's loop: vanilla 100 21.6 (25: missed), LSTM 128 29 (14), LSTM 512 9.8 (3.5)
    memory 0.69 to 0.90 of PyTorch's
The same ten rows of the code of 2026-11-27 on a noisier host of the same kind, 13 min, in the order above: LSTM 1.56,
1.53, 1.10, 0.89, 1.15, 1.05; GRU 2.63, 1.92, 1.39 (reached); Flax 3.7, 3.0, 1.7, 1.3; sampling 25, 26, 23; memory 0.71
to 0.95, vanilla 100 1.03 (missed); missed there also LSTM 64 and 256.
"""

import functools
import importlib.util
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import cyclopts

from experiments.benchmark.cell_baselines import GATES, CellSetting
from experiments.benchmark.cell_process import Worker
from experiments.benchmark.cell_worker import load_text
from experiments.benchmark.cells_figure import save_figure
from experiments.benchmark.timing import in_rounds, median_ratio
from jaxrnn.checks import check_choice

MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "268435456",
}
# Name in the table: stack of the worker, environment.
COMPETITORS: dict[str, tuple[str, dict[str, str]]] = {
    "torch": ("torch", {}),
    "torch malloc": ("torch", MALLOC),
    "flax": ("flax", {}),
    "ours 1 device": ("jaxrnn-1-device", {}),
    "ours": ("jaxrnn", {}),
    "ours malloc": ("jaxrnn", MALLOC),
    "product": ("product", {}),
}
ROWS = ["vanilla-100-1", *(f"{c}-{h}-{n}" for c in ("lstm", "gru") for n in (1, 2, 3) for h in (64, 128, 256, 512))]
SAMPLED = {"torch malloc": 1_000, "ours malloc": 10_000}  # characters a round; a loop's rate needs no more
# Ours at least so many times as fast; for memory, at most so many times as much.
TRAINING_TARGETS = {
    "torch malloc": {
        "lstm-64-1": 1.8, "lstm-128-1": 1.35, "lstm-256-1": 1.2, "lstm-512-1": 0.85, "lstm-128-2": 1.05,
        "lstm-128-3": 0.95, "gru-128-1": 2.3, "gru-128-3": 1.9, "gru-512-1": 1.3,
    },
    "flax": {"lstm-64-1": 2.2, "lstm-128-1": 2.2, "lstm-256-1": 1.6, "lstm-512-1": 1.2},
}  # fmt: skip
SAMPLING_TARGETS = {"vanilla-100-1": 25.0, "lstm-128-1": 14.0, "lstm-512-1": 3.5}
MEMORY_TARGET = 1.0
COLUMNS = (
    "cell", "torch", "torch malloc", "flax", "ours 1 device", "ours", "ours malloc", "ours / torch malloc",
    "ours / flax", "share of products", "peak MB, ours / torch", "first update s, ours / torch / flax",
)  # fmt: skip


Start = Callable[[], Worker]


def starts_of(
    setting: CellSetting,
    competitors: Mapping[str, tuple[str, Mapping[str, str]]],
    text: str | None = None,
    precision: str = "float32",
) -> dict[str, Start]:
    """What starts the worker of each competitor of a row."""
    return {
        name: functools.partial(Worker, stack, setting, text, environment, precision)
        for name, (stack, environment) in competitors.items()
    }


def all_started(rows: Sequence[Mapping[str, Start]]) -> list[dict[str, Start]]:
    """The same of workers that were started at once and have all warmed up."""
    with ThreadPoolExecutor(sum(map(len, rows))) as pool:
        waiting = [{name: pool.submit(start) for name, start in row.items()} for row in rows]
    return [{name: worker.result for name, worker in row.items()} for row in waiting]


def measure(
    setting: CellSetting,
    started: Mapping[str, Start],
    *,
    vocabulary_size: int,
    rounds: int,
    seconds: float,
    sampled: Mapping[str, int],
) -> dict[str, Any]:
    """Everything about one row; competitors that are not there are left out of every part.

    Args:
      started: gives the worker of each competitor, which ends with the row.
    """
    with ExitStack() as running:
        workers = {name: running.enter_context(start()) for name, start in started.items()}
        losses: dict[str, float] = {}

        def train(name: str) -> Callable[[], float]:
            def once() -> float:
                answer = workers[name].ask(f"go {seconds}")
                losses[name] = answer["loss"]
                return answer["chars_per_second"]

            return once

        def write(name: str, length: int) -> Callable[[], float]:
            return lambda: workers[name].ask(f"sample {length}")["chars_per_second"]

        rates = in_rounds({name: train(name) for name in workers}, rounds)
        peaks = {name: worker.ask("peak")["peak_bytes"] for name, worker in workers.items()}
        written = in_rounds({name: write(name, n) for name, n in sampled.items() if name in workers}, min(rounds, 3))
    result: dict[str, Any] = {
        "row": setting.name,
        "chars_per_second": {name: statistics.median(values) for name, values in rates.items() if name != "product"},
        "peak_bytes": {name: value for name, value in peaks.items() if name != "product"},
        "first_update_seconds": {name: worker.first_update_seconds for name, worker in workers.items()},
        "loss_nats": {name: value for name, value in losses.items() if name != "product"},
        "sampling_chars_per_second": {name: statistics.median(values) for name, values in written.items()},
        "ours_over": {},
    }
    for ours, other in (("ours malloc", "torch malloc"), ("ours", "flax"), ("ours", "torch")):
        if ours in rates and other in rates:
            result["ours_over"][other] = median_ratio(rates[ours], rates[other])
    if "product" in rates:
        operations = 2 * GATES[setting.kind] * setting.hidden**2
        result["product_gflops"] = statistics.median(rates["product"]) * operations / 1e9
    if "product" in rates and "ours malloc" in rates:
        a_character = 3 * 2 * setting.product_parameters(vocabulary_size)
        result["share_of_products"] = median_ratio(rates["ours malloc"], rates["product"]) * a_character / operations
    if "ours" in peaks and "torch" in peaks:
        result["memory_over_torch"] = peaks["ours"] / peaks["torch"]
    if "ours malloc" in written and "torch malloc" in written:
        result["sampling_over_torch"] = median_ratio(written["ours malloc"], written["torch malloc"])
    return result


def table_row(result: Mapping[str, Any]) -> str:
    """A row of the Markdown table; rates in thousand characters a second, "-" for what was not measured."""

    def number(values: Mapping[str, float], name: str, scale: float = 1.0, form: str = ".1f") -> str:
        return format(values[name] / scale, form) if name in values else "-"

    rates = [number(result["chars_per_second"], name, 1e3) for name in COMPETITORS if name != "product"]
    torch = "torch malloc" if "torch malloc" in result["ours_over"] else "torch"
    ratios = [number(result["ours_over"], name, form=".2f") for name in (torch, "flax")]
    peak = " / ".join(number(result["peak_bytes"], name, 1e6, ".0f") for name in ("ours", "torch"))
    start = " / ".join(number(result["first_update_seconds"], name) for name in ("ours", "torch", "flax"))
    cells = [result["row"], *rates, *ratios, number(result, "share_of_products", form=".0%"), peak, start]
    return f"| {' | '.join(cells)} |"


def target_lines(results: list[dict[str, Any]]) -> list[str]:
    """One line a target of the rows that were measured."""
    lines = []

    def line(value: float, what: str, least: float) -> None:
        lines.append(f"{value:6.2f}  {what}, at least {least:g}: {'reached' if value >= least else 'MISSED'}")

    for result in results:
        row = result["row"]
        for other, targets in TRAINING_TARGETS.items():
            if row in targets and other in result["ours_over"]:
                line(result["ours_over"][other], f"{row}: ours / {other}", targets[row])
        if row in SAMPLING_TARGETS and "sampling_over_torch" in result:
            line(result["sampling_over_torch"], f"{row}: sampling, ours / torch malloc's loop", SAMPLING_TARGETS[row])
        if "memory_over_torch" in result:
            value = result["memory_over_torch"]
            word = "reached" if value <= MEMORY_TARGET else "MISSED"
            lines.append(f"{value:6.2f}  {row}: peak memory, ours / torch, at most {MEMORY_TARGET:g}: {word}")
    return lines


def time_cells(
    *,
    only: str | None = None,
    text: str | None = None,
    quick: bool = False,
    stacks: Annotated[list[str], cyclopts.Parameter(consume_multiple=True)] = [],  # noqa: B006
    precision: str = "float32",
    together: bool = False,
    json_file: Annotated[Path | None, cyclopts.Parameter("--json")] = None,
    figure: Path | None = None,
) -> None:
    """LSTM and GRU language models: training and sampling speed, memory, time to the first update.

    Args:
      only: rows such as lstm-128-1,gru-512-1 (cell, H, layers); all if not given, about 1 min each.
      text: a known text or a file; War and Peace if JAXRNN_DATA has it, else random symbols.
      quick: seconds instead of minutes and one row, to see that everything runs; the numbers say little.
      stacks: of the competitors, such as torch ours; all if not given. On a GPU the others add little.
      precision: of the products, float32 or tf32.
      together: start the competitors of all rows at once, and measure when all have compiled: for a machine of many
        cores, and a GPU that is not yours for long. The times to the first update then say nothing.
      json_file: where to write all numbers.
      figure: where to draw ours / PyTorch as bars.
    """
    rounds, seconds = (1, 0.2) if quick else (5, 1.0)
    sampled = {name: 100 if quick else length for name, length in SAMPLED.items()}
    names = only.split(",") if only else ["lstm-64-1"] if quick else ROWS
    settings = [CellSetting.from_name(name) for name in names]
    check_choice("precision", precision, ("float32", "tf32"))
    for name in stacks:
        check_choice("stacks", name, tuple(COMPETITORS))
    competitors = {name: entry for name, entry in COMPETITORS.items() if not stacks or name in stacks}
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: left out")
        competitors = {name: entry for name, entry in competitors.items() if entry[0] != "torch"}
    corpus = load_text(text)
    symbols = len(corpus.vocabulary)
    print(f"{corpus.name}: {len(corpus):,} characters, {symbols} distinct; thousand characters/s in training")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    starts = [starts_of(setting, competitors, text, precision) for setting in settings]
    if together:
        starts = all_started(starts)
    results = []
    for setting, started in zip(settings, starts, strict=True):
        row = measure(setting, started, vocabulary_size=symbols, rounds=rounds, seconds=seconds, sampled=sampled)
        print(table_row(row), flush=True)
        results.append(row)
    print("\nsampling, characters/s")
    for result in results:
        rates = [f"{name} {rate:,.0f}" for name, rate in result["sampling_chars_per_second"].items()]
        print(f"  {result['row']}: {', '.join(rates)}")
    if not quick:
        print("\n".join(target_lines(results)))
    if json_file is not None:
        from jaxrnn.devices import fingerprint

        about = {
            "text": corpus.name,
            "quick": quick,
            "precision": precision,
            "machine": fingerprint(),
            "cores": os.cpu_count(),
        }
        json_file.write_text(json.dumps({**about, "rows": results}, indent=1) + "\n")
    if figure is not None:
        save_figure(results, figure)
