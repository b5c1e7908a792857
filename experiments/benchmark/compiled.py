"""What the training program launches on accelerators, compiled without having one.

Command: python -m experiments.benchmark compiled [--targets h100 v5e] [--json FILE]

Each target and size is compiled in a process of its own (`compiled_program.py`); a compiler that is not installed is
named and skipped. A change of an engine or of the step that doubles the launches is seen here.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from experiments.benchmark.compiled_program import TARGETS
from experiments.benchmark.timing import ROOT
from jaxrnn.checks import check_choice

# Cell, H, layers, B, T.
SIZES = (("lstm", 512, 1, 100, 100), ("gru", 128, 1, 100, 100), ("vanilla", 100, 1, 1, 25))


def count_kernels(
    *,
    targets: Annotated[list[str], Parameter(consume_multiple=True)] = ["h100", "v5e", "v6e"],  # noqa: B006
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """Compile the training program for accelerators and count what an update launches.

    Args:
      targets: h100, v5e, v6e.
      json_file: where the counts go.
    """
    for name in targets:
        check_choice("targets", name, tuple(TARGETS))
    rows: list[dict[str, Any]] = []
    print("target  cell           kernels an update  a turn of each loop (turns)          memory      compiled in")
    for name in dict.fromkeys(targets):
        missing = [module for module in TARGETS[name][1] if not is_installed(module)]
        if missing:
            print(f"{name}: skipped, {', '.join(missing)} is not installed; pip install {TARGETS[name][2]}")
            continue
        for size in SIZES:
            rows.append({"target": name, "size": size} | in_a_process(name, size))
            print(described(rows[-1]), flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def is_installed(module: str) -> bool:
    """Whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def in_a_process(target: str, size: tuple[str, int, int, int, int]) -> dict[str, Any]:
    """The counts, or what the compiler said."""
    command = [sys.executable, "-m", "experiments.benchmark.compiled_program", target, *map(str, size)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1][:200]}
    counted: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return counted


def described(row: dict[str, Any]) -> str:
    """A line of the table."""
    cell, hidden, layers, *_ = row["size"]
    what = f"{row['target']:7} {cell} {hidden} x {layers}".ljust(23)
    if "error" in row:
        return f"{what}does not compile: {row['error']}"
    loops = ", ".join(f"{loop['kernels']} ({loop['turns'] or '?'})" for loop in row["loops"])
    memory = f"{row['temporary_megabytes']:,.0f} MB"
    update = "?" if row["kernels_an_update"] is None else f"{row['kernels_an_update']:,}"
    return f"{what}{update:>17}  {loops:<36} {memory:>8}  {row['seconds']:>10.1f} s"
