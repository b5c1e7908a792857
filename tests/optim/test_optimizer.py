"""Each rule for 20 steps against the lines of the reports, in NumPy float64."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.optim.accumulation import accumulated
from jaxrnn.optim.clipping import CLIP_NORMS, clip_by_norm, clip_by_value
from jaxrnn.optim.optimizer import (
    OptimizerSettings,
    learning_rate_at,
    make_hyperparameters,
    make_optimizer,
)
from jaxrnn.optim.table import OPTIMIZERS
from tests.trees import assert_trees_close, assert_trees_equal

RATE, STEPS = 0.1, 20
NO_CLIP: dict[str, Any] = {"clips_value": False}
hyperparameters = functools.partial(make_hyperparameters, dtype=jnp.float64)


def adagrad(theta, g, memory, n):
    memory["M"] = memory.get("M", 0) + g * g
    return theta - RATE * g / np.sqrt(memory["M"] + 1e-8)


def adagrad_eps_outside(theta, g, memory, n):
    memory["M"] = memory.get("M", 0) + g * g
    return theta - RATE * g / (np.sqrt(memory["M"]) + 0.01)


def rmsprop(theta, g, memory, n):
    memory["m"] = 0.95 * memory.get("m", 0) + 0.05 * g * g
    return theta - RATE * g / (np.sqrt(memory["m"]) + 1e-8)


def rmsprop_eps_in_root(theta, g, memory, n):
    memory["m"] = 0.8 * memory.get("m", 0) + (1 - 0.8) * g * g
    return theta - RATE * g / np.sqrt(memory["m"] + 0.01)


def rmsprop_momentum(theta, g, memory, n):
    memory["m"] = 0.95 * memory.get("m", 0) + 0.05 * g * g
    memory["q"] = 0.7 * memory.get("q", 0) + g / (np.sqrt(memory["m"]) + 1e-8)
    return theta - RATE * memory["q"]


def adam(theta, g, memory, n):
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * g * g
    return theta - RATE * (memory["m"] / (1 - 0.9**n)) / (np.sqrt(memory["v"] / (1 - 0.999**n)) + 1e-8)


def adam_eps_in_root(theta, g, memory, n):
    memory["m"] = 0.5 * memory.get("m", 0) + 0.5 * g
    memory["v"] = 0.75 * memory.get("v", 0) + 0.25 * g * g
    return theta - RATE * (memory["m"] / (1 - 0.5**n)) / np.sqrt(memory["v"] / (1 - 0.75**n) + 0.01)


def adamw(theta, g, memory, n):
    return adam(theta, g, memory, n) - RATE * 0.01 * theta


def sgd(theta, g, memory, n):
    return theta - RATE * g


def sgd_momentum(theta, g, memory, n):
    memory["q"] = 0.7 * memory.get("q", 0) + g
    return theta - RATE * memory["q"]


def sgd_nesterov(theta, g, memory, n):
    memory["q"] = 0.7 * memory.get("q", 0) + g
    return theta - RATE * (g + 0.7 * memory["q"])


RULES = [
    (adagrad, {}),
    (adagrad_eps_outside, {"epsilon": 0.01, "epsilon_in_root": False}),
    (rmsprop, {}),
    (rmsprop_eps_in_root, {"rmsprop_decay": 0.8, "epsilon": 0.01, "epsilon_in_root": True}),
    (rmsprop_momentum, {"momentum": 0.7}),
    (adam, {}),
    (adam_eps_in_root, {"adam_b1": 0.5, "adam_b2": 0.75, "epsilon": 0.01, "epsilon_in_root": True}),
    (adamw, {}),
    (sgd, {}),
    (sgd_momentum, {"momentum": 0.7}),
    (sgd_nesterov, {"momentum": 0.7, "nesterov": True}),
]


def numpy_clip_value(gradients, limit):
    return {name: np.minimum(np.maximum(g, -limit), limit) for name, g in gradients.items()}


def numpy_norm(gradients, norm):
    entries = np.concatenate([np.ravel(g) for g in gradients.values()])
    return {"l1": np.abs(entries).sum(), "l2": np.sqrt((entries**2).sum()), "linf": np.abs(entries).max()}[norm]


def numpy_clip_norm(gradients, limit, norm):
    size = numpy_norm(gradients, norm)
    return {name: g * limit / size if size > limit else g for name, g in gradients.items()}


def random_tree(rng):
    return {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}


def gradients_of_all_sizes(rng):
    """So that some of them are clipped and some are not."""
    return [{k: (0.2 + n % 3) * g for k, g in random_tree(rng).items()} for n in range(STEPS)]


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnums=0)
def train(settings, values, theta, gradients):
    """theta after one update for each row of `gradients`, updates counted from 0, and the optimizer's state."""

    def step(n, loop):
        theta, state = loop
        optimizer = make_optimizer(settings, values, 0, n)
        steps, state = optimizer.update(jax.tree.map(lambda g: g[n], gradients), state, theta)
        return optax.apply_updates(theta, steps), state

    rows = jax.tree.leaves(gradients)[0].shape[0]
    return jax.lax.fori_loop(0, rows, step, (theta, make_optimizer(settings, values).init(theta)))


