"""Members of one compiled program against the same runs alone, and stopped populations against those never stopped."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jaxrnn.training.population import MAX_SKIPPED_IN_A_ROW
from jaxrnn.training.population_host import on_host, place_members, slots_for
from jaxrnn.training.sequence_population import (
    MAX_CALL_UPDATES,
    initial_sequence_members,
    make_sequence_advance,
    sequence_member_specs,
    sequence_settings,
)
from jaxrnn.training.sequence_population_run import SequencePopulationRun

from jaxrnn.config import TrainConfig
from jaxrnn.errors import ConfigurationError
from jaxrnn.evaluate import evaluate_sequences
from jaxrnn.random_streams import STREAM_VALIDATION
from jaxrnn.tasks.protocol import row_numbers
from jaxrnn.training import sequence_population_run as host
from jaxrnn.training.job import make_job
from jaxrnn.training.state import RECENT_UPDATES
from jaxrnn.training.step import make_train_chunk
from tests.trees import assert_trees_close, assert_trees_equal

UPDATES = 240
CONFIG = TrainConfig(
    task="palindromes",
    sequence_length=3,
    cell="vanilla",
    hidden=8,
    init="uniform",
    init_scale=0.35,
    batch_size=16,
    optimizer="rmsprop",
    learning_rate=0.01,
    clip_value=0.0,
    clip_global_norm=10.0,
    loss_reduction="mean",
    updates=UPDATES,
    stop_at_accuracy=0.5,
    devices="1",
)


def changed(**values):
    return dataclasses.replace(CONFIG, **values)


# The first is solved early, the second diverges at once, the third never gets there.
MEMBERS = [
    changed(seed=1, learning_rate=0.03),
    changed(seed=2, learning_rate=1e6),
    changed(seed=3, learning_rate=1e-4, clip_global_norm=1.0),
]


compiled_advance = functools.cache(make_sequence_advance)


@functools.cache
def program(devices=1, batched=False, members=3):
    settings = sequence_settings(MEMBERS[:members], devices, batched)
    return settings, compiled_advance(make_job(CONFIG).graphdef, settings)


@functools.cache
def started(configs):
    return initial_sequence_members(list(configs))


def advanced(configs, parts=(UPDATES,), **layout):
    """The members after these updates, and the loss and the accuracy of each update."""
    settings, advance = program(members=len(configs), **layout)
    full = on_host(started(tuple(configs)))
    slots = slots_for(np.ones(len(configs), bool), settings)
    members, curves = place_members(settings, sequence_member_specs(), full, slots), []
    for updates in parts:
        members, metrics = advance(members, row_numbers(CONFIG.batch_size), np.int32(updates))
        curves.append([np.array(values)[:, :updates] for values in metrics])
    order = [slots.index(number) for number in range(len(configs))]
    full = jax.tree.map(lambda leaf: leaf[order], on_host(members))
    loss, accuracy = (np.concatenate(parts, axis=1)[order] for parts in zip(*curves, strict=True))
    return full, loss, accuracy


@functools.cache
def together():
    return advanced(MEMBERS)


@functools.cache
def alone(number):
    """What `jaxrnn.train` makes of the same settings, by its own compiled chunk."""
    job = make_job(MEMBERS[number])
    chunk = make_train_chunk(job.graphdef, job.settings)
    state, metrics = chunk(job.initial_state(), job.streams(), np.int32(UPDATES))
    return state, np.array(metrics.loss_nats)[:UPDATES], np.array(metrics.accuracy)[:UPDATES]


def member(tree, number):
    return jax.tree.map(lambda leaf: leaf[number], tree)


def test_the_three_members_end_in_three_ways():
    full, loss, accuracy = together()
    assert full.diverged.tolist() == [False, True, False] and full.running.tolist() == [False, False, True]
    solved, wild, last = full.train.update.tolist()
    assert RECENT_UPDATES < solved < UPDATES and wild < 20 and last == UPDATES
    for number, end in enumerate((solved, wild, last)):
        assert (loss[number, :end] > 0).all() and not loss[number, end:].any() and not accuracy[number, end:].any()
    recent = np.convolve(accuracy[0, :solved], np.ones(RECENT_UPDATES) / RECENT_UPDATES, "valid")
    assert (recent[:-1] < CONFIG.stop_at_accuracy + 1e-6).all() and recent[-1] >= CONFIG.stop_at_accuracy - 1e-6
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(full.train.params))


@pytest.mark.parametrize("number", [0, 2])
def test_a_member_equals_the_run_alone(number):
    full, loss, accuracy = together()
    state, expected_loss, expected_accuracy = alone(number)
    assert_trees_equal(member(full.train, number), on_host_state(state))
    np.testing.assert_array_equal(loss[number], expected_loss)
    np.testing.assert_array_equal(accuracy[number], expected_accuracy)


def on_host_state(state):
    return jax.tree.map(np.array, state._replace(seed=jax.random.key_data(state.seed)))


def test_members_start_as_the_run_alone_to_the_bit():
    drawn = [changed(init="normal", init_scale=0.1, init_biases=True, seed=4)]
    members = initial_sequence_members(drawn)
    assert np.array(members.train.params["b_y"]).any()
    assert_trees_equal(member(members.train, 0), make_job(drawn[0]).initial_state())
    members = started(tuple(MEMBERS))
    for number, config in enumerate(MEMBERS):
        assert_trees_equal(member(members.train, number), make_job(config).initial_state())


def test_two_devices_give_the_bits_of_one():
    for mine, expected in zip(advanced(MEMBERS, devices=2), together(), strict=True):
        assert_trees_equal(mine, expected)


def test_any_split_into_calls_gives_the_same_bits():
    for mine, expected in zip(advanced(MEMBERS, parts=(1, 130, 0, UPDATES - 131)), together(), strict=True):
        assert_trees_equal(mine, expected)


def test_batched_members_and_a_shared_batch_agree_with_members_in_sequence():
    """In another order of summing, so for few updates only."""
    few = (30,)
    expected, losses, _ = advanced(MEMBERS, parts=few)
    others, other_losses, _ = advanced(MEMBERS, parts=few, batched=True)
    assert others.train.update.tolist() == expected.train.update.tolist()
    assert others.running.tolist() == expected.running.tolist()
    for number in (0, 2):
        np.testing.assert_allclose(other_losses[number], losses[number], rtol=1e-4)
        assert_trees_close(member(others.train.params, number), member(expected.train.params, number), rtol=1e-3)
    _, shared, _ = advanced(MEMBERS[:1], parts=few, devices=2)
    np.testing.assert_allclose(shared[0], losses[0], rtol=1e-4)


def test_a_diverging_member_leaves_the_others_their_bits():
    calm, _, _ = advanced([MEMBERS[0], changed(seed=2, learning_rate=0.01), MEMBERS[2]])
    wild, loss, _ = advanced([MEMBERS[0], changed(seed=2, learning_rate=1e38), MEMBERS[2]])
    for number in (0, 2):
        assert_trees_equal(member(together()[0], number), member(calm, number))
        assert_trees_equal(member(wild, number), member(calm, number))
    assert not calm.diverged.any() and calm.train.update[1] > 100
    # This one overflows, while the loss of that with a rate of 1e6 is large and finite.
    assert wild.diverged.tolist() == [False, True, False]
    assert wild.train.skipped_in_a_row[1] == MAX_SKIPPED_IN_A_ROW == np.isinf(loss[1]).sum()
    assert np.isfinite(together()[1]).all() and together()[0].train.skipped[1] == 0


# ---- the host's side ----


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run and its results, and what it reported."""
    reports: list[host.SequenceReport] = []
    run = SequencePopulationRun(
        tmp_path_factory.mktemp("whole"), MEMBERS, devices=2, validation_sequences=256, report=reports.append
    )
    return run, run.run(), reports


