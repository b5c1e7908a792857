"""The rows of metrics.jsonl: which there are, their mean loss, and that they are those of a run that never stopped."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.logs import read_metrics
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.stop_request import StopRequest
from jaxrnn.trained.run import open_run
from jaxrnn.training.chunk import ChunkMetrics
from jaxrnn.training.idle_rules import refuse_plateau_that_cannot_act
from jaxrnn.training.job import make_job
from jaxrnn.training.member_runs import opened
from jaxrnn.training.record import record_of
from jaxrnn.training.rows import Rows
from jaxrnn.training.start import train
from jaxrnn.training.sweeps import Sweep
from tests.trees import assert_trees_equal

pytestmark = pytest.mark.usefixtures("shared_programs")

CORPUS = corpus_from_text("".join(random.Random(1).choices("abcd ", k=300)))
SETTINGS: dict[str, Any] = {
    "hidden": 4, "bptt_length": 5, "batch_size": 2, "sample_every": 0, "checkpoint_every": "9", "validation_every": 7,
    "validation_fraction": 0.2, "log_every": 5,
}  # fmt: skip
TOTAL = 23


def rows_of(run: Path) -> list[dict[str, Any]]:
    """The rows but for the wall clock."""
    rows = read_metrics(run / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name != "chars_per_second"} for row in rows]


def trained(run: Path, updates: int, **options: Any) -> Path:
    train(TrainConfig(**SETTINGS | options, updates=updates), run, Progress(quiet=True), CORPUS)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("whole") / "run", TOTAL)


def test_each_validation_and_the_end_have_a_row_with_all_columns(whole: Path) -> None:
    rows = rows_of(whole)
    assert [row["update"] for row in rows] == [1, 5, 7, 10, 14, 15, 20, 21, 23]
    assert len({tuple(row) for row in rows}) == 1
    validated = [row for row in rows if row["valid/update"] is not None]
    assert [row["valid/update"] for row in validated] == [row["update"] for row in validated] == [7, 14, 21, 23]
    assert all((row["valid/loss_nats"] is None) == (row not in validated) for row in rows)
    columns = open_run(whole).metrics
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(columns["valid/loss_nats"])), [2, 4, 7, 8])
    # The validation at the end is for people: it is kept in no state, else a longer run would know of it.
    assert int(open_run(whole).state.valid_update) == 21
    assert rows[-2]["valid/loss_nats"] != rows[-1]["valid/loss_nats"]
    assert float(open_run(whole).state.valid_loss) == pytest.approx(rows[-2]["valid/loss_nats"], rel=1e-7)


def test_a_validation_beside_the_regular_ones_says_so(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Its loss may be lower than the best one, which is told after it."""
    train(TrainConfig(**SETTINGS, updates=TOTAL), tmp_path / "run", Progress(), CORPUS)
    lines = [line for line in "".join(capsys.readouterr()).splitlines() if ": validation" in line]
    assert [line.endswith("for the log only, it counts every 7 updates") for line in lines] == [False] * 3 + [True]


def test_the_mean_loss_is_that_of_the_updates_since_the_last_row(whole: Path, tmp_path: Path) -> None:
    losses = [row["train/loss_nats"] for row in rows_of(trained(tmp_path / "run", TOTAL, log_every=1))]
    rows, before = rows_of(whole), 0
    for row in rows:
        total = 0.0
        for loss in losses[before : row["update"]]:
            total += loss
        assert row["train/mean_loss_nats"] == total / (row["update"] - before)
        assert row["train/bits_per_char"] == row["train/mean_loss_nats"] / math.log(2)
        assert row["train/loss_nats"] == losses[row["update"] - 1]
        before = row["update"]


