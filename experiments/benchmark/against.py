"""This checkout against another one, such as that of before a change: is anything slower?

Command: python -m experiments.benchmark against --before CHECKOUT [--only NAME ...] [--rounds 11] [--json FILE]

Both run in processes of their own, one at a time, in rounds that begin with the one and the other in turn. Of each
benchmark it prints the median of the rounds' ratios, before / today (above 1: today is faster), with a bootstrap 95 %
interval. A change is slower where the upper end of the interval is below 0.98.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from experiments.benchmark.timing import ROOT
from jaxrnn.checks import check_choice, check_count
from jaxrnn.errors import ConfigurationError

WORKER = ROOT / "experiments" / "benchmark" / "against_worker.py"
UPDATES = {
    "book": 8000,
    "lstm-64": 40,
    "lstm-128": 16,
    "lstm-512": 2,
    "gru-128": 20,
    "population": 5,
    "seeds": 12,
}
SLOWER = 0.98
DRAWS = 10_000


class Worker:
    """One benchmark of one checkout."""

    def __init__(self, checkout: Path, name: str, updates: int):
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        command = [sys.executable, str(WORKER), name, str(updates)]
        self.process = subprocess.Popen(
            command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.updates = updates

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}")
        return line.strip()

    def seconds(self) -> float:
        """Of the updates, once more."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.updates}\n")
        self.process.stdin.flush()
        return float(self.answer())

    def __enter__(self) -> Worker:
        while self.answer() != "ready":
            pass
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def compare_checkouts(
    *,
    before: Path,
    only: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    rounds: int = 11,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Measure this checkout against another one.

    Args:
      before: the root of the other checkout.
      only: benchmarks by name; all if not given.
      rounds: how many.
      json_file: where the seconds of every round go.
    """
    check_count("rounds", rounds, 1)
    for name in only or ():
        check_choice("only", name, tuple(UPDATES))
    if not (before / "jaxrnn" / "__init__.py").is_file():
        raise ConfigurationError(f"--before expects a checkout of jaxrnn; got {before}")
    found: dict[str, dict[str, list[float]]] = {}
    print("before / today, median of the rounds' ratios (95 % interval); above 1 today is faster")
    for name in only or UPDATES:
        found[name] = measured(name, before.resolve(), rounds)
        ratios = [b / t for b, t in zip(found[name]["before"], found[name]["today"], strict=True)]
        low, high = interval(ratios)
        verdict = "slower" if high < SLOWER else "ok"
        seconds = f"{statistics.median(found[name]['before']):.3f} s, {statistics.median(found[name]['today']):.3f} s"
        print(f"{name:12} {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})  {seconds}  {verdict}", flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measured(name: str, before: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each round of both checkouts, in turn."""
    found: dict[str, list[float]] = {"before": [], "today": []}
    with Worker(before, name, UPDATES[name]) as other, Worker(ROOT, name, UPDATES[name]) as ours:
        both = [("before", other), ("today", ours)]
        for number in range(rounds):
            for label, worker in both if number % 2 == 0 else both[::-1]:
                found[label].append(worker.seconds())
    return found


def interval(ratios: list[float], share: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the median.

    Example:
      >>> low, high = interval([1.0, 1.1, 0.9, 1.05, 0.95])
      >>> 0.9 <= low <= 1.0 <= high <= 1.1
      True
    """
    drawn = np.random.default_rng(0).choice(np.asarray(ratios), (DRAWS, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
