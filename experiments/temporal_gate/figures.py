"""The pictures of the temporal gate: numbers in, figures out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.temporal_gate.learner import INIT
from experiments.temporal_gate.tasks import NoisyWaves
from experiments.temporal_gate.units import Curve, Units
from jaxrnn import TemporalGateLSTMCell, unroll
from jaxrnn.cells import openness
from jaxrnn.inspect import STYLES, Figure, draw_seeds

STYLE_OF = {"gated LSTM": STYLES[0], "LSTM": STYLES[1]}
OTHER_STYLE = STYLES[2]
SHOWN_UNITS = 6


def gate_example(times: np.ndarray, period: float, shift: float, open_ratio: float, leak: float) -> Any:
    """k_t, the input and h_t of one unit of the cell at these times, (N,) each; the input is a slow sine."""
    cell = TemporalGateLSTMCell(1, 1, leak=leak, kernel_init=INIT, rngs=nnx.Rngs(1))
    logit = math.log(open_ratio / (1 - open_ratio))
    for name, value in (("log_period", math.log(period)), ("shift", shift), ("open_logit", logit)):
        setattr(cell, name, nnx.Param(jnp.full((1,), value, jnp.float32)))
    column = jnp.asarray(times, jnp.float32)[:, None]
    timing = cell.timing()
    k = openness(column, timing.period[None, :], timing.shift[None, :], timing.open_ratio[None, :], leak)
    xs = jnp.sin(2 * jnp.pi * column / 15.0)
    _, h = unroll(cell, xs[:, :, None], cell.initial_carry(1), times=column)
    return tuple(np.asarray(part) for part in (k[:, 0], xs[:, 0], h[:, 0, 0]))


def openness_figure(
    times: np.ndarray, k: np.ndarray, leaking: np.ndarray, xs: np.ndarray, h: np.ndarray, leak: float
) -> Figure:
    """k_t with the whole times marked, k_t with a leak, and a unit's input and state.

    Args:
      times: a fine time axis that holds the whole times, (N,).
      k, leaking: openness without and with leak.
      xs, h: input and state of the unit.
      leak: alpha.
    """
    figure = Figure(figsize=(8.0, 7.5), layout="constrained")
    whole = np.flatnonzero(times == np.round(times))
    for number, (values, what) in enumerate(((k, "no leak"), (leaking, f"leak {leak:g}, drawn large"))):
        axes = figure.add_subplot(3, 1, number + 1)
        axes.plot(times, values, color="tab:blue", linewidth=1.2, label=what)
        axes.plot(times[whole], values[whole], "o", color="tab:red", markersize=3.5, label="steps at whole times")
        axes.set_ylabel("openness k")
        axes.legend(frameon=False, loc="upper left", ncols=2, bbox_to_anchor=(0, 1.22))
    axes = figure.add_subplot(3, 1, 3)
    axes.fill_between(times, 0, 1, where=k > 0, color="0.9", transform=axes.get_xaxis_transform(), label="open")
    axes.plot(times, xs, color="0.6", linewidth=1, label="input")
    axes.plot(times, h, color="tab:blue", linewidth=1.4, label="h of the unit, kept where k = 0")
    axes.legend(frameon=False, loc="upper left", ncols=3, bbox_to_anchor=(0, 1.22))
    axes.set_xlabel("time")
    for each in figure.axes:
        each.margins(x=0.01)
    return figure


def noise_figure(curves: Mapping[str, Curve], signal: NoisyWaves, gated: str) -> Figure:
    """One sequence, the most used gates over its noise, the gates' timing, and the learning curves."""
    figure = Figure(figsize=(12.0, 8.0), layout="constrained")
    values, times, classes = (np.asarray(part) for part in signal.draw(jax.random.key(3), jnp.arange(1)))
    fine = np.linspace(0, signal.length - 1, 20 * signal.length)
    noisy = np.asarray(signal.bursts.cover(fine))
    axes = figure.add_subplot(2, 2, 1)
    axes.plot(times[:, 0], values[:, 0], ".-", color="tab:blue", linewidth=0.6, markersize=4)
    clean = ~np.asarray(signal.bursts.cover(times[:, 0]))
    axes.plot(times[clean, 0], values[clean, 0], "o", color="tab:red", markersize=4, label="clean")
    axes.set(xlabel="time", ylabel="input")
    axes.set_title(f"one sequence, sine of period {signal.wave_periods[int(classes[0])]:g}; noise shaded")
    axes.legend(frameon=False, loc="upper right")
    _shade(axes, fine, noisy)
    best = int(np.argmax(curves[gated].accuracy[:, -1]))
    units = curves[gated].after[best]
    axes = figure.add_subplot(2, 2, 3)
    k = units.openness(fine)
    for place, unit in enumerate(np.argsort(-units.use)[:SHOWN_UNITS]):
        axes.plot(fine, place + 0.85 * k[:, unit], linewidth=0.9, color="tab:blue")
    sensitivity = curves[gated].sensitivity[best]
    scaled = 0.85 * sensitivity / sensitivity.max() - 1
    axes.step(times[:, 0], scaled, where="mid", color="tab:red", linewidth=1, label="sensitivity to the input")
    axes.legend(frameon=False, loc="upper right")
    axes.set_ylim(-1.1, SHOWN_UNITS + 0.7)
    axes.set_ylabel("k of the units, most used lowest")
    axes.set_xlabel("time")
    axes.set_title(f"learned gates of seed {best}")
    _shade(axes, fine, noisy)
    axes = figure.add_subplot(2, 2, 2)
    draw_curves(axes, curves)
    _draw_timing(figure.add_subplot(2, 2, 4), curves[gated], signal)
    return figure


