"""What the training program launches on accelerators, compiled without having one.

Command: python -m experiments.benchmark compiled [--targets h100 v5e] [--json FILE] [--csv FILE]

Each target and size is compiled in a process of its own (`compiled_program.py`); a compiler that is not installed is
named and skipped. A change of an engine or of the step that doubles the launches is seen here. "Compiled" are seconds
of processor time, tracing included. The floor is what no program is known to beat (`compiled_floor.py`).

Obtained batch and window of 100, RMSprop: experiments/results/compiled.csv (h100: jax 0.11.2; v5e and v6e: jax
0.10.2, libtpu 0.0.52; 2026-11-28, two cores beside other work, which made compiling up to twice as long). A step of
every cell has at most 4 kernels forward and 5 backward on an H100, and a turn of 25 steps up to 6 more: its counter,
its writes. Those whose update makes products or norms of its own had up to 4.4 and 10.4 with `scan` (layer
normalization: 1,501 kernels an update, now 997). Kernels of an update on an H100 before, when its loop was the CPU's,
and now: LSTM of 512 units 1,784 and 559 (a step 10 and 6, now 2.1 and 3.2), GRU of 128 units 2,052 and 26 (the engine
`resident`), vanilla of 100 units, batch 1, T 25, 239 and 24; with today's compiler before is `compiled_before.csv`. Of
the 23 that an update of the LSTM of 64 units runs, 2 are the layer; 2 look up rows and order W_h for it; 7 are the
output layer, softmax and loss with their gradients (1 of them cuts W_y out, 1 the outputs, 1 adds up the losses); 5 the
products for weights: twice the rows side by side and the product in pieces, and their sums; 2 look whether all
gradients are finite; 1 is the optimizer with clipping, for all parameters; 1 keeps the carry; 2 read and write the
scalars of the state; 1 counts the updates between two looks of the host. With `resident-output` they are 19: the output
layer with its loss is 1, beside 1 each that lays out the ids, and W_y with b_y, and 1 each that adds up the losses, and
the gradients of W_y.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from experiments.benchmark.compiled_program import TARGETS
from experiments.benchmark.timing import ROOT
from experiments.csv_file import write_table
from jaxrnn.checks import check_choice
from jaxrnn.errors import ConfigurationError

# Cell, H, layers, B, T.
SIZES = (
    *(("lstm", hidden, 1, 100, 100) for hidden in (64, 128, 256, 512, 1024)),
    ("lstm", 128, 2, 100, 100),
    ("lstm", 128, 3, 100, 100),
    ("lstm", 1024, 3, 100, 100),
    ("lstm-peephole", 512, 1, 100, 100),
    ("lstm-peephole-full", 512, 1, 100, 100),
    ("lstm-multiplicative", 512, 1, 100, 100),
    ("lstm-layer-norm", 512, 1, 100, 100),
    ("temporal-gate-lstm", 512, 1, 100, 100),
    ("gru", 128, 1, 100, 100),
    ("gru", 512, 1, 100, 100),
    ("gru-reset-before", 512, 1, 100, 100),
    ("vanilla", 100, 1, 1, 25),
    ("vanilla", 512, 1, 100, 100),
    ("experiments.benchmark.own_cell:MinimalGatedCell", 128, 1, 100, 100),
)
COUNTS: tuple[str, ...] = ("kernels_an_update", "own_kernels", "kernels_a_step", "temporary_megabytes")
COUNTS += ("operations_ms", "bytes_ms", "launches_ms", "floor_ms", "seconds")
COLUMNS = ("target", "cell", "hidden", "layers", *COUNTS)
TABLE = ROOT / "experiments" / "results" / "compiled.csv"
# The same of the code as it was before it knew of platforms: commit 927b167 of 2026-11-26.
TABLE_BEFORE = TABLE.with_name("compiled_before.csv")
HEAD = (
    "target  cell and size       kernels: an update  own  a step (each loop)      memory     compiled  "
    "operations / bytes / launches / floor, ms"
)


def count_kernels(
    *,
    targets: Annotated[list[str], Parameter(consume_multiple=True)] = ["h100", "v5e", "v6e"],  # noqa: B006
    only: str | None = None,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
    csv_file: Annotated[Path | None, Parameter(name="--csv")] = None,
) -> None:
    """Compile the training program for accelerators and count what an update launches.

    Args:
      targets: h100, v5e, v6e.
      only: rows such as lstm-512-1,gru-128-1 (cell, H, layers); all if not given.
      json_file: where the counts go.
      csv_file: a table, of which the rows that were counted are written anew, and the others stay.
    """
    if not targets:
        raise ConfigurationError(f"--targets expects some of {', '.join(TARGETS)}; give one, or leave it out for all")
    for name in targets:
        check_choice("targets", name, tuple(TARGETS))
    asked = list(map(name_of, SIZES)) if only is None else only.split(",")
    for name in asked:
        check_choice("only", name, tuple(map(name_of, SIZES)))
    for file in filter(None, (json_file, csv_file)):
        with file.open("a"):  # it can be written: compiling takes minutes
            pass
    rows: list[dict[str, Any]] = []
    print(HEAD)
    for name in dict.fromkeys(targets):
        sets = [[module for module in modules if not is_installed(module)] for modules in TARGETS[name].compilers]
        if all(sets):
            print(f"{name}: skipped, {', '.join(sets[0])} is not installed; pip install {TARGETS[name].install}")
            continue
        for size in SIZES:
            if name_of(size) in asked:
                rows.append({"target": name, "size": size} | in_a_process(name, size))
                print(described(rows[-1]), flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if csv_file is not None:
        write_table(csv_file, [COLUMNS, *merged(read_counts(csv_file), rows)])


def name_of(size: tuple[str, int, int, int, int]) -> str:
    """What `--only` calls a row."""
    return "-".join(map(str, size[:3]))


def read_counts(file: Path) -> list[list[str]]:
    """The rows of a table that `--csv` wrote, without its head; those of an older one may lack the last columns."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.reader(lines))[1:]


