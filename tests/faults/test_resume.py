"""Stop and go on: signals, what may change, what must be in the saved state, and faults of the run directory."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.cli import app
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.storage import checkpoint_leaves, run_directory
from jaxrnn.storage.checkpoint import Checkpoint, checkpoint_updates, save_checkpoint
from jaxrnn.storage.logs import AppendLog
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.trained.run import open_run
from jaxrnn.training import formats, members
from jaxrnn.training.job import make_job
from jaxrnn.training.loop import Loop
from jaxrnn.training.run_files import RunFiles
from jaxrnn.training.trainer import Trainer
from jaxrnn.training.values import TracedValues

from .support import (
    MAIN,
    assert_refused,
    assert_same_run,
    call,
    command,
    expected_rows,
    finish,
    five_parts,
    readers_of,
    rows_of,
    start,
    tiny_options,
    tree,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
)


@pytest.fixture
def half(finished_run: Path, text: Path, tmp_path: Path, half_run: Path) -> Path:
    """A copy of a run that was stopped at update 60."""
    return Path(shutil.copytree(half_run, tmp_path / "half"))


@pytest.fixture(scope="session")
def half_run(once: Callable[..., Path], text: Path) -> Path:
    before = Loop._save

    def save(self: Any, final: bool = False) -> None:
        before(self, final)
        if self.updates[0] == 60:
            signal.raise_signal(signal.SIGTERM)

    def make(run: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Loop, "_save", save)
            assert exit_code_of(app, ["train", str(text), *tiny_options(run, checkpoint_every=20)]) == 75
        assert checkpoint_updates(run / "checkpoints") == [40, 60]
        record = json.loads((run / "config.json").read_text())
        record["config"]["checkpoint_every"] = "60"  # in what follows
        (run / "config.json").write_text(json.dumps(record))

    return once("half", make)


# Signals.


def _until_training(process: Any) -> None:
    for line in process.stdout:
        if line.startswith("compiled"):
            return


TERM, INTERRUPT = (signal.SIGTERM, 75, "stopped"), (signal.SIGINT, 130, "interrupted")


@pytest.mark.parametrize("signals", [[TERM], pytest.param([TERM, INTERRUPT], marks=pytest.mark.slow)])
def test_sigterm_then_ctrl_c_save_the_current_update_and_nothing_changes(
    text: Path, tmp_path: Path, capsys: Any, signals: list[tuple[int, int, str]]
) -> None:
    run, reference = tmp_path / "run", tmp_path / "reference"
    # Some seconds of updates alone: nothing else is to be compiled, and no chunk is cut at an epoch.
    long = {"updates": 20_000, "sample_every": 0, "checkpoint_every": "500s", "log_every": 2_000}
    long |= {"validation_fraction": 0, "best_by": "smoothed"}
    said = [0]
    for sent, code, word in signals:
        process = start(["train", str(text), *tiny_options(run, **long)])
        _until_training(process)
        time.sleep(0.1)
        process.send_signal(sent)
        began = time.monotonic()
        answer = finish(process)
        assert answer.code == code, answer
        assert time.monotonic() - began < 20
        assert answer.err == ""
        lines = [line for line in answer.out.splitlines() if line.startswith(word)]
        update = checkpoint_updates(run / "checkpoints")[-1]
        assert lines == [f"{word}: saved at update {update:,}; go on with: jaxrnn resume {run}"]
        said.append(update)
    assert said == sorted(set(said)) and said[-1] < 20_000
    for arguments in (["resume", run], ["train", text, *tiny_options(reference, **long)]):
        assert command(capsys, *arguments).code == 0
    assert_same_run(run, reference)


TWICE = """
import signal, sys, time
from jaxrnn.storage import checkpoint
from jaxrnn.cli import main
save = checkpoint.save_checkpoint
def slow(directory, state, update, *more):
    if update == 40:
        signal.raise_signal(signal.SIGINT)
        print("first", flush=True)
        time.sleep(60)
    save(directory, state, update, *more)
