"""Populations that were stopped, killed or damaged against the one that never was: the same bits, halving included."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.errors import CheckpointError, StorageError
from jaxrnn.storage.checkpoint import checkpoint_updates
from jaxrnn.storage.small_files import read_json
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.trained.run import open_run
from jaxrnn.training.loop import Loop
from jaxrnn.training.member_runs import MemberResult
from jaxrnn.training.report import Report
from jaxrnn.training.rounds import Rounds
from jaxrnn.training.run_files import RunFiles
from jaxrnn.training.trainer import Trainer
from tests.training.populations import WINDOWS, assert_same_run, damage, places, text_members, text_of, trained

pytestmark = pytest.mark.usefixtures("shared_programs")

EPOCHS = 4


class Halved(NamedTuple):
    """Three members, saved at each epoch, of which successive halving stops one after the second."""

    configs: list[TrainConfig]
    root: Path
    results: list[MemberResult]
    stopped: dict[int, Path]


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Halved:
    """Trained to the end, and again until it was asked to stop after the second and after the third epoch."""
    root = tmp_path_factory.mktemp("halved")
    configs = text_members(text_of(root), epochs=EPOCHS, checkpoint_every=str(WINDOWS))[:3]
    results = trained(configs, root / "whole", halving=True)
    assert results is not None
    stopped = {}
    for epoch in (2, 3):
        stopped[epoch] = root / f"stopped {epoch}"
        if epoch == 3:
            shutil.copytree(stopped[2], stopped[3])
        assert trained_until(configs, stopped[epoch], epoch * WINDOWS) is None
    return Halved(configs, root / "whole", results, stopped)


def trained_until(configs: list[TrainConfig], root: Path, update: int) -> Any:
    stop = StopRequest()

    def ask(loop: Loop, told: Report) -> None:
        if told.update == update:
            stop.reason = "stopped"

    return trained(configs, root, halving=True, stop=stop, report=ask)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The updates at which members were begun with, call by call."""
    calls, begin = list[list[int]](), Trainer.begin

    def noting(self: Trainer, states: Any = None) -> None:
        calls.append([-1 if state is None else int(state.update) for state in states])
        begin(self, states)

    monkeypatch.setattr(Trainer, "begin", noting)
    return calls


def assert_ends_as_never_stopped(halved: Halved, root: Path) -> None:
    assert repr(trained(halved.configs, root, halving=True)) == repr(halved.results)
    for member, expected in zip(places(root, 3), places(halved.root, 3), strict=True):
        assert_same_run(member, expected)
    assert read_json(root / "rounds.json") == read_json(halved.root / "rounds.json")


def test_halving_stops_the_worse_ones(halved: Halved) -> None:
    ends = [(result.end, result.epochs) for result in halved.results]
    assert sorted(ends) == [("finished", 4)] * 2 + [("stopped", 2)]
    at_2 = [float(open_run(run).state.early_stopping.losses[-1]) for run in places(halved.stopped[2], 3)]
    best_at_2 = [float(open_run(run).state.early_stopping.best) for run in places(halved.stopped[2], 3)]
    assert {n for n, end in enumerate(ends) if end[1] == 2} == {max(range(3), key=best_at_2.__getitem__)}
    assert all(low <= last for low, last in zip(best_at_2, at_2, strict=True))


def test_what_was_stopped_is_saved_and_goes_on(halved: Halved, tmp_path: Path, begun: list[list[int]]) -> None:
    noted = read_json(halved.stopped[3] / "rounds.json")
    out = [number for number, result in enumerate(halved.results) if result.epochs == 2]
    expected = [30 if number in out else 45 for number in range(3)]
    assert list(noted["updates"].values()) == expected
    assert noted["stopped"] == {f"m{number}": 30 for number in out}
    for run, update in zip(places(halved.stopped[3], 3), expected, strict=True):
        assert checkpoint_updates(run / "checkpoints")[-1] == update
    shutil.copytree(halved.stopped[3], tmp_path / "run")
    assert_ends_as_never_stopped(halved, tmp_path / "run")
    assert begun == [expected]


# ---- killed ----


class Killed(BaseException):
    """Stands for a kill: nothing below catches it."""


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int, int], None]], None]:
    """Makes a function be called with member and update before each save."""
    save = RunFiles.save

    def before(what: Callable[[int, int], None]) -> None:
        def first(self: RunFiles, state: Any, keep: int | None = None) -> None:
            what(int(self.directory.path.name[1:]), int(state.update))
            save(self, state, keep)

        monkeypatch.setattr(RunFiles, "save", first)

    return before


@pytest.mark.parametrize(("at", "goes_on"), [(15, -1), (30, 15)])
def test_after_a_kill_between_two_saves_all_go_back_to_the_last_round(
    halved: Halved, tmp_path: Path, begun: list[list[int]], saving: Any, at: int, goes_on: int
) -> None:
    """The first round of all, and the one in which one was stopped: some are saved, one is not."""

    def kill(member: int, update: int) -> None:
        if (member, update) == (2, at):
            raise Killed

    saving(kill)
    with pytest.raises(Killed):
        trained(halved.configs, tmp_path, halving=True)
    newest = [checkpoint_updates(run / "checkpoints")[-1:] for run in places(tmp_path, 3)]
    assert newest[:2] == [[at], [at]] and [at] not in newest[2:]
    saving(lambda member, update: None)
    assert trained_until(halved.configs, tmp_path, 30) is None
    for member, expected in zip(places(tmp_path, 3), places(halved.stopped[2], 3), strict=True):
        assert_same_run(member, expected)
    assert read_json(tmp_path / "rounds.json") == read_json(halved.stopped[2] / "rounds.json")
    assert begun == [[-1] * 3, [goes_on] * 3]


