"""Killed at any instant and resumed by the same command: the run is the one that was never killed, to the last bit."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from jaxrnn.cli import app
from jaxrnn.terminal.command import exit_code_of

from .support import assert_refused, assert_same_run, call, expected_rows, finish, rows_of, start, tiny_options

UPDATES, CHECKPOINT_EVERY = 120, 5
VALIDATED = (48, 96)  # each epoch's end has a row


def _is_saving(run: Path) -> bool:
    return any((run / "checkpoints").glob(".saving-*")) or any((run / "checkpoints").glob(".deleting-*"))


def _killed_at_random(run: Path, text: Path, kills: int, seed: int, updates: int = UPDATES) -> tuple[int, int]:
    """Trains with `kills` SIGKILLs; gives how many fell after the start, and how many of these in a save.

    The first falls at a random instant of the start. Of the others every second falls at a random instant of the
    training, the rest some milliseconds after a random one of its next saves has begun.
    """
    generator = random.Random(seed)
    options = tiny_options(run, updates=updates, checkpoint_every=CHECKPOINT_EVERY)
    while_training, in_save = 0, 0
    for number in range(kills):
        process = start(["train", str(text), *options])
        assert process.stdout is not None
        if number == 0:
            time.sleep(generator.uniform(0, 1.5))
        else:
            for line in process.stdout:
                if line.startswith("compiled"):
                    break
            if number % 2:
                time.sleep(generator.uniform(0, 0.6))
            else:
                for _ in range(generator.randint(1, 2)):
                    for wanted in (False, True):
                        while _is_saving(run) != wanted and process.poll() is None:
                            time.sleep(0.0005)
                time.sleep(generator.uniform(0, 0.02))
        while_training += process.poll() is None and number > 0
        process.send_signal(signal.SIGKILL)
        finish(process)
        in_save += _is_saving(run)
    assert exit_code_of(app, ["train", str(text), *tiny_options(run, updates=updates)]) == 0
    return while_training, in_save


@pytest.mark.parametrize(("kills", "least"), [(2, 1), pytest.param(9, 4, marks=pytest.mark.slow)])
def test_kills_at_random_instants_change_nothing(
    finished_run: Path, text: Path, tmp_path: Path, kills: int, least: int
) -> None:
    while_training, in_save = _killed_at_random(tmp_path / "run", text, kills=kills, seed=20)
    print(f"{while_training} kills while training, {in_save} of them in a save")
    assert while_training >= least  # whether a save was hit is chance here; `test_numbered_kills.py` goes through saves
    assert_same_run(tmp_path / "run", finished_run)
    assert [row["update"] for row in rows_of(tmp_path / "run")] == sorted({*expected_rows(UPDATES, 10), *VALIDATED})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_thirty_kills_at_random_instants_change_nothing(text: Path, tmp_path: Path, seed: int) -> None:
    options = tiny_options(tmp_path / "reference", updates=600)
    assert call("train", text, *options).code == 0
    while_training, in_save = _killed_at_random(tmp_path / "run", text, kills=30, seed=100 + seed, updates=600)
    print(f"{while_training} kills while training, {in_save} of them in a save")
    assert in_save >= 5
    assert_same_run(tmp_path / "run", tmp_path / "reference")


def test_an_interrupt_that_falls_into_an_import_is_a_line_and_its_code(tmp_path: Path) -> None:
    """Raised into those of JAX's own libraries it crashed the process."""
    killed = "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(9)\n"
    (tmp_path / "killed.py").write_text(killed + "except KeyboardInterrupt:\n    os.abort()\n")
    code = "from jaxrnn.terminal.command import run_app\ndef f():\n    import killed\nrun_app(f)"
    assert_refused(call(code=code, cwd=tmp_path), 130, "interrupted; nothing was lost")