def merged(before: list[list[str]], rows: list[dict[str, Any]]) -> list[list[Any]]:
    """The rows of a table with those that were counted now in their places; by targets and sizes in their order.

    Example:
      >>> merged([["h100", "gru", "128", "1", "9"]], [{"target": "h100", "size": ("gru", 128, 1), "error": "none"}])
      [['h100', 'gru', '128', '1', '9']]
    """
    places = [(target, size[0].split(":")[-1], str(size[1]), str(size[2])) for target in TARGETS for size in SIZES]
    found: dict[tuple[str, ...], list[Any]] = {tuple(row[:4]): row for row in before}
    for row in rows:
        cell, hidden, layers, *_ = row["size"]
        if "error" not in row:
            key = (row["target"], cell.split(":")[-1], str(hidden), str(layers))
            found[key] = [*key, *(_as_text(row[name]) for name in COUNTS)]
    return [found[key] for key in dict.fromkeys([*places, *found]) if key in found]


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_as_text, value))
    return "?" if value is None else str(value)


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def in_a_process(target: str, size: tuple[str, int, int, int, int], engine: str = "auto") -> dict[str, Any]:
    """The counts, or what the compiler said."""
    command = [sys.executable, "-m", "experiments.benchmark.compiled_program", target, *map(str, size), engine]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    counted: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return counted


def described(row: dict[str, Any]) -> str:
    """A line of the table."""
    cell, hidden, layers, *_ = row["size"]
    what = f"{row['target']:7} {cell.split(':')[-1]} {hidden} x {layers}".ljust(28)
    if "error" in row:
        return f"{what}does not compile: {row['error']}"
    steps = " ".join("?" if count is None else f"{count:g}" for count in row["kernels_a_step"])
    update = "?" if row["kernels_an_update"] is None else f"{row['kernels_an_update']:,}"
    least = " / ".join(f"{row[name]:.3f}" for name in ("operations_ms", "bytes_ms", "launches_ms", "floor_ms"))
    memory, seconds = f"{row['temporary_megabytes']:,.0f} MB", f"{row['seconds']:.1f} s"
    return f"{what}{update:>18} {row['own_kernels']:>4}  {steps:<22} {memory:>8} {seconds:>12}  {least}"
