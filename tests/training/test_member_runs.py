"""Members of a population against the same runs alone: states to the bit, logs, what each directory opens as."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.splits import split_text
from jaxrnn.devices.mesh import Layout
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.logs import read_samples
from jaxrnn.tasks import sequences
from jaxrnn.trained.run import open_run
from jaxrnn.training.early_stopping import EarlyStopping, initial_early_stopping
from jaxrnn.training.job import make_job
from jaxrnn.training.loop import Loop
from jaxrnn.training.member_runs import MemberResult, worse_half
from jaxrnn.training.report import Report
from jaxrnn.training.start import train
from jaxrnn.training.state import RECENT_UPDATES, TrainState
from jaxrnn.training.step import MAX_BAD_IN_A_ROW
from jaxrnn.training.trainer import Trainer
from tests.thinned import thinned
from tests.training.populations import (
    QUIET,
    WINDOWS,
    assert_same_run,
    places,
    rows_of,
    text_members,
    text_of,
    trained,
)
from tests.trees import assert_trees_close, assert_trees_equal

pytestmark = [pytest.mark.optimized, pytest.mark.usefixtures("with_optimizations", "shared_programs")]
COMPARED = (0, 1, 2)


class Population:
    """Members that are trained to their end together, on one device or two, and alone: once, when first asked for."""

    def __init__(self, root: Path, configs: list[TrainConfig]):
        self.root, self.configs = root, configs
        self.corpus = load_corpus(configs[0].text, configs[0].reading_options()) if configs[0].task == "text" else None
        self.reports: dict[int, list[Report]] = {1: [], 2: []}
        self.results, self.alone = functools.cache(self._together), functools.cache(self._alone)

    def directory(self, devices: int) -> Path:
        self.results(devices)
        return self.root / f"on {devices}"

    def members(self, devices: int) -> list[Path]:
        return places(self.directory(devices), len(self.configs))

    def _together(self, devices: int) -> list[MemberResult]:
        told = self.reports[devices]
        results = trained(
            self.configs, self.root / f"on {devices}", devices, report=lambda _, report: told.append(report)
        )
        assert results is not None
        return results

    def _alone(self, number: int) -> Path:
        path = self.root / f"alone {number}"
        train(self.configs[number], path, QUIET, self.corpus)
        return path


@pytest.fixture(scope="module")
def of_text(tmp_path_factory: pytest.TempPathFactory, shared_programs: None) -> Population:
    root = tmp_path_factory.mktemp("text")
    return Population(root, text_members(text_of(root), checkpoint_every="30")[:3])


def sequence_members() -> list[TrainConfig]:
    """One is solved, one explodes, one goes on to the end, one stops early, one is never finite; of 64-bit numbers."""
    config = TrainConfig(
        task="palindromes",
        sequence_length=3,
        hidden=5,
        init="uniform",
        init_scale=0.35,
        batch_size=16,
        optimizer="rmsprop",
        learning_rate=0.01,
        clip_value=0.0,
        clip_global_norm=10.0,
        dropout_output=0.01,
        loss_reduction="mean",
        updates=240,
        stop_at_accuracy=0.3,
        validation_every=30,
        log_every=50,
        checkpoint_every="180",
        dtype="float64",
        devices="1",
    )
    return [
        dataclasses.replace(config, seed=1, learning_rate=0.03),
        dataclasses.replace(config, seed=2, learning_rate=1e300),
        dataclasses.replace(config, seed=3, learning_rate=1e-4, clip_global_norm=1.0, dropout_output=0.1),
        dataclasses.replace(config, seed=4, learning_rate=0.1, early_stopping="patience", patience=1, updates=230),
        dataclasses.replace(config, seed=2, learning_rate=1e307),
    ]


@pytest.fixture(scope="module")
def of_sequences(tmp_path_factory: pytest.TempPathFactory, shared_programs: None) -> Iterator[Population]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "VALIDATION_SEQUENCES", 64)
        patch.setattr(sequences, "TEST_SEQUENCES", 256)
        yield Population(tmp_path_factory.mktemp("sequences"), sequence_members())


# ---- a member and the run alone ----


# A change tries texts on two devices, and generated sequences on one.
ON_BOTH = [(number, devices) for number in range(4) for devices in (1, 2)]


@pytest.mark.parametrize(
    ("number", "devices"),
    thinned([of for of in ON_BOTH if of[0] in COMPARED], {(number, 2) for number in COMPARED}),
)
def test_a_member_of_a_text_is_the_run_alone(of_text: Population, number: int, devices: int) -> None:
    """With dropout, clipping, decay and warm-up of its own, on a fold of its own."""
    assert_same_run(of_text.members(devices)[number], of_text.alone(number))
    assert of_text.results(devices)[number].updates == 3 * WINDOWS


@pytest.mark.parametrize(("number", "devices"), thinned([of for of in ON_BOTH if of[0] in (0, 3)], {(0, 1), (3, 1)}))
def test_a_member_of_sequences_is_the_run_alone(of_sequences: Population, number: int, devices: int) -> None:
    assert_same_run(of_sequences.members(devices)[number], of_sequences.alone(number))


@pytest.mark.parametrize("devices", thinned([1, 2], {1}))
def test_members_end_in_four_ways(of_sequences: Population, devices: int) -> None:
    results = of_sequences.results(devices)
    assert [result.end for result in results] == ["solved", "diverged", "finished", "stopped early", "diverged"]
    solved, wild, last, early, lost = (result.updates for result in results)
    assert RECENT_UPDATES <= solved < 240 and last == 240 and early < 230 and early % 30 == 0
    assert results[0].recent_accuracy >= 0.3 > results[2].recent_accuracy > 0
    assert (
        MAX_BAD_IN_A_ROW <= wild < 15
        and MAX_BAD_IN_A_ROW < lost < 30
        and (results[1].skipped, results[4].skipped) == (0, MAX_BAD_IN_A_ROW)
    )
    assert all(results[n].test is None and math.isinf(results[n].valid_loss) for n in (1, 4))
    rows = [row for row in rows_of(of_sequences.members(devices)[0]) if "train/recent_accuracy" in row]
    assert [int(row["update"]) for row in rows] == sorted(
        {1, *range(50, solved + 1, 50), *range(30, solved + 1, 30), solved}
    )


def test_the_early_one_stops_where_the_rule_over_its_losses_says(of_sequences: Population) -> None:
    state = open_run(of_sequences.members(1)[3]).state
    validations = int(state.update) // 30
    assert 2 <= validations <= 8
    losses = np.array(state.early_stopping.losses)[-validations:].tolist()
    assert [loss < min(losses[:at], default=math.inf) for at, loss in enumerate(losses)] == [True] * (
        validations - 1
    ) + [False]


def without_key(state: Any) -> Any:
    return state._replace(seed=())


@pytest.mark.parametrize("number", [1, 4])
def test_a_diverged_member_is_saved_where_it_ended(of_sequences: Population, number: int) -> None:
    """The run alone ends with an error, and saves nothing of this."""
    trainer = Trainer.of([make_job(of_sequences.configs[number])])
    trainer.advance(240)
    assert_trees_equal(open_run(of_sequences.members(1)[number]).state, trainer.state())
    assert int(trainer.updates[0]) == of_sequences.results(1)[number].updates


def test_64_bit_members_stay_so(of_sequences: Population) -> None:
    leaves = jax.tree.leaves(without_key(open_run(of_sequences.members(1)[0]).state))
    assert {leaf.dtype for leaf in map(np.asarray, leaves) if leaf.dtype.kind == "f"} == {np.dtype(np.float64)}


def test_batched_members_are_the_runs_alone_but_for_rounding(of_text: Population) -> None:
    """As on an accelerator; in another order of summing, so for few updates only, and some of one only."""
    jobs = [make_job(of_text.configs[number], of_text.corpus) for number in COMPARED]
    batched, alone = Trainer.of(jobs), [Trainer.of([job]) for job in jobs]
    batched.layout, updates = Layout(batched=True), [20, 12, 20]
    measured = batched.advance(np.array(updates))
    for number in range(3):
        (expected,) = alone[number].advance(updates[number])
        np.testing.assert_allclose(measured[number].loss, expected.loss, rtol=1e-5)
        for part in ("params", "optimizer_state", "carry", "update", "recent_accuracy"):
            mine, other = getattr(batched.state(number), part), getattr(alone[number].state(), part)
            assert_trees_close(mine, other, rtol=1e-5)
    rows = open_run(of_text.alone(2)).metrics  # of updates 1, 7, 14
    np.testing.assert_allclose(measured[2].loss[[0, 6, 13]], rows["train/loss_nats"][:3], rtol=1e-5)


@pytest.mark.slow
def test_members_that_share_each_batch_over_two_devices_are_runs_that_do(of_text: Population) -> None:
    """As where there are fewer members than devices."""
    jobs = [make_job(of_text.configs[number], of_text.corpus) for number in (1, 2)]
    pair, alone = Trainer.of(jobs), Trainer.of(jobs[:1], devices=2)
    assert alone.layout == Layout(1, 2) and pair.settings.devices == 1
    pair.layout, pair.settings = alone.layout, alone.settings
    pair.advance(WINDOWS + 3)
    alone.advance(WINDOWS + 3)
    assert_trees_equal(without_key(pair.state(0)), jax.tree.map(np.array, without_key(alone.state())))


def test_a_population_is_not_begun_with_settings_that_do_not_fit(of_text: Population, tmp_path: Path) -> None:
    """The program is the first member's: one without dropout would switch it off for all."""
    without = dataclasses.replace(of_text.configs[0], dropout_output=0.0)
    with pytest.raises(ConfigurationError, match="member 1 has --dropout-output 0.2, member 0 has 0.0"):
        trained([without, of_text.configs[0]], tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- what is found in a member's directory ----


def test_a_member_opens_as_a_run(of_text: Population) -> None:
    for number in COMPARED:
        path = of_text.alone(number)
        member, alone = open_run(of_text.members(2)[number]), open_run(path)
        assert member.config == alone.config == of_text.configs[number]
        assert member.record["devices"] == 2 and {**member.record, "devices": 1} == alone.record
        assert member.sample(30, seed=3) == alone.sample(30, seed=3)
        assert member.evaluate(of_text.configs[0].text) == alone.evaluate(of_text.configs[0].text)
        assert set(member.metrics) == set(alone.metrics) > {"train/accuracy", "valid/accuracy", "valid/loss_nats"}
        assert member.metrics["update"].tolist() == sorted({1, *range(7, 45, 7), 15, 30, 45})
        assert [update for update, _, _ in read_samples(path / "samples.txt")] == [0, 1, 20, 40]
    assert open_run(of_text.members(2)[0]).sample(30) != open_run(of_text.members(2)[1]).sample(30)


def test_a_result_says_what_the_run_recorded(of_text: Population) -> None:
    for number in COMPARED:
        path = of_text.alone(number)
        state, test = open_run(path).state, json.loads((path / "test.json").read_text())
        result = of_text.results(2)[number]
        assert (result.end, result.updates, result.epochs) == ("finished", 45, 3)
        assert (result.best_update, result.skipped) == (int(state.best_update), 0)
        assert (result.train_loss, result.valid_loss) == (float(state.epoch_loss), float(state.early_stopping.best))
        assert result.test is not None and (result.test.loss, result.test.accuracy) == (
            test["loss_nats"],
            test["accuracy"],
        )


@pytest.mark.slow
def test_the_number_of_devices_changes_no_result(of_text: Population, of_sequences: Population) -> None:
    for population in (of_text, of_sequences):
        assert repr(population.results(2)) == repr(population.results(1))


def test_a_member_reads_its_own_fold(of_text: Population) -> None:
    """Both folds are in one program; the first symbols of its streams say which one a member read."""
    assert of_text.corpus is not None
    losses = {}
    for fold in (0, 1):
        config = dataclasses.replace(of_text.configs[2], fold=fold)
        part = split_text(of_text.corpus.ids, 0.1, 0.1, fold, 2)
        rolled = dataclasses.replace(of_text.corpus, ids=np.concatenate(part))
        in_order = Trainer.of([make_job(dataclasses.replace(config, fold=0), rolled)])
        losses[fold] = in_order.advance(3)[0].loss
    rows = rows_of(of_text.members(2)[2])
    assert rows[0]["train/loss_nats"] == repr(float(losses[1][0])) != repr(float(losses[0][0]))


def test_the_loop_reports_epochs_validations_and_ends(of_text: Population, of_sequences: Population) -> None:
    assert of_text.results(2)
    first = of_text.reports[2]
    assert [(told.update, told.members) for told in first] == [(15 * epoch, [0, 1, 2]) for epoch in (1, 2, 3)]
    results, reports = of_sequences.results(1), of_sequences.reports[1]
    last = {member: told.update for told in reports for member in told.members}
    # At the end of its chunk: some others went on for a little longer than it did.
    assert all(0 <= last[number] - result.updates <= 30 for number, result in enumerate(results))
    assert [last[number] for number in (2, 3)] == [results[2].updates, results[3].updates]
    assert all(told.seconds_an_update > 0 for told in first)


@pytest.mark.parametrize(("kind", "devices"), [("of_text", 2), ("of_sequences", 1)])
def test_a_population_that_has_ended_is_not_trained_again(
    kind: str, devices: int, request: pytest.FixtureRequest
) -> None:
    done: Population = request.getfixturevalue(kind)
    root = done.directory(devices)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "config.json"}

    def told(loop: Loop, report: Report) -> None:
        raise AssertionError(report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequences, "TEST_SEQUENCES", 256)
        assert repr(trained(done.configs, root, devices, report=told)) == repr(done.results(devices))
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name != "config.json"}
    assert {path: after.get(path) for path in before} == before and set(after) == set(before)


