"""Each rule for 20 steps against the lines of the reports, in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn.optimizer import OPTIMIZERS, Hyperparameters, learning_rate_at, make_optimizer
from tests.trees import assert_trees_close

RATE, STEPS = 0.1, 20


def hyperparameters(rate=RATE, clip_value=jnp.inf, clip_global_norm=jnp.inf, decay_rate=1.0, decay_after_epochs=10):
    return Hyperparameters(
        learning_rate=jnp.asarray(rate),
        clip_value=jnp.asarray(clip_value),
        clip_global_norm=jnp.asarray(clip_global_norm),
        decay_rate=jnp.asarray(decay_rate),
        decay_after_epochs=jnp.asarray(decay_after_epochs, jnp.int32),
    )


def adagrad(theta, g, memory, n):
    memory["M"] = memory.get("M", 0) + g * g
    return theta - RATE * g / np.sqrt(memory["M"] + 1e-8)


def rmsprop(theta, g, memory, n):
    memory["m"] = 0.95 * memory.get("m", 0) + 0.05 * g * g
    return theta - RATE * g / (np.sqrt(memory["m"]) + 1e-8)


def adam(theta, g, memory, n):
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * g
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * g * g
    return theta - RATE * (memory["m"] / (1 - 0.9**n)) / (np.sqrt(memory["v"] / (1 - 0.999**n)) + 1e-8)


def sgd(theta, g, memory, n):
    return theta - RATE * g


RULES = {"adagrad": adagrad, "rmsprop": rmsprop, "adam": adam, "sgd": sgd}


def clip_nothing(gradients):
    return gradients


def clip_by_value(gradients):
    return {name: np.minimum(np.maximum(g, -0.7), 0.7) for name, g in gradients.items()}


def clip_by_global_norm(gradients):
    norm = np.sqrt(sum((g * g).sum() for g in gradients.values()))
    return {name: g * 3.0 / norm if norm > 3.0 else g for name, g in gradients.items()}


def random_tree(rng):
    return {"W": rng.normal(size=(3, 4)), "b": rng.normal(size=4)}


CLIPS = [(clip_nothing, {}), (clip_by_value, {"clip_value": 0.7}), (clip_by_global_norm, {"clip_global_norm": 3.0})]


@pytest.mark.parametrize(("clip", "limits"), CLIPS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_twenty_steps_equal_the_reports_lines(name, clip, limits, float64, rng):
    theta = {key: jnp.asarray(value) for key, value in random_tree(rng).items()}
    expected = {key: np.array(value) for key, value in theta.items()}
    # The size of the gradients changes, so that some of them are clipped and some are not.
    all_gradients = [{k: (0.2 + n % 3) * g for k, g in random_tree(rng).items()} for n in range(STEPS)]
    norms = [np.sqrt(sum((g * g).sum() for g in gradients.values())) for gradients in all_gradients]
    assert min(norms) < 3.0 < max(norms)

    def chain(values):
        clips = {"clips_value": "clip_value" in limits, "clips_global_norm": "clip_global_norm" in limits}
        return make_optimizer(name, values, **clips)

    @jax.jit
    def step(theta, state, gradients, values):
        steps, state = chain(values).update(gradients, state, theta)
        return optax.apply_updates(theta, steps), state

    values = hyperparameters(**limits)
    state = chain(values).init(theta)
    memory: dict[str, dict] = {"W": {}, "b": {}}
    for n, gradients in enumerate(all_gradients, start=1):
        theta, state = step(theta, state, gradients, values)
        clipped = clip(gradients)
        expected = {key: RULES[name](expected[key], clipped[key], memory[key], n) for key in expected}
    assert_trees_close(theta, expected, rtol=1e-12)


def test_both_clips_work_one_after_the_other(float64, rng):
    gradients = random_tree(rng)
    optimizer = make_optimizer("sgd", hyperparameters(1.0, 0.7, 0.5), clips_value=True, clips_global_norm=True)
    steps, _ = optimizer.update(gradients, optimizer.init(gradients))
    by_value = clip_by_value(gradients)
    norm = np.sqrt(sum((g * g).sum() for g in by_value.values()))
    assert_trees_close(steps, {name: jnp.asarray(-g * 0.5 / norm) for name, g in by_value.items()}, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("tiny", [0.0, 1e-30, 1e-200, -1e-30])
def test_adagrad_survives_gradients_whose_square_is_zero(tiny, dtype, float64):
    values = hyperparameters(jnp.asarray(RATE, dtype))
    optimizer = make_optimizer("adagrad", values, clips_value=False)
    theta = jnp.zeros(3, dtype)
    state = optimizer.init(theta)
    for _ in range(3):
        steps, state = optimizer.update(jnp.full(3, tiny, dtype), state)
        theta = optax.apply_updates(theta, steps)
    assert theta.dtype == dtype
    if dtype(tiny) ** 2 == 0:
        assert not theta.any()  # M is 0, and 0 / sqrt(0) must not be formed
    else:
        np.testing.assert_allclose(theta, -3 * RATE * tiny / 1e-4, rtol=1e-5)


@pytest.mark.parametrize("epoch", [0, 1, 8, 9, 10, 11, 25])
def test_the_rate_is_constant_for_ten_epochs_then_decays(epoch, float64):
    values = hyperparameters(0.002, decay_rate=0.95, decay_after_epochs=10)
    expected = 0.002
    for later in range(epoch + 1):
        if later >= 10:  # the first ten epochs are 0 to 9
            expected *= 0.95
    np.testing.assert_allclose(learning_rate_at(values, jnp.asarray(epoch)), expected, rtol=1e-12)
    optimizer = make_optimizer("sgd", values, epoch, clips_value=False)
    steps, _ = optimizer.update(jnp.asarray([2.0]), optimizer.init(jnp.asarray([2.0])))
    np.testing.assert_allclose(steps, [-2 * expected], rtol=1e-12)


def test_without_decay_the_rate_stays(float64):
    assert float(learning_rate_at(hyperparameters(0.1), jnp.asarray(1000))) == 0.1


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="adagrad, rmsprop, adam, sgd; got 'adagard'"):
        make_optimizer("adagard", hyperparameters())