@pytest.mark.parametrize("first", [15, 16])
def test_a_run_that_is_trained_for_longer_has_the_rows_of_one_that_never_stopped(
    first: int, whole: Path, tmp_path: Path
) -> None:
    """At update 15 it has a row in any case, which then knows no validation; at 16 it has none."""
    run = trained(tmp_path / "run", first)
    ended = rows_of(run)
    assert (ended[-1]["update"], ended[-1]["valid/update"]) == (first, first)
    assert ended[:-1] == rows_of(whole)[: len(ended) - 1]
    trained(run, first)  # is finished, and keeps its last row
    assert rows_of(run) == ended
    trained(run, TOTAL)
    assert rows_of(run) == rows_of(whole)
    assert_trees_equal(open_run(run).state, open_run(whole).state)


def test_a_run_of_a_version_without_means_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jaxrnn.storage import checkpoint

    save = checkpoint.save_checkpoint

    def as_then(directory: Path, state: Any, update: int, extra: dict[str, Any], *rest: Any) -> None:
        save(directory, state, update, {k: v for k, v in extra.items() if k not in ("mean_loss", "last_row")}, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_checkpoint", as_then)
        trained(tmp_path / "run", 13)
    trained(tmp_path / "run", 15)
    rows = rows_of(tmp_path / "run")
    assert [row["update"] for row in rows] == [1, 5, 7, 10, 14, 15]
    assert rows[-2]["train/mean_loss_nats"] == rows[-2]["train/loss_nats"]  # begun anew at update 13


def test_an_update_that_was_left_out_is_not_in_the_mean() -> None:
    job = make_job(TrainConfig(**SETTINGS, updates=40), CORPUS)

    def chunk(*losses: float) -> ChunkMetrics:
        return ChunkMetrics(np.array(losses, np.float32), np.zeros(len(losses), np.float32))

    rows = Rows(job)
    rows.add(chunk(1.0, 2.0, math.nan, 4.0), None, False, 1.0)
    assert rows.shown_loss == 1.0 and rows.since_row == (6.0, 2)
    rows.add(chunk(math.inf), None, False, 1.0)
    (row,), _ = rows.take(None, False)
    assert (row["update"], row["train/mean_loss_nats"], row["train/loss_nats"]) == (5, 3.0, "inf")
    rows.add(chunk(5.0, 7.0), None, False, 1.0)
    assert rows.take(None, False)[0] == [] and rows.shown_loss == 6.0


def test_early_stopping_that_can_never_stop_is_refused() -> None:
    settings = SETTINGS | {"early_stopping": "patience", "patience": 2}
    make_job(TrainConfig(**settings, updates=21), CORPUS)
    with pytest.raises(ConfigurationError, match="can stop at update 21 at the earliest, the run has 20"):
        make_job(TrainConfig(**settings, updates=20), CORPUS)


def test_a_plateau_that_can_never_act_is_refused(tmp_path: Path) -> None:
    waiting: dict[str, Any] = {"decay_rate": 0.5, "plateau_patience": 2}
    refuse_plateau_that_cannot_act(make_job(TrainConfig(**SETTINGS | waiting, updates=22), CORPUS))
    with pytest.raises(
        ConfigurationError, match="2 can lower the rate after update 21 at the earliest, the run has 21"
    ):
        trained(tmp_path / "new", 21, **waiting)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ConfigurationError, match="no validation to look at with --retrain; leave one out"):
        trained(tmp_path / "new", 90, **waiting, retrain=True, validation_every=0)
    members = [TrainConfig(**SETTINGS | waiting, updates=21, seed=seed) for seed in (0, 1)]
    with pytest.raises(ConfigurationError, match="can lower the rate after update 21"):
        Sweep(tmp_path / "sweep").train(members, corpus=CORPUS, progress=Progress(quiet=True))


def test_a_run_that_was_begun_before_may_wait_for_what_never_comes(tmp_path: Path) -> None:
    job = make_job(TrainConfig(**SETTINGS, decay_rate=0.5, plateau_patience=2, updates=9), CORPUS)
    RunDirectory(tmp_path).write_config(record_of(job, 1))
    with StopRequest() as stop, opened([job], 1, [tmp_path], None, Progress(quiet=True), stop) as loop:
        assert loop.totals.tolist() == [9]
