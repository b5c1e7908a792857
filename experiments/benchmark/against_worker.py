"""One benchmark of one checkout, in its own process: `python against_worker.py NAME` with PYTHONPATH at the checkout.

It prints "ready" when everything is compiled, and then answers each line that it reads, a number of updates, with the
seconds that they took. It calls what the checkouts of all dates have: the classes and functions that their own
benchmarks time.
"""

import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

CELLS = {"lstm-64": ("lstm", 64), "lstm-128": ("lstm", 128), "lstm-512": ("lstm", 512), "gru-128": ("gru", 128)}
MEMBERS, SEEDS = 12, 6


def first_of(*names: str) -> Any:
    """The first of these modules that this checkout has."""
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    raise ModuleNotFoundError(", ".join(names))


def two_devices() -> Any:
    mesh = first_of("jaxrnn.devices.mesh", "jaxrnn.sharding")
    mesh.use_cpu_devices(mesh.cores())
    return mesh.cores()


def book() -> Callable[[int], Any]:
    """The book recipe."""
    from jaxrnn import load_corpus

    JaxrnnBook = first_of("experiments.benchmark.book", "experiments.benchmark_book").JaxrnnBook
    return JaxrnnBook(load_corpus("tinyshakespeare")).advance


def cell(kind: str, hidden: int) -> Callable[[int], Any]:
    """A language model of one layer, batch and windows of 100."""
    worker = first_of("experiments.benchmark.cell_worker", "experiments.cell_worker")
    return worker.JaxrnnCells(worker.load_text(None), worker.CellSetting(kind, hidden, 1), "auto").advance


def population(updates: int) -> Callable[[int], Any]:
    """Twelve LSTM of 64 units; the number of updates is fixed when it is made."""
    import jax

    from jaxrnn import load_corpus

    benchmark, devices = first_of("experiments.benchmark.population", "experiments.benchmark_population"), two_devices()
    configs = benchmark.member_settings("warpeace", MEMBERS, 64, 100, 100)
    way = benchmark._together(configs, load_corpus("warpeace"), devices, updates)
    return lambda updates: jax.block_until_ready(way())


def seeds(updates: int) -> Callable[..., Any]:
    """Six LSTM of 128 units on palindromes of 20 digits."""
    devices = two_devices()
    recipe = first_of("experiments.palindromes.recipe", "experiments.palindrome_recipe")
    configs = recipe.members(recipe.Recipe(hidden=128, batch_size=128, stop_at_accuracy=0.0), ["lstm"], [20], SEEDS)
    benchmark = first_of("experiments.benchmark.seeds", "experiments.benchmark_seeds")
    return benchmark.together(configs, devices, updates)  # its number of updates is an argument that has a default


def main(name: str, updates: int) -> None:
    made: dict[str, Callable[[], Callable[[int], Any]]] = {
        "book": book,
        "population": lambda: population(updates),
        "seeds": lambda: seeds(updates),
        **{name: lambda of=of: cell(*of) for name, of in CELLS.items()},  # type: ignore[misc]
    }
    advance = made[name]()
    advance(updates)
    print("ready", flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        advance(int(line))
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