@pytest.mark.parametrize("changed", [{"learning_rate": 0.02}, {"fold": 1}, {"seed": 9}])
def test_a_directory_of_other_settings_is_refused(of_text: Population, changed: dict[str, Any]) -> None:
    configs = [dataclasses.replace(of_text.configs[0], **changed), *of_text.configs[1:]]
    with pytest.raises(ConfigurationError, match="holds a run with other settings"):
        trained(configs, of_text.directory(2), 2)


# ---- successive halving ----


def glance(epoch: int, loss: float, window: int = 0) -> TrainState:
    nothing: dict[str, Any] = dict.fromkeys(TrainState._fields, ())
    seen: Any = initial_early_stopping()._asdict() | {"best": np.float32(loss)}
    known: Any = {"epoch": np.int32(epoch), "window": np.int32(window), "early_stopping": EarlyStopping(**seen)}
    return TrainState(**nothing | known)


LOSSES = [3.0, 1.0, 2.0, 4.0, 5.0]


@pytest.mark.parametrize(
    ("epoch", "losses", "goes_on", "stopped"),
    [
        (1, LOSSES, "11111", []),
        (2, LOSSES, "11111", [3, 4]),
        (3, LOSSES, "11111", []),
        (4, LOSSES, "10101", [4]),
        (6, LOSSES, "11111", []),
        (8, [math.inf, 1.0, math.inf, 1.0, 0.5], "11110", [0, 2]),
        (16, LOSSES, "00010", []),
        (16, LOSSES, "00000", []),
    ],
)
def test_halving_stops_the_worse_half_after_powers_of_two(
    epoch: int, losses: list[float], goes_on: str, stopped: list[int]
) -> None:
    """Members that ended before, here at the same epoch, are no part of it."""
    glances = [glance(epoch, loss) for loss in losses]
    assert worse_half(glances, [None if one == "1" else "stopped early" for one in goes_on]) == stopped
    earlier = [glance(epoch if one == "1" else 1, loss) for loss, one in zip(losses, goes_on, strict=True)]
    assert worse_half(earlier, [None if one == "1" else "stopped" for one in goes_on]) == stopped


def test_halving_asked_again_stops_the_same() -> None:
    """As where one of them lost its newest checkpoint and comes to the same epoch later than the others."""
    glances = [glance(2, loss) for loss in (*LOSSES, 6.0)]
    assert worse_half(glances, [None] * 6) == [3, 4, 5]
    for late in range(6):
        ends = ["stopped" if member > 2 and member != late else None for member in range(6)]
        assert sorted(worse_half(glances, ends)) == [3, 4, 5]


def test_halving_waits_for_the_end_of_an_epoch() -> None:
    assert worse_half([glance(2, loss, window=1) for loss in LOSSES], [None] * 5) == []
    late = [glance(2, loss) for loss in LOSSES[:4]] + [glance(1, 0.0)]
    assert worse_half(late, [None] * 5) == [0, 3]