def test_results_and_curves_are_those_of_the_members(finished):
    run, results, reports = finished
    full, loss, accuracy = together()
    assert [result.status for result in results] == ["solved", "diverged", "finished"]
    assert [result.updates for result in results] == full.train.update.tolist()
    np.testing.assert_array_equal(run.curves.loss, loss)
    np.testing.assert_array_equal(run.curves.accuracy, accuracy)
    for result in results:
        latest = accuracy[result.number, : result.updates][-RECENT_UPDATES:]
        assert result.recent_accuracy == pytest.approx(latest.mean(), rel=1e-5)
    assert results[0].recent_accuracy >= CONFIG.stop_at_accuracy
    assert (reports[-1].running, reports[-1].members, reports[-1].seconds_left) == (0, 3, 0)
    assert [report.update for report in reports] == sorted({report.update for report in reports})
    assert reports[0].running == 2 and 0 < reports[0].seconds_left < 600  # the wild one is out
    job, state = make_job(MEMBERS[0]), alone(0)[0]
    key = jax.random.fold_in(jax.random.fold_in(state.seed, STREAM_VALIDATION), int(state.update))
    scores = evaluate_sequences(job.graphdef, state.params, job.settings.task, key, batch_size=16, sequences=256)
    assert (results[0].valid_loss, results[0].valid_accuracy) == (scores.loss, scores.accuracy)


