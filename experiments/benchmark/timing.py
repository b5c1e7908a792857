"""Clocks of the benchmarks: rates in interleaved rounds, and wall time of whole processes."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.benchmark.baselines import Baseline

ROOT = Path(__file__).parents[2]


def in_rounds(measures: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each measure gives in each round; one runs at a time, every other round in reverse order."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name in sorted(measures, reverse=number % 2 == 1):
            found[name].append(measures[name]())
    return found


def median_ratio(ours: Sequence[float], other: Sequence[float]) -> float:
    """Median of the rounds' ratios: what slows a whole round down cancels."""
    return statistics.median(a / b for a, b in zip(ours, other, strict=True))


def seconds_and_loss(competitor: Baseline, updates: int) -> tuple[float, float]:
    """Seconds that so many updates take, and the loss after them; refuses a loss that is not finite."""
    started = time.perf_counter()
    loss = competitor.advance(updates)
    elapsed = time.perf_counter() - started
    if not np.isfinite(loss):
        raise RuntimeError(f"the loss is {loss}, so the speed says nothing.")
    return elapsed, loss


def interleaved_rates(competitors: Mapping[str, Baseline], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Updates per second of each competitor in each round, after one update to compile and some to find the pace."""

    def measure(competitor: Baseline) -> Callable[[], float]:
        competitor.advance(1)
        trial, elapsed = 4, 0.0
        while elapsed < seconds / 4:
            trial *= 2
            elapsed, _ = seconds_and_loss(competitor, trial)
        updates = max(1, round(trial * seconds / elapsed))
        return lambda: updates / seconds_and_loss(competitor, updates)[0]

    return in_rounds({name: measure(competitor) for name, competitor in competitors.items()}, rounds)


def seconds_of(
    command: list[str], until: str = "", environment: Mapping[str, str] | None = None
) -> tuple[float, float]:
    """Runs a process; seconds until a line starting with `until` is out (0 if none is awaited), and to its end."""
    started = time.perf_counter()
    seen, lines = 0.0, []
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if until and not seen and line.startswith(until):
                seen = time.perf_counter() - started
    if process.returncode != 0 or (until and not seen):
        raise RuntimeError(f"{command} ended with {process.returncode}:\n{''.join(lines[-20:])}")
    return seen, time.perf_counter() - started
