import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import GRUCell, LSTMCell, VanillaCarry, VanillaCell
from jaxrnn.engines import unroll
from jaxrnn.models.stack import Stack
from tests.reference.random_cell import params_of, quick_jit, weighted_sum, weights_of
from tests.reference.stack_loop import random_values, stack_by_hand
from tests.reference.vanilla import unroll_vanilla
from tests.trees import assert_trees_close, assert_trees_equal


def random_stack(layers, rng):
    stack = Stack.of("vanilla", 5, 4, layers=layers, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    nnx.update(stack, jax.tree.map(lambda v: jnp.asarray(0.6 * rng.normal(size=v.shape)), nnx.state(stack, nnx.Param)))
    return stack


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_feed_each_other_and_keep_their_own_carries(layers, float64, rng):
    stack = random_stack(layers, rng)
    ids = rng.integers(0, 5, (7, 2))
    resets = rng.random((7, 2)) < 0.3
    carries = jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape)), stack.initial_carry(2))
    ys, new_carries = quick_jit(lambda ids, carries, resets: stack(ids, carries, resets=resets))(ids, carries, resets)
    hs = ids
    assert len(new_carries) == len(stack.layers) == layers
    for layer, carry, new in zip(stack.layers, carries, new_carries, strict=True):
        hs = unroll_vanilla(weights_of(layer), hs, np.array(carry.h), resets)
        np.testing.assert_allclose(new.h, hs[-1], rtol=1e-10)
    np.testing.assert_allclose(ys, hs, rtol=1e-10)


def test_every_layer_uses_the_asked_engine(float64, rng):
    stack = random_stack(2, rng)
    xs, carries = jnp.asarray(rng.normal(size=(4, 1, 5))), stack.initial_carry(1)
    programs = {e: str(jax.make_jaxpr(lambda xs, e=e: stack(xs, carries, engine=e))(xs)) for e in ("hoisted", "scan")}
    assert programs["hoisted"].count("custom_vjp_call") == 2 and "custom_vjp_call" not in programs["scan"]
    assert_trees_close(stack(xs, carries, engine="hoisted"), stack(xs, carries, engine="scan"), rtol=1e-12)


def test_every_layer_is_told_the_times(float64, rng):
    init, leaky = jax.nn.initializers.normal(1.0), {"leak": 0.1}
    stack = Stack.of(
        "temporal-gate-lstm",
        3,
        4,
        layers=2,
        cell_options=leaky,
        kernel_init=init,
        param_dtype=jnp.float64,
        rngs=nnx.Rngs(0),
    )
    xs, times = jnp.asarray(rng.normal(size=(6, 2, 3))), jnp.asarray(rng.uniform(0, 50, (6, 2)).cumsum(axis=0))

    @quick_jit
    def results():
        below, expected = xs, []
        for layer in stack.layers:
            carry, below = unroll(layer, below, layer.initial_carry(2), engine="reference", times=times)
            expected.append(carry)
        starts = stack.initial_carry(2)
        return stack(xs, starts, times=times), (below, tuple(expected)), stack(xs, starts)[0]

    actual, expected, untold = results()
    assert_trees_close(actual, expected, rtol=1e-10)
    assert np.abs(np.asarray(actual[0] - untold)).max() > 1e-3


def test_layers_start_with_different_weights():
    stack = Stack.of("vanilla", 4, 4, layers=2, rngs=nnx.Rngs(0))
    first, second = (weights_of(layer) for layer in stack.layers)
    assert (first["W_x"] != second["W_x"]).all() and (first["W_h"] != first["W_x"]).all()


