"""The commands of the time gate end to end, small; what they measure against rules written out in NumPy."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

pytest.importorskip("matplotlib")

from experiments.temporal_gate import __main__ as temporal_gate
from experiments.temporal_gate.figures import gate_example, sines_figure
from experiments.temporal_gate.learner import GATED, Learner, Size
from experiments.temporal_gate.tasks import NoisyWaves, Sines, TimedClassifier, TimedTask
from experiments.temporal_gate.timed_signals import Bursts
from experiments.temporal_gate.units import Curve, Units, noise_of_gates, openness_in_noise, weighted_median
from jaxrnn.devices.compile_cache import compiled
from jaxrnn.errors import NumericError
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.training import members

BURSTS = Bursts(period=12.0, onset=3.0, share=0.75, scale=1.0)
KEY = jax.random.key(1)
TINY = ["--hidden", "3", "--batch-size", "2", "--length", "12"]


def run(tmp_path, *arguments):
    assert exit_code_of(temporal_gate.app, [*arguments, "--run", str(tmp_path)]) == 0
    return json.loads((tmp_path / f"{arguments[0]}.json").read_text())


# ---- what is trained ----


def test_what_the_network_reads_beside_the_value():
    signal = Sines(6, 6.0, True)
    tasks = {feature: TimedTask(signal, feature) for feature in ("none", "time", "gap")}
    draw = jax.jit(lambda: (signal.draw(KEY, jnp.arange(4)), [t.examples(KEY, jnp.arange(4)) for t in tasks.values()]))
    (values, times, classes), found = draw()
    gaps = np.concatenate([np.zeros((1, 4)), np.diff(np.asarray(times), axis=0)])
    for task, beside, ((features, told), targets) in zip(tasks.values(), (None, times, gaps), found, strict=True):
        assert features.shape == (6, 4, task.in_features) and targets.shape == (1, 4)
        np.testing.assert_array_equal(features[:, :, 0], values)
        np.testing.assert_array_equal(told, times)
        np.testing.assert_array_equal(targets[0], classes)
        if beside is not None:
            np.testing.assert_allclose(features[:, :, 1], beside, atol=1e-6)


def test_a_closed_gate_keeps_the_carry_to_the_last_bit():
    """Through the classifier's own unroll, at times that the task hands in; an open one does not."""
    options = {"leak": 0.0, "period_range": (6.0, 6.0), "open_ratio": 0.2}
    model = TimedClassifier(1, 2, 5, cell=GATED, cell_options=options, rngs=nnx.Rngs(0))
    cell: Any = model.stack.layers[0]
    cell.shift = nnx.Param(jnp.full((5,), 3.0))
    (fresh,) = model.initial_carry(3)
    keys = jax.random.split(KEY, 3)
    c, h, xs = (jax.random.normal(keys[n], shape) for n, shape in enumerate([(3, 5), (3, 5), (8, 3, 1)]))
    start = fresh._replace(c=c.at[0, 0].set(-0.0), h=h)
    closed = jnp.repeat(jnp.linspace(4.3, 8.9, 8)[:, None], 3, axis=1)  # open from 3 to 4.2 and from 9 on
    call = nnx.jit(lambda model, times: model((xs, times), (start,)))
    _, (carry,) = call(model, closed)
    assert np.asarray(carry.c).tobytes() == np.asarray(start.c).tobytes()
    assert np.asarray(carry.h).tobytes() == np.asarray(start.h).tobytes()
    _, (carry,) = call(model, closed - 0.5)
    assert (np.asarray(carry.c) != np.asarray(start.c)).all()


def test_seeds_share_a_program_and_a_seed_repeats_itself(monkeypatch):
    programs = []

    def counted(*of):
        programs.append(compiled(*of))
        return programs[-1]

    monkeypatch.setattr(members, "compiled", counted)
    task = TimedTask(NoisyWaves(12, (5.0, 9.0), BURSTS))
    learner = Learner(task, GATED, {}, Size(3, 2))
    losses = []
    for seed in (0, 1, 0):
        learner.start(seed)
        losses.append([learner.advance(2), learner.advance(1), learner.accuracy()])
    assert losses[0] == losses[2] and losses[0] != losses[1]
    assert len(programs) == 1
    sensitivity = learner.sensitivity()
    assert sensitivity.shape == (12,) and (sensitivity > 0).any()
    units = learner.units()
    assert all(part.shape == (3,) for part in units) and units.use.sum() == pytest.approx(1)
    params = jax.tree.map(lambda leaf: leaf * jnp.nan, learner.state.params)
    learner.trainer.put(0, learner.state._replace(params=params))
    with pytest.raises(NumericError, match="diverged at update 13; lower --learning-rate"):
        learner.advance(20)


# ---- what is measured ----


def test_the_example_is_open_at_one_whole_time_in_six():
    k, _, h = gate_example(np.arange(25.0), 6.0, 3.0, 0.2, 0.0)
    expected = np.interp((np.arange(25.0) - 3) % 6, [0, 0.6, 1.2, 6], [0, 1, 0, 0])
    np.testing.assert_allclose(k, expected, atol=1e-5)
    assert (np.flatnonzero(k) % 6 == 4).all() and (np.diff(h)[k[1:] == 0] == 0).all()
    assert (np.diff(h)[k[1:] > 0] != 0).all()


def test_openness_in_noise_is_none_of_it_for_the_true_gate():
    times = np.arange(96.0)
    units = Units(
        *(np.array(part) for part in ([12.0, 12.0, 500.0], [0.0, 3.0, 400.0], [0.25, 0.75, 0.01], [0.5, 0.3, 0.2]))
    )
    found = openness_in_noise(units, BURSTS, times)
    assert found[0] == 0 and found[1] == 1 and np.isnan(found[2])
    of = noise_of_gates(Curve(times, times, [units], [units], [np.asarray(BURSTS.cover(times)) + 1.0]), BURSTS, 96)
    assert (of["true_period"], of["true_shift"], of["true_open_ratio"]) == (12.0, 0.0, 0.25)
    assert of["noisy_share_of_steps"] == 0.75 and of["before"] == of["after"]
    assert of["sensitivity_in_noise"] == [pytest.approx(2 * 0.75 / 1.75)]
    assert of["after"][0]["most_used_quiet_unit"] == [12.0, 0.0, 0.25]
    assert of["after"][0]["use_of_quiet_units"] == pytest.approx(0.5)
    assert of["after"][0]["openness_in_noise"] == pytest.approx(0.3 / 0.8)


def test_a_weighted_median_counts_the_weights():
    values, weights = np.array([5.0, np.nan, 1.0, 3.0]), np.array([1, 100, 1, 3])
    assert weighted_median(values, weights) == 3.0 == np.median([1, 3, 3, 3, 5])
    assert weighted_median(values, np.array([9, 100, 1, 3])) == 5.0


# ---- the commands ----


def test_the_gate_is_drawn(tmp_path):
    numbers = run(tmp_path, "openness")
    assert numbers["whole_times_open"] == [4, 10, 16, 22] and numbers["share_of_closed_steps_that_keep_h"] == 1
    assert numbers["share_of_time_open"] == pytest.approx(0.2, abs=0.01)
    assert (tmp_path / "openness.png").stat().st_size > 10_000


@pytest.mark.slow
def test_noise_runs_to_its_end(tmp_path, capsys):
    numbers = run(tmp_path, "noise", "--seeds", "2", "--updates", "3", *TINY)
    assert set(numbers["accuracy"]) == {"LSTM", "LSTM told the time", "gated LSTM"}
    assert all(np.shape(of) == (2, 4) for of in numbers["accuracy"].values()) and numbers["updates"] == [0, 1, 2, 3]
    assert len(numbers["gates"]["after"]) == 2 and numbers["gates"]["before"] != numbers["gates"]["after"]
    assert (tmp_path / "noise.png").stat().st_size > 10_000
    assert "ahead by" in capsys.readouterr().out


@pytest.mark.slow
def test_sines_run_to_their_end(tmp_path):
    numbers = run(tmp_path, "sines", "--seeds", "1", "--updates", "2", "--sampling", "random", *TINY)
    assert set(numbers["accuracy"]["random"]) == {"LSTM", "gated LSTM", "LSTM told the gaps"}
    assert (tmp_path / "sines.png").stat().st_size > 5_000


def test_an_unknown_way_of_sampling_is_refused(tmp_path, capsys):
    assert exit_code_of(temporal_gate.app, ["sines", "--sampling", "rare", "--run", str(tmp_path)]) != 0
    assert "--sampling expects ways out of coarse, fine, random; got rare" in capsys.readouterr().err


@pytest.mark.slow
def test_speed_runs_to_its_end(tmp_path):
    numbers = run(tmp_path, "speed", "--rounds", "2", "--seconds", "0.02", *TINY)
    assert numbers["ratio"] > 0 and len(numbers["rates"]["LSTM"]) == 2


@pytest.mark.parametrize(
    ("command", "wrong", "expected"),
    [
        ("noise", ["--seeds", "0"], "--seeds expects a whole number from 1"),
        ("noise", ["--hidden", "0"], "--hidden expects a whole number from 1"),
        ("noise", ["--period", "0"], "--period expects a number above 0"),
        ("noise", ["--share", "1.5"], "--share expects a number below 1"),
        ("noise", ["--period-range", "9", "3"], "--period-range expects two numbers above 0 that rise; got 9 3"),
        ("sines", ["--open-ratio", "1"], "--open-ratio expects a share between 0 and 1; got 1"),
        ("sines", ["--finer", "0"], "--finer expects a whole number from 1"),
        ("speed", ["--seconds", "0"], "--seconds expects a number above 0"),
    ],
)
def test_wrong_sizes_are_one_line_and_nothing_is_written(command, wrong, expected, tmp_path, capsys):
    assert exit_code_of(temporal_gate.app, [command, *wrong, "--run", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"jaxrnn: error: {expected}") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_lines_of_the_networks_are_told_apart_without_their_colours():
    curve = Curve(np.arange(3), np.ones((2, 3)), [], [], [])
    networks = ("LSTM", "gated LSTM", "LSTM told the gaps")
    (axes,) = sines_figure({"random": dict.fromkeys(networks, curve)}).axes
    assert len({(line.get_linestyle(), line.get_marker()) for line in axes.lines}) == 3
