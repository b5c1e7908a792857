"""Layers that read from both ends, against a plain loop, NumPy, and PyTorch's packed sequences."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import GRUCell, LSTMCell, VanillaCell
from jaxrnn.models.bidirectional import Bidirectional, BidirectionalCarry
from jaxrnn.models.dropout import Dropout, DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.models.stack import Stack
from tests.reference.random_cell import params_of, quick_jit, weighted_sum, weights_of
from tests.reference.stack_loop import random_values, stack_by_hand
from tests.reference.vanilla import unroll_vanilla
from tests.trees import assert_trees_close

T, B, F, H, C = 4, 3, 4, 3, 2
LENGTHS = np.array([4, 2, 3])
RATE = 0.4


def steps_from_the_end(lengths):
    """[t][b]: the step that a backward layer reads as its t-th."""
    return np.array([[end - 1 - t if t < end else t for end in lengths] for t in range(T)])


def both_by_hand(stack, xs, carries, lengths, masks):
    """Outputs and last carries of a stack of bidirectional layers; `masks` by (site, number), backward ones after."""
    back, rows = steps_from_the_end(lengths), np.arange(B)
    xs = xs * masks["input", 0]
    inputs: Any = xs
    outputs, lasts = [], []
    for number, (layer, carry) in enumerate(zip(stack.layers, carries, strict=True)):
        ways, ends = [], []
        for direction, order in enumerate((None, back)):
            way = ("forward", "backward")[direction]
            site = number + direction * len(stack.layers)
            given = inputs if order is None else inputs[order, rows]
            recurrent = {("recurrent", 0): masks["recurrent", site]}
            y, (end,) = stack_by_hand(
                [getattr(layer, way)], given, [getattr(carry, way)], masks=recurrent, lengths=lengths
            )
            ways.append(y if order is None else y[order, rows])
            ends.append(end)
        lasts.append(BidirectionalCarry(*ends))
        outputs.append(jnp.concatenate(ways, axis=-1))
        below = outputs[-1] * masks.get(("between", number), 1.0)
        inputs = jnp.concatenate([below, xs], axis=-1) if stack.skip_connections else below
    ys = jnp.concatenate(outputs, axis=-1) if stack.skip_connections else outputs[-1]
    return ys * masks["output", 0], tuple(lasts)


@pytest.mark.parametrize("with_lengths", [True, False])
def test_layers_with_dropout_equal_a_plain_loop(with_lengths, float64, rng):
    cell, lengths = ("vanilla", LENGTHS) if with_lengths else ("lstm", None)
    options: dict[str, Any] = {"layers": 2, "skip_connections": with_lengths, "learned_initial_carry": True}
    stack = Stack.of(cell, F, H, bidirectional=True, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)
    random_values(stack, rng)
    rates = DropoutRates(*(jnp.asarray(RATE) for _ in DropoutRates._fields))
    dropout = Dropout(rates, jax.random.key(0), jnp.arange(B))
    ids = jnp.asarray(rng.integers(0, F, (T, B)))
    graphdef = nnx.split(stack)[0]

    def gradients_and_values(run):
        def loss(params):
            stack = nnx.merge(graphdef, nnx.State(params))
            results = run(stack, stack.initial_carry(B))
            return weighted_sum(results), results

        return jax.grad(loss, has_aux=True)(params_of(stack))

    def ours(stack, carries):
        given = None if lengths is None else jnp.asarray(lengths)
        return stack(ids, carries, lengths=given, dropout=dropout)

    sizes = {("input", 0): 1, ("between", 0): 2 * H, ("output", 0): stack.out_features}
    sizes |= {("recurrent", site): H for site in range(4)}
    draw = quick_jit(lambda: [dropout.mask(*key, T, size, jnp.float64) for key, size in sizes.items()])
    masks = {key: np.array(mask) for key, mask in zip(sizes, draw(), strict=True)}

    def by_hand(stack, carries):
        ends = np.full(B, T) if lengths is None else lengths
        return both_by_hand(stack, jax.nn.one_hot(ids, F, dtype=jnp.float64), carries, ends, masks)

    actual, expected = quick_jit(lambda: [gradients_and_values(run) for run in (ours, by_hand)])()
    assert_trees_close(actual, expected, rtol=1e-10)
    (gradient, _) = actual
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient["first_carry"]))


# ---- against NumPy: what a classifier reads ----


def classifier(rng, **options):
    model = SequenceClassifier(F, C, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)
    return random_values(model, rng)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_classifier_reads_each_sequence_to_its_own_end(bidirectional, float64, rng):
    """Each row alone, at its own length, by NumPy; past its end its numbers do not count."""
    xs = rng.normal(size=(T, B, F))
    reads: list[dict[str, Any]] = [{"pooling": "last"}, {"pooling": "mean"}, {"answers": 2}]
    models = [classifier(rng, bidirectional=bidirectional, **options) for options in reads]
    lengths = jnp.asarray(LENGTHS)
    run = quick_jit(lambda xs: [model(xs, model.initial_carry(B), lengths=lengths)[0] for model in models])
    for options, model, logits in zip(reads, models, run(jnp.asarray(xs)), strict=True):
        layer, W_y, b_y = model.stack.layers[0], np.array(model.W_y[...]), np.array(model.b_y[...])
        for row, end in enumerate(LENGTHS):
            x, start = xs[:end, row : row + 1], np.zeros((1, H))
            if bidirectional:
                f, b = unroll_vanilla(weights_of(layer.forward), x, start), weights_of(layer.backward)
                b = unroll_vanilla(b, x[::-1], start)[::-1]
                h, last = np.concatenate([f, b], -1), np.concatenate([f[-1:], b[:1]], -1)
            else:
                h = unroll_vanilla(weights_of(layer), x, start)
                last = h[-1:]
            read = h.mean(0)[None] if "mean" in options.values() else h[-2:] if "answers" in options else last
            np.testing.assert_allclose(logits[:, row], (read @ W_y + b_y)[:, 0], rtol=1e-10)


def test_lengths_that_are_all_of_t_change_nothing_and_one_of_0_is_a_number(float64, rng):
    model = classifier(rng, bidirectional=True)
    xs = jnp.asarray(rng.normal(size=(T, B, F)))
    run = quick_jit(lambda lengths: model(xs, model.initial_carry(B), lengths=lengths))
    assert_trees_close(run(jnp.full(B, T)), quick_jit(lambda: model(xs, model.initial_carry(B)))(), rtol=1e-12)
    logits, (carry,) = run(jnp.asarray([0, T, T]))
    np.testing.assert_array_equal(logits[0, 0], model.b_y[...])
    assert not np.any(carry.backward.h[0])


# ---- against PyTorch ----


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_it_equals_torch_with_packed_sequences(kind, float64, rng):
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(F, H, num_layers=2, bidirectional=True, dtype=torch.float64)
    stack = Stack.of(kind.lower(), F, H, layers=2, bidirectional=True, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    random_values(stack, rng)
    for name, value in theirs.named_parameters():
        part, of, layer, *reverse = name.split("_")  # such as weight_ih_l0_reverse
        cell = getattr(stack.layers[int(layer[1:])], "backward" if reverse else "forward")
        names = {"weight_ih": "W_x", "weight_hh": "W_h", "bias_ih": "b", "bias_hh": "b_h"}
        ours = getattr(cell, names[f"{part}_{of}"])
        numbers = np.zeros(value.shape) if ours is None else np.array(ours[...]).T
        value.data = torch.tensor(numbers)
    x = rng.normal(size=(T, B, F))
    features = torch.tensor(x, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(features, torch.tensor(LENGTHS), enforce_sorted=False)
    ys, last = theirs(packed)
    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys)
    h_n = last[0] if kind == "LSTM" else last
    d_ys, d_h = rng.normal(size=(T, B, 2 * H)), rng.normal(size=(4, B, H))
    (ys * torch.tensor(d_ys)).sum().add((h_n * torch.tensor(d_h)).sum()).backward()

    def loss(xs):
        ys, carries = stack(xs, stack.initial_carry(B), lengths=jnp.asarray(LENGTHS))
        h_n = jnp.stack([way.h for carry in carries for way in carry])
        return (ys * d_ys).sum() + (h_n * d_h).sum(), (ys, h_n)

    d_xs, (our_ys, our_h_n) = quick_jit(jax.grad(loss, has_aux=True))(jnp.asarray(x))
    np.testing.assert_allclose(our_ys, ys.detach().numpy(), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(our_h_n, h_n.detach().numpy(), rtol=1e-10)
    np.testing.assert_allclose(d_xs, features.grad.numpy(), rtol=1e-10, atol=1e-14)


# ---- what is made, and what is refused ----


def test_the_parameters_are_named_by_direction_and_those_of_one_direction_as_ever():
    paths = {}
    for bidirectional in (False, True):
        make = functools.partial(Stack.of, "vanilla", F, H, layers=2, bidirectional=bidirectional)
        state = nnx.eval_shape(lambda make=make: nnx.state(make(learned_initial_carry=True, rngs=nnx.Rngs(0))))
        paths[bidirectional] = {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}
    one, two = paths[False], paths[True]
    assert set(one) == {f"layers/{n}/{p}" for n in (0, 1) for p in ("W_x", "W_h", "b")} | {
        f"first_carry/{n}/h" for n in (0, 1)
    }
    way = [path.split("/") for path in one]
    assert set(two) == {f"{a}/{n}/{side}/{p}" for a, n, p in way for side in ("forward", "backward")}
    assert two["layers/1/backward/W_x"] == (2 * H, H) and one["layers/1/W_x"] == (H, H)


def test_layers_of_one_direction_and_of_two_may_be_mixed():
    found = []

    def shapes():
        made: dict[str, Any] = {"rngs": nnx.Rngs(0)}
        both = Bidirectional(GRUCell(F, H, **made), nnx.GRUCell(F, 2, **made))
        stack = Stack([both, LSTMCell(H + 2, 4, **made)])
        found.extend([stack.backward_features, Stack([both]).backward_features])
        return stack(jnp.zeros((T, B), jnp.uint8), stack.initial_carry(B))

    ys, carries = jax.eval_shape(shapes)
    assert ys.shape == (T, B, 4) and carries[0].backward.shape == (B, 2) and carries[1].c.shape == (B, 4)
    assert found == [[False] * 4, [False] * 3 + [True] * 2]


def test_what_cannot_be_is_refused():
    made: dict[str, Any] = {"rngs": nnx.Rngs(0)}
    with pytest.raises(ValueError, match="cannot be bidirectional: a backward layer has seen the symbol"):
        LanguageModel(F, H, bidirectional=True, **made)
    with pytest.raises(ValueError, match="read the same input; got in_features=4 and 3"):
        Bidirectional(VanillaCell(F, H, **made), VanillaCell(3, H, **made))
    both = Bidirectional(VanillaCell(F, H, **made), VanillaCell(F, H, **made))
    with pytest.raises(ValueError, match="expects cells with __call__; a backward one, a Bidirectional, has not"):
        Bidirectional(VanillaCell(F, H, **made), both)
    stack = Stack([both])
    with pytest.raises(ValueError, match="a bidirectional layer takes no resets: it reads whole sequences"):
        stack(jnp.zeros((T, B), jnp.uint8), stack.initial_carry(B), resets=jnp.zeros((T, B), bool))
