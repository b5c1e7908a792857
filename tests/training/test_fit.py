"""`fit`: a user's cell, model, arrays and optimizer have every promise that the built-in ones have."""

from __future__ import annotations

import functools
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxrnn
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.errors import CheckpointError, ConfigurationError, DataError, NumericError
from jaxrnn.inspect.report_of_run import find_text
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.scoring.adaptation import Adaptation
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.job import make_job
from tests.training.parts import ADAM, MeanTaking, MinimalGatedCell, array_task, arrays, fit_of, mean_taking, own_cell
from tests.trees import assert_trees_equal

pytestmark = pytest.mark.usefixtures("shared_programs")

KINDS = ["cell", "arrays", "members"]
QUIET: dict[str, Any] = {"progress": Progress(quiet=True), "log_every": 1}
STILL = optax.sgd(0.0)  # learns nothing


def state_of(result: Any, member: int) -> Any:
    state = result.trainer.state(member)
    return jax.tree.map(np.asarray, state._replace(seed=jax.random.key_data(state.seed)))


def rows_in(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "metrics.jsonl").read_text("utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if not k.endswith("_per_second")} for line in lines]


@pytest.fixture(scope="module")
def whole_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The fit of a kind that never stopped."""
    return functools.cache(lambda kind: fit_of(kind, tmp_path_factory.mktemp("whole") / kind))


def die(update: int, trainer: Any) -> None:
    """Stands for a kill: nothing is saved."""
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("kind", "by_signal"),
    [(kind, by_signal) for kind in KINDS for by_signal in (True, False)],
)
def test_a_killed_fit_goes_on_as_if_it_never_was(
    kind: str, by_signal: bool, whole_of: Callable[[str], Any], tmp_path: Path
) -> None:
    """Parameters, optimizer, variables, order of the batches, log and samples; killed at 33, saved at 20."""
    if by_signal:
        command = [sys.executable, "-m", "tests.training.parts", kind, str(tmp_path / "killed"), "33"]
        killed = subprocess.run(command, capture_output=True, text=True, check=False)
        assert killed.returncode == -9, killed.stderr
    else:
        with pytest.raises(KeyboardInterrupt):
            fit_of(kind, tmp_path / "killed", callbacks=[([33], die)])
    whole, again = whole_of(kind), fit_of(kind, tmp_path / "killed")
    assert again.updates == whole.updates and again.ends == ["finished"] * len(whole.updates)
    for member, (one, other) in enumerate(zip(whole.directories, again.directories, strict=True)):
        assert_trees_equal(state_of(again, member), state_of(whole, member))
        assert rows_in(one) == rows_in(other) and len(rows_in(one)) > 8
        if kind == "cell":
            assert (one / "samples.txt").read_bytes() == (other / "samples.txt").read_bytes()


def test_members_are_the_fits_alone(whole_of: Callable[[str], Any]) -> None:
    """With their own seeds and injected rates; the sequences of each epoch are those of its own seed."""
    together = whole_of("members")
    for member, (seed, rate) in enumerate([(1, 0.01), (2, 0.003)]):
        alone = jaxrnn.fit(
            mean_taking, array_task(), optax.inject_hyperparams(optax.adam)(rate), updates=60, seed=seed, **QUIET
        )
        of = together.trainer.state(member)
        assert_trees_equal(jax.tree.map(np.asarray, of.params), jax.tree.map(np.asarray, alone.trainer.state().params))
        np.testing.assert_array_equal(of.order, alone.trainer.state().order)
    assert not np.array_equal(together.trainer.state(0).order, together.trainer.state(1).order)


def test_a_users_cell_is_trained_as_one_by_name() -> None:
    """The same cell under another name, with the same optimizer from Optax: the same numbers, to rounding."""

    class Own(jaxrnn.GRUCell):
        pass

    text = jaxrnn.Text(corpus_from_text("abcd dcba bad " * 20), bptt_length=5, batch_size=3)
    init = jax.nn.initializers.normal(0.1)

    def own(rngs: nnx.Rngs) -> Any:
        stack = jaxrnn.Stack([Own(5, 8, kernel_init=init, rngs=rngs)])
        return jaxrnn.LanguageModel(5, stack, kernel_init=init, rngs=rngs)

    fitted = jaxrnn.fit(own, text, optax.adam(0.01), updates=40, seed=4, sample_every=0, **QUIET)
    config = jaxrnn.TrainConfig(
        cell="gru", hidden=8, init_scale=0.1, optimizer="adam", learning_rate=0.01, clip_value=0.0, bptt_length=5,
        batch_size=3, loss_reduction="mean", updates=40, seed=4, devices="1",
    )  # fmt: skip
    trainer = jaxrnn.Trainer.of([make_job(config, text.corpus)])
    trainer.advance(40)
    actual, expected = fitted.trainer.params(checkpoint="latest"), trainer.params()
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


# ---- arrays ----


def seen_rows(task: jaxrnn.Arrays, updates: int, seed: int = 0) -> list[list[int]]:
    """Which sequences each update reads, told by a model whose loss is a sequence's own number."""
    objective, streams = task.objective, task.streams()
    trainer = jaxrnn.Trainer(logits_of(np.zeros((3, 2))), task, STILL, updates=1, seed=seed)
    batch_of_state, seen = jax.jit(objective.batch, static_argnums=3), []
    for _ in range(updates):
        trainer.advance(1)
        state = trainer.state()
        window = (int(state.update) - 1) % task.windows_per_epoch
        batch = batch_of_state(jax.random.key(0), state._replace(window=jnp.int32(window)), streams, jnp.float32)
        numbers = np.asarray(batch.inputs)[0, :, 0]
        seen.append([int(n) for n, weight in zip(numbers, np.asarray(batch.weights)[0], strict=True) if weight])
    return seen


def test_each_epoch_reads_every_sequence_once_in_an_order_of_its_own() -> None:
    inputs = np.tile(np.arange(11.0)[:, None, None], (1, 2, 3))
    task = jaxrnn.Arrays(inputs, np.arange(11) % 2, batch_size=4)
    seen = seen_rows(task, 6)
    assert [len(rows) for rows in seen] == [4, 4, 3] * 2  # the last batch counts for what it has
    first, second = list(itertools.chain(*seen[:3])), list(itertools.chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(11)) and first != second
    assert list(itertools.chain(*seen_rows(task, 3, seed=1))) != first


class Linear(nnx.Module):
    """A model without recurrence: logits_t = x_t W."""

    def __init__(self, weights: np.ndarray) -> None:
        self.W = nnx.Param(jnp.asarray(weights, jnp.float32))

    def initial_carry(self, batch_size: int) -> tuple:
        return ()

    def __call__(self, xs: jax.Array, carry: tuple) -> tuple[jax.Array, tuple]:
        return xs @ self.W[...], carry


def logits_of(weights: np.ndarray) -> Callable[[nnx.Rngs], nnx.Module]:
    return lambda rngs: Linear(weights)


def log_odds(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("each_step", [False, True])
@pytest.mark.parametrize("weighted", [None, [0.5, 2.0, 1.0], "balanced"])
def test_the_loss_is_the_weighted_mean_over_scored_steps(each_step: bool, weighted: Any) -> None:
    rng = np.random.default_rng(3)
    inputs, W, lengths = rng.normal(size=(5, 4, 2)), rng.normal(size=(2, 3)), np.array([4, 1, 3, 2, 4])
    targets = rng.integers(0, 3, (5, 4) if each_step else 5)
    targets.flat[:3] = [0, 1, 2]
    if each_step:
        targets[2, 1] = -1  # no target
    task = jaxrnn.Arrays(inputs, targets, lengths=lengths, batch_size=5, class_weights=weighted)
    losses, weights = [], []
    within = np.arange(4)[None, :] < lengths[:, None] if each_step else np.full(5, True)
    counts = np.bincount(targets[within & (targets >= 0)], minlength=3)
    of_class = {None: np.ones(3), "balanced": counts.sum() / (3 * counts)}.get(
        weighted if not isinstance(weighted, list) else "given", np.array(weighted if isinstance(weighted, list) else 0)
    )
    for row in range(5):
        for step in range(lengths[row]) if each_step else [lengths[row] - 1]:
            target = targets[row, step] if each_step else targets[row]
            if target >= 0:
                losses.append(-log_odds(inputs[row, step] @ W)[target])
                weights.append(of_class[target])
    expected = np.average(losses, weights=weights)
    trainer = jaxrnn.Trainer(logits_of(W), task, STILL, updates=1)
    np.testing.assert_allclose(trainer.advance(1)[0].loss, [expected], rtol=1e-5)
    np.testing.assert_allclose(trainer.evaluate(task, checkpoint="latest")["loss_nats"], expected, rtol=1e-5)


def test_a_regression_is_the_mean_squared_error_and_predicts_numbers() -> None:
    rng = np.random.default_rng(3)
    inputs, W, lengths = rng.normal(size=(7, 4, 2)), rng.normal(size=(2, 1)), np.array([4, 1, 3, 2, 4, 2, 1])
    targets = rng.normal(size=7)
    metrics = {"mean_error": lambda outputs, targets: jnp.abs(outputs[..., 0] - targets)}
    task = jaxrnn.Arrays(inputs, targets, lengths=lengths, batch_size=3, metrics=metrics)
    answers = np.array([inputs[row, length - 1] @ W[:, 0] for row, length in enumerate(lengths)])
    trainer = jaxrnn.Trainer(logits_of(W), task, STILL, updates=1)
    told = trainer.evaluate(task)
    assert {name: type(value) for name, value in told.items()} == dict.fromkeys(told, float) | {"sequences": int}
    np.testing.assert_allclose(told["squared_error"], ((answers - targets) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(told["mean_error"], np.abs(answers - targets).mean(), rtol=1e-5)
    predicted = trainer.predict(inputs, lengths)
    np.testing.assert_allclose(predicted.values, answers, rtol=1e-5)
    assert predicted.probabilities is None and "accuracy" not in told


def test_classes_are_predicted_with_their_probabilities() -> None:
    of, W = arrays(), np.random.default_rng(1).normal(size=(3, 2))
    trainer = jaxrnn.Trainer(logits_of(W), array_task(), STILL, updates=1)
    predicted = trainer.predict(of["inputs"], of["lengths"])
    last = np.array([row[length - 1] for row, length in zip(of["inputs"], of["lengths"], strict=True)])
    assert predicted.probabilities is not None
    np.testing.assert_allclose(predicted.probabilities, np.exp(log_odds(last @ W)), rtol=1e-5)
    np.testing.assert_array_equal(predicted.values, (last @ W).argmax(axis=1))


def test_a_batch_split_over_devices_is_the_batch_on_one() -> None:
    """The last batch too, whose sequences do not fall evenly to the devices."""
    one, two = (
        jaxrnn.Trainer(a_classifier, array_task(), optax.sgd(0.1), updates=1, devices=devices) for devices in ("1", "2")
    )
    np.testing.assert_allclose(two.advance(12)[0].loss, one.advance(12)[0].loss, rtol=2e-5)


BAD_ARRAYS = [
    ({"inputs": np.zeros((3, 4))}, "whole numbers as ids"),
    ({"inputs": np.full((3, 4), -1)}, "at least 0"),
    ({"targets": np.zeros(2, int)}, "a target for each of 3 sequences, which are"),
    ({"targets": np.zeros((3, 2), int)}, "give the class, argmax"),
    ({"targets": np.full(3, np.nan)}, "targets are expected to be finite"),
    ({"inputs": np.full((3, 4, 2), np.inf)}, "inputs are expected to be finite"),
    ({"inputs": [np.zeros((4, 2)), np.zeros((3, 2)), np.zeros((4, 2))]}, "parts of different shapes"),
    ({"targets": np.full(3, 2**32)}, "at most 2147483647"),
    ({"targets": "abc"}, "expected as numbers"),
    ({"lengths": [1.0, 2.0, 3.0]}, "whole numbers"),
    ({"batch_size": 0}, "a whole number from 1"),
    ({"lengths": [1, 2, 5]}, "lengths from 1 to 4"),
    ({"lengths": [1, 2]}, "a length for each of 3"),
    ({"class_weights": [1.0, 2.0, 3.0]}, "class_weights expects 2"),
    ({"class_weights": [0.0, 0.0]}, "one above it"),
    ({"class_weights": [0.0, 1.0, 0.0], "targets": np.array([0, 2, 0])}, "one above it of a target"),
    ({"class_weights": "balance"}, "or balanced"),
    ({"class_weights": [1.0], "targets": np.zeros(3)}, "are for classes"),
    ({"inputs": np.full((3, 4), 2), "symbols": 2}, "ids below 2"),
    ({"inputs": np.ma.masked_less(np.zeros((3, 4, 2)), 1)}, "without a mask"),
    ({"loss": "mse"}, "loss is a function of"),
    ({"metrics": [max]}, "functions by name"),
    ({"metrics": {1: max}}, "functions by name"),
    ({"symbols": 2.5}, "--symbols expects a whole number"),
    ({"class_weights": [[1.0], [2.0, 3.0]]}, "class_weights expects 2"),
    ({"inputs": jax.random.split(jax.random.key(0), (3, 4))}, "one array; got PRNGKeyArray"),
    ({"targets": list("aba")}, "convert them"),
    ({"metrics": {"accuracy": max}}, "no metric is called"),
]


@pytest.mark.parametrize(("changed", "said"), BAD_ARRAYS)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises((DataError, ConfigurationError), match=said):
        jaxrnn.Arrays(**{"inputs": np.zeros((3, 4, 2)), "targets": np.array([0, 1, 0]), **changed})


CORPUS = corpus_from_text("abcd" * 20)
BAD_TASKS: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (jaxrnn.Arrays.from_sequences, {"sequences": None, "targets": None}, "a list of arrays, and one of targets; got"),
    (jaxrnn.Stream, {"batches": [(np.zeros((2, 3, 4)), np.zeros(2))]}, "or an iterator; got list"),
    (jaxrnn.Stream, {"batches": lambda update: (np.zeros((2, 3, 4)), np.zeros(2), [1, 1], 5)}, "got tuple of 4"),
    (jaxrnn.Stream, {"batches": lambda update: (np.zeros((2, 3, 4)), np.zeros(2)), "loss": "mse"}, "is a function"),
    (jaxrnn.Stream, {"batches": lambda update: (np.zeros((2, 3, 4)), [0, 1]), "classes": 2.0}, "--classes expects a"),
    (jaxrnn.Text, {"text": CORPUS, "bptt_length": 2.5}, "--bptt-length expects a whole number"),
    (jaxrnn.Text, {"text": CORPUS, "batch_size": -1}, "--batch-size expects a whole number"),
    (jaxrnn.Text, {"text": CORPUS, "retrain": "no"}, "--retrain expects True or False"),
    (jaxrnn.Text, {"text": CORPUS, "symbols": "letters"}, "--symbols expects one of"),
    (jaxrnn.Text, {"text": CORPUS, "stream_from": "ram"}, "--stream-from expects one of"),
    (jaxrnn.Text, {"text": "to be\nor not"}, "got a text itself; give jaxrnn.data.corpus_from_text"),
    (jaxrnn.Text, {"text": 5}, "a known text or a list of files; got 5"),
    (jaxrnn.Text, {"text": []}, "a known text or a list of files"),
    (jaxrnn.Sequences, {"name": "adding", "length": 5, "batch_size": "3"}, "--batch-size expects a whole number"),
]


@pytest.mark.parametrize(("task", "given", "said"), BAD_TASKS)
def test_arguments_of_another_kind_are_refused_in_a_line(task: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises((DataError, ConfigurationError), match=re.escape(said)) as refused:
        task(**given)
    assert "\n" not in str(refused.value)


def test_whole_numbers_of_numpy_and_bfloat16_are_taken() -> None:
    inputs = jnp.arange(24, dtype=jnp.bfloat16).reshape(3, 4, 2)
    task = jaxrnn.Arrays(inputs, [0, 1, 0], batch_size=np.int64(2))  # type: ignore[arg-type]
    np.testing.assert_array_equal(task.inputs, np.arange(24.0).reshape(3, 4, 2))
    assert type(task.batch_size) is int and jaxrnn.Sequences("adding", np.int64(5)).length == 5  # type: ignore[arg-type]
    assert jaxrnn.Text(CORPUS, bptt_length=np.int32(5)).objective.steps == 5  # type: ignore[arg-type]


# ---- texts ----


class Bigrams(nnx.Module):
    """Logits of the next symbol by this one alone."""

    def __init__(self, weights: np.ndarray) -> None:
        self.W = nnx.Param(jnp.asarray(weights, jnp.float32))

    def initial_carry(self, batch_size: int) -> tuple:
        return ()

    def __call__(self, ids: jax.Array, carry: tuple) -> tuple[jax.Array, tuple]:
        return self.W[...][ids], carry


def test_another_text_is_validated_on_whole_and_only_in_the_same_symbols() -> None:
    W, text = np.random.default_rng(3).normal(size=(4, 4)), "ab ba cab " * 9
    same = jaxrnn.Vocabulary.from_text(text)
    windows: dict[str, Any] = {"bptt_length": 5, "batch_size": 2}
    train, other = (jaxrnn.Text(corpus_from_text(of), **windows) for of in (text, "bd db dab " * 9))
    held_out = jaxrnn.Text(corpus_from_text(text.replace("c", "b")), symbols=same, **windows)
    options: dict[str, Any] = {"updates": 2, "validation_every": 1, **QUIET}
    fitted = jaxrnn.fit(lambda rngs: Bigrams(W), train, STILL, validation=held_out, **options)
    ids = np.array([train.vocabulary.symbols.index(symbol) for symbol in text.replace("c", "b")])
    expected = -log_odds(W[ids[:-1]])[np.arange(len(ids) - 1), ids[1:]].mean()
    assert [row["valid/loss_nats"] for row in fitted.rows[0]] == pytest.approx([expected] * 2, rel=1e-5)
    with pytest.raises(ConfigurationError, match="symbols of the one"):
        jaxrnn.fit(lambda rngs: Bigrams(W), train, STILL, validation=other, **options)


class Table(nnx.Module):
    """Rows of a table at ids that a function makes of those given; beside it a table of as many rows as steps."""

    def __init__(self, rows: int, mapped: Callable[[jax.Array], jax.Array] = lambda ids: ids, embed: bool = False):
        rngs = nnx.Rngs(0)
        self.table: Any = nnx.Embed(rows, 4, rngs=rngs) if embed else nnx.Param(jnp.zeros((rows, 4)))
        self.places, self.mapped, self.embed = nnx.Embed(5, 4, rngs=rngs), mapped, embed

    def initial_carry(self, batch_size: int) -> tuple:
        return ()

    def __call__(self, ids: jax.Array, carry: tuple) -> tuple[jax.Array, tuple]:
        ids = self.mapped(ids)
        rows = self.table(ids) if self.embed else jax.lax.map(lambda of: self.table[...][of], ids)
        return rows + self.places(jnp.arange(len(ids)) % 5)[:, None], carry


def test_ids_above_the_rows_of_a_models_table_are_refused() -> None:
    """JAX clamps them: the last row would be read, and trained, in the place of others."""
    text = jaxrnn.Text(corpus_from_text("abcd" * 20), bptt_length=6, batch_size=2)

    def made(model: Any, task: Any = text) -> Any:
        return jaxrnn.Trainer(model, task, STILL, updates=1, sample_every=0)

    for sound in (Table(4), Table(4, embed=True), Table(3, lambda ids: ids % 3), Table(3, lambda ids: ids.clip(0, 2))):
        made(sound)
    for short in (Table(3), Table(3, embed=True), Table(3, lambda ids: ids.astype(jnp.int32)[::-1])):
        with pytest.raises(ConfigurationError, match="Table reads a table of 3 rows by ids of 4 symbols"):
            made(short)
    ids = np.arange(12).reshape(3, 4) % 6
    with pytest.raises(ConfigurationError, match="SequenceClassifier reads a table of 5 rows by ids of 6 symbols"):
        made(SequenceClassifier(5, 2, 4, rngs=nnx.Rngs(0)), jaxrnn.Arrays(ids, [0, 1, 0]))
    made(SequenceClassifier(6, 2, 4, rngs=nnx.Rngs(0)), jaxrnn.Arrays(ids, [0, 1, 0]))


def test_a_carry_of_another_kind_than_the_first_is_refused() -> None:
    class Remembering(Bigrams):
        def __call__(self, ids: jax.Array, carry: tuple) -> tuple[jax.Array, tuple]:
            return super().__call__(ids, carry)[0], (ids[-1],)

    text = jaxrnn.Text(corpus_from_text("ab ba cab " * 9), bptt_length=5, batch_size=2)
    with pytest.raises(ConfigurationError, match=re.escape("like that of its `initial_carry`, (); got ('uint8[2]',)")):
        jaxrnn.Trainer(lambda rngs: Remembering(np.zeros((4, 4))), text, STILL, updates=1)


# ---- streams ----


class Counting:
    """An iterator that can be set back."""

    def __init__(self) -> None:
        self.at = 0

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        self.at += 1
        return batch_of(self.at - 1)

    def __iter__(self) -> Counting:
        return self

    def get_state(self) -> dict[str, int]:
        return {"at": self.at}

    def set_state(self, state: dict[str, int]) -> None:
        self.at = state["at"]


def batch_of(update: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(update)
    inputs = rng.normal(size=(4, 3, 3))
    return inputs, (inputs[:, -1, 0] > 0).astype(int)


def test_a_stream_is_exact_over_a_restart_as_a_function_and_as_an_iterator(tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint_every": "20", **QUIET}
    whole = jaxrnn.fit(mean_taking, jaxrnn.Stream(batch_of, classes=2), ADAM, updates=50, **QUIET)
    assert len(whole.rows[0]) == 50
    for name, make in (("function", lambda: batch_of), ("iterator", Counting)):
        with pytest.raises(KeyboardInterrupt):
            task = jaxrnn.Stream(make(), classes=2)
            jaxrnn.fit(mean_taking, task, ADAM, updates=50, run=tmp_path / name, callbacks=[([33], die)], **options)
        task = jaxrnn.Stream(make(), classes=2)
        again = jaxrnn.fit(mean_taking, task, ADAM, updates=50, run=tmp_path / name, **options)
        assert_trees_equal(state_of(again, 0).params, state_of(whole, 0).params)
        assert [row["train/loss_nats"] for row in rows_in(tmp_path / name)] == [
            row["train/loss_nats"] for row in whole.rows[0]
        ]


def test_what_cannot_be_set_back_is_refused_with_files_and_ends_with_a_word(tmp_path: Path) -> None:
    few = [batch_of(update) for update in range(5)]
    with pytest.raises(ConfigurationError, match="get_state"):
        jaxrnn.fit(mean_taking, jaxrnn.Stream(iter(few), classes=2), optax.sgd(0.1), updates=9, run=tmp_path / "run")
    with pytest.raises(DataError, match="ends before update 6"):
        jaxrnn.fit(mean_taking, jaxrnn.Stream(iter(few), classes=2), optax.sgd(0.1), updates=9, **QUIET)
    numbers: Any = Counting()
    numbers.get_state = lambda: {"at": np.arange(2)}
    with pytest.raises(ConfigurationError, match="what JSON can hold"):
        jaxrnn.fit(mean_taking, jaxrnn.Stream(numbers, classes=2), ADAM, updates=9, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


BAD_BATCHES = [
    (lambda: (np.zeros((4, 5, 3)), np.zeros((4, 3), int)), "a target a step"),
    (lambda: (np.zeros((4, 5, 3)), np.zeros(4, int), [0, 1, 2, 3]), "lengths from 1 to 5"),
    (lambda: (np.zeros((4, 5, 3)), np.zeros(4)), "whole numbers were expected"),
    (lambda: (np.full((4, 5, 3), np.nan), np.zeros(4, int)), "finite"),
    (lambda: (np.full((4, 5), 9), np.zeros(4, int)), "ids below 9"),
    (lambda: [1], "batches (inputs, targets)"),
]


@pytest.mark.parametrize(("batch", "said"), BAD_BATCHES)
def test_batches_that_do_not_fit_are_refused(batch: Callable[[], Any], said: str) -> None:
    with pytest.raises(DataError, match=re.escape(said)):
        jaxrnn.Stream(lambda update: batch(), classes=2, symbols=9)


def test_a_stream_keeps_batches_whose_buffers_are_filled_again() -> None:
    inputs, targets, lengths = np.zeros((4, 3, 3)), np.zeros(4), np.ones(4, np.int32)

    def refill(update: int) -> tuple[np.ndarray, ...]:
        inputs[:], targets[:], lengths[:] = update, update, update % 3 + 1
        return inputs, targets, lengths

    streams = jaxrnn.Stream(refill).streams(0, 3)
    assert [part[:3, 0].reshape(3, -1)[:, 0].tolist() for part in (streams.inputs, streams.targets)] == [[0, 1, 2]] * 2
    assert streams.lengths[:3, 0].tolist() == [1, 2, 3]


# ---- what is refused ----


class KeyHolding(MeanTaking):
    def __init__(self, *, rngs: nnx.Rngs):
        super().__init__(3, 2, rngs=rngs)
        self.key = nnx.Variable(jax.random.key(0))


class Dropping(MeanTaking):
    def __init__(self, *, rngs: nnx.Rngs):
        super().__init__(3, 2, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


class HalfMeanTaking(MeanTaking):
    def __call__(self, xs: jax.Array, carry: jax.Array) -> tuple[jax.Array, jax.Array]:
        return super().__call__(xs / 2, carry)


class Still(nnx.Module):
    def initial_carry(self, batch_size: int) -> tuple:
        return ()

    def __call__(self, xs: jax.Array, carry: tuple) -> tuple[jax.Array, tuple]:
        return xs, carry


def a_classifier(rngs: nnx.Rngs) -> SequenceClassifier:
    return SequenceClassifier(3, 2, 4, rngs=rngs)


STREAM = jaxrnn.Stream(batch_of, classes=2)
SGD = jaxrnn.named_optimizer("sgd", 0.1)
FALLING = jaxrnn.named_optimizer("sgd", 0.1, decay_rate=0.5)
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"model": lambda rngs: Dropping(rngs=rngs)}, "holds random state"),
    ({"model": lambda rngs: KeyHolding(rngs=rngs)}, "holds random state"),
    ({"model": lambda rngs: nnx.Linear(3, 2, rngs=rngs)}, "initial_carry"),
    ({"model": MinimalGatedCell(3, 4, rngs=nnx.Rngs(0))}, "is a cell: put it into a stack"),
    ({"model": nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))}, "is a cell: put it into a stack"),
    ({"model": 5}, "expects a model"),
    ({"model": lambda rngs: Still()}, "a model with parameters"),
    ({"model": Still()}, "a model with parameters"),
    ({"task": np.zeros(3)}, "expects a task"),
    ({"optimizer": "adam"}, "Optax optimizer"),
    ({"optimizer": optax.lbfgs()}, "expects update(gradients, state, params, value=loss)"),
    ({"optimizer": optax.chain(jaxrnn.named_optimizer("sgd", 0.1))}, "has to stand alone"),
    ({"hidden": 5}, "fit takes no hidden"),
    ({"updates": None}, "updates` or `epochs"),
    ({"run": 5}, "run expects the path of a directory"),
    ({"progress": False}, "progress a jaxrnn.terminal.Progress"),
    ({"dropout_between": 0.5}, "takes `dropout`"),
    ({"early_stopping": "patience"}, "expects a `validation`"),
    (
        {"optimizer": jaxrnn.named_optimizer("sgd", 0.1, decay_rate=0.5, plateau_patience=2)},
        "plateau_patience expects a `validation`",
    ),
    (
        {"task": STREAM, "optimizer": FALLING},
        "a Stream has no epochs for the rate to decay by",
    ),
    ({"task": STREAM, "optimizer": SGD, "members": [{}, {"decay_rate": 0.5}]}, "a Stream has no epochs"),
    ({"members": [{"learning_rate": 0.1}]}, "a member may differ in seed"),
    ({"members": []}, "a list of dicts"),
    ({"members": {"seed": 1}}, "a list of dicts"),
    ({"callbacks": [(0, print)]}, "pairs (when, call)"),
    ({"callbacks": (5, print)}, "pairs (when, call)"),
    ({"callbacks": [(2.5, print)]}, "pairs (when, call)"),
    ({"model": lambda rngs: SequenceClassifier(3, 2, 4, answers=2, rngs=rngs)}, "gives 2, see its `answers`"),
    (
        {"validation": jaxrnn.Arrays(np.zeros((2, 4, 3)), np.zeros(2))},
        "validation expects targets like those of training",
    ),
    ({"validation": (np.zeros((2, 4, 3)), np.zeros(2))}, "a task with an end"),
    ({"validation": jaxrnn.Sequences("xor", 4)}, "validation expects what is trained on, 37 sequences"),
    ({"task": jaxrnn.Sequences("xor", 4), "validation": jaxrnn.Sequences("adding", 4)}, "got adding, 4 steps"),
    ({"task": jaxrnn.Sequences("xor", 4), "validation": jaxrnn.Arrays(np.zeros((2, 4, 2)), np.zeros(2))}, "2 classes"),
    ({"task": jaxrnn.Text(CORPUS, bptt_length=4), "validation": jaxrnn.Arrays([[4, 0]], [[0, 1]])}, "ids below 4"),
    ({"validation": jaxrnn.Stream(lambda update: batch_of(update), classes=2)}, "a task with an end"),
    ({"validation": jaxrnn.Text(corpus_from_text("abc" * 99), bptt_length=5)}, "in the symbols of the one"),
    ({"model": MeanTaking(3, 2, rngs=nnx.Rngs(0)), "members": [{"seed": 1}]}, "rngs -> model"),
    ({"init_from": {"W": np.zeros(3)}}, "same names, shapes"),
    ({"init_from": [0.5]}, "same names, shapes"),
    ({"dtype": "float64"}, "dtype float64"),
    (
        {"model": SequenceClassifier(3, 2, 4, param_dtype=jnp.float16, rngs=nnx.Rngs(0))},
        "fit expects parameters of dtype float32, the setting `dtype`; got float16",
    ),
    (
        {"task": array_task(loss=lambda outputs, targets: (outputs[..., 0] - targets).T)},
        "one number a target, [1, 8]; got [8, 1]",
    ),
    ({"model": lambda rngs: MeanTaking(3, 3, rngs=rngs)}, "asks for 2 numbers an answer"),
    (
        {"model": lambda rngs: SequenceClassifier(4, 4, 3, rngs=rngs), "task": jaxrnn.Text(CORPUS, bptt_length=4)},
        "asks for 4 answers a sequence, outputs (K, B, C); SequenceClassifier gives [1, 1, 4]",
    ),
    (
        {"model": lambda rngs: SequenceClassifier(2, 2, 3, answers=3, rngs=rngs), "task": jaxrnn.Sequences("xor", 4)}
        | {"validation_every": 1},
        "asks for 1 answers a sequence",
    ),
]


class OtherCall(MeanTaking):
    def __call__(self, xs: jax.Array) -> tuple[jax.Array, jax.Array]:  # type: ignore[override]
        return super().__call__(xs, self.initial_carry(1))


class OtherStart(MeanTaking):
    def initial_carry(self) -> jax.Array:  # type: ignore[override]
        return super().initial_carry(1)


class NoCall(nnx.Module):
    def initial_carry(self, batch_size: int) -> tuple:
        return ()


class OtherUpdate(MinimalGatedCell):
    def update(self, p: Any, r: Any, carry: Any) -> Any:  # type: ignore[override]
        return super().update(p, r, carry, (), 0)


class OtherStep(nnx.SimpleCell):
    def __call__(self, x: Any) -> Any:  # type: ignore[override]
        return super().__call__(x, x)


one_batch: Any = functools.partial(batch_of, 0)


def one_loss(outputs: jax.Array) -> jax.Array:
    return outputs


def stack_of(cell: type, rngs: nnx.Rngs) -> Any:
    return jaxrnn.LanguageModel(5, jaxrnn.Stack([cell(5, 6, rngs=rngs)]), rngs=rngs)


OTHER_CALLS: list[tuple[Callable[[], Any], str]] = [
    (lambda: {"callbacks": [(1, lambda update: None)]}, "a callback is called as f(update, trainer); "),
    (lambda: {"model": lambda: None}, "makes the model is called as f(rngs); "),
    (lambda: {"model": MeanTaking}, "f(rngs); MeanTaking takes (features: 'int', classes: 'int', *, rngs: 'nnx.Rngs')"),
    (lambda: {"model": lambda rngs: OtherCall(3, 2, rngs=rngs)}, "a model is called as f(inputs, carry); OtherCall."),
    (lambda: {"model": OtherStart(3, 2, rngs=nnx.Rngs(0))}, "a model is called as f(batch_size); OtherStart."),
    (lambda: {"model": lambda rngs: NoCall()}, "a model is called as f(inputs, carry); NoCall cannot be called"),
    (lambda: {"task": array_task(loss=one_loss)}, "the loss is called as f(outputs, targets); one_loss takes (outputs"),
    (lambda: {"task": array_task(metrics={"own": one_loss})}, "the metric own is called as f(outputs, targets); one_"),
    (lambda: {"task": jaxrnn.Stream(one_batch, classes=2)}, "Stream is called as f(update); "),
    (
        lambda: {"model": functools.partial(stack_of, OtherUpdate)},
        "layer 0 is called as f(p, r, carry, pointwise, t); ",
    ),
    (lambda: {"model": functools.partial(stack_of, OtherStep)}, "layer 0 is called as f(carry, x); OtherStep.__call__"),
    (lambda: {"validation": lambda trainer: 0.0}, "a task with an end: Text, Sequences or Arrays; got function"),
]


@pytest.mark.parametrize(("changed", "said"), OTHER_CALLS)
def test_a_function_that_takes_other_arguments_is_named_with_those_it_is_given(changed: Any, said: str) -> None:
    """They ended in a bare TypeError from inside a trace, of a metric or a callback after minutes of training."""
    with pytest.raises(ConfigurationError, match=re.escape(said)) as refused:
        jaxrnn.fit(
            **{"model": mean_taking, "task": array_task(), "optimizer": STILL, "updates": 3, **QUIET, **changed()}
        )
    assert "\n" not in str(refused.value)


def test_functions_of_any_form_that_take_the_arguments_are_taken() -> None:
    def told(*given: Any, **options: Any) -> Any:
        return jnp.zeros(given[1].shape[:2])

    class Seen:
        def __call__(self, update: int, trainer: Any, more: int = 0) -> None:
            self.at = update, trainer.score([0], "validation")

    lists: Any = {}
    seen = Seen()
    task = array_task(metrics={"first": told, "second": functools.partial(told, more=1)})
    fit = functools.partial(jaxrnn.fit, mean_taking, task, STILL, updates=1, validation=task, **QUIET)
    fit(callbacks=[(1, seen), (1, lists.setdefault)])  # `dict.setdefault` tells no signature, or a vague one
    assert seen.at[0] == 1 and list(lists) == [1]


def test_a_callback_that_changes_the_trainer_is_refused() -> None:
    """It went on from a state that neither the loop nor its log knew of, or trained past its end."""
    changes: list[Callable[[Any], Any]] = [
        lambda trainer: trainer.advance(1),
        lambda trainer: trainer.put(0, trainer.state()),
        lambda trainer: trainer.begin(),
        lambda trainer: trainer.validate([0]),
    ]
    refused = []

    def change(update: int, trainer: Any) -> None:
        for call in changes:
            with pytest.raises(ConfigurationError, match="a callback looks at the trainer and does not change") as of:
                call(trainer)
            refused.append(of)

    done = jaxrnn.fit(
        mean_taking, array_task(), STILL, updates=2, validation=array_task(), callbacks=[([1], change)], **QUIET
    )
    assert len(refused) == 4 and done.updates == [2]
    assert len(done.trainer.advance(1)[0].loss) == 1  # after `fit` it is the caller's
    with pytest.raises(ConfigurationError, match="checkpoint expects .*best, latest.*got 'candidate'"):
        done.trainer.params(checkpoint="candidate")
    with pytest.raises(ConfigurationError, match="write expects a model that has learned a text.*37 sequences"):
        done.trainer.write(0, 5, 1.0)


def test_what_was_measured_in_memory_is_kept_by_the_error_that_ends_it() -> None:
    """Of a model that diverges, and of an iterator that ends too early, for one model and for members."""

    def poisoned(update: int) -> Any:
        return np.full((4, 2, 3), 3e38 if update > 3 else 1.0), np.zeros(4)

    with pytest.raises(NumericError, match="not finite") as diverged:
        jaxrnn.fit(logits_of(np.ones((3, 1))), jaxrnn.Stream(poisoned), STILL, updates=50, **QUIET)
    (rows,) = diverged.value.rows
    assert [row["update"] for row in rows] == [*range(1, len(rows) + 1)] and len(rows) > 10
    assert [row["train/squared_error"] for row in rows[:4]] == [9.0] * 4
    few = [batch_of(update) for update in range(5)]
    for members in (None, [{"seed": 1}, {"seed": 2}]):
        task = jaxrnn.Stream(iter(few), classes=2)
        with pytest.raises(DataError, match="ends before update 6") as ended:
            jaxrnn.fit(mean_taking, task, STILL, updates=9, members=members, callbacks=[(1, print)], **QUIET)
        assert [[row["update"] for row in rows] for rows in ended.value.rows] == [[1, 2, 3, 4, 5]] * len(members or [0])


@pytest.mark.parametrize(("changed", "said"), REFUSED)
def test_parts_that_do_not_fit_are_refused_with_the_remedy(changed: dict[str, Any], said: str) -> None:
    options = {"model": mean_taking, "task": array_task(), "optimizer": optax.sgd(0.1), "updates": 3, **changed}
    with pytest.raises((ConfigurationError, DataError), match=re.escape(said)):
        jaxrnn.fit(**{**QUIET, **options})


def test_what_a_trainer_is_asked_for_in_another_form_is_refused() -> None:
    """Of "3" and 2.5 it made 3 and 2 updates, of -1 none; "train" was the validation data, and None had a rate."""
    trainer = jaxrnn.Trainer(mean_taking, array_task(), STILL, updates=3)
    asked: list[Callable[[], Any]] = [
        *(lambda updates=updates: trainer.advance(updates) for updates in ("3", 2.5, -1, None)),
        lambda: trainer.score([0], "train"),
        lambda: trainer.predict(np.zeros((1, 4, 3)), checkpoint="last"),
        lambda: jaxrnn.named_optimizer("adam", None),  # type: ignore[arg-type]
        lambda: jaxrnn.Trainer(mean_taking, array_task(), jaxrnn.named_optimizer("sgd", 1e300), updates=3),
    ]
    for call in asked:
        with pytest.raises(ConfigurationError, match="expects"):
            call()


def test_a_member_that_there_is_not_is_refused_with_their_range(tmp_path: Path) -> None:
    """A trainer of two had a bare IndexError; one of a model alone gave the state of member 0 once it had begun."""
    both = fit_of("members", tmp_path / "both", updates=1).trainer
    alone = jaxrnn.Trainer(mean_taking, array_task(), STILL, updates=1)
    alone.begin()
    calls: list[Callable[[Any, int], Any]] = [
        lambda trainer, member: trainer.params(member),
        lambda trainer, member: trainer.model(member),
        lambda trainer, member: trainer.glance(member),
        lambda trainer, member: trainer.initial_state(member),
        lambda trainer, member: trainer.put(member, trainer.state()),
        lambda trainer, member: trainer.score([member]),
        lambda trainer, member: trainer.predict(np.zeros((1, 4, 3)), member=member),
        lambda trainer, member: trainer.evaluate(array_task(), member=member),
        lambda trainer, member: trainer.write(member, 3, 1.0),
    ]
    for call, (trainer, last) in itertools.product(calls, ((both, 1), (alone, 0))):
        for member in (7, -1):
            with pytest.raises(ConfigurationError, match=f"--member expects a whole number from 0 to {last}; got "):
                call(trainer, member)
    with pytest.raises(ConfigurationError, match="holds 2 members; give the directory of one, .*members/0$"):
        jaxrnn.open_run(tmp_path / "both")


def test_a_run_goes_on_with_the_parts_it_was_begun_with_only(tmp_path: Path, capsys: Any) -> None:
    """Another model of the same shapes, another constant of the optimizer, other data, other settings."""
    run = tmp_path / "run"
    fit_of("arrays", run, updates=5)
    other = array_task(batch_size=8)
    other.inputs[0, 0, 0] += 1

    class Mean_Taking(MeanTaking):
        def __call__(self, xs: jax.Array, carry: jax.Array) -> tuple[jax.Array, jax.Array]:
            return super().__call__(2 * xs, carry)

    def twice(rngs: nnx.Rngs) -> Any:
        return Mean_Taking(3, 2, rngs=rngs)

    tried: list[tuple[Any, Any, Any, str]] = [
        (twice, array_task(), ADAM, "other parts"),
        (mean_taking, array_task(), optax.adam(0.02), "other parts"),
        (mean_taking, other, ADAM, "not the data"),
        (mean_taking, array_task(batch_size=4), ADAM, "other settings"),
    ]
    for model, task, optimizer, said in tried:
        options = {"updates": 9, "run": run, "validation": array_task(), "checkpoint_every": "20", **QUIET}
        with pytest.raises((CheckpointError, ConfigurationError), match=said):
            jaxrnn.fit(model, task, optimizer, **options | {"log_every": 7})
    for validation in (None, other):  # the lowest loss so far would be another's
        with pytest.raises(CheckpointError, match="model, task, optimizer and validation"):
            fit_of("arrays", run, updates=9, validation=validation)
    with pytest.raises(ConfigurationError, match="holds a run alone but no members"):
        fit_of("arrays", run, updates=9, members=[{"seed": 0}])
    record = json.loads((run / "config.json").read_text("utf-8"))
    record["parts"]["model"]["computes"] = "0" * 64
    (run / "config.json").write_text(json.dumps(record), "utf-8")
    with pytest.raises(CheckpointError, match="other parts"):
        fit_of("arrays", run, updates=9)
    del record["parts"]["validation"], record["parts"]["model"]["engine"]  # as older versions wrote it
    (run / "config.json").write_text(json.dumps(record), "utf-8")
    capsys.readouterr()
    assert fit_of("arrays", run, updates=9).updates == [9]
    assert "another version writes the model's or the optimizer's steps otherwise" in capsys.readouterr().err
    record = json.loads((run / "config.json").read_text("utf-8"))
    record["parts"]["optimizer"]["computes"] = "0" * 64
    for jax_then, type_then in ((jax.__version__, "MeanTaking"), ("0.4.1", "Mean_Taking"), ("0.4.1", "MeanTaking")):
        record["environment"]["versions"]["jax"] = jax_then
        record["parts"]["model"]["type"] = type_then
        (run / "config.json").write_text(json.dumps(record), "utf-8")
        if (jax_then, type_then) != ("0.4.1", "MeanTaking"):  # only digests are another JAX's to change
            with pytest.raises(CheckpointError, match="other parts"):
                fit_of("arrays", run, updates=9)
    assert fit_of("arrays", run, updates=9).updates == [9]
    assert "another version writes the model's or the optimizer's steps otherwise" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="run that program again"):
        jaxrnn.resume(run)


def test_a_text_is_gone_on_with_in_the_parts_that_it_was_cut_into(tmp_path: Path) -> None:
    """Other windows would be read, or the validation part trained on, at the same places."""

    def fitted(updates: int, **cut: Any) -> Any:
        text = jaxrnn.Text(CORPUS, bptt_length=3, batch_size=2, validation_fraction=0.25, **cut)
        options: dict[str, Any] = {"updates": updates, "run": tmp_path / "run", "sample_every": 0, **QUIET}
        return jaxrnn.fit(lambda rngs: Bigrams(np.zeros((4, 4))), text, STILL, **options)

    fitted(2, folds=2)
    for cut in ({"folds": 2, "fold": 1}, {"folds": 3}, {"test_fraction": 0.25}):
        with pytest.raises(CheckpointError, match="cut into other parts than the run was begun with"):
            fitted(4, **cut)
    assert fitted(4, folds=2).updates == [4]


def test_a_run_of_a_text_with_parts_kept_out_knows_them_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adaptation learned from what was kept out too, `inspect` looked for another text; what is kept for the end was
    never scored, of a run alone as of members."""
    monkeypatch.chdir(tmp_path)
    Path("own.txt").write_text("".join(np.random.default_rng(0).choice(list("abcd"), 200)))
    Path("other.txt").write_text("abcd" * 9)
    cut: dict[str, Any] = {"validation_fraction": 0.2, "test_fraction": 0.3, "folds": 2, "fold": 1}
    text = jaxrnn.Text("own.txt", bptt_length=5, batch_size=2, **cut)
    made = functools.partial(Bigrams, np.random.default_rng(3).normal(size=(4, 4)))
    options: dict[str, Any] = {"updates": 2, "validation_every": 2, "sample_every": 0, **QUIET}
    jaxrnn.fit(lambda rngs: made(), text, STILL, run="alone", **options)
    both = jaxrnn.fit(lambda rngs: made(), text, STILL, run="both", members=[{"seed": 1}, {"seed": 2}], **options)
    expected = both.trainer.score([0], "test")[0].loss
    for directory in (Path("alone"), *both.directories):
        assert json.loads((directory / "test.json").read_text())["loss_nats"] == pytest.approx(expected, rel=1e-6)
    run, adaptation = jaxrnn.open_run("alone", lambda rngs: made()), Adaptation(rate=0.5, segment=5)
    Path("trained.txt").write_text(text.vocabulary.decode(text.parts.train))
    scores = [
        run.evaluate("other.txt", adaptation=adaptation, trained_on=of) for of in (None, "trained.txt", "own.txt")
    ]
    assert scores[0] == scores[1] != scores[2]
    found = find_text(run)
    assert (found.source, found.ids.tolist()) == ("own.txt, validation part", text.parts.valid.tolist())
    del run.record["data"]["folds"]  # as older versions wrote it
    with pytest.raises(CheckpointError, match="does not say how its text of 200 characters was cut"):
        find_text(run)


def test_injected_numbers_are_a_part_that_a_run_goes_on_with(tmp_path: Path) -> None:
    def fitted(rate: Any, updates: int, **options: Any) -> Any:
        optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=rate)
        return jaxrnn.fit(mean_taking, array_task(), optimizer, updates=updates, **options, **QUIET)

    alone, rates = tmp_path / "alone", [{"learning_rate": 0.1}, {"learning_rate": 0.2}]
    fitted(0.1, 2, run=alone)
    fitted(0.3, 2, run=tmp_path / "both", members=rates)
    with pytest.raises(CheckpointError, match="other parts") as refused:
        fitted(0.5, 4, run=alone)
    assert "hyperparams" in refused.value.details[0]
    with pytest.raises(CheckpointError, match="other parts"):
        fitted(0.3, 4, run=tmp_path / "both", members=[rates[0], {"learning_rate": 0.5}])
    assert fitted(0.1, 4, run=alone).updates == [4]
    assert fitted(0.3, 4, run=tmp_path / "both", members=rates).updates == [4, 4]
    for rates_of_two, begun in (((0.5, 0.25), [0.5, 0.25]), ((0.5, 0.5), 0.5)):
        two = optax.chain(*map(optax.inject_hyperparams(optax.scale), rates_of_two))
        recorded = jaxrnn.Trainer(mean_taking, array_task(), two, updates=2).jobs[0].parts
        assert recorded is not None and recorded["optimizer"]["hyperparams"] == {"step_size": begun}
    with pytest.raises(ConfigurationError, match="got learning_rate"):  # the schedule would compute it anew
        fitted(optax.cosine_decay_schedule(1.0, 10), 2, members=rates)
    for rate, said in ((None, "finite number"), (1e300, "a number that float32 can hold")):
        with pytest.raises(ConfigurationError, match=said):
            fitted(0.1, 2, members=[{"learning_rate": rate}])


def test_accumulation_by_optax_is_told_the_loss() -> None:
    falling = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())
    jaxrnn.Trainer(mean_taking, array_task(), optax.MultiSteps(falling, 2), updates=1)
    steps = optax.MultiSteps(ADAM, 2)
    parts = [
        jaxrnn.Trainer(mean_taking, array_task(), of, updates=1).jobs[0].parts
        for of in (steps, steps.gradient_transformation())
    ]
    assert parts[0] == parts[1]  # a run that was begun with one of them goes on


def test_a_run_opens_with_its_model_and_without_it_shows_its_numbers(tmp_path: Path, capsys: Any) -> None:
    of = arrays()
    for kind, model in (("arrays", mean_taking), ("cell", own_cell)):
        result = fit_of(kind, tmp_path / kind, updates=5)
        run = jaxrnn.open_run(tmp_path / kind, model=model)
        for checkpoint in ("best", "latest"):
            assert_trees_equal(run.params(checkpoint), result.trainer.params(checkpoint=checkpoint))
        without = jaxrnn.open_run(tmp_path / kind)
        assert len(without.metrics["update"]) == 2 and without.plot() is not None
        with pytest.raises(ConfigurationError, match="give it"):
            without.params()
        for call in (run.structure, functools.partial(run.export, tmp_path / "model.safetensors")):
            with pytest.raises(ConfigurationError, match="model of its own"):
                call()
        if kind == "cell":
            assert len(run.sample(20)) == 20 and type(run.model()).__name__ == "LanguageModel"
        else:
            assert repr(run) == f"Run('{tmp_path / kind}': MeanTaking, 106 parameters)"
            expected = result.trainer.predict(of["inputs"], of["lengths"])
            np.testing.assert_array_equal(run.predict(of["inputs"], of["lengths"]).values, expected.values)
            assert run.evaluate(array_task()) == result.trainer.evaluate(array_task())
            assert capsys.readouterr().err == ""
            with pytest.raises(ConfigurationError, match="with another model than the SequenceClassifier"):
                jaxrnn.open_run(tmp_path / kind, a_classifier).params()
            jaxrnn.open_run(tmp_path / kind, lambda rngs: HalfMeanTaking(3, 2, rngs=rngs)).params()
            assert "HalfMeanTaking that is given has another program" in capsys.readouterr().err
            for source in (run, result.trainer):  # what was learned, with the running means
                begun = jaxrnn.Trainer(mean_taking, array_task(), ADAM, updates=5, init_from=source).initial_state()
                state = result.trainer.state()
                assert_trees_equal((begun.params, begun.variables), (state.best_params, state.best_variables))


def test_training_begins_from_given_parameters_and_leaves_them_alone() -> None:
    model = MeanTaking(3, 2, rngs=nnx.Rngs(7))
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    sgd = optax.sgd(0.1)
    trainer = jaxrnn.Trainer(model, array_task(), sgd, updates=5)
    assert_trees_equal(jax.tree.map(np.asarray, trainer.state().params), before)
    trainer.advance(5)
    assert_trees_equal(jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model, nnx.Param))), before)
    assert float(trainer.state().variables["mean"][0]) != 0
    begun = jaxrnn.Trainer(mean_taking, array_task(), sgd, updates=5, init_from=before)
    begun.advance(5)
    assert_trees_equal(begun.state().params, trainer.state().params)
    latest, state = trainer.params(checkpoint="latest"), trainer.state()
    given: list[tuple[Any, Any]] = [
        (latest, state.variables),
        (nnx.State(latest), state.variables),
        (state.params, {"mean": np.zeros(3, np.float32)}),
    ]
    for source, variables in given:
        first = jaxrnn.Trainer(mean_taking, array_task(), sgd, updates=5, init_from=source).initial_state()
        assert_trees_equal((first.params, first.variables), (state.params, variables))
    with pytest.raises(NumericError, match="mean of the model is not finite"):
        jaxrnn.Trainer(mean_taking, array_task(), sgd, updates=5, init_from=latest | {"mean": np.full(3, np.nan, "f")})


def test_what_a_call_alone_makes_is_not_kept() -> None:
    class Seeing(Linear):
        def __call__(self, xs: jax.Array, carry: tuple) -> tuple[jax.Array, tuple]:
            self.seen = nnx.Intermediate(xs)
            return super().__call__(xs, carry)

    W = np.ones((3, 2))
    seeing, other = (
        jaxrnn.Trainer(make, array_task(), STILL, updates=1) for make in (lambda rngs: Seeing(W), logits_of(W))
    )
    np.testing.assert_array_equal(seeing.advance(1)[0].loss, other.advance(1)[0].loss)
    assert seeing.state().variables == ()


def test_own_cell_writes_text() -> None:
    assert len(fit_of("cell", None, updates=5).trainer.write(0, 12, 1.0)) == 12
    assert own_cell(nnx.Rngs(0)).vocabulary_size == 5