def sines_figure(curves: Mapping[str, Mapping[str, Curve]]) -> Figure:
    """The learning curves of both cells, one panel a way of sampling."""
    figure = Figure(figsize=(4.2 * len(curves), 4.0), layout="constrained")
    for number, (mode, of) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), number + 1)
        draw_curves(axes, of)
        axes.set_title(mode)
        axes.set_ylim(0.45, 1.01)
    return figure


def draw_curves(axes: Any, curves: Mapping[str, Curve]) -> None:
    """Mean over seeds as a line, the range of the seeds as a band."""
    for name, curve in curves.items():
        draw_seeds(axes, curve.updates, curve.accuracy, name, STYLE_OF.get(name, OTHER_STYLE))
    axes.set_ylim(0, 1.01)
    axes.set_xlabel("update")
    axes.set_ylabel("accuracy on fresh sequences")
    axes.set_title("mean and range of the seeds")
    axes.legend(frameon=False)
    axes.margins(x=0.01)


def _draw_timing(axes: Any, curve: Curve, signal: NoisyWaves) -> None:
    def pooled(of: list[Units]) -> Units:
        return Units(*(np.concatenate(parts) for parts in zip(*of, strict=True)))

    before, after = pooled(curve.before), pooled(curve.after)
    edges = np.geomspace(before.period.min() / 1.2, before.period.max() * 1.2, 25)
    seeds = len(curve.after)
    for units, style in ((before, {"facecolor": "0.75"}), (after, {"facecolor": "none", "edgecolor": "tab:blue"})):
        label = "at first" if units is before else "learned"
        axes.hist(units.period, edges, weights=units.use / seeds, histtype="stepfilled", label=label, **style)
    axes.axvline(signal.bursts.period, color="tab:red", linewidth=1, label="true")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("period of the units")
    axes.set_ylabel("share of use")
    axes.legend(frameon=False)


def _shade(axes: Any, times: np.ndarray, noisy: np.ndarray) -> None:
    axes.fill_between(
        times, 0, 1, where=noisy, color="0.9", transform=axes.get_xaxis_transform(), zorder=0, linewidth=0
    )
    axes.margins(x=0.01)
