"""Several seeds of palindromes together, as one compiled program, against one after another.

Command: python -m experiments.benchmark seeds [--cell lstm] [--length 20] [--seeds 6] [--updates 50]

Measured in one process, in turn, every other round in reverse order; medians of the rounds. Compiling and the first
update are left out.
    together      a population of all seeds over the devices
    one device    one seed after another, on one device
    split         the same, the batch of each seed split over all devices

Obtained on two cores of an AMD EPYC (Zen 4), no GPU, jax 0.10.2, 2026-11-21, times as long as together (asked: 1.5 for
one device, 1 for split), 6 seeds, hidden 128, batch 128:
    LSTM, T = 10      one device 1.47   split 1.12      (--updates 60)
    LSTM, T = 20      one device 1.47   split 1.00      (--updates 25)
    LSTM, T = 60      one device 1.50   split 0.99      (--updates 8)
    vanilla, T = 10   one device 1.83   split 1.48      (--updates 100)
One device is more than half of two, since XLA gives its products both cores already.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated

import jax
from cyclopts import Parameter

from experiments.benchmark.timing import in_rounds, median_ratio
from experiments.palindromes.recipe import Count, Recipe, members
from jaxrnn import TrainConfig, Trainer, use_cpu_devices
from jaxrnn.checks import check_count, parse_devices
from jaxrnn.devices import cores
from jaxrnn.terminal import whole_number
from jaxrnn.training import make_job


def together(configs: list[TrainConfig], devices: int, updates: int) -> Callable[[], float]:
    """Measures seconds for so many updates of all seeds as one program."""
    trainer = Trainer.of([make_job(config) for config in configs], devices)

    def seconds(updates: int = updates) -> float:
        started = time.perf_counter()
        trainer.advance(updates)
        return time.perf_counter() - started

    seconds(1)
    return seconds


def one_after_another(configs: list[TrainConfig], devices: int, updates: int) -> Callable[[], float]:
    """Measures seconds for so many updates of each seed, the batch split over so many devices."""
    trainer = Trainer.of([make_job(configs[0])], devices)  # one program for all
    states = [Trainer.of([make_job(config)], 1).initial_state() for config in configs]

    def seconds(updates: int = updates) -> float:
        started = time.perf_counter()
        for number, state in enumerate(states):
            trainer.put(0, state)
            trainer.advance(updates)
            states[number] = trainer.state()
        return time.perf_counter() - started

    seconds(1)
    return seconds


def time_seeds(
    *,
    cell: str = "lstm",
    length: Count = 20,
    count: Annotated[int, Parameter(name="--seeds", converter=whole_number)] = 6,
    updates: Count = 50,
    rounds: Count = 5,
    hidden: Count = 128,
    batch_size: Count = 128,
    devices: str = "auto",
) -> None:
    """Measure many seeds of palindromes together against one after another.

    Args:
      cell: cell by name.
      length: T.
      count: how many.
      updates: updates of each seed in a round.
      rounds: rounds.
      hidden: H.
      batch_size: B; the devices must divide it.
      devices: auto or a number.
    """
    check_count("updates", updates, 1)
    check_count("rounds", rounds, 1)
    number = parse_devices(devices) or cores()
    use_cpu_devices(number)
    number = min(number, jax.device_count())
    configs = members(Recipe(hidden=hidden, batch_size=batch_size, stop_at_accuracy=0.0), [cell], [length], count)
    measures = {
        "together": together(configs, number, updates),
        "one device": one_after_another(configs, 1, updates),
        "split": one_after_another(configs, number, updates),
    }
    found = in_rounds(measures, rounds)
    print(f"{cell} {hidden}, T {length}, batch {batch_size}: {count} seeds, {updates} updates each, {number} devices")
    for name in measures:
        pace = f"{statistics.median(found[name]):.3f} s"
        ratio = median_ratio(found[name], found["together"])
        print(f"  {name:<10} {pace:>10}   {ratio:.2f} times as long as together")