def test_an_unknown_cell_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="Stack expects a cell out of vanilla.*; got 'lstn'"):
        Stack.of("lstn", 5, 4, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("layers", [0, -1])
def test_no_layer_is_refused(layers):
    with pytest.raises(ValueError, match=f"at least 1 layer, got {layers}"):
        Stack.of("vanilla", 5, 4, layers=layers, rngs=nnx.Rngs(0))


# ---- skip connections, fresh starts, lengths, clipping: against a plain loop ----

T, B, V, H = 4, 3, 5, 3


def other_stack(rng, **options):
    options = {"cell": "lstm", "layers": 3, "param_dtype": jnp.float64, **options}
    return random_values(Stack.of(options.pop("cell"), V, H, rngs=nnx.Rngs(0), **options), rng)


def mixed_stack(rng, **options):
    """Three kinds of cells, each of another size, with skip connections."""
    drawn = {"param_dtype": jnp.float64, "rngs": nnx.Rngs(0)}
    cells = [GRUCell(V, 2, **drawn), LSTMCell(2 + V, H, **drawn), VanillaCell(H + V, 4, **drawn)]
    return random_values(Stack(cells, **options), rng)


def random_carries(stack, rng):
    return jax.tree.map(lambda c: jnp.asarray(rng.normal(size=c.shape)), stack.initial_carry(B))


def loss_of(stack, carries, run):
    graphdef = nnx.split(stack)[0]

    def loss(params, carries):
        results = run(nnx.merge(graphdef, nnx.State(params)), carries)
        return weighted_sum(results), results

    return lambda: jax.grad(loss, argnums=(0, 1), has_aux=True)(params_of(stack), carries)


@pytest.mark.parametrize(
    ("make", "kind", "sizes"), [(other_stack, "ids", [V, H + V, H + V]), (mixed_stack, "dense", [V, 2 + V, H + V])]
)
def test_skip_connections_resets_and_lengths_equal_a_plain_loop(make, kind, sizes, float64, rng):
    stack = make(rng, skip_connections=True, learned_initial_carry=True)
    assert stack.out_features == 9 and [layer.in_features for layer in stack.layers] == sizes
    ids = rng.integers(0, V, (T, B))
    dense = jax.nn.one_hot(ids, V, dtype=jnp.float64) if kind == "ids" else jnp.asarray(rng.normal(size=(T, B, V)))
    xs = jnp.asarray(ids) if kind == "ids" else dense
    resets, lengths = rng.random((T, B)) < 0.3, np.array([T, 2, 3])
    resets[3, 0] = True

    def ours(stack, carries):
        return stack(xs, carries, resets=jnp.asarray(resets), lengths=jnp.asarray(lengths))

    def by_hand(stack, carries):
        fresh = stack.initial_carry(B)
        return stack_by_hand(stack.layers, dense, carries, True, resets=resets, fresh=fresh, lengths=lengths)

    runs = [loss_of(stack, random_carries(stack, np.random.default_rng(1)), run) for run in (ours, by_hand)]
    actual, expected = quick_jit(lambda: [run() for run in runs])()
    assert_trees_close(actual, expected, rtol=1e-10)


def test_a_learned_start_has_the_gradient_of_the_rows_that_start_afresh(float64, rng):
    stack = other_stack(rng, layers=2, learned_initial_carry=True)
    plain = other_stack(rng, layers=2)
    assert stack.first_carry is not None and set(stack.first_carry[0]) == {"c", "h"} and plain.first_carry is None
    xs = jnp.asarray(rng.integers(0, V, (T, B)))
    starts = stack.initial_carry(B)
    assert_trees_equal(starts[1].c, jnp.broadcast_to(stack.first_carry[1]["c"][...][None, :], (B, H)))
    carries = random_carries(stack, rng)

    @quick_jit
    def gradients(carries, resets):
        return loss_of(stack, carries, lambda stack, c: stack(xs, c, resets=resets))()[0]

    def start_gradients(rows, step):
        resets = jnp.zeros((T, B), bool).at[step, jnp.asarray(rows, int)].set(True)
        by_params, by_carry = gradients(carries, resets)
        return by_params["first_carry"], by_carry

    none, _ = start_gradients([], 0)
    assert not any(leaf.any() for leaf in jax.tree.leaves(none))
    # A reset at the first step is a start from that carry: there the carry's own gradient says what to expect.
    by_start, by_carry = start_gradients([0, 2], 0)
    _, at_starts = gradients(starts, jnp.zeros((T, B), bool))
    # Row 1 goes on from another carry, which no other row sees.
    for layer in range(2):
        for name in ("c", "h"):
            expected = getattr(at_starts[layer], name)
            np.testing.assert_allclose(by_start[layer][name], expected[0] + expected[2], rtol=1e-10)
            assert not getattr(by_carry[layer], name)[jnp.asarray([0, 2])].any()
            assert getattr(by_carry[layer], name)[1].all()
    inside, _ = start_gradients([1], 3)
    assert all(leaf.all() for leaf in jax.tree.leaves(inside))


def test_a_count_of_steps_is_no_start_to_learn():
    stack = Stack.of("temporal-gate-lstm", V, H, learned_initial_carry=True, rngs=nnx.Rngs(0))
    assert stack.first_carry is not None and set(stack.first_carry[0]) == {"c", "h"}
    assert stack.initial_carry(B)[0].steps.shape == (B, 1)


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
@pytest.mark.parametrize("skip_connections", [False, True])
def test_no_output_depends_on_a_later_input(engine, skip_connections, float64, rng):
    stack = other_stack(rng, layers=2, skip_connections=skip_connections)
    xs, carries = jnp.asarray(rng.normal(size=(T, B, V))), random_carries(stack, rng)

    @quick_jit
    def early(xs):
        return jax.grad(lambda xs: weighted_sum(stack(xs, carries, engine=engine)[0][:2]))(xs)

    d_xs = early(xs)
    assert not d_xs[2:].any() and d_xs[:2].all()


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
def test_clipping_in_the_backward_loop_equals_numpy_in_a_whole_stack(engine, float64, rng):
    stack, limit = random_stack(2, rng), 0.05
    ids, d_ys = rng.integers(0, 5, (7, 2)), rng.normal(size=(7, 2, 4))
    start = np.array(rng.normal(size=(2, 2, 4)))
    carries = tuple(VanillaCarry(jnp.asarray(h)) for h in start)
    clip = jnp.asarray(limit)

    def loss(params, carries):
        merged = nnx.merge(nnx.split(stack)[0], nnx.State(params))
        return jnp.sum(merged(jnp.asarray(ids), carries, engine=engine, clip_backward=clip)[0] * d_ys)

    actual = quick_jit(jax.grad(loss, argnums=(0, 1)))(params_of(stack), carries)
    lower, upper = (weights_of(layer) for layer in stack.layers)
    below = unroll_vanilla(lower, ids, start[0])
    above = unroll_vanilla(upper, below, start[1])
    d_upper, d_h_upper, d_below, clipped_above = clipped_gradients(upper, below, start[1], above, d_ys, limit)
    d_lower, d_h_lower, _, clipped_below = clipped_gradients(lower, ids, start[0], below, d_below, limit)
    assert 0 < clipped_above < above.size and 0 < clipped_below < below.size
    expected = {"layers": {0: d_lower, 1: d_upper}}, (VanillaCarry(d_h_lower), VanillaCarry(d_h_upper))
    assert_trees_close(actual, expected, rtol=1e-10)


def clipped_gradients(weights, xs, h, hs, d_hs, limit):
    """The chain rule of a vanilla layer, each d a_t clipped; by weight, first h and xs, and how many were clipped."""
    one_hot = np.eye(len(weights["W_x"]))[xs] if xs.ndim == 2 else xs
    d_as, d_h = np.zeros_like(hs), np.zeros_like(h)
    clipped = 0
    for t in reversed(range(len(hs))):
        d_a = (d_h + d_hs[t]) * (1 - hs[t] ** 2)
        clipped += int((np.abs(d_a) > limit).sum())
        d_as[t] = np.clip(d_a, -limit, limit)
        d_h = d_as[t] @ weights["W_h"].T
    before = np.concatenate([h[None], hs[:-1]])
    gradients = {
        "W_h": np.einsum("tbi,tbj->ij", before, d_as),
        "W_x": np.einsum("tbi,tbj->ij", one_hot, d_as),
        "b": d_as.sum((0, 1)),
    }
    return gradients, d_h, d_as @ weights["W_x"].T, clipped
