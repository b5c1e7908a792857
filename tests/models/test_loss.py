import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrnn.engines.platforms import tracing_for
from jaxrnn.models.loss import loss_nats
from tests.reference.random_cell import quick_jit

pytestmark = pytest.mark.usefixtures("strict_dtypes")


@pytest.fixture(params=["cpu", "gpu"])
def on_each(request):
    """The formula as it is on a CPU, and as it is on a GPU."""
    with tracing_for(request.param):
        yield


@pytest.mark.parametrize("symbols", [1, 2, 65, 103])
def test_a_uniform_model_costs_ln_v(symbols, on_each, float64):
    losses = loss_nats(jnp.full((3, symbols), 0.7), jnp.asarray([0, symbols // 2, symbols - 1]))
    np.testing.assert_allclose(losses, math.log(symbols), rtol=1e-14, atol=1e-15)


def test_equals_optax_with_its_gradient(on_each, float64, rng):
    logits, targets = jnp.asarray(5 * rng.normal(size=(4, 3, 7))), jnp.asarray(rng.integers(0, 7, (4, 3)))
    weights = jnp.asarray(rng.normal(size=(4, 3)))

    def weighted(loss):
        return lambda logits: jnp.sum(weights * loss(logits, targets))

    ours = quick_jit(jax.value_and_grad(weighted(loss_nats)))(logits)
    theirs = quick_jit(jax.value_and_grad(weighted(optax.softmax_cross_entropy_with_integer_labels)))(logits)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-12)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.uint16, jnp.int32])
def test_takes_ids_as_the_corpus_stores_them(dtype, rng):
    logits = jnp.asarray(rng.normal(size=(5, 200)), jnp.float32)
    targets = np.array([0, 199, 128, 127, 3])
    log_p = np.array(logits) - np.log(np.exp(np.array(logits)).sum(1, keepdims=True))
    np.testing.assert_allclose(loss_nats(logits, jnp.asarray(targets, dtype)), -log_p[np.arange(5), targets], rtol=1e-5)


def test_huge_logits_stay_finite_with_their_gradient(on_each):
    logits = jnp.asarray([[3e38, -3e38, 0.5], [1e4, 1e4 - 2, -1e4]], jnp.float32)
    targets = jnp.asarray([0, 1])

    def total(logits):
        losses = loss_nats(logits, targets)
        return losses.sum(), losses

    gradient, losses = quick_jit(jax.grad(total, has_aux=True))(logits)
    np.testing.assert_allclose(losses, [0.0, 2.126928], atol=1e-3)  # float32 numbers near 1e4 are 1e-3 apart
    np.testing.assert_allclose(gradient[1], [0.880797, -0.880797, 0.0], rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_the_gradient_of_a_gpu_has_forward_mode_and_a_derivative_of_its_own(float64, rng):
    logits, targets = jnp.asarray(5 * rng.normal(size=(4, 7))), jnp.asarray(rng.integers(0, 7, 4))
    along = jnp.asarray(rng.normal(size=(4, 7)))

    def found(name):
        def slope(logits):
            return jax.jvp(lambda logits: loss_nats(logits, targets).sum(), (logits,), (along,))[1]

        with tracing_for(name):
            return quick_jit(jax.value_and_grad(slope))(logits)

    jax.tree.map(
        lambda gpu, cpu: np.testing.assert_allclose(gpu, cpu, rtol=1e-12, atol=1e-14), *map(found, ("gpu", "cpu"))
    )
