"""Tasks in the step: fresh data from the update's number, accuracy, the early stop, and the same on several devices."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.checks import flag
from jaxrnn.config import TrainConfig
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.structure import model_with
from jaxrnn.random_streams import STREAM_DATA
from jaxrnn.tasks.generated import GENERATED
from jaxrnn.tasks.sequences import PROBES, TOLERANCE, Sequences, row_numbers
from jaxrnn.tasks.settings import ONLY_FOR_TEXT, TASK_NAMES
from jaxrnn.tasks.text import NextSymbol
from jaxrnn.training.chunk import MAX_CHUNK_UPDATES
from jaxrnn.training.job import make_job
from jaxrnn.training.state import RECENT_UPDATES
from jaxrnn.training.step import is_solved, latest_accuracy, train_step
from jaxrnn.training.trainer import Trainer
from tests.reference.training import advance_chunk
from tests.trees import assert_trees_close, assert_trees_equal

SMALL: dict[str, Any] = {
    "hidden": 8,
    "batch_size": 4,
    "optimizer": "rmsprop",
    "learning_rate": 0.01,
    "init_scale": 0.3,
    "seed": 2,
}
LENGTHS = {"palindromes": 4, "copy-memory": 20, "adding": 6, "temporal-order": 10, "xor": 6}


def config_of(task="palindromes", **changed):
    settings = SMALL | {"task": task, "sequence_length": LENGTHS[task], "devices": "1"} | changed
    return TrainConfig(**settings)


@functools.cache
def trainer_of(task="palindromes", **changed):
    """A trainer in memory, of which these tests use the first state and the structure: they share compiled chunks."""
    return Trainer.of([make_job(config_of(task, **changed))])


def advance(trainer, updates, state=None):
    """The state after so many updates, and the metrics of them on the host."""
    state = trainer.initial_state() if state is None else state
    streams = row_numbers(trainer.batch_size)
    state, metrics = advance_chunk(trainer.graphdef, trainer.settings, state, streams, updates)
    return state, {name: values[:updates] for name, values in metrics._asdict().items() if values is not None}


# ---- one update, written out ----


@pytest.mark.parametrize("task", PROBES)
def test_the_first_update_measures_what_the_rules_say(task):
    """Loss, accuracy and the carry of a fresh start, computed here from the first batch."""
    trainer = trainer_of(task)
    state = trainer.initial_state()
    assert state.carry == () and state.recent_accuracy.shape == (RECENT_UPDATES,)
    key = jax.random.fold_in(jax.random.fold_in(state.seed, STREAM_DATA), 0)
    inputs, targets = Sequences(task, LENGTHS[task]).draw(key, jnp.arange(4))
    model = model_with(trainer.graphdef, state.params)
    outputs = np.array(model(inputs, model.initial_carry(4))[0], np.float64)
    wanted = np.array(targets)
    if task == "adding":
        loss = ((outputs[:, :, 0] - wanted) ** 2).mean()
        accuracy = (np.abs(outputs[:, :, 0] - wanted) < TOLERANCE).mean()
    else:
        of_target = np.take_along_axis(outputs, wanted[:, :, None].astype(int), axis=2)[:, :, 0]
        loss = (np.log(np.exp(outputs).sum(axis=2)) - of_target).mean()
        accuracy = (outputs.argmax(axis=2) == wanted).mean()
    state, metrics = advance(trainer, 1, state)
    assert metrics["loss"][0] == pytest.approx(loss, rel=1e-5)
    assert metrics["accuracy"][0] == pytest.approx(accuracy, abs=1e-6)
    assert (int(state.update), int(state.epoch), int(state.window)) == (1, 0, 0)


def test_a_sum_over_several_answers_is_so_many_times_the_mean():
    steps = {}
    for reduction in ("sum", "mean"):
        trainer = trainer_of(
            "copy-memory", optimizer="sgd", clip_value=0.0, learning_rate=0.001, loss_reduction=reduction
        )
        before = jax.tree.map(np.array, trainer.initial_state().params)
        after = advance(trainer, 1)[0].params
        steps[reduction] = jax.tree.map(lambda a, b: np.asarray(a) - b, after, before)["b_y"]
    np.testing.assert_allclose(steps["sum"], 10 * steps["mean"], rtol=1e-3)


# ---- what a run promises ----


def test_any_split_into_chunks_gives_the_same_bits():
    trainer = trainer_of(dropout_output=0.2, learned_initial_carry=True)
    whole, metrics = advance(trainer, 7)
    state, first = advance(trainer, 3)
    state, second = advance(trainer, 4, state)
    assert_trees_equal(state, whole)
    for name, values in metrics.items():
        np.testing.assert_array_equal(np.concatenate([first[name], second[name]]), values)
    assert len(set(metrics["loss"].tolist())) == 7  # fresh sequences each time
    starts = jax.tree.leaves(whole.params["stack"]["first_carry"])
    assert all((np.asarray(start) != 0).all() for start in starts)


def test_two_devices_train_as_one_does():
    """The same sequences, losses and accuracies: each device draws its own rows."""
    expected, metrics = advance(trainer_of(dropout_output=0.2, learned_initial_carry=True), 5)
    state, actual = advance(trainer_of(dropout_output=0.2, learned_initial_carry=True, devices="2"), 5)
    assert {0.25, 0.75} & set(metrics["accuracy"].tolist())  # of four rows: the two of each device differ
    np.testing.assert_array_equal(actual["accuracy"], metrics["accuracy"])
    np.testing.assert_allclose(actual["loss"], metrics["loss"], rtol=1e-5)
    assert_trees_close(state.params, expected.params, rtol=1e-4)  # RMSprop divides by small roots at first


def test_the_mean_of_the_latest_accuracies_is_that_of_the_log():
    trainer = trainer_of()
    state, metrics = advance(trainer, 130)
    means = [metrics["accuracy"][max(0, n - RECENT_UPDATES) : n].mean() for n in range(1, 131)]
    np.testing.assert_allclose(metrics["recent_accuracy"], means, rtol=1e-5)
    assert float(latest_accuracy(state)[1]) == metrics["recent_accuracy"][-1]


def test_a_solved_run_stops_at_the_very_update_wherever_the_chunks_end():
    """The first update, from the 100th on, at which the mean reaches the level; known from a run without the rule."""
    _, metrics = advance(trainer_of(), 400)
    level = float(np.sort(metrics["recent_accuracy"][RECENT_UPDATES:])[-60])
    expected = RECENT_UPDATES + int(np.argmax(metrics["recent_accuracy"][RECENT_UPDATES - 1 :] >= level))
    assert RECENT_UPDATES < expected < 400
    trainer = trainer_of(stop_at_accuracy=level)
    whole, stopped = advance(trainer, 400)
    assert int(whole.update) == expected and bool(is_solved(trainer.settings, whole))
    assert (stopped["loss"][expected:] == 0).all()
    np.testing.assert_array_equal(stopped["loss"][:expected], metrics["loss"][:expected])
    whole = jax.tree.map(jnp.copy, whole)
    state, _ = advance(trainer, 77)
    state, _ = advance(trainer, 400, state)
    assert_trees_equal(state, whole)
    again, _ = advance(trainer, 50, state)
    assert_trees_equal(again, whole)


def test_few_updates_are_never_solved():
    state = trainer_of().initial_state()
    settings = trainer_of(stop_at_accuracy=0.1).settings
    full = state._replace(recent_accuracy=jnp.ones(RECENT_UPDATES), update=jnp.asarray(RECENT_UPDATES - 1))
    assert not is_solved(settings, full)
    assert is_solved(settings, full._replace(update=jnp.asarray(RECENT_UPDATES)))


def test_a_text_measures_its_accuracy_when_asked_and_trains_the_same(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abcabdabcabe" * 40)
    text: dict[str, Any] = {"text": str(path), "hidden": 8, "bptt_length": 5, "batch_size": 2, "devices": "1"}
    plain, measuring = (Trainer.of([make_job(TrainConfig(**text, accuracy=on))]) for on in (False, True))
    expected, without = _text_run(plain)
    actual, measured = _text_run(measuring)
    assert without.accuracy is None and without.recent_accuracy is None and expected.recent_accuracy is None
    assert_trees_equal(actual._replace(recent_accuracy=None, valid_accuracy=None), expected)
    np.testing.assert_array_equal(measured.loss, without.loss)
    accuracy = measured.accuracy
    assert accuracy.shape == (MAX_CHUNK_UPDATES,) and accuracy[5:30].mean() > 0.3
    np.testing.assert_allclose(accuracy[:30] * 10, np.round(accuracy[:30] * 10), atol=1e-5)  # of 5 x 2 symbols


def _text_run(trainer):
    streams = trainer.jobs[0].task.streams()
    return advance_chunk(trainer.graphdef, trainer.settings, trainer.initial_state(), streams, 30)


def test_the_step_works_under_vmap():
    """A population maps it over seeds: each member gets its own sequences."""
    trainer = Trainer.of([make_job(config_of(seed=seed)) for seed in (1, 2)])
    streams, states = jnp.asarray(row_numbers(4)), [trainer.initial_state(member) for member in (0, 1)]
    step = jax.jit(lambda state: train_step(trainer.graphdef, trainer.settings, state, streams))
    alone = [step(state) for state in states]
    both = jax.jit(jax.vmap(lambda state: train_step(trainer.graphdef, trainer.settings, state, streams)))(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    )
    np.testing.assert_allclose(both[1], [loss for _, loss, _ in alone], rtol=1e-6)
    assert float(both[1][0]) != float(both[1][1])


def test_a_task_is_told_by_its_values():
    assert NextSymbol(5, 3) == NextSymbol(5, 3) != NextSymbol(5, 4) != NextSymbol(5, 4, 2)
    assert hash(NextSymbol(5, 3)) == hash(NextSymbol(5, 3)) and hash(Sequences("xor", 5)) == hash(Sequences("xor", 5))
    assert Sequences("xor", 5) != Sequences("xor", 6) and Sequences("xor", 5) != Sequences("adding", 5)
    with pytest.raises(ValueError, match="--task expects one of palindromes"):
        Sequences("parity", 5)
    with pytest.raises(ValueError, match="--input expects one of number; got 'one-hot'"):
        Sequences("xor", 5, "one-hot")
    with pytest.raises(ConfigurationError, match="^--sequence-length expects"):
        Sequences("temporal-order", 9)


def test_one_hot_digits_are_read_as_symbols():
    inputs, _ = Sequences("palindromes", 5, "one-hot").draw(jax.random.key(0), jnp.arange(3))
    numbers, _ = Sequences("palindromes", 5, "number").draw(jax.random.key(0), jnp.arange(3))
    assert inputs.shape == (5, 3) and numbers.shape == (5, 3, 1)
    np.testing.assert_array_equal(inputs, numbers[:, :, 0])
    assert make_job(config_of(input="one-hot")).parameters == make_job(config_of()).parameters + 9 * 8


def test_a_bidirectional_run_trains_both_directions():
    trainer = trainer_of(bidirectional=True, learned_initial_carry=True)
    start = trainer.initial_state()
    state, metrics = advance(trainer, 2)
    assert np.isfinite(metrics["loss"]).all() and state.carry == ()
    changed = jax.tree.map(lambda new, old: bool(np.any(new != old)), state.params, start.params)
    assert set(changed["stack"]["layers"][0]) == set(changed["stack"]["first_carry"][0]) == {"forward", "backward"}
    assert all(jax.tree.leaves(changed))


# ---- settings ----

SEQUENCES: dict[str, Any] = {"task": "palindromes", "sequence_length": 5}
REFUSED = [
    ({"task": "palindrome", "sequence_length": 5}, "--task expects one of .* did you mean palindromes"),
    ({"task": "palindromes"}, "--task palindromes needs a --sequence-length"),
    ({"task": "temporal-order", "sequence_length": 9}, "--sequence-length expects a whole number from 10 to 100000"),
    (SEQUENCES | {"sequence_length": 0}, "--sequence-length expects a whole number from 1"),
    (SEQUENCES | {"sequence_length": 100_001}, "--sequence-length expects a whole number from 1 to 100000"),
    (SEQUENCES | {"learning_rate": -1.0}, "--learning-rate expects"),
    (SEQUENCES | {"task": "xor", "input": "one-hot"}, "--task xor has --input number; got 'one-hot'"),
    (SEQUENCES | {"decay_rate": 0.9}, "--decay-rate needs --decay-every-updates or --plateau-patience"),
    (SEQUENCES | {"early_stopping": "patience"}, "--early-stopping patience needs a --validation-every above 0"),
    (SEQUENCES | {"stop_at_accuracy": 1.01}, "--stop-at-accuracy expects a share of at most 1"),
    ({"task": "copy-memory", "sequence_length": 30, "pooling": "mean"}, "--pooling mean gives one answer"),
    ({"sequence_length": 5}, "--sequence-length has no effect on a text"),
    ({"validation_every": 5, "best_by": "smoothed"}, "--validation-every needs --best-by fresh"),
    ({"validation_fraction": 0.1, "best_by": "smoothed"}, "--best-by has no effect with a --validation-fraction"),
    ({"pooling": "mean"}, "--pooling has no effect on a text"),
    (
        {"bidirectional": True},
        "--bidirectional does not go with a text: such a layer has seen the symbol that is to be",
    ),
    ({"stop_at_accuracy": 0.9}, "--stop-at-accuracy needs --accuracy"),
    ({"folds": 3, "fold": 3}, "--fold 3 is not one of --folds 3, which are counted from 0 to 2"),
    ({"fold": 1}, "--fold 1 is not one of --folds 1"),
]
OTHER_VALUES: dict[str, Any] = {
    "symbols": "words",
    "vocabulary_size": 100,
    "text": "a.txt",
    "epochs": 3,
    "decay_after_epochs": 3,
    "validation_fraction": 0.1,
    "validation_text": "a.txt",
    "test_fraction": 0.1,
    "folds": 3,
    "fold": 1,
    "retrain": True,
    "best_by": "smoothed",
    "bptt_length": 30,
    "embedding": 8,
    "tie_embedding": True,
    "sample_every": 5,
    "sample_length": 5,
    "encoding": "utf-8",
    "newlines": "keep",
    "byte_order_mark": "keep",
    "bytes": True,
    "stream_from": "disk",
}


@pytest.mark.parametrize(("settings", "said"), REFUSED)
def test_what_does_not_go_together_is_refused_in_one_line(settings, said):
    with pytest.raises(ConfigurationError, match=f"^{said}") as caught:
        TrainConfig(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ONLY_FOR_TEXT)
def test_what_belongs_to_a_text_is_refused(name):
    option = "TEXT" if name == "text" else flag(name)
    with pytest.raises(ConfigurationError, match=f"^{option} has no effect with --task palindromes: .*; "):
        TrainConfig(**SEQUENCES, **{name: OTHER_VALUES[name]})


def test_the_names_are_those_of_the_tasks():
    """The settings know them without loading JAX."""
    assert TASK_NAMES == ("text", *PROBES) and set(GENERATED) == set(PROBES) == set(LENGTHS)


def test_what_goes_together_is_taken():
    TrainConfig(**SEQUENCES, decay_rate=0.9, decay_every_updates=100, early_stopping="patience", validation_every=10)
    TrainConfig(**SEQUENCES, decay_rate=0.9, plateau_patience=3, validation_every=10)
    TrainConfig(**SEQUENCES, stop_at_accuracy=1.0, accuracy=True)
    TrainConfig(accuracy=True, stop_at_accuracy=0.6)
