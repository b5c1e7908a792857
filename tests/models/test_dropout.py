"""Masks, and where they act: each site alone against a plain loop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.models.dropout import SITES, Dropout, DropoutRates
from jaxrnn.models.stack import Stack
from jaxrnn.random_streams import run_key
from jaxrnn.training.job import make_job
from jaxrnn.training.step import train_step
from jaxrnn.training.trainer import Trainer
from tests.reference.random_cell import params_of, quick_jit
from tests.reference.stack_loop import random_values, stack_by_hand
from tests.trees import assert_trees_close, assert_trees_equal

RATE = 0.3
STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 5, 3


def rates(value=RATE, sites=SITES, dtype=jnp.float32):
    return DropoutRates(**{site: jnp.asarray(value, dtype) for site in sites})


def dropout(update=0, rows=BATCH, **changes):
    key = jax.random.fold_in(jax.random.key(5), update)
    return Dropout(rates(), key, jnp.arange(rows))._replace(**changes)


# ---- the masks ----


@pytest.mark.parametrize("per_window", [False, True])
@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_a_mask_is_zero_at_the_rate_and_its_mean_is_one(rate, per_window):
    steps, rows, features = 40, 50, 60
    mask = np.asarray(
        dropout(rows=rows, rates=rates(rate), per_window=per_window).mask("between", 0, steps, features, jnp.float32)
    )
    assert mask.shape == (1 if per_window else steps, rows, features) and mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / (1 - np.float32(rate)))}
    spread = np.sqrt(rate / (1 - rate) / mask.size)
    assert abs(mask.mean() - 1) < 5 * spread
    along_each_axis = [mask.mean(axis=(1, 2)), mask.mean(axis=(0, 2)), mask.mean(axis=(0, 1))]
    for means in along_each_axis:
        assert np.abs(means - 1).max() < 5 * spread * np.sqrt(means.size)


def share_of_equal_entries(one, other):
    return float(np.mean((np.asarray(one) == 0) == (np.asarray(other) == 0)))


def test_masks_differ_between_steps_rows_features_layers_sites_and_updates():
    draw = functools.partial(dropout(rows=40).mask, steps=40, features=40, dtype=jnp.float32)
    mask = draw("between", 0)
    others = {
        "step": (mask[:-1], mask[1:]),
        "row": (mask[:, :-1], mask[:, 1:]),
        "feature": (mask[:, :, :-1], mask[:, :, 1:]),
        "layer": (mask, draw("between", 1)),
        "update": (mask, dropout(update=1, rows=40).mask("between", 0, 40, 40, jnp.float32)),
        **{site: (mask, draw(site, 0)) for site in SITES if site != "between"},
    }
    by_chance = RATE**2 + (1 - RATE) ** 2
    for what, pair in others.items():
        assert share_of_equal_entries(*pair) == pytest.approx(by_chance, abs=0.02), what
    assert_trees_equal(draw("between", 0), mask)


@pytest.mark.parametrize("per_window", [False, True])
def test_a_streams_mask_depends_on_its_number_and_not_on_the_split(per_window):
    whole = dropout(rows=4, per_window=per_window)
    parts = [whole._replace(rows=jnp.asarray(rows)) for rows in ([0, 1], [2, 3])]
    for site in SITES:
        masks = [part.mask(site, 1, STEPS, HIDDEN, jnp.float32) for part in parts]
        assert_trees_equal(jnp.concatenate(masks, axis=1), whole.mask(site, 1, STEPS, HIDDEN, jnp.float32))


# ---- the sites ----


def stack_and_window(kind, rng, **options):
    options = {"cell": "lstm", "layers": 2, **options}
    cell = options.pop("cell")
    stack = random_values(Stack.of(cell, FEATURES, HIDDEN, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options), rng)
    xs = rng.integers(0, FEATURES, (STEPS, BATCH)) if kind == "ids" else rng.normal(size=(STEPS, BATCH, FEATURES))
    carries = jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape)), stack.initial_carry(BATCH))
    return stack, jnp.asarray(xs), carries


def masks_by_hand(stack, kind, how):
    """What each site multiplies. Of ids the whole symbol is zeroed, of dense input each feature alone."""
    draw = functools.partial(how.mask, steps=STEPS, dtype=jnp.float64)
    masks = {
        ("input", 0): draw("input", 0, features=1 if kind == "ids" else FEATURES),
        ("output", 0): draw("output", 0, features=stack.out_features),
    }
    for layer in range(len(stack.layers)):
        masks["recurrent", layer] = draw("recurrent", layer, features=HIDDEN)
        masks["between", layer] = draw("between", layer, features=HIDDEN)
    return {place: mask for place, mask in masks.items() if mask is not None}


def gradients_and_results(run, params, carries, weights):
    def loss(params, carries):
        ys, lasts = run(params, carries)
        return jnp.sum(ys * weights) + sum(leaf.sum() for leaf in jax.tree.leaves(lasts)), (ys, lasts)

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, carries)


@pytest.mark.parametrize(
    ("sites", "kind", "options", "per_window"),
    [
        (("input",), "ids", {}, False),
        (("input",), "dense", {"skip_connections": True}, True),
        (("between",), "ids", {"layers": 3}, False),
        (("output",), "ids", {"layers": 1}, False),
        (("recurrent",), "ids", {}, False),
        (SITES, "ids", {"skip_connections": True}, False),
        (SITES, "dense", {}, True),
    ],
)
def test_each_site_masks_what_it_says(sites, kind, options, per_window, float64, rng):
    stack, xs, carries = stack_and_window(kind, rng, **options)
    how = dropout(rates=rates(0.4, sites, jnp.float64), per_window=per_window)
    weights = jnp.asarray(rng.normal(size=(STEPS, BATCH, stack.out_features)))
    masks = masks_by_hand(stack, kind, how)
    for site in sites:
        assert any((np.asarray(mask) == 0).any() for (at, _), mask in masks.items() if at == site)
    dense = jax.nn.one_hot(xs, FEATURES, dtype=jnp.float64) if kind == "ids" else xs
    graphdef = nnx.split(stack)[0]

    def ours(params, carries):
        return nnx.merge(graphdef, nnx.State(params))(xs, carries, dropout=how)

    def by_hand(params, carries):
        layers = nnx.merge(graphdef, nnx.State(params)).layers
        return stack_by_hand(layers, dense, carries, stack.skip_connections, masks)

    @quick_jit
    def both(params, carries):
        return [gradients_and_results(run, params, carries, weights) for run in (ours, by_hand)]

    actual, expected = both(params_of(stack), carries)
    assert_trees_close(actual, expected, rtol=1e-10)
    without = stack(xs, carries)[0]
    assert np.abs(np.asarray(without - actual[1][0])).max() > 1e-3


def test_dropout_between_layers_leaves_the_lower_layer_alone(float64, rng):
    stack, xs, carries = stack_and_window("ids", rng)
    between = dropout(rates=rates(0.5, ("between",), jnp.float64))
    ys, lasts = stack(xs, carries, dropout=between)
    plain_ys, plain_lasts = stack(xs, carries)
    assert_trees_equal(lasts[0], plain_lasts[0])
    assert np.abs(np.asarray(lasts[1].h - plain_lasts[1].h)).max() > 1e-3
    output = stack(xs, carries, dropout=dropout(rates=rates(0.5, ("output",), jnp.float64)))
    assert_trees_equal(output[1], plain_lasts)
    kept = np.asarray(output[0]) != 0
    np.testing.assert_allclose(np.asarray(output[0])[kept], 2 * np.asarray(plain_ys)[kept], rtol=1e-14)


def test_rates_are_values_and_a_rate_of_zero_changes_nothing(float64, rng):
    stack, xs, carries = stack_and_window("ids", rng, skip_connections=True)
    traced = []

    @quick_jit
    def run(rates):
        traced.append(rates)
        return stack(xs, carries, dropout=dropout(rates=rates))

    at_zero = run(rates(0.0, dtype=jnp.float64))
    others = [run(rates(rate, dtype=jnp.float64))[0] for rate in (0.2, 0.5)]
    assert len(traced) == 1
    assert_trees_close(at_zero, stack(xs, carries), rtol=1e-14)
    assert np.abs(np.asarray(others[0] - others[1])).max() > 1e-3


def test_members_of_a_population_have_their_own_rates_in_one_program(float64, rng):
    stack, xs, carries = stack_and_window("ids", rng)

    def run(rate):
        given = rates(0.0, dtype=jnp.float64)._replace(output=rate)
        return stack(xs, carries, dropout=dropout(rates=given))[0]

    together = quick_jit(jax.vmap(run))(jnp.asarray([0.0, 0.5]))
    assert (np.asarray(together[0]) != 0).all() and 0.2 < (np.asarray(together[1]) == 0).mean() < 0.8


def test_one_mask_a_window_drops_a_symbol_wherever_it_stands(float64, rng):
    """Of ids as of one-hot vectors; a stream never loses its whole window."""
    stack, ids, carries = stack_and_window("ids", rng, layers=2, skip_connections=True)
    one_hot = jax.nn.one_hot(ids, FEATURES, dtype=jnp.float64)
    how = dropout(rates=rates(0.5, sites=("input",), dtype=jnp.float64), per_window=True)
    kept = np.asarray(how.mask("input", 0, STEPS, FEATURES, jnp.float64)[0]) > 0
    assert kept.any() and not kept.all()
    actual = quick_jit(lambda: stack(ids, carries, dropout=how))()
    assert_trees_close(actual, quick_jit(lambda: stack(one_hot, carries, dropout=how))(), rtol=1e-12)


def test_training_draws_other_masks_at_each_update_and_with_each_seed():
    config = TrainConfig(cell="gru", hidden=6, bptt_length=5, batch_size=2, dropout_output=0.5)
    trainer = Trainer.of([make_job(config, corpus_from_text("war and peace " * 8))])
    step = quick_jit(functools.partial(train_step, trainer.graphdef, trainer.settings))
    start, streams = trainer.initial_state(), trainer.jobs[0].task.streams()

    def loss(update, seed=0):
        return float(step(start._replace(update=jnp.int32(update), seed=run_key(seed)), streams)[1])

    assert loss(3) == loss(3)
    assert len({loss(update) for update in range(4)} | {loss(3, seed=1)}) == 5
