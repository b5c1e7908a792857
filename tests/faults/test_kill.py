"""Killed at any instant and resumed by the same command: the run is the one that was never killed, to the last bit."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from .support import assert_same_run, call, expected_rows, finish, rows_of, start, tiny_options

UPDATES, CHECKPOINT_EVERY = 120, 5


def _killed_at_random(run: Path, text: Path, kills: int, seed: int) -> tuple[int, int]:
    """Trains with `kills` SIGKILLs at random instants; gives how many fell after the start and how many in a save."""
    generator = random.Random(seed)
    options = tiny_options(run, updates=UPDATES, checkpoint_every=CHECKPOINT_EVERY)
    while_training, in_save = 0, 0
    for number in range(kills):
        process = start(["train", str(text), *options])
        assert process.stdout is not None
        if number:  # the first one dies somewhere in its start
            for line in process.stdout:
                if line.startswith("compiled"):
                    break
        time.sleep(generator.uniform(0, 0.12 if number else 1.5))
        still_running = process.poll() is None
        process.send_signal(signal.SIGKILL)
        finish(process)
        while_training += still_running and number > 0
        in_save += any(p.name.startswith((".saving", ".deleting")) for p in (run / "checkpoints").glob(".*"))
    answer = call("train", text, *options)
    assert answer.code == 0, answer.err
    return while_training, in_save


def test_ten_kills_at_random_instants_change_nothing(finished_run: Path, text: Path, tmp_path: Path) -> None:
    while_training, _ = _killed_at_random(tmp_path / "run", text, kills=10, seed=20)
    assert while_training >= 5
    assert_same_run(tmp_path / "run", finished_run)
    assert [row["update"] for row in rows_of(tmp_path / "run")] == expected_rows(UPDATES, 10)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_thirty_kills_at_random_instants_change_nothing(
    finished_run: Path, text: Path, tmp_path: Path, seed: int
) -> None:
    _, in_save = _killed_at_random(tmp_path / "run", text, kills=30, seed=100 + seed)
    assert in_save > 0
    assert_same_run(tmp_path / "run", finished_run)