checkpoint.save_checkpoint = slow
main()
"""


def test_ctrl_c_twice_leaves_at_once_with_the_last_checkpoint_intact(
    finished_run: Path, text: Path, tmp_path: Path, capsys: Any
) -> None:
    run = tmp_path / "run"
    process = start(["train", str(text), *tiny_options(run, checkpoint_every=20)], code=TWICE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("first"):
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    answer = finish(process)
    assert answer.code == 130 and time.monotonic() - began < 5
    assert answer.err.strip() == "jaxrnn: interrupted twice, leaving at once; the latest checkpoint is intact"
    assert checkpoint_updates(run / "checkpoints") == [20]
    assert command(capsys, "train", text, *tiny_options(run)).code == 0
    assert_same_run(run, finished_run)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_signal_while_it_compiles_is_obeyed(
    text: Path, tmp_path: Path, finished_run: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, sent: int, code: int
) -> None:
    run, before = tmp_path / "run", members.compiled

    def compiled(*arguments: Any) -> Callable:
        signal.raise_signal(sent)
        return before(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(members, "compiled", compiled)
        answer = command(capsys, "train", text, *tiny_options(run))
    assert answer.code == code and "saved at update 0;" in answer.out, answer
    assert rows_of(run) == []
    assert command(capsys, "train", text, *tiny_options(run)).code == 0
    assert_same_run(run, finished_run)


def test_a_signal_in_evaluation_or_sampling_is_obeyed(
    text: Path, tmp_path: Path, finished_run: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    for name in ("_validate", "_sample"):
        before = getattr(Loop, name)

        def interrupted(self: Any, *arguments: Any, before: Callable = before) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return before(self, *arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Loop, name, interrupted)
            assert command(capsys, "train", text, *tiny_options(run)).code == 75
    assert command(capsys, "train", text, *tiny_options(run)).code == 0
    assert_same_run(run, finished_run)


def test_handlers_are_put_back(text: Path, tmp_path: Path, capsys: Any) -> None:
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    assert command(capsys, "train", text, *tiny_options(tmp_path / "run", updates=3)).code == 0
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


# What is left out of the saved state is missed: the test of the five-part comparison.


def _part(*names: str) -> Callable[[Any, Any, Checkpoint], Checkpoint]:
    def drop(initial: Any, _: Any, saved: Checkpoint) -> Checkpoint:
        return saved._replace(state=saved.state._replace(**{name: getattr(initial, name) for name in names}))

    return drop


def _first_moment(initial: Any, _: Any, saved: Checkpoint) -> Checkpoint:
    moved = jax.tree.map(
        lambda new, old: old if getattr(old, "ndim", 0) else new, saved.state.optimizer_state, initial.optimizer_state
    )
    return saved._replace(state=saved.state._replace(optimizer_state=moved))


def _log_position(name: str) -> Callable[[Any, Any, Checkpoint], Checkpoint]:
    def drop(_: Any, __: Any, saved: Checkpoint) -> Checkpoint:
        files = {k: v for k, v in saved.metadata["files"].items() if k != name}
        return saved._replace(metadata=saved.metadata | {"files": files})

    return drop


def _twice_as_large(values: TracedValues) -> TracedValues:
    return values._replace(hyperparameters=jax.tree.map(lambda x: x * 2, values.hyperparameters))


ABLATIONS = {
    "nothing": lambda _, __, saved: saved,
    "parameters": _part("params"),
    "optimizer state": _part("optimizer_state"),
    "optimizer accumulators": _first_moment,
    "carry": _part("carry"),
    "window": _part("window"),
    "epoch": _part("epoch"),
    "seed": lambda _, __, saved: saved._replace(state=saved.state._replace(seed=jax.random.key(0))),
    "update": _part("update"),
    "hyperparameters": lambda _, __, saved: saved._replace(
        state=saved.state._replace(values=_twice_as_large(saved.state.values))
    ),
    "smoothed loss": _part("smooth_loss"),
    "losses of the epoch so far": _part("epoch_loss_sum"),
    "validations so far": _part("early_stopping"),
    "position in the log": _log_position("metrics.jsonl"),
    "position in the samples": _log_position("samples.txt"),
}


@pytest.fixture(scope="module")
def initial(half_run: Path) -> Any:
    """The state of that run before its first update."""
    return Trainer.of([make_job(open_run(half_run).config)]).initial_state()


@pytest.mark.parametrize("part", ABLATIONS)
def test_what_is_not_restored_is_noticed(
    part: str, half: Path, finished_run: Path, text: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, initial: Any
) -> None:
    load = checkpoints.load_checkpoint

    def ablated(directory: Path, update: int, readers: Any) -> Checkpoint:
        mine = jax.tree.map(lambda leaf: leaf.copy() if isinstance(leaf, jax.Array) else leaf, initial)  # given away
        return ABLATIONS[part](mine, readers, load(directory, update, readers))

    monkeypatch.setattr(checkpoints, "load_checkpoint", ablated)
    answer = command(capsys, "train", text, *tiny_options(half))
    monkeypatch.undo()
    if part == "nothing":
        assert answer.code == 0, answer.err
        assert_same_run(half, finished_run)
        return
    with pytest.raises(AssertionError):
        assert answer.code == 0
        assert_same_run(half, finished_run)


def test_a_best_that_is_not_restored_is_noticed(
    text: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rate so high that the first update stays the best.
    options = {"learning_rate": 3, "decay_rate": 1, "updates": 8, "checkpoint_every": 4, "sample_every": 0}
    run = tmp_path / "run"
    assert command(capsys, "train", text, *tiny_options(run, **options)).code == 0
    readers, directory = readers_of(run), run / "checkpoints"
    assert int(checkpoints.load_checkpoint(directory, 8, readers).state.best_update) < 4
    initial = Trainer.of([make_job(open_run(run).config)]).initial_state()
    load = checkpoints.load_checkpoint
    for part in ("nothing", "best_params", "best_smooth_loss", "best_update"):
        again = Path(shutil.copytree(run, tmp_path / part))
        shutil.rmtree(again / "checkpoints" / "update_0000000008")
        drop = ABLATIONS["nothing"] if part == "nothing" else _part(part)
        with monkeypatch.context() as patch:
            patch.setattr(checkpoints, "load_checkpoint", lambda *of, drop=drop: drop(initial, None, load(*of)))
            assert command(capsys, "resume", again).code == 0
        if part == "nothing":
            assert_same_run(again, run)
            continue
        with pytest.raises(AssertionError, match="best"):
            assert_same_run(again, run)


def test_updates_that_were_left_out_are_counted_over_a_restart(
    text: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rate that makes the parameters large but not infinite: ten updates that are not finite in a row end the run.
    bad = {"learning_rate": 1e37, "optimizer": "sgd", "clip_value": 0, "init_scale": 1, "checkpoint_every": 100}
    bad |= {"log_every": 1, "validation_fraction": 0, "sample_every": 0}
    answer = command(capsys, "train", text, *tiny_options(tmp_path / "whole", **bad))
    assert_refused(answer, 5, "not finite for 10 updates", "--learning-rate")
    last = rows_of(tmp_path / "whole")[-1]["update"]
    before = Loop._save

    def save(self: Any, final: bool = False) -> None:
        before(self, final)
        if self.updates[0] == last - 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_save", save)
        cut = tiny_options(tmp_path / "cut", **bad | {"checkpoint_every": last - 4})
        assert command(capsys, "train", text, *cut).code == 75
    assert_refused(command(capsys, "resume", tmp_path / "cut"), 5, "not finite for 10 updates")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    last_line = (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last_line)["train/loss_nats"] == "inf"  # what JSON has no number for


# What may change, and what not.


def test_the_same_command_after_the_end_says_so(finished_run: Path, text: Path, tmp_path: Path, capsys: Any) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    before = five_parts(run)
    for arguments in (["train", str(text), *tiny_options(run)], ["resume", str(run)]):
        answer = command(capsys, *arguments)
        assert answer.code == 0 and "already finished at update 120" in answer.out and answer.err == ""
        assert five_parts(run) == before


def test_totals_and_intervals_may_change(half: Path, text: Path, tmp_path: Path, capsys: Any) -> None:
    answer = command(
        capsys, "resume", half, "--updates", 130, "--log-every", 7, "--sample-every", 50, "--checkpoint-every", 13
    )
    assert answer.code == 0 and "resumed at update 60" in answer.out, answer
    assert checkpoint_updates(half / "checkpoints") == [117, 130]
    validated = range(open_run(half).windows_per_epoch, 131, open_run(half).windows_per_epoch)
    assert [row["update"] for row in rows_of(half)] == sorted(
        {*expected_rows(60, 10), *(u for u in expected_rows(130, 7) if u > 60), *validated}
    )
    assert command(capsys, "train", text, *tiny_options(tmp_path / "straight", updates=130)).code == 0
    one, other = five_parts(half), five_parts(tmp_path / "straight")
    assert (one["state"], one["best"]) == (other["state"], other["best"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"hidden": 9}, ["--hidden", "8", "9"]),
        ({"seed": 4, "learning_rate": 0.5}, ["2 differ", "--seed", "--learning-rate", "0.02", "0.5"]),
        ({"optimizer": "adagrad"}, ["--optimizer", "adam", "adagrad"]),
        ({"dtype": "float64"}, ["--dtype", "float32", "float64"]),
        ({"bptt_length": 6}, ["--bptt-length"]),
        ({"validation_fraction": 0.2}, ["--validation-fraction"]),
    ],
)
def test_other_settings_are_refused_with_a_table(
    half: Path, text: Path, capsys: Any, changed: dict[str, Any], said: list[str]
) -> None:
    before = tree(half)
    answer = command(capsys, "train", text, *tiny_options(half, **changed))
    assert_refused(answer, 2, "other settings", "--run", "May change", *said)
    assert len(answer.err.splitlines()) == 1 + len(changed)
    assert tree(half) == before


def test_a_smaller_total_is_refused_and_changes_nothing(half: Path, capsys: Any) -> None:
    before = tree(half)
    assert_refused(command(capsys, "resume", half, "--updates", 50), 2, "60", "50", "more --updates or --epochs")
    assert tree(half) == before
    assert command(capsys, "resume", half).code == 0


@pytest.mark.parametrize("option", ["--hidden", "--seed", "--cell", "--learning-rate", "--run"])
def test_resume_has_no_other_options(half: Path, capsys: Any, option: str) -> None:
    before = tree(half)
    assert_refused(command(capsys, "resume", half, option, "3"), 2, option)
    assert tree(half) == before


def test_resume_of_what_is_no_run_is_refused(tmp_path: Path, capsys: Any) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        assert_refused(command(capsys, "resume", path), 2, "no run", "config.json")
    assert os.listdir(tmp_path) == []


def test_another_environment_warns_and_is_recorded(half: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads((half / "config.json").read_text())
    config["environment"]["versions"]["jaxlib"] = "0.0.1"
    (half / "config.json").write_text(json.dumps(config))
    answer = command(capsys, "resume", half)
    assert answer.code == 0
    assert "jaxrnn: warning: bit-exactness ends at update 60: jaxlib 0.0.1 -> " in answer.err
    record = json.loads((half / "config.json").read_text())
    assert record["environment_changes"][0]["update"] == 60
    assert command(capsys, "resume", half).err == ""


def test_float64_goes_on_to_the_last_bit(text: Path, tmp_path: Path, capsys: Any) -> None:
    options = {"dtype": "float64", "updates": 12, "checkpoint_every": 6}
    assert command(capsys, "train", text, *tiny_options(tmp_path / "whole", **options)).code == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints" / "update_0000000012")
    answer = command(capsys, "resume", tmp_path / "cut")
    assert answer.code == 0 and "resumed at update 6" in answer.out
    assert_same_run(tmp_path / "cut", tmp_path / "whole")
    leaves = jax.tree.leaves(open_run(tmp_path / "cut").params())
    assert {leaf.dtype for leaf in leaves} == {np.dtype(np.float64)}


FIXTURES = Path(__file__).parents[1] / "fixtures"


def format_of(run: Path, update: int) -> int:
    """That of a checkpoint, read without the library."""
    path = run / "checkpoints" / f"update_{update:010d}" / "_CHECKPOINT_METADATA"
    return json.loads(path.read_bytes())["custom_metadata"]["format"]


def test_a_run_of_format_1_goes_on_in_todays_and_is_resumed_again(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FIXTURES.parents[1])  # where its text is found
    halves, straight = (Path(shutil.copytree(FIXTURES / "text_one_device", tmp_path / name)) for name in "ab")
    assert format_of(halves, 10) == 1
    assert command(capsys, "resume", straight, "--updates", 20).code == 0
    answer = command(capsys, "resume", halves, "--updates", 16)
    assert answer.code == 0 and "resumed at update 10" in answer.out, answer
    assert [format_of(halves, update) for update in checkpoint_updates(halves / "checkpoints")] == [3, 3]
    answer = command(capsys, "resume", halves, "--updates", 20)
    assert answer.code == 0 and "resumed at update 16" in answer.out and answer.err == "", answer
    assert_same_run(halves, straight)


def test_a_damaged_checkpoint_of_todays_format_falls_back_to_one_of_format_1(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(FIXTURES.parents[1])
    run, straight = (Path(shutil.copytree(FIXTURES / "text_one_device", tmp_path / name)) for name in "ab")
    for path, updates in ((run, 14), (straight, 20)):
        assert command(capsys, "resume", path, "--updates", updates, "--checkpoint-every", 100).code == 0
    assert [format_of(run, update) for update in checkpoint_updates(run / "checkpoints")] == [1, 3]
    (run / "checkpoints" / "update_0000000014" / "state" / "_METADATA").write_bytes(b"")
    answer = command(capsys, "resume", run, "--updates", 20)
    assert answer.code == 0 and "resumed at update 10" in answer.out, answer
    assert "older checkpoint of update 10" in answer.err
    assert_same_run(run, straight)


# Faults of the run directory.


def test_foreign_files_are_not_written_over(text: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("thesis.doc", "vocabulary.json", ".hidden", "metrics.jsonl"):
        directory = tmp_path / name.strip(".")
        directory.mkdir()
        (directory / name).write_bytes(b"mine")
        assert_refused(command(capsys, "train", text, *tiny_options(directory)), 2, name, "--run", "empty")
        assert {k: v[0] for k, v in tree(directory).items()} == {name: 4}


def test_a_start_that_was_killed_before_the_record_was_written_goes_on(
    text: Path, tmp_path: Path, capsys: Any, finished_run: Path
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("lock", "owner.json", ".write-test-77", ".config.json.77", ".vocabulary.json.abcd_123"):
        (run / name).write_bytes(b"")
    shutil.copy(finished_run / "vocabulary.json", run)
    assert command(capsys, "train", text, *tiny_options(run)).code == 0
    assert not [name for name in os.listdir(run) if name.startswith(".")]
    assert_same_run(run, finished_run)


def test_rows_after_the_last_checkpoint_and_torn_ones_are_cut(
    half: Path, text: Path, capsys: Any, finished_run: Path
) -> None:
    for name in ("metrics.jsonl", "samples.txt"):
        with open(half / name, "ab") as file:
            file.write(b'{"update": 70, "epoch": 1}\n{"upda')
    assert command(capsys, "resume", half).code == 0
    assert_same_run(half, finished_run)


def test_without_a_checkpoint_the_log_is_begun_anew(half: Path, capsys: Any, finished_run: Path) -> None:
    """The directory of checkpoints is there from the first row on: as a kill leaves it, and as no kill does."""
    shutil.rmtree(half / "checkpoints")
    assert_refused(command(capsys, "resume", half), 4, f"{half / 'checkpoints'} is missing", "from a copy")
    assert rows_of(half)
    (half / "checkpoints").mkdir()
    assert command(capsys, "resume", half).code == 0
    assert_same_run(half, finished_run)


@pytest.mark.parametrize("change", ["changed", "cut", "missing"])
def test_a_log_that_was_changed_is_refused(half: Path, capsys: Any, change: str) -> None:
    path = half / "metrics.jsonl"
    content = path.read_bytes()
    path.unlink() if change == "missing" else path.write_bytes(
        content[:-9] if change == "cut" else content.replace(b"1", b"2", 1)
    )
    assert_refused(command(capsys, "resume", half), 4, "metrics.jsonl", "changed since the checkpoint", "restore")


def test_a_damaged_newest_checkpoint_falls_back_and_says_so(half: Path, capsys: Any, finished_run: Path) -> None:
    (half / "checkpoints" / "update_0000000060" / "state" / "_METADATA").write_bytes(b"")
    answer = command(capsys, "resume", half)
    assert answer.code == 0 and "resumed at update 40" in answer.out
    lines = answer.err.splitlines()
    assert len(lines) == 2 and all(line.startswith("jaxrnn: warning: ") for line in lines), lines
    assert "update 60" in lines[0] and "older checkpoint of update 40" in lines[1]
    assert_same_run(half, finished_run)


def test_nothing_but_damaged_checkpoints_is_refused_in_few_lines(half: Path, capsys: Any) -> None:
    for update in (40, 60):
        (half / "checkpoints" / f"update_{update:010d}" / "state" / "manifest.ocdbt").write_bytes(b"?")
    before = tree(half / "checkpoints")
    answer = command(capsys, "resume", half)
    assert_refused(answer, 4, "none of the 2 checkpoints", "update 40", "update 60", "restore")
    assert tree(half / "checkpoints") == before
    assert_refused(command(capsys, "sample", half), 4, "none of the 2 checkpoints")


def test_not_a_number_in_every_checkpoint_is_refused_by_name(half: Path, capsys: Any) -> None:
    readers, directory = readers_of(half), half / "checkpoints"
    saved = [checkpoints.load_checkpoint(directory, update, readers) for update in (40, 60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_leaves, "has_nan", lambda *_: False)
        for checkpoint in saved:
            params = jax.tree.map(lambda x: x.at[(0,) * x.ndim].set(np.nan), checkpoint.state.params)
            state = checkpoint.state._replace(params=params, best_params=params)
            extra = {name: checkpoint.metadata[name] for name in ("files", "config", "data")}
            save_checkpoint(
                directory, state, checkpoint.metadata["update"], extra, formats.format_of(state), formats.MAY_BE_NAN
            )
    for arguments in (["resume", half], ["sample", half, "--checkpoint", "latest"]):
        assert_refused(command(capsys, *arguments), 4, "params.", "not a number")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 1, "config": {}}', '{"format": 1, "config": 3}'])
def test_a_damaged_record_is_refused(half: Path, capsys: Any, content: str) -> None:
    (half / "config.json").write_text(content)
    before = tree(half)
    for name in ("resume", "sample", "plot"):
        assert_refused(command(capsys, name, half), 4, "config.json")
    assert tree(half) == before


@pytest.mark.parametrize("changed", [{"hidden": "8"}, {"optimizer": "none"}, {"updates": -1}])
def test_a_damaged_setting_is_one_of_the_file(half: Path, capsys: Any, changed: dict[str, Any]) -> None:
    record = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(record | {"config": record["config"] | changed}))
    for command_line in (["resume", half], ["sample", half], ["train", half, "--run", half]):
        answer = command(capsys, *command_line)
        assert_refused(answer, 4, "config.json: --", "restore it from a copy")
        assert len(answer.err.splitlines()) == 1


def test_a_record_of_another_version_is_refused(half: Path, capsys: Any) -> None:
    record = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps(record | {"format": 7}))
    assert_refused(command(capsys, "resume", half), 4, "format 7", "reads 1")
    record["config"]["a_new_option"] = 3
    (half / "config.json").write_text(json.dumps(record))
    assert_refused(command(capsys, "resume", half), 2, "a_new_option", "jaxrnn that wrote it")


def test_a_checkpoint_of_another_run_is_refused_with_a_table(
    half: Path, text: Path, tmp_path: Path, capsys: Any
) -> None:
    other = tmp_path / "other"
    assert command(capsys, "train", text, *tiny_options(other, seed=9, updates=70, learning_rate=0.5)).code == 0
    shutil.copytree(other / "checkpoints" / "update_0000000070", half / "checkpoints" / "update_0000000070")
    answer = command(capsys, "resume", half)
    assert_refused(answer, 4, "other settings", "seed", "9", "learning_rate", "0.5", "0.02")


def test_another_text_or_vocabulary_is_refused(half: Path, text: Path, tmp_path: Path, capsys: Any) -> None:
    changed = tmp_path / "changed.txt"
    content = text.read_text()
    before = tree(half)
    for new in (content + "x", content.replace("t", "~"), content.swapcase()):
        changed.write_text(new)
        record = json.loads((half / "config.json").read_text())
        record["config"]["text"] = str(changed)
        (half / "config.json").write_text(json.dumps(record))
        answer = command(capsys, "resume", half)
        assert_refused(answer, 4, "not the data this run was begun with", "--run")
    assert {k: v for k, v in tree(half).items() if k != "config.json"} == {
        k: v for k, v in before.items() if k != "config.json"
    }


def test_a_text_that_has_shrunk_is_another_one_and_no_size_is_too_large(
    half: Path, text: Path, tmp_path: Path, capsys: Any
) -> None:
    """It was said that the batch, or the window, is too large for it; and of `train` that its settings are others."""
    shrunk = tmp_path / "shrunk.txt"
    shrunk.write_text(text.read_text()[:12])
    record = json.loads((half / "config.json").read_text())
    record["config"]["text"] = str(shrunk)
    (half / "config.json").write_text(json.dumps(record))
    said = f"shrunk.txt is not the data this run was begun with: 12 characters, then {len(text.read_text())}, and"
    assert_refused(command(capsys, "resume", half), 4, said, "give that back")
    again = [part for part in tiny_options(half) if part not in ("--batch-size", "2")]  # which nobody asked for
    assert_refused(command(capsys, "train", shrunk, *again), 4, said)


def test_permuted_symbols_are_refused(half: Path, capsys: Any) -> None:
    vocabulary = json.loads((half / "vocabulary.json").read_text())
    symbols = vocabulary["symbols"]
    symbols[2], symbols[3] = symbols[3], symbols[2]
    (half / "vocabulary.json").write_text(json.dumps(vocabulary))
    assert_refused(command(capsys, "resume", half), 4, "sorted")
    vocabulary["symbols"] = sorted({*symbols, "\x1b"} - {"a"})
    (half / "vocabulary.json").write_text(json.dumps(vocabulary))
    assert_refused(command(capsys, "resume", half), 4, "U+0061", "U+001B")


# Storage.


def test_a_full_disk_is_warned_of_three_times_and_then_stops(
    half: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, finished_run: Path
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(AppendLog, "_write", full)
        answer = command(capsys, "resume", half, "--checkpoint-every", 20)
    lines = answer.err.splitlines()
    assert answer.code == 6
    assert [line.split(":")[1] for line in lines] == [" warning", " warning", " error"], answer.err
    assert "No space left" in lines[-1] and "free some space" in lines[-1]
    assert checkpoint_updates(half / "checkpoints") == [40, 60]
    assert command(capsys, "resume", half).code == 0
    assert_same_run(half, finished_run)


def test_after_space_is_freed_training_has_lost_nothing(
    half: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, finished_run: Path
) -> None:
    write, calls = AppendLog._write, iter(range(10**6))

    def full_for_a_while(self: AppendLog) -> None:
        if 1 < next(calls) < 6 and self._waiting:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self)

    monkeypatch.setattr(AppendLog, "_write", full_for_a_while)
    answer = command(capsys, "resume", half, "--checkpoint-every", 20)
    assert answer.code == 0 and "warning" in answer.err, answer
    assert_same_run(half, finished_run)


@pytest.mark.parametrize(
    ("failing", "code", "told"),
    [
        ({70, 80, 100, 110}, 0, [2, 1, 2, 1]),  # a save that succeeds begins the count anew
        ({120}, 6, [2]),  # and once more at the end, where nothing else would try again
    ],
)
def test_a_failed_save_is_tolerated_until_it_is_the_third_or_the_last(
    half: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
    finished_run: Path,
    failing: set[int],
    code: int,
    told: Any,
) -> None:
    save, tried = RunFiles.save, []

    def fails(self: Any, state: Any, *keep: Any) -> None:
        tried.append(int(state.update))
        if tried[-1] in failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        save(self, state)

    with monkeypatch.context() as patch:
        patch.setattr(RunFiles, "save", fails)
        answer = command(capsys, "resume", half, "--checkpoint-every", 10)
    warnings = [f"training goes on, {left} more failures stop it" for left in told]
    lines = answer.err.splitlines()
    assert answer.code == code and len(lines) == len(told) + (code > 0), answer
    assert all("Input/output error" in line for line in lines)
    assert [line.split("; ")[1] for line in lines[: len(told)]] == warnings
    assert tried == [*range(70, 121, 10), *([120] if code else [])]
    if code:
        assert checkpoint_updates(half / "checkpoints") == [100, 110]
        assert command(capsys, "resume", half).code == 0
    assert_same_run(half, finished_run)


LIMITED = (
    """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
