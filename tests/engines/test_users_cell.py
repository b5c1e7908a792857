"""A cell as a reader of the documentation writes it: no gradient, no engine, no special case."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn import Cell, LanguageModel, choose_engine, unroll
from jaxrnn.cells import CELLS
from jaxrnn.engines import ENGINES, engines_of
from tests.reference.random_cell import (
    params_of,
    quick_jit,
    random_carry,
    random_cell,
    random_window,
    unroll_with,
    weighted_sum,
)
from tests.reference.training import Trainer
from tests.trees import assert_trees_close


class LeakyCarry(NamedTuple):
    h: jax.Array


class LeakyCell(Cell):
    """h_t = k * tanh(p_t + r_t) + (1 - k) * h_{t-1}, a share k learned for each unit."""

    sums_products = True

    def __init__(self, in_features, hidden_features, *, rngs, param_dtype=jnp.float32, **options):
        super().__init__(in_features, hidden_features, blocks=1, rngs=rngs, param_dtype=param_dtype, **options)
        self.rate = nnx.Param(jnp.zeros((hidden_features,), param_dtype))

    def update(self, p, r, carry, pointwise, t):
        k = jax.nn.sigmoid(pointwise)[None, :]
        h = k * jnp.tanh(p + r) + (1 - k) * carry.h
        return LeakyCarry(h), h

    def pointwise(self):
        return self.rate[...]

    def initial_carry(self, batch_size):
        return LeakyCarry(jnp.zeros((batch_size, self.hidden_features), self.rate[...].dtype))


def test_it_runs_on_all_engines_alike(float64, rng):
    cell = random_cell(LeakyCell, 4, 3, rng, jnp.float64)
    assert (
        engines_of(cell) == tuple(name for name in ENGINES if name not in ("resident", "resident-output", "cudnn"))
        and choose_engine(cell, 8).engine == "hoisted"
    )
    xs, carry = random_window(cell, "ids", 6, 3, rng), random_carry(cell, 3, rng)

    def results(engine):
        def loss(params, carry):
            out = unroll_with(cell, engine=engine)(params, xs, carry)
            return weighted_sum(out), out

        return quick_jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params_of(cell), carry)

    expected = results("reference")
    for engine in ("scan", "hoisted"):
        assert_trees_close(results(engine), expected, rtol=1e-10)


@pytest.mark.parametrize("engine", ["auto", "scan"])
def test_it_stacks_and_trains(engine, monkeypatch):
    monkeypatch.setitem(CELLS, "leaky", LeakyCell)
    model = LanguageModel(5, 8, cell="leaky", layers=2, rngs=nnx.Rngs(0))
    trainer = Trainer(model, np.arange(401) % 5, 4, learning_rate=0.1, bptt_length=5, engine=engine)
    state, losses, _ = trainer.advance(trainer.state(), 60)
    assert losses[0] == pytest.approx(np.log(5), rel=0.01) and losses[-1] < 0.3
    assert all(layer["rate"].any() for layer in state.params["stack"]["layers"].values())


@pytest.mark.parametrize("cell_type", [nnx.SimpleCell, nnx.GRUCell, nnx.OptimizedLSTMCell])
def test_any_cell_of_flax_runs_on_the_reference_engine(cell_type, rng):
    cell = cell_type(4, 3, rngs=nnx.Rngs(0))
    assert engines_of(cell) == ("reference",)
    xs = jnp.asarray(rng.normal(size=(6, 2, 4)), jnp.float32)
    first = cell.initialize_carry((2, 4), nnx.Rngs(0))
    last, ys = unroll(cell, xs, first)
    their_last, their_ys = nnx.RNN(cell, time_major=True, return_carry=True)(xs, initial_carry=first)
    assert_trees_close((last, ys), (their_last, their_ys), rtol=1e-6)
