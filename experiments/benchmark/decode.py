"""How fast each decoder writes against the plain sampler, and many texts at once against one after another.

Command: python -m experiments.benchmark decode [--cell lstm] [--hidden 128] [--symbols 87] [--length 1000] [--rounds 7]

The model has random weights, its output layer wide ones, so that the entropy of a symbol, which is printed, is like a
trained model's: a filter that leaves much out tries more often. All are compiled before, and measured in turn in one
process, every other round in reverse order; a number is the median of the rounds' ratios. A rate is symbols a second,
of a search those of all candidates: ratio 0.7 of 8 beams means that 8 symbols take as long as 8 / 0.7 plain ones.

Texts at once are shared out over as many devices of a CPU as it has cores, as `jaxrnn sample --samples` does.

Obtained on two cores of an AMD EPYC (Zen 4), alone, no GPU, Python 3.11, jax 0.10.2, 2026-11-26, medians of 7 rounds:
    LSTM of 128, plain 48,000 symbols/s; each rule 0.85 to 1.10 of it, all but typical together 0.90, a stop 1.03;
    2 beams 1.31, 8 beams 2.47; 16 texts at once 4.31 of one after another (asked: 4).
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import jax
import numpy as np
from cyclopts import Parameter
from flax import nnx

from experiments.benchmark.timing import in_rounds, median_ratio
from jaxrnn import LanguageModel, use_cpu_devices
from jaxrnn.checks import check_count
from jaxrnn.decode import Decoding, sample_ids, search_ids, stop_table, write_ids
from jaxrnn.devices import cores
from jaxrnn.random_streams import run_key
from jaxrnn.terminal import whole_number

Count = Annotated[int, Parameter(converter=whole_number)]
DECODERS = {
    "greedy": Decoding(temperature=0),
    "temperature": Decoding(temperature=0.8),
    "top-k 10": Decoding(top_k=10),
    "top-p 0.9": Decoding(top_p=0.9),
    "top-p 0.5": Decoding(top_p=0.5),
    "min-p 0.05": Decoding(min_p=0.05),
    "typical 0.9": Decoding(typical=0.9),
    "typical 0.2": Decoding(typical=0.2),
    "penalty 1.2": Decoding(repetition_penalty=1.2),
    "all but typical": Decoding(temperature=0.8, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.2),
    "stop": Decoding(stop=("never",)),
}
BEAMS = (2, 8)
AT_LEAST, AT_LEAST_TOGETHER = 0.7, 4.0


def wide_model(cell: str, hidden: int, symbols: int, spread: float) -> tuple[nnx.GraphDef, dict]:
    """Structure and parameters of a model of random weights, W_y `spread` times as wide as drawn."""
    graphdef, state = nnx.split(LanguageModel(symbols, hidden, cell=cell, rngs=nnx.Rngs(0)))
    params = nnx.to_pure_dict(state)
    rng = np.random.default_rng(0)
    params["stack"] = jax.tree.map(lambda w: rng.normal(0, 2 * hidden**-0.5, w.shape).astype(w.dtype), params["stack"])
    params["W_y"] = rng.normal(0, spread * hidden**-0.5, params["W_y"].shape).astype(np.float32)
    return graphdef, params


def time_decode(
    *,
    cell: str = "lstm",
    hidden: Count = 128,
    symbols: Count = 87,
    length: Count = 1000,
    texts: Count = 16,
    spread: float = 32.0,
    rounds: Count = 7,
) -> None:
    """Measure each decoder against the plain sampler, and texts at once against one after another.

    Args:
      cell: cell by name.
      hidden: H.
      symbols: V.
      length: symbols of a text.
      texts: how many at once.
      spread: how wide the output layer is drawn.
      rounds: rounds.
    """
    for name, value in (("length", length), ("rounds", rounds), ("texts", texts)):
        check_count(name, value, 1)
    use_cpu_devices(cores())
    graphdef, params = wide_model(cell, hidden, symbols, spread)
    keys, prime = run_key(jax.numpy.arange(texts, dtype=np.uint32)), np.array([0])
    never = stop_table([chr(32 + n) for n in range(symbols)], ["never"]) if symbols >= 87 else None

    def plain(key: jax.Array) -> np.ndarray:
        return np.concatenate(list(sample_ids(graphdef, params, length=length, key=key, prime=prime)))

    def by(decoding: Decoding, keys: jax.Array) -> int:
        table = never if decoding.stop else None
        options: dict[str, Any] = {"length": length, "decoding": decoding, "prime": prime, "table": table}
        return sum(len(part[0]) for part in write_ids(graphdef, params, keys=keys, **options)) * len(keys)

    def search(beams: int) -> int:
        found = search_ids(graphdef, params, length=length, decoding=Decoding(beams=beams), key=keys[0], prime=prime)
        return beams * len(found[0].ids)

    ways: dict[str, Callable[[], int]] = {"plain": lambda: len(plain(keys[0]))}
    ways |= {name: functools.partial(by, decoding, keys[:1]) for name, decoding in DECODERS.items()}
    ways |= {f"{beams} beams": functools.partial(search, beams) for beams in BEAMS}
    ways["one after another"] = lambda: sum(len(plain(key)) for key in list(keys))
    ways["together"] = lambda: by(Decoding(), keys)

    def rate(way: Callable[[], int]) -> float:
        started = time.perf_counter()
        return way() / (time.perf_counter() - started)

    for way in ways.values():
        way()
    found = in_rounds({name: functools.partial(rate, way) for name, way in ways.items()}, rounds)
    model = nnx.merge(graphdef, nnx.State(params))
    p = jax.nn.softmax(model(plain(keys[0])[:, None], model.initial_carry(1))[0])
    entropy = float(jax.scipy.special.entr(p).sum(-1).mean())
    print(f"{cell} {hidden}, {symbols} symbols, {length} a text, entropy {entropy:.2f} nats a symbol")
    for name in ways:
        other = "one after another" if name == "together" else "plain"
        ratio, goal = median_ratio(found[name], found[other]), AT_LEAST_TOGETHER if name == "together" else AT_LEAST
        asked = "" if name in ("plain", "one after another") else f"  of {other} (asked: {goal:g})"
        print(f"  {name:<18}{statistics.median(found[name]):>10,.0f} symbols/s   {ratio:5.2f}{asked}")