def numpy_train(rule, theta, gradients):
    memory: dict[str, dict] = {name: {} for name in theta}
    for n, g in enumerate(gradients, start=1):
        theta = {name: rule(theta[name], g[name], memory[name], n) for name in theta}
    return theta


@pytest.mark.parametrize(("rule", "constants"), RULES)
def test_twenty_steps_equal_the_reports_lines(rule, constants, float64, rng):
    theta, gradients = random_tree(rng), gradients_of_all_sizes(rng)
    name = rule.__name__.partition("_")[0]
    settings = OptimizerSettings(name, **constants, **NO_CLIP)
    actual, _ = train(settings, hyperparameters(RATE), theta, stacked(gradients))
    assert_trees_close(actual, numpy_train(rule, theta, gradients), rtol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_with_both_clips_one_after_the_other(name, float64, rng):
    theta, gradients = random_tree(rng), gradients_of_all_sizes(rng)
    by_value = [numpy_clip_value(g, 0.7) for g in gradients]
    clipped = [numpy_clip_norm(g, 1.5, "l2") for g in by_value]
    norms = [numpy_norm(g, "l2") for g in by_value]
    assert min(norms) < 1.5 < max(norms)
    settings = OptimizerSettings(name, clips_value=True, clips_global_norm=True)
    values = hyperparameters(RATE, clip_value=0.7, clip_global_norm=1.5)
    actual, _ = train(settings, values, theta, stacked(gradients))
    assert_trees_close(actual, numpy_train(globals()[name], theta, clipped), rtol=1e-12)


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_the_place_of_epsilon_is_seen_in_the_numbers(name, float64):
    theta, gradients = jnp.zeros(1), jnp.asarray([[1e-4], [2e-4]])
    places = [OptimizerSettings(name, epsilon_in_root=place, **NO_CLIP) for place in (True, False, None)]
    inside, outside, own = (float(train(s, hyperparameters(RATE), theta, gradients)[0][0]) for s in places)
    assert abs(inside / outside - 1) > 0.1
    assert own == (inside if name == "adagrad" else outside)


@pytest.mark.parametrize("norm", CLIP_NORMS)
def test_a_norm_above_its_limit_is_brought_to_it(norm, float64, rng):
    gradients = random_tree(rng)
    size = numpy_norm(gradients, norm)
    for limit in (0.3 * size, 0.999 * size):
        clipped = clip_by_norm(limit, norm).update(gradients, optax.EmptyState())[0]
        assert_trees_close(clipped, numpy_clip_norm(gradients, limit, norm), rtol=1e-12)
        np.testing.assert_allclose(numpy_norm(clipped, norm), limit, rtol=1e-12)
    for limit in (1.001 * size, jnp.inf):
        untouched = clip_by_norm(limit, norm).update(gradients, optax.EmptyState())[0]
        assert_trees_equal(untouched, gradients)


@pytest.mark.parametrize("norm", CLIP_NORMS)
def test_clipping_gradients_of_extreme_size(norm):
    clip = clip_by_norm(jnp.asarray(2.0, jnp.float32), norm)
    huge = jnp.asarray([3e30, -3e30], jnp.float32)  # its square is no float32
    expected = 2.0 / {"l1": 2.0, "l2": np.sqrt(2.0), "linf": 1.0}[norm]
    clipped = clip.update({"W": huge}, optax.EmptyState())[0]["W"]
    np.testing.assert_allclose(clipped, [expected, -expected], rtol=1e-6)
    nothing = clip.update({"W": jnp.zeros(2), "e": jnp.zeros((0, 2))}, optax.EmptyState())[0]["W"]
    np.testing.assert_array_equal(nothing, 0)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("norm", CLIP_NORMS)
def test_a_gradient_without_direction_is_not_hidden_by_clipping(norm, bad):
    gradients = {"W": jnp.asarray([1.0, 9.0]), "b": jnp.asarray([bad])}
    clipped = clip_by_norm(jnp.asarray(2.0), norm).update(gradients, optax.EmptyState())[0]
    assert_trees_equal(clipped, gradients)


def test_clipping_values(float64):
    gradients = jnp.asarray([-9.0, -5.0, 0.5, 5.5, np.inf, np.nan])
    for limit, expected in [(5.0, [-5, -5, 0.5, 5, 5, np.nan]), (np.inf, gradients)]:
        clipped, _ = clip_by_value(limit).update(gradients, optax.EmptyState())
        np.testing.assert_array_equal(clipped, expected)


@pytest.mark.parametrize("limit", [0.0, -1.0, np.nan, jnp.zeros(())])
@pytest.mark.parametrize("clip", [clip_by_value, clip_by_norm])
def test_a_limit_that_clips_everything_is_refused(clip, limit):
    """0 means off in the settings, which leave the transformation out; here it would make each gradient 0."""
    with pytest.raises(ValueError, match=f"^{clip.__name__} expects a limit above 0, got "):
        clip(limit)


def test_a_limit_of_zero_in_the_settings_has_no_transformation(float64, rng):
    theta, gradients = random_tree(rng), [random_tree(rng) for _ in range(2)]
    config = TrainConfig(clip_value=0, optimizer="sgd", learning_rate=RATE, dtype="float64")
    actual, _ = train(config.optimizer_settings(), config.hyperparameters(), theta, stacked(gradients))
    assert_trees_close(actual, numpy_train(sgd, theta, gradients), rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("tiny", [0.0, 1e-30, 1e-200, -1e-30])
@pytest.mark.parametrize("in_root", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_whose_square_is_zero_do_no_harm(name, in_root, tiny, dtype, float64):
    values = make_hyperparameters(RATE, dtype=dtype)
    settings = OptimizerSettings(name, epsilon_in_root=in_root, **NO_CLIP)
    theta, _ = train(settings, values, jnp.zeros(3, dtype), jnp.full((3, 3), tiny, dtype))
    assert theta.dtype == dtype
    assert np.abs(theta).max() < 1e-20  # finite too: 0 / sqrt(0) must not be formed


ACCUMULATED = [
    OptimizerSettings("adam", clips_global_norm=True, accumulate=3),
    OptimizerSettings("sgd", momentum=0.7, accumulate=3),
]


@pytest.mark.parametrize("settings", ACCUMULATED)
def test_accumulating_equals_one_step_with_the_mean_gradient(settings, float64, rng):
    """The clips see the mean, the parameters change at every third window only."""
    theta, gradients = random_tree(rng), [random_tree(rng) for _ in range(8)]
    values = hyperparameters(RATE, clip_value=0.4, clip_global_norm=1.0)
    means = [{k: np.mean([g[k] for g in gradients[n : n + 3]], axis=0) for k in theta} for n in (0, 3)]
    expected, state = train(settings._replace(accumulate=1), values, theta, stacked(means))
    actual, accumulation = train(settings, values, theta, stacked(gradients))
    assert_trees_close(actual, expected, rtol=1e-12)
    assert_trees_close(accumulation.inner, state, rtol=1e-12)
    assert int(accumulation.windows) == 2  # the seventh and the eighth wait for the ninth
    assert_trees_close(accumulation.total, {k: gradients[6][k] + gradients[7][k] for k in theta}, rtol=1e-12)
    untouched, _ = train(settings, values, theta, stacked(gradients[:2]))
    assert_trees_equal(untouched, {name: jnp.asarray(leaf) for name, leaf in theta.items()})


def test_accumulation_goes_on_from_a_stored_state(rng):
    """Two parts with the state taken to the host between them give the bits of one part."""
    optimizer = accumulated(make_optimizer(OptimizerSettings("rmsprop"), make_hyperparameters(RATE)), 3)
    gradients = [jax.tree.map(lambda g: np.float32(g), random_tree(rng)) for _ in range(7)]
    update = jax.jit(optimizer.update)

    def run(store):
        state, steps = optimizer.init(gradients[0]), []
        for n, g in enumerate(gradients):
            if store and n == 4:
                state = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), state)
            step, state = update(g, state)
            steps.append(step)
        return steps, state

    assert_trees_equal(run(True), run(False))


def test_a_window_that_is_taken_back_is_left_out_of_the_mean(rng):
    """The caller keeps the old state after a non-finite gradient."""
    optimizer = accumulated(optax.scale(-1.0), 2)
    update = jax.jit(optimizer.update)
    state = optimizer.init(jnp.zeros(2))
    taken = []
    for g in ([1.0, 2.0], [np.nan, 1.0], [3.0, 4.0], [5.0, np.inf]):
        step, new = update(jnp.asarray(g), state)
        finite = np.isfinite(g).all()
        state = jax.tree.map(lambda n, o, finite=finite: jnp.where(finite, n, o), new, state)
        taken.append(np.array(step) if finite else np.zeros(2))
    np.testing.assert_array_equal(taken, [[0, 0], [0, 0], [-2, -3], [0, 0]])
    assert int(state.windows) == 0 and not np.any(state.total)


def test_a_population_of_rates_and_limits_is_one_program(float64, rng):
    theta, gradients = random_tree(rng), gradients_of_all_sizes(rng)
    settings = OptimizerSettings("rmsprop", clips_global_norm=True, accumulate=2)
    members = [
        hyperparameters(0.1, clip_value=0.5),
        hyperparameters(0.02, clip_global_norm=0.7, warmup_updates=7),
        hyperparameters(0.3, clip_value=1.0, clip_global_norm=1.0, decay_rate=0.5, decay_every_updates=4),
    ]
    many, _ = jax.vmap(train, in_axes=(None, 0, None, None))(settings, stacked(members), theta, stacked(gradients))
    before = train._cache_size()  # type: ignore[attr-defined]
    alone = [train(settings, member, theta, stacked(gradients))[0] for member in members]
    assert train._cache_size() == before + 1  # type: ignore[attr-defined]
    assert_trees_close(many, stacked(alone), rtol=1e-12)
    assert len({float(member["b"][0]) for member in alone}) == 3


@pytest.mark.parametrize("epoch", [0, 9, 10, 11])
def test_the_rate_of_the_chain_is_the_schedules(epoch, float64):
    values = hyperparameters(0.002, decay_rate=0.95, decay_after_epochs=10, decay_every_updates=50, warmup_updates=8)
    for update in (0, 6, 7, 49, 50, 149):
        expected = 0.002 * 0.95 ** (max(epoch - 9, 0) + update // 50) * min((update + 1) / 8, 1)
        np.testing.assert_allclose(learning_rate_at(values, epoch, update), expected, rtol=1e-12)
        optimizer = make_optimizer(OptimizerSettings("sgd", **NO_CLIP), values, epoch, update)
        steps, _ = optimizer.update(jnp.asarray([2.0]), optimizer.init(jnp.asarray([2.0])))
        np.testing.assert_allclose(steps, [-2 * expected], rtol=1e-12)


def test_the_cosine_reaches_its_share_and_stays(float64):
    values = hyperparameters(0.002, decay_rate=0.1, decay_every_updates=80, warmup_updates=8)
    for update in (0, 7, 20, 80, 500):
        share = 0.1 + 0.9 * math.cos(math.pi / 2 * min(update / 80, 1)) ** 2  # cos^2(a / 2) = (1 + cos a) / 2
        expected = 0.002 * share * min((update + 1) / 8, 1)
        np.testing.assert_allclose(learning_rate_at(values, 5, update, "cosine"), expected, rtol=1e-12)
        optimizer = make_optimizer(OptimizerSettings("sgd", decay_shape="cosine", **NO_CLIP), values, 5, update)
        steps, _ = optimizer.update(jnp.asarray([2.0]), optimizer.init(jnp.asarray([2.0])))
        np.testing.assert_allclose(steps, [-2 * expected], rtol=1e-12)


def test_without_decay_the_rate_stays(float64):
    assert float(learning_rate_at(hyperparameters(0.1), 1000, 10**9)) == 0.1


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="adagrad, rmsprop, adam, adamw, sgd; got 'adagard'"):
        make_optimizer(OptimizerSettings("adagard"), make_hyperparameters(RATE))
    with pytest.raises(ValueError, match="l1, l2, linf; got 'l3'"):
        clip_by_norm(jnp.asarray(1.0), "l3")


def test_settings_are_hashable_and_values_keep_their_dtype():
    assert len({OptimizerSettings(), OptimizerSettings(), OptimizerSettings("adam")}) == 2
    values = make_hyperparameters(RATE, decay_after_epochs=10)
    assert [leaf.dtype.name for leaf in values] == ["float32"] * 4 + ["int32"] * 3
    rate = learning_rate_at(values, jnp.asarray(3), jnp.asarray(3))
    assert rate.dtype == jnp.float32 and not rate.weak_type


@pytest.mark.parametrize("name", ["learning_rate", "clip_value", "clip_global_norm"])
def test_a_value_that_its_dtype_cannot_hold_is_refused_and_infinity_is_no_limit(name):
    too_large: dict[str, Any] = {"learning_rate": RATE, name: 1e300}
    with pytest.raises(ValueError, match="that float32 can hold; got 1e\\+300"):
        make_hyperparameters(**too_large)
    assert getattr(make_hyperparameters(**too_large | {name: math.inf}), name) == math.inf
