"""The three roads to a gradient agree, and a wrong derivative is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.inspect.gradient_check import (
    compare_gradients,
    gradient_errors,
    numeric_gradients,
    vanilla_loss_and_gradients,
    vanilla_losses,
)
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.loss import loss_nats
from tests.reference.random_cell import quick_jit
from tests.reference.torch_numbers import stored

T, H, V = 6, 4, 5


@pytest.fixture
def example():
    """Parameters with biases, a window with repeated symbols and one that never comes, and a carry: no zeros."""
    draw = np.random.default_rng(3)
    shapes = {"W_x": (V, H), "W_h": (H, H), "b": (H,), "W_y": (H, V), "b_y": (V,)}
    parameters = {name: 0.7 * draw.standard_normal(shape) for name, shape in shapes.items()}
    inputs, targets = np.array([0, 3, 3, 1, 2, 0]), np.array([3, 3, 1, 2, 0, 1])
    return parameters, inputs, targets, np.tanh(draw.standard_normal(H))


def language_model_losses(window, engine="auto"):
    """(loss function of the parameter tree, the tree of a model whose parameters are all different from zero)."""
    model = LanguageModel(V, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(model)
    draw = np.random.default_rng(5)
    state = jax.tree.map(lambda leaf: jnp.asarray(0.7 * draw.standard_normal(leaf.shape)), state)

    def losses(state):
        model = nnx.merge(graphdef, state)
        logits, _ = model(window[:-1, None], model.initial_carry(1), engine=engine)
        return loss_nats(logits, window[1:, None])

    return losses, state


def by_name(state):
    return {str(path[-1]): np.asarray(leaf) for path, leaf in nnx.to_flat_state(state)}


@pytest.mark.parametrize("method", ["central", "five-point"])
def test_hand_derived_gradients_equal_differences(example, method):
    parameters, inputs, targets, h = example
    _, gradients, _ = vanilla_loss_and_gradients(parameters, inputs, targets, h)
    numeric = numeric_gradients(lambda p: vanilla_losses(p, inputs, targets, h)[0], parameters, method=method)
    rows = gradient_errors(gradients, numeric)
    assert [row.group for row in rows] == sorted(parameters)
    for row in rows:
        assert row.max_absolute < (1e-8 if method == "central" else 1e-10), row
        assert row.share_below_1e6 == 1


def test_hand_derived_gradients_equal_torch():
    arrays = stored("torch_vanilla_float64")
    parameters = {name.removeprefix("weights/"): value for name, value in arrays.items() if name.startswith("weights/")}
    window = arrays["window"]
    loss, gradients, h_last = vanilla_loss_and_gradients(parameters, window[:-1], window[1:], arrays["h"])
    np.testing.assert_allclose(loss, arrays["results/loss"], rtol=1e-12)
    np.testing.assert_allclose(h_last, arrays["results/h"], rtol=1e-12)
    assert len(gradients) == 5
    for name, gradient in gradients.items():
        expected = arrays[f"results/d_weights/{name}"]
        np.testing.assert_allclose(gradient, expected, rtol=1e-10, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("engine", ["auto", "scan", "hoisted", "reference"])
def test_hand_derived_gradients_equal_the_language_model(engine):
    window = np.array([0, 3, 3, 1, 2, 0, 4])
    with jax.enable_x64(True):
        losses, state = language_model_losses(jnp.asarray(window), engine)
        analytic = by_name(quick_jit(jax.grad(lambda s: losses(s).sum()))(state))
        parameters = by_name(state)
    _, gradients, _ = vanilla_loss_and_gradients(parameters, window[:-1], window[1:], np.zeros(H))
    assert max(row.max_absolute for row in gradient_errors(analytic, gradients)) < 1e-12


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_every_float_dtype_is_kept(example, dtype):
    parameters, inputs, targets, h = example
    parameters = {name: value.astype(dtype) for name, value in parameters.items()}
    loss, gradients, h_last = vanilla_loss_and_gradients(parameters, inputs, targets, h.astype(dtype))
    assert loss.dtype == dtype and h_last.dtype == dtype
    assert {name: (g.shape, g.dtype) for name, g in gradients.items()} == {
        name: (p.shape, p.dtype) for name, p in parameters.items()
    }


def test_untrained_model_loses_ln_vocabulary_a_character(example):
    parameters, inputs, targets, h = example
    zeros = {name: np.zeros_like(value) for name, value in parameters.items()}
    loss, _, _ = vanilla_loss_and_gradients(zeros, inputs, targets, h)
    np.testing.assert_allclose(loss, T * np.log(V), rtol=1e-12)


def test_large_logits_do_not_overflow(example):
    parameters, inputs, targets, h = example
    parameters["b_y"] = parameters["b_y"] + np.array([0.0, 2000.0, 0.0, 0.0, -2000.0])
    loss, gradients, _ = vanilla_loss_and_gradients(parameters, inputs, targets, h)
    assert np.isfinite(loss) and all(np.isfinite(g).all() for g in gradients.values())


@pytest.mark.parametrize(("method", "order"), [("forward", 1), ("central", 2), ("five-point", 4)])
def test_differences_err_by_the_stated_power_of_the_step(method, order):
    parameters = {"x": np.array([0.3, -0.8])}
    errors = [
        np.abs(
            numeric_gradients(lambda p: np.exp(2 * p["x"]).sum(), parameters, method=method, step=step)["x"]
            - 2 * np.exp(2 * parameters["x"])
        ).max()
        for step in (0.02, 0.01)
    ]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.05)


def test_a_loss_in_parts_gives_the_gradient_of_its_sum():
    parameters = {"x": np.array([0.3, -0.8, 2.0])}
    whole = numeric_gradients(lambda p: np.sum(p["x"] ** 3), parameters)
    parts = numeric_gradients(lambda p: p["x"] ** 3, parameters)
    np.testing.assert_allclose(parts["x"], 3 * parameters["x"] ** 2, rtol=1e-8)
    np.testing.assert_allclose(parts["x"], whole["x"], rtol=1e-8)


def test_parameters_are_left_as_they_were():
    parameters = {"x": np.array([0.3, -0.8])}
    before = parameters["x"].copy()
    numeric_gradients(lambda p: p["x"].sum(), parameters)
    np.testing.assert_array_equal(parameters["x"], before)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="x must be float64"):
        numeric_gradients(lambda p: p["x"], {"x": np.float32(1.0)})
    with pytest.raises(ValueError, match="method must be one of"):
        numeric_gradients(lambda p: p["x"], {"x": np.array(1.0)}, method="backward")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step must be above 0"):
        numeric_gradients(lambda p: p["x"], {"x": np.array(1.0)}, step=0.0)
    with pytest.raises(ValueError, match="expected gradients of one form"):
        gradient_errors({"x": np.zeros(2)}, {"x": np.zeros(3)})
    with pytest.raises(ValueError, match="loss must be float64"):
        compare_gradients(lambda p: p["x"].astype(jnp.float32), {"x": np.array(1.0)})


def test_error_measures():
    (row,) = gradient_errors({"w": np.array([1.0, 0.0, 2.0, 1e-12])}, {"w": np.array([1.0, 0.0, 2.5, 3e-12])})
    assert (row.group, row.size, row.max_absolute, row.share_below_1e6) == ("w", 4, 0.5, 0.75)
    assert row.max_relative == pytest.approx(0.5 / 4.5)  # not the 0.5 of the last, which is far below eps
    (row,) = gradient_errors({"w": np.array([1.0, np.nan])}, {"w": np.array([1.0, 1.0])})
    assert np.isnan(row.max_absolute) and np.isnan(row.max_relative) and row.share_below_1e6 == 0.5


@pytest.mark.parametrize("method", ["central", "forward", "five-point"])
def test_jax_gradients_of_the_language_model_pass(method):
    with jax.enable_x64(True):
        losses, state = language_model_losses(jnp.array([0, 3, 3, 1, 2, 0, 4]))
        rows = compare_gradients(losses, state, method=method)
    assert sorted(row.group for row in rows) == [
        *("W_y", "b_y"),
        *("stack/layers/0/W_h", "stack/layers/0/W_x", "stack/layers/0/b"),
    ]
    limit = {"central": 1e-8, "forward": 1e-3, "five-point": 1e-8}[method]
    assert max(row.max_absolute for row in rows) < limit


@pytest.mark.parametrize("factor", [1.0, 1.001])
def test_a_wrong_derivative_is_noticed(factor):
    @jax.custom_jvp
    def tanh(a):
        return jnp.tanh(a)

    tanh.defjvp(lambda primals, tangents: (tanh(*primals), factor * tangents[0] * (1 - tanh(*primals) ** 2)))
    x = np.array([0.3, -0.8, 1.2])
    (row,) = compare_gradients(lambda p: tanh(p["W"] @ x), {"W": np.array([[0.5, -0.3, 0.9], [0.2, 0.8, -0.4]])})
    if factor == 1.0:
        assert row.max_absolute < 1e-9 and row.max_relative < 1e-8 and row.share_below_1e6 == 1
    else:
        assert row.max_absolute > 1e-5 and row.max_relative > 1e-4 and row.share_below_1e6 == 0
