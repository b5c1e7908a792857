"""A directory of many runs: each trained once, recorded whole, gone on with; most tests let a stand-in train."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.lock import run_lock
from jaxrnn.storage.small_files import read_json
from jaxrnn.tasks import sequences
from jaxrnn.tasks.protocol import Score
from jaxrnn.trained.run import open_run
from jaxrnn.training import sweeps
from jaxrnn.training.loop import Loop, Report
from jaxrnn.training.member_runs import MemberResult
from jaxrnn.training.sweeps import Group, Row, Sweep, member_id

CONFIG = TrainConfig(
    task="xor",
    sequence_length=3,
    hidden=3,
    batch_size=2,
    init_scale=0.3,
    updates=4,
    log_every=2,
    checkpoint_every="2",
    validation_every=2,
    devices="1",
)


def changed(**values: Any) -> TrainConfig:
    return dataclasses.replace(CONFIG, **values)


# Two programs, whose members come mixed.
CONFIGS = [CONFIG, changed(hidden=4), changed(seed=1), changed(hidden=4, seed=1), changed(learning_rate=0.3)]
COLUMNS = ["name", "end", "updates", "test_loss", "test_accuracy"]
ROWS: list[Row] = [{"name": f"number {number}"} for number in range(5)]


def sweep(directory: Path, **record: Any) -> Sweep:
    return Sweep(directory, COLUMNS, {"devices": 1, "recipe": {"text": "a"}} | record)


def result_of(config: TrainConfig) -> MemberResult:
    test = Score(config.seed + config.hidden / 8, config.learning_rate, "told")
    return MemberResult("finished", 4, 0, 2, 0, math.nan, math.inf, 0.5, test, 0)


class Trained:
    """Stands for `train_members`: notes what it is given, and is stopped before some of its calls."""

    def __init__(self, stops_at: Sequence[int] = ()):
        self.calls: list[tuple[list[TrainConfig], list[str], Path]] = []
        self.stops_at = stops_at

    def __call__(
        self, configs: Sequence[TrainConfig], directories: Sequence[Path], rounds: Path, **_: Any
    ) -> list[MemberResult] | None:
        self.calls.append((list(configs), [path.name for path in directories], rounds))
        return None if len(self.calls) - 1 in self.stops_at else [result_of(config) for config in configs]

    @property
    def seen(self) -> list[list[TrainConfig]]:
        return [configs for configs, _, _ in self.calls]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Trained:
    trained = Trained()
    monkeypatch.setattr(sweeps, "train_members", trained)
    return trained


OURS, WIDER = [CONFIGS[0], CONFIGS[2], CONFIGS[4]], [CONFIGS[1], CONFIGS[3]]


def test_settings_are_grouped_into_programs_and_recorded_whole(tmp_path: Path, stand_in: Trained) -> None:
    done = sweep(tmp_path)
    assert done.train(CONFIGS, ROWS) is None
    assert stand_in.seen == [OURS, WIDER]
    for configs, names, rounds in stand_in.calls:
        assert names == [member_id(config) for config in configs] and rounds.parent == tmp_path / "rounds"
    assert len({rounds for _, _, rounds in stand_in.calls}) == 2
    assert [row["name"] for row in done.rows()] == [f"number {number}" for number in (0, 2, 4, 1, 3)]
    row = done.rows()[3]
    assert {name: row[name] for name in row if name not in ("train_loss", "seconds")} == {
        "member": member_id(CONFIGS[1]),
        "name": "number 1",
        "end": "finished",
        "updates": 4,
        "epochs": 0,
        "best_update": 2,
        "best_epoch": 0,
        "valid_loss": math.inf,
        "recent_accuracy": 0.5,
        "test_loss": 0.5,
        "test_accuracy": 0.1,
        "skipped": 0,
    }
    assert math.isnan(row["train_loss"]) and 0 <= row["seconds"] < 60
    with open(tmp_path / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [list(of) for of in table] == [COLUMNS] * 5
    assert table[3] == {
        "name": "number 1",
        "end": "finished",
        "updates": "4",
        "test_loss": "0.5",
        "test_accuracy": "0.1",
    }


def test_rows_of_settings_come_in_their_order(tmp_path: Path, stand_in: Trained) -> None:
    done = sweep(tmp_path)
    done.train(CONFIGS[:4], ROWS[:4])
    wanted = [CONFIGS[3], CONFIGS[4], CONFIGS[0], CONFIGS[3]]
    assert [row["name"] for row in done.rows_of(wanted)] == ["number 3", "number 0", "number 3"]


def test_what_is_done_is_not_trained_again_and_more_settings_are_added(tmp_path: Path, stand_in: Trained) -> None:
    assert sweep(tmp_path).train(CONFIGS[:2], ROWS[:2]) is None
    before = (tmp_path / "results.jsonl").read_bytes()
    assert sweep(tmp_path).train(CONFIGS, ROWS) is None
    assert stand_in.seen == [[CONFIGS[0]], [CONFIGS[1]], [CONFIGS[2], CONFIGS[4]], [CONFIGS[3]]]
    assert (tmp_path / "results.jsonl").read_bytes().startswith(before)
    assert sweep(tmp_path).train(CONFIGS) is None
    assert len(stand_in.calls) == 4 and len(sweep(tmp_path).rows()) == 5


def test_settings_given_twice_are_trained_once(tmp_path: Path, stand_in: Trained) -> None:
    assert sweep(tmp_path).train([CONFIG, changed(log_every=3), CONFIG], ROWS[:3]) is None
    assert len(stand_in.seen) == 1 and len(stand_in.seen[0]) == 1  # intervals of the host make no other member


def test_a_stop_between_two_programs_leaves_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = Trained(stops_at=[1])
    monkeypatch.setattr(sweeps, "train_members", trained)
    assert sweep(tmp_path).train(CONFIGS, ROWS) == "stopped"
    assert len(sweep(tmp_path).rows()) == 3
    assert sweep(tmp_path).train(CONFIGS, ROWS) is None
    assert trained.seen == [OURS, WIDER, WIDER]
    assert trained.calls[1] == trained.calls[2]  # in the same places, so that it goes on
    assert [row["member"] for row in sweep(tmp_path).rows()] == [member_id(config) for config in OURS + WIDER]


def test_a_torn_last_row_is_trained_again(tmp_path: Path, stand_in: Trained) -> None:
    done = sweep(tmp_path)
    done.train(CONFIGS[:1])
    whole = (tmp_path / "results.jsonl").read_text()
    (tmp_path / "results.jsonl").write_text(whole[:-5])
    assert done.train(CONFIGS[:1]) is None
    assert len(stand_in.calls) == 2 and len(done.rows()) == 1
    (tmp_path / "results.jsonl").write_text("{}}\n" + whole)
    with pytest.raises(CheckpointError, match="line 1 of"):
        done.train(CONFIGS[:1])


def test_the_settings_of_each_member_tell_it_from_all_others() -> None:
    names = [member_id(config) for config in CONFIGS]
    assert len({*names, member_id(changed(updates=5)), member_id(changed(dtype="float64"))}) == 7
    assert member_id(changed(checkpoint_every="9s", log_every=1)) == names[0]
    # Pinned: a setting that comes later must not make what is finished a stranger. Leave its default out of the digest.
    assert member_id(TrainConfig(seed=3, validation_fraction=0.1)) == "bc2c7ba38c50fd1b"
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_one_process_at_a_time(tmp_path: Path, stand_in: Trained) -> None:
    tmp_path.mkdir(exist_ok=True)
    with run_lock(tmp_path), pytest.raises(ConfigurationError, match="another process trains in"):
        sweep(tmp_path).train(CONFIGS)
    assert not stand_in.calls and not (tmp_path / "sweep.json").exists()
    assert sweep(tmp_path).train(CONFIGS) is None


def test_another_record_is_refused_by_what_differs(tmp_path: Path, stand_in: Trained) -> None:
    assert sweep(tmp_path).train(CONFIGS[:1]) is None
    kept = (tmp_path / "sweep.json").read_bytes()
    assert read_json(tmp_path / "sweep.json") == {"devices": 1, "recipe": {"text": "a"}}
    with pytest.raises(ConfigurationError, match="a sweep of another recipe; .*, or the same devices, text") as refused:
        sweep(tmp_path, devices=2, recipe={"text": "b"}).train(CONFIGS)
    assert refused.value.details == ("devices: there 1, asked 2", "text: there 'a', asked 'b'")
    assert (tmp_path / "sweep.json").read_bytes() == kept and len(stand_in.calls) == 1
    assert sweep(tmp_path).train(CONFIGS[:1]) is None


def test_devices_with_which_nothing_can_be_trained_are_not_recorded(tmp_path: Path, stand_in: Trained) -> None:
    with pytest.raises(ConfigurationError, match="--devices 3 cannot share --batch-size 2 evenly"):
        sweep(tmp_path, devices=3).train(CONFIGS[:1], devices=3)
    assert sweep(tmp_path).train(CONFIGS[:1], devices=1) is None
    assert sweep(tmp_path).train(CONFIGS[:1], devices=1) is None and len(stand_in.calls) == 1


def test_the_caller_is_told_of_each_program(tmp_path: Path, stand_in: Trained) -> None:
    told: list[Any] = []

    def own_row(row: Row, result: MemberResult, seconds: float) -> Row:
        return row | {"ended": result.end, "a_member": seconds >= 0}

    own = Sweep(tmp_path, ["name", "ended"], {}, "own.json", own_row)
    own.train(
        CONFIGS,
        ROWS,
        begin=lambda group: told.append(("begin", group.configs)),
        end=lambda group, results: told.append(("end", [row["name"] for row in group.rows], len(results))),
        prepare=lambda group, members: told.append(("prepare", members)),
    )
    assert told == [
        *[("prepare", tmp_path / "members"), ("begin", OURS), ("end", ["number 0", "number 2", "number 4"], 3)],
        *[("prepare", tmp_path / "members"), ("begin", WIDER), ("end", ["number 1", "number 3"], 2)],
    ]
    assert own.rows()[0] == {"member": member_id(CONFIG), "name": "number 0", "ended": "finished", "a_member": True}
    assert read_json(tmp_path / "own.json") == {}


# ---- trained in earnest ----


@pytest.mark.usefixtures("shared_programs")
def test_a_list_of_settings_is_trained_stopped_and_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user's own list: the columns are those of every sweep, each member a run, a stop is heard in between."""
    monkeypatch.setattr(sequences, "TEST_SEQUENCES", 8)
    monkeypatch.setattr(sequences, "VALIDATION_SEQUENCES", 8)
    configs = [CONFIG, changed(seed=1, learning_rate=0.3)]
    own, groups = Sweep(tmp_path), list[Group]()

    def stop(group: Group, loop: Loop, told: Report) -> None:
        groups.append(group)
        loop.stop.reason = "interrupted"

    assert own.train(configs, report=stop) == "interrupted"
    assert own.rows() == [] and [int(open_run(own.path_of(name)).state.update) for name in groups[0].ids] == [1, 1]
    clock = next((tmp_path / "rounds").glob("*.seconds.json"))
    clock.write_text(json.dumps({"seconds": 1000.0}))
    assert own.train(configs) is None
    rows = own.rows_of(configs)
    assert [(row["end"], row["updates"]) for row in rows] == [("finished", 4)] * 2
    assert all(500 <= row["seconds"] < 560 for row in rows)  # of both calls, a member's share
    for config, row in zip(configs, rows, strict=True):
        run = open_run(own.path_of(member_id(config)))
        assert run.config == config and run.metrics["update"].tolist() == [1, 2, 4]
        assert row["valid_loss"] == float(run.state.early_stopping.best)
    assert rows[0]["test_loss"] != rows[1]["test_loss"]
    with open(tmp_path / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["member"], row["end"], row["test_loss"]) for row in table] == [
        (row["member"], "finished", str(row["test_loss"])) for row in rows
    ]
    assert [(row["learning_rate"], row["seed"]) for row in table] == [("0.1", "0"), ("0.3", "1")]
    assert list(table[0])[:4] == ["member", "learning_rate", "seed", "end"]
