"""What is seen inside of a model: every number equal to a slow loop over steps in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import CELLS
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect import reading
from jaxrnn.inspect.activity import GATES, observing
from jaxrnn.inspect.dependence import depends_on, effect_of_replacing, response, similar_spans
from jaxrnn.inspect.reading import activations, guess, loss_along, read_once, summarise_layers
from jaxrnn.inspect.setting_units import WithUnitSet, effect_of_setting, sample_from
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.scoring.evaluation import evaluate_ids
from tests.reference.lstm import lstm_gates, lstm_step
from tests.reference.stack_loop import random_values

V, H, N = 6, 4, 70
IDS = np.random.default_rng(1).integers(0, V, N)


@pytest.fixture
def model(float64: None) -> Any:
    made = LanguageModel(V, H, cell="lstm", layers=2, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    return random_values(made, np.random.default_rng(2), std=1.5)


@pytest.fixture(autouse=True)
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WINDOW", 16)  # several, the last one filled up


def by_hand(
    model: LanguageModel, ids: np.ndarray, setting: tuple[int, int, float] | None = None
) -> dict[str, np.ndarray]:
    """Gates, states and log probabilities of a two-layer LSTM, step by step."""
    weights = [
        {k: np.array(v[...]) for k, v in vars(layer).items() if k in ("W_x", "W_h", "b")}
        for layer in model.stack.layers
    ]
    carries = [(np.zeros((1, H)), np.zeros((1, H))) for _ in weights]
    rows: dict[str, list[np.ndarray]] = {name: [] for name in ("input", "forget", "output", "c", "h", "log_p")}
    for x in ids[:-1]:
        below = np.array([x])
        seen: dict[str, list[np.ndarray]] = {name: [] for name in rows}
        for number, layer in enumerate(weights):
            i, f, _, o = lstm_gates(layer, below, carries[number][1])
            c, h = lstm_step(layer, below, carries[number])
            if setting and setting[0] == number:
                h = h.copy()
                h[:, setting[1]] = setting[2]
            carries[number], below = (c, h), h
            for name, value in zip(("input", "forget", "output", "c", "h"), (i, f, o, c, h), strict=True):
                seen[name].append(value[0])
        assert model.W_y is not None
        logits = below @ np.array(model.W_y[...]) + np.array(model.b_y[...])
        seen["log_p"] = [(logits - np.log(np.exp(logits).sum()))[0]]
        for name, value in seen.items():
            rows[name].append(np.stack(value))
    return {name: np.stack(value) for name, value in rows.items()}


def test_guesses_cold_and_warm_are_those_of_a_loop(model: Any) -> None:
    log_p = by_hand(model, IDS)["log_p"][:, 0]
    cold = guess(model, IDS, best=3)
    np.testing.assert_allclose(cold.log_p, log_p[np.arange(N - 1), IDS[1:]], rtol=1e-9)
    np.testing.assert_array_equal(cold.best, np.argsort(-log_p, axis=1)[:, :3])
    np.testing.assert_allclose(cold.best_p, np.exp(-np.sort(-log_p, axis=1)[:, :3]), rtol=1e-9)
    np.testing.assert_allclose(cold.entropy, -(np.exp(log_p) * log_p).sum(1), rtol=1e-9)
    warm = guess(model, IDS[20:], best=3, before=IDS[:20])
    np.testing.assert_allclose(warm.log_p, cold.log_p[20:], rtol=1e-9)
    assert np.abs(guess(model, IDS[20:]).log_p[:3] - warm.log_p[:3]).max() > 1e-3  # a cold start is another thing
    loss = evaluate_ids(*nnx.split(model)[:1], nnx.to_pure_dict(nnx.state(model)), IDS).loss_nats
    assert abs(-cold.log_p.mean() - loss) < 1e-6


def test_documents_begin_afresh(model: Any) -> None:
    ids = IDS.copy()
    ids[30] = 0
    ids[np.arange(N) != 30] = np.maximum(ids[np.arange(N) != 30], 1)
    after = guess(model, ids, document_end=0).log_p[31:]
    np.testing.assert_allclose(after, guess(model, ids[31:]).log_p, rtol=1e-9)


def test_activations_and_saturation_are_those_of_a_loop(model: Any) -> None:
    rows, layers = by_hand(model, IDS), summarise_layers(model, IDS)
    for name in ("c", "h", "forget"):
        for layer, seen in enumerate(activations(model, IDS, part=name)):
            np.testing.assert_allclose(seen, rows[name][:, layer], rtol=1e-9, atol=1e-12)
    for number, summary in enumerate(layers):
        for name, gate in summary.gates.items():
            np.testing.assert_allclose(gate.low, (rows[name][:, number] < 0.1).mean(0), atol=1e-12)
            np.testing.assert_allclose(gate.high, (rows[name][:, number] > 0.9).mean(0), atol=1e-12)
        np.testing.assert_allclose(summary.deviation["c"], rows["c"][:, number].std(0), rtol=1e-6)
    with pytest.raises(ConfigurationError, match="has no 'x'; it has c, h"):
        activations(model, IDS, part="x")


def test_one_pass_after_other_text_gives_guesses_activations_and_gates(model: Any) -> None:
    rows, (guesses, h, layers) = by_hand(model, IDS), read_once(model, IDS[20:], best=3, before=IDS[:20])
    np.testing.assert_allclose(guesses.log_p, rows["log_p"][np.arange(20, N - 1), 0, IDS[21:]], rtol=1e-9)
    for number, summary in enumerate(layers):
        np.testing.assert_allclose(h[number], rows["h"][20:, number], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(summary.gates["forget"].mean, rows["forget"][20:, number].mean(0), rtol=1e-9)


def test_the_loss_along_a_text_is_that_of_pieces_of_it_from_a_fresh_start(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PIECES", 2)  # at a time
    along = loss_along(model, IDS, 3)
    assert along.places.tolist() == [0, 26, 53]  # the last one ends where the text ends
    for place, loss in zip(*along, strict=True):
        piece = IDS[place : place + 17]
        expected = -by_hand(model, piece)["log_p"][np.arange(16), 0, piece[1:]]
        np.testing.assert_allclose(loss, expected[3:].mean(), rtol=1e-9)
    assert len(loss_along(model, IDS[:20], 3).places) == 1


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_shows_its_gates_and_computes_the_same(name: str) -> None:
    model = random_values(LanguageModel(V, H, cell=name, rngs=nnx.Rngs(0)), np.random.default_rng(3))
    model.eval()
    found: list = []
    xs, carry = jnp.asarray(IDS[:8, None]), model.initial_carry(1)
    seen, last = model(xs, carry, engine=observing(found))
    expected, last_of = model(xs, carry)
    np.testing.assert_allclose(seen, expected, atol=2e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), last, last_of)
    assert set(found[0].gates) == set(GATES.get(type(model.stack.layers[0]).__name__, ()))
    assert all(gate.shape == (8, 1, H) and 0 <= gate.min() <= gate.max() <= 1 for gate in found[0].gates.values())


def test_hand_set_gates_are_saturated_by_their_names() -> None:
    """Biases of +-20 close or open one gate of each kind: the names are in the right order."""
    for cell, blocks in (("lstm", ("input", "forget", None, "output")), ("gru", ("reset", "update", None))):
        for number, name in enumerate(blocks):
            if name is None:
                continue
            model: Any = LanguageModel(V, H, cell=cell, rngs=nnx.Rngs(0))
            layer = model.stack.layers[0]
            layer.b[...] = layer.b[...].at[number * H : (number + 1) * H].set(20.0)
            shares = summarise_layers(model, IDS[:20])[0].gates
            assert shares[name].high.tolist() == [1] * H and all(
                of.high.max() < 1 for n, of in shares.items() if n != name
            )


def test_setting_a_unit_is_what_a_loop_with_it_set_gives(model: Any) -> None:
    base = -by_hand(model, IDS)["log_p"][np.arange(N - 1), 0, IDS[1:]].mean()
    effects = effect_of_setting(model, IDS, 0, 0.5)
    for unit in range(H):
        log_p = by_hand(model, IDS, (0, unit, 0.5))["log_p"][np.arange(N - 1), 0, IDS[1:]]
        np.testing.assert_allclose(effects[unit], -log_p.mean() - base, atol=1e-9)
    changed = WithUnitSet(model, np.int64(0), np.int64(2), 0.5)
    graphdef, state = nnx.split(changed)
    loss = evaluate_ids(graphdef, nnx.to_pure_dict(state), IDS).loss_nats
    np.testing.assert_allclose(loss - base, effects[2], atol=1e-9)
    written = sample_from(changed, 30, temperature=5.0)
    assert written.shape == (30,) and (written != sample_from(model, 30, temperature=5.0)).any()
    with pytest.raises(ConfigurationError, match="no unit 4 in layer 0"):
        WithUnitSet(model, 0, H, 0.0)


def test_what_a_model_writes_greedily_is_what_a_loop_with_the_unit_set_finds_most_probable(model: Any) -> None:
    prime = IDS[:3]
    written = sample_from(WithUnitSet(model, 0, 2, 0.9), 12, prime=prime, temperature=0.0)
    text = np.concatenate([prime, written])
    guessed = by_hand(model, text, (0, 2, 0.9))["log_p"][:, 0].argmax(axis=-1)
    assert written.tolist() == guessed[len(prime) - 1 :].tolist()


def test_what_a_guess_depends_on_is_what_replacing_changes(model: Any) -> None:
    ids = IDS[:9]
    real = effect_of_replacing(model, ids)
    log_p = by_hand(model, ids)["log_p"][-1, 0, ids[-1]]
    for place in (0, 7):
        texts = [np.concatenate([ids[:place], [symbol], ids[place + 1 :]]) for symbol in range(V)]
        changes = [by_hand(model, text)["log_p"][-1, 0, ids[-1]] - log_p for text in texts]
        np.testing.assert_allclose(real[place], np.sqrt(np.mean(np.square(changes))), rtol=1e-9)
    gentle = random_values(model, np.random.default_rng(5), std=0.2)  # nearly linear, so that slopes say what happens
    slopes, real = depends_on(gentle, ids), effect_of_replacing(gentle, ids)
    assert slopes.shape == real.shape == (8,) and np.corrcoef(np.log(slopes), np.log(real))[0, 1] > 0.8


def test_a_small_step_of_one_symbol_towards_another_has_the_slope(float64: None) -> None:
    """With an embedding, symbols can lie close together: replacing one is then its slope, to first order."""
    near: Any = LanguageModel(V, H, cell="gru", embedding=3, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    random_values(near, np.random.default_rng(4))
    assert near.embedding is not None
    rows = np.array(near.embedding[...])
    near.embedding[...] = jnp.asarray(rows[:1] + 1e-5 * (rows - rows[:1]))
    ids = IDS[:6]
    slopes, real = depends_on(near, ids), effect_of_replacing(near, ids)
    np.testing.assert_allclose(slopes, real, rtol=1e-3)


def test_the_response_and_spans_by_hand() -> None:
    seen = response(np.array([[1.0, 0.0], [3.0, 0.5], [5.0, 1.0]]), np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(seen, [[2.0, np.nan, 5.0], [0.25, np.nan, 1.0]])
    on = np.zeros((20, 3))
    on[5:8, :2] = on[12:15, 0] = on[16:19, :2] = 1
    on[:, 2] = 1  # always on: not what begins and ends there
    units, spans = similar_spans(on, 5, 8)
    assert units.tolist() == [0, 1] and [(s.start, s.stop, s.share) for s in spans] == [(16, 19, 1.0), (12, 15, 0.5)]
    with pytest.raises(ConfigurationError):
        similar_spans(on, 8, 8)
