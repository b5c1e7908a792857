"""Killed inside a save: at each numbered call to the file system, and at random instants of a tight loop of saves.

One server process imports everything and is forked for each trial, before JAX has started a thread in it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.thinned import thinned

from .support import assert_same_run, call, expected_rows, rows_of, tiny_options

SHIM = '''
import os, random, shutil, signal, sys, time
from pathlib import Path

CALLS = ("rename", "replace", "fsync", "mkdir", "rmdir", "unlink", "open", "truncate", "ftruncate", "scandir")

def kill_at(number):
    """Kills this process at its n-th call, before the call is made."""
    count = iter(range(10**9))
    def wrap(function):
        def call(*args, **options):
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)
        return call
    for name in CALLS:
        setattr(os, name, wrap(getattr(os, name)))
    return count

def forked(work):
    """Runs work in a child; gives its exit status, negative if it was killed."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work() or 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
'''

SAVES = (
    SHIM
    + """
import json
import numpy as np
from jaxrnn.storage.checkpoint import (
    Reader, checkpoint_updates, load_checkpoint, load_latest, remove_leftovers, save_checkpoint
)
from orbax.checkpoint import v1

def state(update):
    values = np.random.default_rng(update)
    return {"x": values.normal(size=(20, 30)).astype(np.float32), "update": np.asarray(update, np.int32)}

readers = {1: Reader(state(0), lambda saved: saved)}

def verify(directory, least):
    checkpoint, warnings = load_latest(directory, readers)
    assert checkpoint is not None and not warnings, warnings
    update = checkpoint.metadata["update"]
    assert update >= least, (update, least)
    for listed in checkpoint_updates(directory):  # each one that is offered is whole
        load_checkpoint(directory, listed, readers)
    for name, value in state(update).items():
        assert np.asarray(checkpoint.state[name]).tobytes() == value.tobytes(), name
    save_checkpoint(directory, state(update + 1), update + 1, {}, 1)
    remove_leftovers(directory)
    names = sorted(os.listdir(directory))
    assert all(name.startswith("update_") for name in names) and len(names) <= 2, names

def numbered(root, first, step):
    killed = 0
    for number in range(first, 400, step):
        directory = root / str(number)
        def work():
            save_checkpoint(directory, state(1), 1, {}, 1)
            save_checkpoint(directory, state(2), 2, {}, 1)
            kill_at(number)
            save_checkpoint(directory, state(3), 3, {}, 1)
        ended = forked(work)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL, ended
        killed += 1
        assert forked(lambda: verify(directory, 2)) == 0, number
        shutil.rmtree(directory)
    return killed

def at_random(root, kills, seed):
    generator = random.Random(seed)
    inside = 0
    for number in range(kills):
        directory, (read, write) = root / f"r{number}", os.pipe()
        child = os.fork()
        if child == 0:
            for update in range(1, 10**6):
                save_checkpoint(directory, state(update), update, {}, 1)
                os.write(write, b"%d\\n" % update)
        os.close(write)
        first = os.read(read, 100)
        time.sleep(generator.uniform(0, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said = first
        while more := os.read(read, 10000):
            said += more
        os.close(read)
        inside += any(name.startswith(".") for name in os.listdir(directory))
        assert forked(lambda: verify(directory, int(said.split()[-1]))) == 0, number
        shutil.rmtree(directory)
    return inside

root, kind, *numbers = sys.argv[1:]
print(json.dumps({"numbered": numbered, "random": at_random}[kind](Path(root), *map(int, numbers))))
"""
)


def _saves(tmp_path: Path, *arguments: object, timeout: float = 60) -> int:
    (tmp_path / "root").mkdir()
    answer = call(tmp_path / "root", *arguments, code=SAVES)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


@pytest.mark.parametrize("first", thinned(range(0, 20), {7}))
def test_a_kill_at_any_call_of_a_save_loses_no_acknowledged_checkpoint(tmp_path: Path, first: int) -> None:
    # Every twentieth call in each change, the others in the slow tests.
    assert _saves(tmp_path, "numbered", first, 20) >= 2


@pytest.mark.parametrize(("kills", "least"), [(5, 1), pytest.param(25, 5, marks=pytest.mark.slow)])
def test_kills_at_random_instants_of_saves_lose_no_acknowledged_checkpoint(
    tmp_path: Path, kills: int, least: int
) -> None:
    assert _saves(tmp_path, "random", kills, 7) >= least


RUNS = (
    SHIM
    + """
import jaxrnn.inspect.plots, jaxrnn.trained.run, jaxrnn.training.start
from jaxrnn.cli import app
from jaxrnn.terminal.command import exit_code_of
from orbax.checkpoint import v1

numbers = [int(n) for n in sys.argv[1].split(",")]
arguments = sys.argv[2:]
sys.stdout = sys.stderr

def killed(number):
    def work():
        kill_at(number)
        return exit_code_of(app, arguments)
    return forked(work)

ended = [killed(number) for number in numbers]
assert set(ended) <= {0, -signal.SIGKILL} and -signal.SIGKILL in ended, ended
assert forked(lambda: exit_code_of(app, arguments)) == 0
"""
)


def _run_killed_at(text: Path, run: Path, numbers: list[int]) -> None:
    options = tiny_options(run, checkpoint_every=20)
    answer = call(",".join(map(str, numbers)), "train", text, *options, code=RUNS, timeout=300)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("numbers", [[11, 200], pytest.param([3, 60], marks=pytest.mark.slow)])
def test_a_run_killed_at_numbered_calls_changes_nothing(
    finished_run: Path, text: Path, tmp_path: Path, numbers: list[int]
) -> None:
    # In its start, and in a save.
    _run_killed_at(text, tmp_path / "run", numbers)
    assert_same_run(tmp_path / "run", finished_run)
    assert [row["update"] for row in rows_of(tmp_path / "run")] == sorted({*expected_rows(120, 10), 48, 96})


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 150, 30))
def test_a_run_killed_at_every_call_of_its_start_changes_nothing(
    finished_run: Path, text: Path, tmp_path: Path, first: int
) -> None:
    _run_killed_at(text, tmp_path / "run", list(range(first, first + 30)))
    assert_same_run(tmp_path / "run", finished_run)
