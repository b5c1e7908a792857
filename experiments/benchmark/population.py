"""A population against its members one after another.

Command: python -m experiments.benchmark population [--text FILE] [--members 12] [--hidden 64] [--engines auto]
On one GPU: ... --devices 1 --members 5 --hidden 128 --engines auto resident

Language models of LSTM cells which differ in their seeds train for the same updates in three ways, which take turns:
as one population over all devices (with each engine that is named), one after another on one device, and one after
another with each batch split over all devices. Each is compiled before, and begins from the same parameters; how far
the parameters are from those of the member alone on one device is printed beside.

Obtained on two cores of an AMD EPYC (Zen 4), no GPU, jax 0.10.2, 2026-11-21, 88 s, medians of 5 rounds:
    12 members of LSTM 64, 20 updates each: together 3.18 s; one after another on one device 4.98 s, 1.56 times as long
    (asked: 1.5), parameters equal bit for bit; with each batch split over both devices 3.40 s, 1.07 times (asked: 1),
    parameters within 1.8e-5, since two devices add the gradients of two halves.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from cyclopts import Parameter

from experiments.benchmark.timing import in_rounds, median_ratio
from jaxrnn import Corpus, TrainConfig, Trainer, load_corpus, use_cpu_devices
from jaxrnn.devices import cores
from jaxrnn.errors import ConfigurationError
from jaxrnn.training import make_job

LONGEST = 1_000_000  # never reached
AT_LEAST = {"one after another, one device": 1.5, "one after another, batch split": 1.0}


def member_settings(
    text: str, members: int, hidden: int, batch_size: int, bptt_length: int, engine: str = "auto"
) -> list[TrainConfig]:
    """The recipe of Karpathy, Johnson and Li for so many seeds."""
    return [
        TrainConfig(
            text=text,
            cell="lstm",
            hidden=hidden,
            init="uniform",
            init_scale=0.08,
            optimizer="rmsprop",
            learning_rate=2 * 10**-2.5,
            loss_reduction="mean",
            batch_size=batch_size,
            bptt_length=bptt_length,
            engine=engine,
            seed=seed,
            validation_fraction=0.1,
            test_fraction=0.1,
            updates=LONGEST,
        )
        for seed in range(members)
    ]


def time_population(
    *,
    text: str = "warpeace",
    members: int = 12,
    hidden: int = 64,
    batch_size: int = 100,
    bptt_length: int = 100,
    updates: int = 20,
    rounds: int = 5,
    devices: int | None = None,
    engines: Annotated[list[str], Parameter(consume_multiple=True)] = ["auto"],  # noqa: B006
) -> None:
    """Measure a population against its members one after another.

    Args:
      text: a file or a known text.
      members: how many.
      hidden: hidden features of each.
      batch_size: B.
      bptt_length: T.
      updates: updates of each member in each round.
      rounds: how many; medians are printed.
      devices: over how many; the cores of a CPU if not given.
      engines: of the population; what runs one after another has the one that `auto` takes.
    """
    devices = devices or cores()
    if members % devices:
        raise ConfigurationError(f"--members expects a multiple of the {devices} devices; got {members}")
    use_cpu_devices(devices)
    configs = member_settings(text, members, hidden, batch_size, bptt_length)
    corpus = load_corpus(text)
    ways: dict[str, Callable[[], list[Any]]] = {}
    for engine in engines:
        of_engine = member_settings(text, members, hidden, batch_size, bptt_length, engine)
        ways[f"together, {engine}"] = _together(of_engine, corpus, devices, updates)
    ways["one after another, one device"] = _in_turn(configs, corpus, 1, updates)
    if devices > 1 and batch_size % devices == 0:
        ways["one after another, batch split"] = _in_turn(configs, corpus, devices, updates)
    ended = {name: way() for name, way in ways.items()}  # compiled here
    found = in_rounds({name: _seconds(way) for name, way in ways.items()}, rounds)
    print(
        f"{members} members, lstm {hidden}, B {batch_size}, T {bptt_length}, {updates} updates each, {devices} devices"
    )
    alone = ended["one after another, one device"]
    for name, seconds in found.items():
        ratio = median_ratio(seconds, found[f"together, {engines[0]}"])
        goal = f"  (asked: {AT_LEAST[name]:g})" if name in AT_LEAST else ""
        far = max(_distance(a, b) for a, b in zip(ended[name], alone, strict=True))
        print(f"{name:32} {statistics.median(seconds):7.2f} s  {ratio:5.2f}{goal}   parameters within {far:.1e}")


def _seconds(way: Callable[[], list[Any]]) -> Callable[[], float]:
    def measure() -> float:
        started = time.perf_counter()
        jax.block_until_ready(way())
        return time.perf_counter() - started

    return measure


def _together(configs: list[TrainConfig], corpus: Corpus, devices: int, updates: int) -> Callable[[], list[Any]]:
    trainer = Trainer.of([make_job(config, corpus) for config in configs], devices)
    members = range(len(configs))
    starts = [trainer.initial_state(member) for member in members]

    def way() -> list[Any]:
        for member in members:
            trainer.put(member, starts[member])
        trainer.advance(updates)
        return [trainer.params(member) for member in members]

    return way


def _in_turn(configs: list[TrainConfig], corpus: Corpus, devices: int, updates: int) -> Callable[[], list[Any]]:
    trainer = Trainer.of([make_job(configs[0], corpus)], devices)  # one program for all
    starts = [Trainer.of([make_job(config, corpus)], 1).initial_state() for config in configs]

    def way() -> list[Any]:
        ended = []
        for start in starts:
            trainer.put(0, jax.tree.map(jnp.copy, start))
            trainer.advance(updates)
            ended.append(trainer.params())
        return ended

    return way


def _distance(a: Any, b: Any) -> float:
    return max(
        float(np.abs(np.asarray(x) - np.asarray(y)).max())
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )
