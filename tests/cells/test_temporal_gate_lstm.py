import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.cells import LSTMCell, TemporalGateLSTMCell, openness
from jaxrnn.engines import unroll
from tests.reference.random_cell import params_of, quick_jit, random_carry, random_cell, random_window, weights_of
from tests.reference.temporal_gate_lstm import temporal_gate_lstm_step
from tests.trees import assert_trees_close, assert_trees_equal

pytestmark = pytest.mark.usefixtures("strict_dtypes")

BATCH = 3


def set_timing(cell, period, shift, open_ratio):
    for name, value in (
        ("log_period", np.log(period)),
        ("shift", shift),
        ("open_logit", np.log(open_ratio / (1 - open_ratio))),
    ):
        like = getattr(cell, name)[...]
        setattr(cell, name, nnx.Param(jnp.full(like.shape, value, like.dtype)))
    return cell


def without_leak(*sizes, **options):
    return TemporalGateLSTMCell(*sizes, leak=0.0, **options)


def test_openness_is_a_triangle_at_the_start_of_each_period(float64):
    times = np.arange(-6.0, 18.0, 0.01)
    k = np.array(openness(jnp.asarray(times), period=6.0, shift=3.0, open_ratio=0.2))
    after_opening = (times - 3.0) % 6.0  # open for 0.2 of 6 units: up for 0.6, down for 0.6
    expected = np.interp(after_opening, [0.0, 0.6, 1.2, 6.0], [0.0, 1.0, 0.0, 0.0])
    # A time on the corner of a period may fall on either side of it, where the triangle is 0 anyway.
    np.testing.assert_allclose(k, expected, atol=1e-10)
    assert k.max() == pytest.approx(1.0) and (k > 0).mean() == pytest.approx(0.2, abs=0.01)


def test_openness_is_exactly_1_at_the_peak_and_exactly_0_when_closed():
    times = jnp.asarray([3.0, 3.75, 4.5, 5.0, 9.0, 9.75], jnp.float32)
    k = openness(times, period=6.0, shift=3.0, open_ratio=0.25)
    np.testing.assert_array_equal(k, [0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    leaking = openness(times, period=6.0, shift=3.0, open_ratio=0.25, leak=0.5)
    np.testing.assert_allclose(leaking, [0.0, 1.0, 0.125, 1 / 6, 0.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("leak", [0.0, 0.3])
def test_openness_has_the_derivatives_of_differences(leak, float64):
    """At many times, periods after the shift and before it, so that the count of periods passed matters."""
    times = jnp.asarray(np.random.default_rng(0).uniform(-50.0, 200.0, 500))
    here = {"period": 6.1, "shift": 3.3, "open_ratio": 0.45}

    @quick_jit
    def value_and_slopes(here):
        def k(here):
            return openness(times, **here, leak=leak)

        return k(here), jax.jacfwd(k)(here)

    def at(name, value):
        return value_and_slopes({**here, name: value})[0]

    phase = ((np.array(times) - 3.3) % 6.1) / 6.1
    smooth = np.min(np.abs(phase[:, None] - np.array([0.0, 0.225, 0.45, 1.0])), axis=1) > 1e-4
    assert smooth.sum() > 450
    slopes = value_and_slopes(here)[1]
    for name, value in here.items():
        difference = (at(name, value + 1e-6) - at(name, value - 1e-6)) / 2e-6
        np.testing.assert_allclose(slopes[name][smooth], difference[smooth], rtol=1e-6, atol=1e-6)
    open_late = (np.array(times) > 150) & (phase < 0.45)
    assert np.abs(slopes["period"][open_late]).min() > 2 * 140 / 6.1**2 / 0.45  # 20 periods and more were passed


# A stream counts its steps in float32, which holds whole numbers up to 2^24 = 16,777,216.
LONG_AGO = [0, 100_000, 1_000_000, 16_000_000, 2**24 - 64]


def long_stream(first):
    """Times, (64, 1), and periods, shifts and their phases in double precision; all of them float32 numbers."""
    draw = np.random.default_rng(3)
    period = np.exp(draw.uniform(0.0, np.log(100.0), (1, 400))).astype(np.float32)
    shift = (period * draw.uniform(-2.0, 2.0, period.shape)).astype(np.float32)
    times = (first + np.arange(64.0)[:, None]).astype(np.float32)
    since = times.astype(np.float64) - shift  # exact
    return times, period, shift, since, np.fmod(since, period.astype(np.float64))


@pytest.mark.parametrize("first", LONG_AGO)
def test_in_float32_the_gate_is_right_at_the_end_of_a_long_stream(first):
    times, period, shift, since, remainder = long_stream(first)
    expected = (remainder + np.where(remainder < 0, period, 0)) / period
    k = jax.jit(openness)(times, period, shift, 0.05)
    triangle = np.interp(expected, [0.0, 0.025, 0.05, 1.0], [0.0, 1.0, 0.0, 0.0])
    assert k.dtype == jnp.float32 and 0.04 < (triangle > 0).mean() < 0.06
    np.testing.assert_allclose(k, triangle, rtol=0, atol=6e-6)  # 1.1e-7 of a period, on a slope of 2 / 0.05

    def total(period, shift):
        return jax.vmap(lambda time: openness(time[None, :], period, shift, 0.05))(jnp.asarray(times)).sum()

    rising, falling = (
        (expected > 1e-6) & (expected < 0.025 - 1e-6),
        (expected > 0.025 + 1e-6) & (expected < 0.05 - 1e-6),
    )
    away = (np.abs(expected[..., None] - [0.0, 0.025, 0.05, 1.0]) > 1e-6).all(axis=(0, 2))
    slopes = (rising * 40.0 - falling * 40.0) / period
    d_period, d_shift = jax.jit(jax.grad(total, argnums=(0, 1)))(period, shift)
    for actual, exact in ((d_period, -slopes * since / period), (d_shift, -slopes)):
        scale = np.abs(exact).sum(axis=0)
        assert (np.abs(np.asarray(actual)[0] - exact.sum(axis=0)) <= 1e-5 * scale + 1e-30)[away].all()


@pytest.mark.parametrize("engine", ["scan", "hoisted"])
def test_a_cell_late_in_a_long_stream_equals_numpy(engine, rng):
    cell = random_cell(TemporalGateLSTMCell, 5, 4, rng, jnp.float32)
    carry = random_carry(cell, BATCH, rng)._replace(steps=jnp.asarray([[1e5], [1e6], [1.6e7]], jnp.float32))
    xs = random_window(cell, "dense", 6, BATCH, rng)
    last, ys = quick_jit(lambda xs, carry: unroll(cell, xs, carry, engine=engine))(xs, carry)
    weights = {name: np.float64(value) for name, value in weights_of(cell).items()}
    weights["log_period"] = np.log(np.float64(quick_jit(cell.timing)().period))  # of the period as float32 has it
    state = tuple(np.float64(part) for part in carry)
    for x, y in zip(np.asarray(xs, np.float64), np.asarray(ys), strict=True):
        state = temporal_gate_lstm_step(weights, x, state)
        np.testing.assert_allclose(y, state[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(last.steps, state[2])


def test_a_closed_unit_keeps_c_and_h_bitwise_and_lets_no_nan_in(rng):
    cell = set_timing(random_cell(without_leak, 5, 4, rng, jnp.float32), period=8.0, shift=0.0, open_ratio=0.25)
    carry = random_carry(cell, BATCH, rng)._replace(steps=jnp.full((BATCH, 1), 3.0, jnp.float32))
    carry = carry._replace(c=carry.c.at[0, 0].set(-0.0), h=carry.h.at[1, 1].set(-0.0))
    x = random_window(cell, "dense", 1, BATCH, rng)[0]
    step = quick_jit(lambda x: cell(carry, x))
    for given in (x, jnp.full_like(x, jnp.nan)):
        new, y = step(given)
        assert_trees_equal((new.c, new.h, y), (carry.c, carry.h, carry.h))
        np.testing.assert_array_equal(new.steps, carry.steps + 1)


def test_a_unit_at_its_peak_is_a_plain_lstm_bitwise(rng):
    cell = set_timing(random_cell(without_leak, 5, 4, rng, jnp.float32), period=8.0, shift=0.0, open_ratio=0.5)
    plain = random_cell(LSTMCell, 5, 4, rng, jnp.float32)
    plain.W_x, plain.W_h, plain.b = cell.W_x, cell.W_h, cell.b
    carry, x = random_carry(cell, BATCH, rng), random_window(cell, "dense", 1, BATCH, rng)[0]
    at_peak = carry._replace(steps=jnp.full((BATCH, 1), 2.0, jnp.float32))
    period, _, open_ratio = cell.timing()
    exactly = np.asarray(openness(at_peak.steps, period[None, :], 0.0, open_ratio[None, :]))
    np.testing.assert_allclose(exactly, 1.0, rtol=1e-6)  # log and exp round the period
    new, theirs = cell(at_peak, x)[0], plain(carry, x)[0]
    assert_trees_close((new.c, new.h), (theirs.c, theirs.h), rtol=1e-5)


def test_over_a_window_it_changes_only_while_open(rng):
    cell = set_timing(random_cell(without_leak, 5, 4, rng, jnp.float32), period=5.0, shift=0.5, open_ratio=0.4)
    xs = random_window(cell, "dense", 12, BATCH, rng)
    _, ys = unroll(cell, xs, cell.initial_carry(BATCH), engine="scan")
    before = np.concatenate([np.zeros((1, BATCH, 4), np.float32), np.array(ys[:-1])])
    changed = (np.array(ys) != before).all(axis=(1, 2))
    same = (np.array(ys) == before).all(axis=(1, 2))
    # Open from 0.5 to 2.5, from 5.5 to 7.5 and so on; the first step is at time 0.
    np.testing.assert_array_equal(changed, [t % 5 in (1, 2) for t in range(12)])
    np.testing.assert_array_equal(same, ~changed)


def test_the_phase_runs_on_from_window_to_window_and_starts_afresh_at_a_reset(float64, rng):
    cell = random_cell(TemporalGateLSTMCell, 5, 4, rng, jnp.float64)
    carry, xs = cell.initial_carry(BATCH), random_window(cell, "dense", 6, BATCH, rng)
    run = quick_jit(lambda xs, carry, resets: unroll(cell, xs, carry, engine="scan", resets=resets))
    none = jnp.zeros((3, BATCH), bool)
    middle, first = run(xs[:3], carry, none)
    last, second = run(xs[3:], middle, none)
    whole_last, whole = unroll(cell, xs, carry, engine="scan")
    assert_trees_close((last, jnp.concatenate([first, second])), (whole_last, whole), rtol=1e-12)
    np.testing.assert_array_equal(last.steps, np.full((BATCH, 1), 6.0))
    again = run(xs[3:], middle, none.at[0].set(True))
    assert_trees_equal(again, run(xs[3:], carry, none))
    assert (np.abs(np.asarray(again[1] - second)) > 1e-9).any()


@pytest.mark.parametrize("shape", [(BATCH,), (BATCH, 1)])
def test_times_that_were_given_take_the_place_of_the_count(shape, float64, rng):
    cell = random_cell(TemporalGateLSTMCell, 5, 4, rng, jnp.float64)
    carry, x = random_carry(cell, BATCH, rng), random_window(cell, "dense", 1, BATCH, rng)[0]
    times = np.array([0.3, 17.25, 1234.5])
    new, _ = cell(carry, x, jnp.asarray(times.reshape(shape)))
    expected = temporal_gate_lstm_step(weights_of(cell), np.array(x), tuple(map(np.array, carry)), time=times)
    for ours, numpys in zip(new, expected, strict=True):
        np.testing.assert_allclose(ours, numpys, rtol=1e-10)
    counted = cell(carry, x, 5)[0]
    assert_trees_equal(counted, cell(carry, x, 6)[0])
    assert (np.asarray(counted.h) != np.asarray(new.h)).any()


def test_gradients_of_the_timing_agree_with_differences(float64, rng):
    cell = random_cell(TemporalGateLSTMCell, 3, 2, rng, jnp.float64)
    carry, xs = cell.initial_carry(2), random_window(cell, "dense", 40, 2, rng)
    graphdef, d_ys = nnx.split(cell)[0], rng.normal(size=(40, 2, 2))

    def loss(params):
        return jnp.sum(d_ys * unroll(nnx.merge(graphdef, nnx.State(params)), xs, carry, engine="scan")[1])

    params, value_and_gradients = params_of(cell), quick_jit(jax.value_and_grad(loss))
    gradients = value_and_gradients(params)[1]
    for name in ("log_period", "shift", "open_logit"):
        for unit in range(2):
            up, down = ({**params, name: params[name].at[unit].add(step)} for step in (1e-6, -1e-6))
            difference = float(value_and_gradients(up)[0] - value_and_gradients(down)[0]) / 2e-6
            assert float(gradients[name][unit]) == pytest.approx(difference, rel=1e-5)


def test_starting_values_lie_in_their_ranges():
    cell = TemporalGateLSTMCell(3, 500, period_range=(2.0, 50.0), rngs=nnx.Rngs(0))
    period, shift, open_ratio = (np.array(value) for value in cell.timing())
    assert 1.999 <= period.min() < 2.2 and 45.0 < period.max() <= 50.001
    assert np.median(period) == pytest.approx(10.0, rel=0.2)  # the middle of the logarithms
    assert (shift >= 0).all() and (shift <= period).all() and (shift / period).mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_allclose(open_ratio, 0.05, rtol=1e-6)


def test_times_stay_in_float32_when_parameters_are_smaller():
    cell = TemporalGateLSTMCell(3, 4, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    carry = cell.initial_carry(2)
    assert carry.steps.dtype == cell.log_period[...].dtype == jnp.float32
    carry, h = quick_jit(cell)(carry._replace(steps=carry.steps + 1000.0), jnp.ones((2, 3), jnp.bfloat16))
    assert carry.c.dtype == h.dtype == jnp.bfloat16
    np.testing.assert_array_equal(carry.steps, [[1001.0], [1001.0]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period_range": (0.0, 10.0)}, r"period_range that is positive and rises, got \(0.0, 10.0\)"),
        ({"period_range": (10.0, 1.0)}, r"period_range that is positive and rises, got \(10.0, 1.0\)"),
        ({"period_range": (1.0, math.inf)}, r"period_range that is positive and rises, got \(1.0, inf\)"),
        ({"open_ratio": 1.0}, "open_ratio between 0 and 1, got 1.0"),
        ({"open_ratio": 0.0}, "open_ratio between 0 and 1, got 0.0"),
    ],
)
def test_timing_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TemporalGateLSTMCell(3, 4, rngs=nnx.Rngs(0), **options)