@pytest.fixture
def compiled_once(monkeypatch):
    """Runs of the same members share their programs."""
    monkeypatch.setattr(host, "make_sequence_advance", compiled_advance)
    monkeypatch.setattr(host, "initial_sequence_members", lambda configs: started(tuple(configs)))


class Killed(BaseException):
    """Stands for a kill: nothing below catches it."""


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_stopped_and_started_again_equals_never_stopped(finished, tmp_path, monkeypatch, compiled_once, ending):
    monkeypatch.setattr(host, "CALL_SECONDS", 0.0)  # calls of one update after the first
    monkeypatch.setattr(host, "FIRST_CALL_UPDATES", 60)
    monkeypatch.setattr(host, "CHECKPOINT_SECONDS", 0.0 if ending == "kill" else 1e9)
    seen = []

    def report(status):
        seen.append(status.update)
        if ending == "kill" and len(seen) == 3:  # the update before was saved, this one was not
            raise Killed

    first = SequencePopulationRun(
        tmp_path, MEMBERS, validation_sequences=256, report=report, should_stop=lambda: len(seen) == 3
    )
    if ending == "kill":
        with pytest.raises(Killed):
            first.run()
    else:
        assert first.run() is None
    assert seen == [60, 61, 62]
    monkeypatch.setattr(host, "CALL_SECONDS", 5.0)
    monkeypatch.setattr(host, "CHECKPOINT_SECONDS", 30.0)
    second = SequencePopulationRun(tmp_path, MEMBERS, validation_sequences=256, report=report)
    results = second.run()
    assert seen[3] > 61 and seen == sorted(seen)  # it went on, and did not begin anew
    assert results == finished[1]
    assert_trees_equal(second.curves, finished[0].curves)
    again = SequencePopulationRun(tmp_path, MEMBERS, validation_sequences=256)
    assert again.run() == results  # nothing is trained
    with pytest.raises(ConfigurationError, match="holds a population of other settings"):
        SequencePopulationRun(tmp_path, [MEMBERS[0], MEMBERS[2], MEMBERS[1]]).run()


def test_settings_that_do_not_fit_together_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expects settings equal but for"):
        SequencePopulationRun(tmp_path, [CONFIG, changed(hidden=9)])


def test_a_call_does_no_more_updates_than_its_curves_hold():
    settings, advance = program()
    members = place_members(settings, sequence_member_specs(), on_host(started(tuple(MEMBERS))), [0, 1, 2])
    members, _ = advance(members, row_numbers(16), np.int32(MAX_CALL_UPDATES + 500))
    assert int(members.train.update[2]) == MAX_CALL_UPDATES
