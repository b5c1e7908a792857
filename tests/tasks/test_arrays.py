"""Arrays whose sequences are of different lengths: what past their ends counts for nothing, and what does not fit."""

import json
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxrnn
from jaxrnn.errors import ConfigurationError, DataError

N, T, F = 6, 5, 3
LENGTHS = np.array([2, 5, 3, 1, 4, 5])
WITHIN = np.arange(T)[None, :] < LENGTHS[:, None]
INPUTS = np.random.default_rng(0).normal(size=(N, T, F))
CLASSES = np.random.default_rng(1).integers(0, 2, (N, T))


def trained(task, outputs, updates=3, **options):
    model = jaxrnn.SequenceClassifier(F, outputs, 4, rngs=nnx.Rngs(0), **options)
    trainer = jaxrnn.Trainer(model, task, optax.sgd(0.01), updates=updates, log_every=1, devices="1")
    trainer.advance(updates)
    return trainer


@pytest.mark.parametrize("filling", [0, 1, 7])
def test_balanced_weights_and_the_number_of_classes_are_those_of_real_steps(filling):
    targets = np.where(WITHIN, CLASSES, filling)
    task = jaxrnn.Arrays(INPUTS, targets, lengths=LENGTHS, class_weights="balanced")
    counts = np.bincount(CLASSES[WITHIN])
    assert task.classes == 2
    np.testing.assert_allclose(task.weights, WITHIN.sum() / (2 * counts), rtol=1e-6)


def test_the_filling_counts_for_nothing_where_a_loss_of_it_is_infinite():
    numbers = np.where(WITHIN, np.abs(INPUTS[:, :, 0]) + 0.1, 0.0)

    def loss(outputs, targets):
        return (outputs[..., 0] - jnp.log(targets)) ** 2

    task = jaxrnn.Arrays(INPUTS, numbers, lengths=LENGTHS, batch_size=4, loss=loss)
    trainer = trained(task, 1, answers=T)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trainer.params(checkpoint="latest")))
    predicted = trainer.predict(INPUTS, LENGTHS, checkpoint="latest").values
    expected = ((predicted[WITHIN] - np.log(numbers[WITHIN])) ** 2).mean()
    assert trainer.evaluate(task, checkpoint="latest")["loss"] == pytest.approx(expected, rel=1e-5)
    assert trainer.updates[0] == 3 and not trainer.state().skipped


def test_sequences_of_several_lengths_have_a_target_each_or_one_at_each_step():
    sequences = [row[:length] for row, length in zip(INPUTS, LENGTHS, strict=True)]
    each_step = [row[:length] for row, length in zip(CLASSES, LENGTHS, strict=True)]
    task = jaxrnn.Arrays.from_sequences(sequences, each_step)
    np.testing.assert_array_equal(task.targets, np.where(WITHIN, CLASSES, 0))
    assert jaxrnn.Arrays.from_sequences(sequences, np.zeros((N, 1, 2))).objective.numbers == 2
    for given, said in [
        ((sequences, [[0, 1]] * N), "sequence 1 has 5 steps, its target the shape [2]"),
        ((sequences, [0, 1]), "got 2 for 6 sequences"),
        (([], []), "got 0 for 0 sequences"),
        (([np.zeros((2, 3)), np.zeros((2, 4))], [0, 1]), "got [3], [4]"),
    ]:
        with pytest.raises(DataError, match=re.escape(said)):
            jaxrnn.Arrays.from_sequences(*given)


def test_what_a_model_was_not_trained_for_is_neither_predicted_nor_scored():
    trainer = trained(jaxrnn.Arrays(INPUTS, CLASSES[:, 0], batch_size=4), 2)
    predicted = [
        ((np.full((1, T, F), np.nan),), "finite"),
        ((np.zeros((0, T, F)),), "features (N, T, F)"),
        ((np.zeros((1, T, F + 1)),), "features (N, T, 3)"),
        ((INPUTS, [99] * N), "lengths from 1 to 5"),
        ((INPUTS, [1.0] * N), "whole numbers"),
        ((INPUTS, [1]), "a length for each of 6"),
    ]
    for given, said in predicted:
        with pytest.raises(DataError, match=re.escape(said)):
            trainer.predict(*given)
    for targets, said in [
        (np.full(N, 2), "got 3 classes"),
        (INPUTS[:, 0, 0], "got 1 numbers"),
        (CLASSES, "one a step"),
    ]:
        with pytest.raises(DataError, match=said):
            trainer.evaluate(jaxrnn.Arrays(INPUTS, targets))
    metrics = {"wide": lambda outputs, targets: outputs}
    with pytest.raises(ConfigurationError, match=re.escape("wide is expected to give one number a target, [1, 4]")):
        trainer.evaluate(jaxrnn.Arrays(INPUTS, CLASSES[:, 0], batch_size=4, metrics=metrics))
    with pytest.raises(ConfigurationError, match="expects Arrays; got str"):
        trainer.evaluate("book.txt")


def test_answers_at_other_steps_than_those_of_the_sequences_are_refused():
    """Of nine steps a model of five answers has answered for the last five."""
    trainer = trained(jaxrnn.Arrays(INPUTS, INPUTS[:, :, 0], batch_size=6), 1, answers=T)
    longer = np.zeros((N, T + 4, F))
    with pytest.raises(ConfigurationError, match="asks for 9 answers, one a step; SequenceClassifier gives 5"):
        trainer.predict(longer)
    with pytest.raises(ConfigurationError, match="asks for 9 answers, one a step; SequenceClassifier gives 5"):
        trainer.evaluate(jaxrnn.Arrays(longer, longer[:, :, 0]))


def test_numbers_in_another_order_of_bytes_are_those_numbers():
    given = INPUTS.astype(">f8"), INPUTS[:, 0, 0].astype(">f4"), LENGTHS.astype(">i2")
    task = jaxrnn.Arrays(*given[:2], lengths=given[2])
    assert [part.dtype for part in (task.inputs, task.targets, task.lengths)] == [np.float64, np.float32, np.int32]
    assert all(part.dtype.isnative for part in (task.inputs, task.targets))
    np.testing.assert_array_equal(task.inputs, INPUTS)


def test_ids_are_below_the_symbols_of_training():
    ids = np.random.default_rng(0).integers(0, F, (N, T))
    symbols: Any = ids.max() + 1
    trainer = trained(jaxrnn.Arrays(ids, CLASSES[:, 0], symbols=symbols, batch_size=4), 2)
    json.dumps(trainer.jobs[0].task.identity())
    trainer.predict(ids)
    with pytest.raises(DataError, match="ids below 3"):
        trainer.predict(ids + 3)


@pytest.mark.parametrize("low", [np.iinfo(np.int64).min, -(2**32), -(2**32) + 1])
def test_a_class_far_below_0_is_no_target_either(low):
    """NaN that was made a whole number is the lowest there is, and 32 bits of it are 0."""
    targets = np.array([0, 1, low, 1, low, 0])
    task = jaxrnn.Arrays(INPUTS, targets, class_weights="balanced")
    np.testing.assert_array_equal(task.targets[:, 0] >= 0, targets >= 0)
    np.testing.assert_allclose(task.weights, [1.0, 1.0])
    np.testing.assert_array_equal(targets, [0, 1, low, 1, low, 0])


def test_numbers_of_more_than_64_bits_are_read_as_64():
    task = jaxrnn.Arrays(INPUTS.astype(np.longdouble), INPUTS[:, 0, 0].astype(np.longdouble))
    assert [part.dtype for part in (task.inputs, task.targets)] == [np.float64, np.float64]
    np.testing.assert_array_equal(task.inputs, INPUTS)
