"""The kernels of the engine `resident` on a GPU, every setting: against `reference`, then how long they take.

Command: python -m experiments.benchmark resident [--only lstm-64,gru-64] [--seconds 300] [--json FILE]

A setting is a process of its own (`resident_worker.py`). It compiles beside the others, waits until all have, and for
its turn with the GPU, in which it compares outputs, last carry and all gradients with those of `reference` in full
float32, twice (|| ours - theirs || / || theirs ||, the worst of all arrays; "differs" beyond rounding, "changes" if the
second time gives other bits), and then measures with a batch of 64 and 512 steps, medians of five rounds: microseconds
a step of the forward and of the backward kernel alone, and milliseconds of the whole layer, forward and with its
gradients. A kernel can wait for ever: a process that compiles for more than --seconds, or holds the GPU for more than
15, is killed, and the next one goes on.

Obtained on one NVIDIA H200, jax 0.11.2, 2026-11-27, half of the rows: experiments/results/h200_resident.csv. All are
right; a step of an LSTM of 64 units takes 0.76 and 0.86 us in TF32 (1.21 and 1.54 where it reads and writes without
the copy engine), one of 256 units, in clusters of 4 programs, 2.1 and 3.7, and one of 512 in bfloat16, of 8, 2.2 and
4.6.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from experiments.benchmark.timing import ROOT
from jaxrnn.checks import check_count
from jaxrnn.errors import ConfigurationError

# Cell, H, dtype of the products, and what differs from the setting that the engine chooses; the most telling first.
VARIANTS: tuple[tuple[str, int, str, dict[str, Any]], ...] = (
    ("lstm", 64, "float32", {}),
    ("lstm", 128, "float32", {}),
    ("lstm", 256, "float32", {}),
    ("lstm", 512, "bfloat16", {}),
    ("lstm", 128, "bfloat16", {}),
    ("lstm", 256, "bfloat16", {}),
    ("gru", 64, "float32", {}),
    ("gru", 128, "float32", {}),
    ("gru", 256, "float32", {}),
    ("gru", 512, "bfloat16", {}),
    ("vanilla", 100, "float32", {}),
    ("vanilla", 512, "float32", {}),
    ("lstm", 100, "float32", {}),
    ("lstm", 160, "bfloat16", {}),
    ("lstm", 128, "float32", {"programs": 1}),
    ("lstm", 256, "bfloat16", {"programs": 2}),
    ("lstm", 64, "float32", {"held": None}),
    ("lstm", 64, "float32", {"copies": False}),
    ("lstm", 128, "float32", {"copies": False}),
    ("lstm", 64, "float32", {"math": "exact"}),
    ("lstm", 128, "bfloat16", {"math": "fast"}),
)
ROUNDING = {"float32": 1e-2, "bfloat16": 5e-2}
HEAD = ("forward", "backward", "forward", "both")
TURN_SECONDS = 15.0
COMPILED, TURN = "compiled\n", "turn\n"


def time_resident(
    *,
    only: str | None = None,
    seconds: int = 300,
    json_file: Annotated[Path | None, Parameter(name="--json")] = None,
) -> None:
    """The kernels of the engine `resident` on a GPU in every setting, checked and timed.

    Args:
      only: rows such as lstm-64,gru-128 (cell, H); all if not given.
      seconds: that a setting may take to compile.
      json_file: where to write all numbers.
    """
    check_count("seconds", seconds, 1)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # many processes share the GPU's memory
    import jax

    from jaxrnn.devices import fingerprint
    from jaxrnn.engines.resident import HOPPER

    device = jax.devices()[0]
    if getattr(device, "compute_capability", None) != HOPPER or jax.__version_info__ < (0, 11):
        seen = f"JAX {jax.__version__} sees {device.device_kind}"
        raise ConfigurationError(
            f"resident expects a GPU of compute capability {HOPPER} and JAX 0.11; {seen}; run it there"
        )
    chosen = [v for v in VARIANTS if only is None or f"{v[0]}-{v[1]}" in only.split(",")]
    rows: list[dict[str, Any]] = []
    print(f"{device.device_kind}, jax {jax.__version__}; batch 64, 512 steps")
    print(f"{'us a step of a kernel, ms of the layer':58}{' '.join(f'{name:>8}' for name in HEAD)}  worst error")
    with tempfile.NamedTemporaryFile() as lock, ThreadPoolExecutor(max(len(chosen), 1)) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [sys.executable, "-m", "experiments.benchmark.resident_worker", lock.name]
        ready = threading.Semaphore(0)
        waiting = {
            pool.submit(in_a_process, [*command, json.dumps(v)], seconds, TURN_SECONDS, ready.release): v
            for v in chosen
        }
        for _ in chosen:
            ready.acquire()
        fcntl.flock(lock, fcntl.LOCK_UN)
        for done in as_completed(waiting):
            rows.append({"setting": waiting[done]} | done.result())
            print(described(rows[-1]), flush=True)
    if json_file is not None:
        json_file.write_text(json.dumps({"machine": fingerprint(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


def in_a_process(
    command: list[str], seconds: float, turn_seconds: float, when_ready: Callable[[], Any] = lambda: None
) -> dict[str, Any]:
    """What a process prints last, or why there is nothing; a wait for the turn has no limit, since the turns have.

    Args:
      command: what to run.
      seconds: that it may take to compile.
      turn_seconds: that it may hold the GPU for.
      when_ready: called once, when it has compiled or ended.
    """
    lines, late, told = [""], list[str](), False
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:

        def stop(why: str) -> None:
            late.append(why)
            process.kill()

        def limit(allowed: float, what: str) -> threading.Timer:
            timer = threading.Timer(allowed, stop, [f"more than {allowed:g} s {what}"])
            timer.start()
            return timer

        timer = limit(seconds, "to compile")
        assert process.stdout is not None
        for line in process.stdout:
            if line in (COMPILED, TURN):
                timer.cancel()
            if line == COMPILED:
                told = True
                when_ready()
            if line == TURN:
                timer = limit(turn_seconds, "with the GPU")
            lines.append(line)
        timer.cancel()
    if not told:
        when_ready()
    if process.returncode == 0:
        found: dict[str, Any] = json.loads(lines[-1])
        return found
    return {"error": late[0] if late else " | ".join(line.strip() for line in lines[-3:])[-300:]}


def described(row: dict[str, Any]) -> str:
    """A line of the table."""
    cell, hidden, dtype, options = row["setting"]
    chosen = [f"{row['programs']} programs, {row['held']} held"] if "programs" in row else []
    parts = [f"{cell} {hidden} {dtype}", *chosen, *(f"{name} {value}" for name, value in options.items())]
    what = ", ".join(parts).ljust(58)
    if "error" in row:
        return f"{what} no result: {row['error']}"
    wrong = "" if row["error_of"][1] <= ROUNDING[dtype] else "  differs"
    times = " ".join(f"{row[name]:8.3f}" for name in ("forward_us", "backward_us", "forward_ms", "both_ms"))
    return f"{what}{times}  {row['error_of'][0]} {row['error_of'][1]:.1e}{wrong}{'' if row['same'] else '  changes'}"