"""
    + MAIN
)


def test_a_limit_on_file_size_stops_with_the_code_of_storage(half: Path, capsys: Any, finished_run: Path) -> None:
    began = time.monotonic()
    answer = call("resume", half, code=LIMITED, env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"})
    assert answer.code == 6 and time.monotonic() - began < 40, answer
    assert "Traceback" not in answer.err and "jaxrnn: error: " in answer.err.splitlines()[-1], answer.err
    assert command(capsys, "resume", half).code == 0
    assert_same_run(half, finished_run)


def test_a_directory_that_vanishes_stops_the_run_and_is_not_made_again(
    half: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Loop._save

    def save(self: Any, final: bool = False) -> None:
        if self.updates[0] == 80 and half.exists():
            shutil.rmtree(half)
        before(self, final)

    monkeypatch.setattr(Loop, "_save", save)
    answer = command(capsys, "resume", half, "--checkpoint-every", 20)
    assert answer.code == 6 and answer.err.splitlines()[-1].startswith("jaxrnn: error: "), answer
    assert not half.exists()


def test_a_directory_that_cannot_be_written_is_refused(
    text: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    assert_refused(command(capsys, "train", text, *tiny_options(tmp_path / "file")), 2, "not a directory")
    answer = command(capsys, "train", text, *tiny_options(tmp_path / "file" / "run"))
    assert_refused(answer, 6, "cannot be written", "--run")

    def read_only(self: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))

    for target, name in ((Path, "mkdir"), (run_directory, "open_new")):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, read_only)
            answer = command(capsys, "train", text, *tiny_options(tmp_path / "new"))
        assert_refused(answer, 6, "Read-only file system", "--run")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_both_logs_are_on_disk_before_a_checkpoint_gets_its_name(
    half: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # P10: a checkpoint that outlives a power cut must not know of rows that do not.
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(old: Any, new: Any, **options: Any) -> None:
        events.append(os.path.basename(new))
        rename(old, new, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", synced)
        patch.setattr(os, "rename", renamed)
        assert command(capsys, "resume", half, "--updates", 70, "--checkpoint-every", 5).code == 0
    first, second = events.index("update_0000000065"), events.index("update_0000000070")
    for before in (events[:first], events[first:second]):
        assert {"metrics.jsonl", "samples.txt"} <= set(before)


# Two processes.


def test_a_second_process_is_refused_and_names_the_first(half: Path, text: Path, capsys: Any) -> None:
    with RunDirectory(half).lock():
        before = tree(half)
        answer = call("train", text, *tiny_options(half))
        assert_refused(answer, 2, f"process {os.getpid()}", "another process trains in", "--run")
        assert tree(half) == before
        assert command(capsys, "sample", half, "--length", 5).code == 0
    assert command(capsys, "resume", half).code == 0


def test_the_lock_of_a_dead_process_is_no_hindrance(half: Path, capsys: Any, finished_run: Path) -> None:
    code = (
        "import os, sys; from jaxrnn.storage.run_directory import RunDirectory\n"
        "with RunDirectory(sys.argv[1]).lock(): os._exit(9)"
    )
    assert call(half, code=code).code == 9
    assert (half / "owner.json").exists()
    assert command(capsys, "resume", half).code == 0
    assert not (half / "owner.json").exists()
    assert_same_run(half, finished_run)


@pytest.mark.slow  # `test_closed_streams.py` has one that is closed from the start
def test_a_closed_output_does_not_end_the_run(text: Path, tmp_path: Path, finished_run: Path) -> None:
    run = tmp_path / "run"
    process = start(["train", str(text), *tiny_options(run)])
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    process.stdout = None
    answer = finish(process)
    assert answer.code == 0 and "Traceback" not in (answer.err or ""), answer
    assert_same_run(run, finished_run)


def test_a_run_of_a_relative_path_is_resumed_from_another_folder(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    shutil.copy(text, tmp_path / "here" / "book.txt")
    monkeypatch.chdir(tmp_path / "here")
    assert exit_code_of(app, ["train", "book.txt", *tiny_options(tmp_path / "run", updates=20)]) == 0
    monkeypatch.chdir(tmp_path / "there")
    assert exit_code_of(app, ["resume", str(tmp_path / "run"), "--updates", "30"]) == 0
    assert checkpoint_updates(tmp_path / "run" / "checkpoints")[-1] == 30
