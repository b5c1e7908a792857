"""The probes against their rules, written out row by row in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.errors import ConfigurationError
from jaxrnn.tasks.generated import GENERATED, LONGEST
from jaxrnn.tasks.probes import BLANK, RECALL, adding, copy_memory, temporal_order, xor

KEY = jax.random.key(5)
ROWS = jnp.arange(300)
ALL = {"copy-memory": copy_memory, "adding": adding, "temporal-order": temporal_order, "xor": xor}


def drawn(probe, length, key=KEY, rows=ROWS):
    return [np.asarray(part) for part in jax.jit(probe, static_argnums=2)(key, rows, length)]


@pytest.mark.parametrize("length", [20, 33])
def test_copy_memory_asks_for_the_symbols_in_their_order(length):
    ids, targets = drawn(copy_memory, length)
    assert ids.shape == (length, 300) and ids.dtype == np.uint8 and targets.shape == (10, 300)
    np.testing.assert_array_equal(ids[:10], targets)
    np.testing.assert_array_equal(np.unique(targets), np.arange(8))
    assert (ids[length - 10] == RECALL).all()
    assert (np.delete(ids[10:], length - 20, axis=0) == BLANK).all()


@pytest.mark.parametrize("length", [2, 7, 40])
def test_adding_and_xor_ask_for_the_marked_ones(length):
    numbers, sums = drawn(adding, length)
    bits, odd = drawn(xor, length)
    for inputs in (numbers, bits):
        assert inputs.shape == (length, 300, 2) and inputs.dtype == np.float32
        marks = inputs[:, :, 1]
        assert (marks[: length // 2].sum(axis=0) == 1).all() and (marks[length // 2 :].sum(axis=0) == 1).all()
        assert set(np.unique(marks)) <= {0.0, 1.0}
        assert (marks.max(axis=1) == 1).all()  # every step is marked in some row
    for row in range(300):
        first, second = np.flatnonzero(numbers[:, row, 1])
        assert sums[row] == pytest.approx(float(numbers[first, row, 0]) + float(numbers[second, row, 0]), rel=1e-6)
        first, second = np.flatnonzero(bits[:, row, 1])
        assert odd[row] == (bits[first, row, 0] != bits[second, row, 0])
    assert set(np.unique(bits[:, :, 0])) == {0.0, 1.0} and 100 < odd.sum() < 200
    assert 0.45 < numbers[:, :, 0].mean() < 0.55 and 0.07 < numbers[:, :, 0].var() < 0.10


@pytest.mark.parametrize("length", [10, 27, 60])
def test_temporal_order_asks_which_signals_came(length):
    ids, classes = drawn(temporal_order, length)
    assert ids.shape == (length, 300) and ids.dtype == np.uint8
    np.testing.assert_array_equal(np.unique(classes), np.arange(4))
    np.testing.assert_array_equal(np.unique(ids), np.arange(6))
    for row in range(300):
        first, second = np.flatnonzero(ids[:, row] >= 4)
        assert length // 10 <= first < 2 * length // 10 and 5 * length // 10 <= second < 6 * length // 10
        assert classes[row] == 2 * (ids[first, row] - 4) + (ids[second, row] - 4)


@pytest.mark.parametrize("name", ALL)
def test_a_row_depends_on_the_key_and_its_number_only(name):
    inputs, targets = drawn(ALL[name], 24)
    some, some_targets = drawn(ALL[name], 24, rows=jnp.array([7, 3]))
    np.testing.assert_array_equal(some, inputs[:, [7, 3]])
    np.testing.assert_array_equal(some_targets, targets[..., [7, 3]])
    assert (drawn(ALL[name], 24, key=jax.random.key(6))[0] != inputs).any()


@pytest.mark.parametrize("name", ALL)
def test_a_bad_length_is_refused(name):
    for length in (GENERATED[name].shortest - 1, LONGEST + 1):
        with pytest.raises(
            ConfigurationError, match=f"^--sequence-length expects a whole number from {GENERATED[name].shortest}"
        ):
            ALL[name](KEY, ROWS, length)
