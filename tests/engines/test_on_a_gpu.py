"""The engines of a GPU on one, against `reference` in full float32: `pytest -m gpu tests/engines/test_on_a_gpu.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn import GRUCell, LSTMCell, VanillaCell, unroll
from jaxrnn.engines import engines_of
from jaxrnn.engines.resident import HOPPER

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() != "gpu", reason="JAX has no GPU here"),
]
STEPS, BATCH_SIZE = 30, 20
# Rounding of the products' operands, over so many steps.
TOLERANCES = {"float32": 1e-5, "tensorfloat32": 2e-3, "bfloat16": 2e-2}
CELLS = VanillaCell, LSTMCell, GRUCell
CASES = [(engine, cell, 40) for engine in ("scan", "recompute", "resident") for cell in CELLS]
CASES += [("resident", cell, 200) for cell in CELLS]  # of which clusters of programs share the units


@pytest.fixture
def hopper() -> None:
    """A card that the resident kernels were made for."""
    if jax.devices()[0].compute_capability != HOPPER:
        pytest.skip("the resident kernels do not run on this card")


def drawn(cell_type, hidden: int):
    """A cell whose products are neither small nor saturated."""
    return cell_type(13, hidden, kernel_init=jax.nn.initializers.normal(0.6 * hidden**-0.5), rngs=nnx.Rngs(0))


def values_and_gradients(cell, engine: str, precision: str, **options):
    graphdef, state = nnx.split(cell)
    rng = np.random.default_rng(0)
    xs = jnp.asarray(rng.normal(size=(STEPS, BATCH_SIZE, cell.in_features)), jnp.float32)
    d_ys = jnp.asarray(rng.normal(size=(STEPS, BATCH_SIZE, cell.hidden_features)), jnp.float32)

    def loss(state, xs):
        ys = unroll(nnx.merge(graphdef, state), xs, cell.initial_carry(BATCH_SIZE), engine=engine, **options)[1]
        return jnp.sum(ys * d_ys), ys

    with jax.default_matmul_precision(precision):
        (_, ys), gradients = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(state, xs)
    return [np.asarray(leaf) for leaf in [ys, *jax.tree.leaves(gradients)]]


def assert_near(found, expected, tolerance: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert np.linalg.norm(ours - theirs) <= tolerance * np.linalg.norm(theirs)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(("engine", "cell_type", "hidden"), CASES)
def test_an_engine_equals_reference(engine, cell_type, hidden, precision):
    cell = drawn(cell_type, hidden)
    with jax.default_matmul_precision(precision):
        # Of these only one engine has a right not to run: its products are never float32, its cards are Hopper's.
        if engine == "resident" and (precision == "float32" or jax.devices()[0].compute_capability != HOPPER):
            pytest.skip(f"the resident kernels do not run in {precision} on this card")
        assert engine in engines_of(cell)
    expected = values_and_gradients(cell, "reference", "float32")
    assert_near(values_and_gradients(cell, engine, precision), expected, TOLERANCES[precision])


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize("hidden", [40, 200])
@pytest.mark.parametrize("cell_type", CELLS)
def test_the_resident_kernels_take_what_a_window_may_have(cell_type, hidden):
    cell = drawn(cell_type, hidden)
    rng = np.random.default_rng(1)
    carry = cell.initial_carry(BATCH_SIZE)
    options = {
        "resets": jnp.asarray(rng.random((STEPS, BATCH_SIZE)) < 0.2),
        "fresh": jax.tree.map(lambda leaf: jnp.asarray(0.5 * rng.normal(size=leaf.shape), leaf.dtype), carry),
        "lengths": jnp.asarray(rng.integers(0, STEPS + 1, BATCH_SIZE), jnp.int32),
        "recurrent_mask": jnp.asarray(2.0 * (rng.random((STEPS, BATCH_SIZE, hidden)) < 0.5), jnp.float32),
        "clip_backward": jnp.float32(0.5),
    }
    for names in (*([name] for name in options if name != "fresh"), ["resets", "fresh"], list(options)):
        given = {name: options[name] for name in names}
        expected = values_and_gradients(cell, "reference", "float32", **given)
        found = values_and_gradients(cell, "resident", "tensorfloat32", **given)
        assert_near(found, expected, TOLERANCES["tensorfloat32"])


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize("hidden", [40, 200])
@pytest.mark.parametrize("cell_type", CELLS)
def test_members_of_the_resident_kernels_are_those_alone(cell_type, hidden):
    """More of them than run at once: of 200 units a member has 12 programs."""
    cell = drawn(cell_type, hidden)
    graphdef, state = nnx.split(cell)
    rng = np.random.default_rng(0)
    scales = jnp.asarray(rng.uniform(0.5, 1.5, 12), jnp.float32)
    xs, d_ys = jnp.asarray(rng.normal(size=(2, STEPS, BATCH_SIZE, hidden)), jnp.float32)

    def gradients(scale):
        def loss(state, xs):
            ys = unroll(nnx.merge(graphdef, state), xs, cell.initial_carry(BATCH_SIZE), engine="resident")[1]
            return jnp.sum(ys * d_ys), ys

        return jax.grad(loss, (0, 1), has_aux=True)(jax.tree.map(lambda leaf: scale * leaf, state), xs[..., :13])

    with jax.default_matmul_precision("tensorfloat32"):
        together, alone = jax.jit(jax.vmap(gradients))(scales), jax.jit(gradients)
        for number, scale in enumerate(scales):
            of_one = jax.tree.map(lambda leaf, k=number: np.asarray(leaf[k]), together)
            assert_near(jax.tree.leaves(of_one), [np.asarray(leaf) for leaf in jax.tree.leaves(alone(scale))], 1e-5)


@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("precision", ["float32", "tensorfloat32"])
def test_the_library_equals_reference(precision, with_lengths):
    """Lengths go down to 0, which the library itself refuses."""
    cell = LSTMCell(13, 40, kernel_init=jax.nn.initializers.normal(0.1), rngs=nnx.Rngs(0))
    lengths = jnp.arange(BATCH_SIZE, dtype=jnp.int32) if with_lengths else None
    expected = values_and_gradients(cell, "reference", "float32", lengths=lengths)
    assert_near(values_and_gradients(cell, "cudnn", precision, lengths=lengths), expected, TOLERANCES[precision])