def test_saves_that_fail_are_tried_again_and_the_last_round_is_kept(
    halved: Halved, tmp_path: Path, begun: list[list[int]], saving: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Members 0 and 1 are saved three times more than the others: their older checkpoint has to be there."""
    full = [30, 45, 60]

    def fail(member: int, update: int) -> None:
        if member == 2 and update in full:
            raise StorageError("no space is left")

    saving(fail)
    with pytest.raises(StorageError, match="no space is left"):
        trained(halved.configs, tmp_path, halving=True)
    assert capsys.readouterr().err.splitlines() == [
        f"jaxrnn: warning: no space is left; training goes on, {left} more failures stop it" for left in (2, 1)
    ]
    assert set(read_json(tmp_path / "rounds.json")["updates"].values()) == {15}
    full.clear()
    assert_ends_as_never_stopped(halved, tmp_path)
    assert begun == [[-1] * 3, [15] * 3]


def test_one_failed_save_is_tolerated(halved: Halved, tmp_path: Path, saving: Any) -> None:
    late = max(number for number, result in enumerate(halved.results) if result.epochs == 2)
    faults, seen = {(1, 15), (late, 30)}, []

    def fail(member: int, update: int) -> None:
        seen.append((member, update))
        if (member, update) in faults:
            faults.remove((member, update))
            raise StorageError("no space is left")

    saving(fail)
    assert_ends_as_never_stopped(halved, tmp_path)
    assert not faults and seen.count((late, 30)) == 2  # what was stopped is saved with the round after its last update


# ---- damaged ----


@pytest.mark.parametrize(("epoch", "which"), [(2, "stopped"), (2, "running"), (3, "stopped")])
def test_a_member_whose_newest_checkpoint_is_damaged_catches_up(
    halved: Halved, tmp_path: Path, begun: list[list[int]], capsys: pytest.CaptureFixture[str], epoch: int, which: str
) -> None:
    """Halving of the second epoch then comes late for it: just now for the others, or an epoch ago."""
    root = tmp_path / "run"
    shutil.copytree(halved.stopped[epoch], root)
    member = next(n for n, result in enumerate(halved.results) if (result.epochs == 2) == (which == "stopped"))
    before = list(read_json(root / "rounds.json")["updates"].values())
    assert damage(places(root, 3)[member]) == before[member]
    moved = []

    def look(loop: Loop, told: Report) -> None:
        moved.append((told.members, loop.updates.tolist()))

    assert repr(trained(halved.configs, root, halving=True, report=look)) == repr(halved.results)
    assert begun == [[15 if number == member else update for number, update in enumerate(before)]]
    assert moved[0] == ([member], before)  # the others waited
    assert_ends_as_never_stopped(halved, root)
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2 and all(line.startswith(f"jaxrnn: warning: m{member}: ") for line in warnings)
    assert "checkpoint of update 30" in warnings[0] and "the older checkpoint of update 15" in warnings[1]


def test_a_member_without_its_checkpoints_begins_anew_and_says_so(
    halved: Halved, tmp_path: Path, begun: list[list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    shutil.copytree(halved.stopped[2], root)
    shutil.rmtree(places(root, 3)[1] / "checkpoints")
    assert_ends_as_never_stopped(halved, root)
    assert begun == [[30, -1, 30]]
    assert "m1: no checkpoint up to update 30 is there; training starts at update 0" in capsys.readouterr().err


def test_members_of_which_no_round_is_known_go_on_from_what_they_have(
    halved: Halved, tmp_path: Path, begun: list[list[int]]
) -> None:
    """As runs that an older version left, or that were trained alone."""
    root = tmp_path / "run"
    shutil.copytree(halved.stopped[2], root)
    (root / "rounds.json").unlink()
    assert_ends_as_never_stopped(halved, root)
    assert begun == [[30] * 3]


def test_a_member_of_which_nothing_can_be_read_stops_all(halved: Halved, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(halved.stopped[2], root)
    damage(places(root, 3)[1])
    shutil.rmtree(places(root, 3)[1] / "checkpoints" / "update_0000000015")
    with pytest.raises(CheckpointError, match="m1/checkpoints can be used"):
        trained(halved.configs, root, halving=True)


@pytest.mark.parametrize("content", ["[]", '{"m0": 3}', '{"updates": {"m0": "x"}, "stopped": {}}', "{"])
def test_damaged_rounds_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "rounds.json").write_text(content)
    with pytest.raises(CheckpointError, match="restore it from a copy"):
        Rounds(tmp_path / "rounds.json", ["m0", "m1"])


def test_rounds_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "rounds.json"
    Rounds(path, ["a", "b"]).note([4, 6], [0])
    Rounds(path, ["a", "b"]).note([5, 7], [1])
    other = Rounds(path, ["b", "c", "a"])
    assert (other.updates, other.stopped) == ({0: 7, 2: 5}, {0: 7, 2: 4})
