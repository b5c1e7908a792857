"""Pictures of what a trained model does with a text, from the numbers of this room. Needs the extra `plots`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.ticker import MaxNLocator

from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.calibration import Calibration
from jaxrnn.inspect.errors_by_kind import ErrorKinds
from jaxrnn.inspect.plots import STYLES, Figure, plain_label, titled_figure
from jaxrnn.inspect.reading import LayerSummary
from jaxrnn.terminal.printable import printable

NATS = "nats a character"
SHOWN = {"\n": "⏎", "\t": "⇥"}
GREY = "0.6"


def draw_loss_along_text(
    log_p: np.ndarray,
    borders: Mapping[str, int] | None = None,
    *,
    window: int = 1000,
    running: int = 20,
    title: str = "Loss along the text",
) -> Figure:
    """The mean loss of each window of a text, the mean of as many windows around it, and where its parts begin.

    Args:
      log_p: ln p of each character, (N,), such as `guess` gives.
      borders: by name, the index at which a part begins.
      window: characters; what is left over at the end is a shorter window.
      running: windows of the running mean, fewer at both ends.
      title: the figure's title.
    """
    figure, axes = _axes(title, "place in the text (characters)", f"loss ({NATS})", 9.0, 4.0)
    starts = np.arange(0, len(log_p), window)
    sums = -np.add.reduceat(np.asarray(log_p, np.float64), starts)
    sizes = np.diff(starts, append=len(log_p))
    around = np.ones(min(running, len(starts)))
    mean = np.convolve(sums, around, "same") / np.convolve(sizes, around, "same")
    at, (first, second, *_) = starts + sizes / 2, STYLES
    axes.plot(at, sums / sizes, color=GREY, linewidth=0.7, label=f"windows of {window:,} characters")
    axes.plot(at, mean, color=first[0], linewidth=1.8, label=f"mean of {len(around)} windows")
    for name, start in (borders or {}).items():
        axes.axvline(start, color=second[0], linestyle=second[1], linewidth=1.2)
        above = axes.get_xaxis_transform()
        axes.text(start, 1.01, plain_label(name), transform=above, color=second[0], ha="left", va="bottom", fontsize=9)
    axes.set_xlim(0, len(log_p))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(frameon=False, loc="best")
    return figure


def draw_saturation(layers: Sequence[LayerSummary], *, title: str = "Saturation of the gates") -> Figure:
    """A panel for each gate, a mark for each unit: how often it is above 0.9 against how often it is below 0.1.

    Units on the diagonal are always one or the other; those near the corner at 0 are hardly ever either.

    Args:
      layers: of `summarise_layers`; at most as many as there are `STYLES`.
      title: the figure's title.

    Raises:
      ConfigurationError: if no layer has a gate.

    Source: Karpathy, Johnson and Li, "Visualizing and understanding recurrent networks", 2015, figure 3.
    """
    names = list(dict.fromkeys(name for layer in layers for name in layer.gates))
    if not names:
        raise ConfigurationError("a picture of gates expects a cell that has some; a vanilla RNN has none")
    figure = titled_figure(title, 3.2 * len(names) + 0.6, 3.9)
    for place, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), place + 1, aspect="equal")
        axes.plot([0, 1], [1, 0], color=GREY, linewidth=1, zorder=0)
        for number, (layer, (color, _, mark)) in enumerate(zip(layers, STYLES, strict=False)):
            if name in layer.gates:
                of = layer.gates[name]
                style: dict[str, Any] = {"facecolors": "none", "edgecolors": color, "marker": mark}
                axes.scatter(of.low, of.high, s=22, linewidths=0.9, label=f"layer {number}", clip_on=False, **style)
        axes.set(title=plain_label(f"{name} gate"), xlim=(0, 1), ylim=(0, 1), xlabel="share of steps below 0.1")
        axes.set_ylabel("share of steps above 0.9" if place == 0 else "")
    figure.axes[-1].legend(frameon=False, loc="upper right")
    return figure


def draw_unit(
    text: str, values: np.ndarray, *, columns: int = 80, limit: float = 1.0, title: str = "A unit on the text it reads"
) -> Figure:
    """The text, each character on a cell whose colour is the unit's value after reading it.

    The colours rise evenly in lightness, so they can be told apart without colour: dark is low, light is high.

    Args:
      text: N characters, some hundred.
      values: (N,).
      columns: characters a line; a line feed, shown as an arrow, does not begin a new one.
      limit: the colours go from -limit to limit, and beyond stay the same.
      title: the figure's title.

    Raises:
      ConfigurationError: if there is not one value for each character.
    """
    if not 0 < len(text) == len(values):
        raise ConfigurationError(f"a picture of a unit expects a value a character, got {len(values)} and {len(text)}")
    rows = -(-len(text) // columns)
    cells = np.full(rows * columns, np.nan)
    cells[: len(text)] = values
    figure = Figure(figsize=(0.125 * columns + 1.0, 0.24 * rows + 1.2), layout="constrained")
    axes, colors = figure.add_subplot(), colormaps["cividis"]
    image = axes.imshow(cells.reshape(rows, columns), cmap=colors, vmin=-limit, vmax=limit, aspect="auto")
    for place, (c, value) in enumerate(zip(text, values, strict=True)):
        style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8, "family": "monospace"}
        color = "white" if value < 0 else "black"
        axes.text(place % columns, place // columns, _shown(c), color=color, parse_math=False, **style)
    axes.set_yticks(range(rows), [f"{row * columns:,}" for row in range(rows)], fontsize=8)
    axes.set(xticks=range(0, columns, 10), xlabel="place in the line (characters)", ylabel="line begins at")
    figure.colorbar(image, ax=axes, label="value of the unit", fraction=0.03, pad=0.01)
    axes.set_title(plain_label(title))
    return figure


def draw_calibration(calibrations: Mapping[str, Calibration], *, title: str = "Calibration") -> Figure:
    """How often the best guess is right against how sure the model was, and below how many characters that concerns.

    Args:
      calibrations: of `calibration_of` by name, all of the same number of bins; at most as many as there are `STYLES`.
      title: the figure's title.
    """
    figure = titled_figure(title, 5.2, 5.6)
    above, below = figure.subplots(2, 1, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=GREY, linewidth=1, label="as sure as right")
    for (name, of), (color, line, mark) in zip(calibrations.items(), STYLES, strict=False):
        style: dict[str, Any] = {"color": color, "linestyle": line, "marker": mark, "markersize": 5, "clip_on": False}
        label = plain_label(f"{name}: off by {of.expected_error:.3f} on average")
        above.plot(of.confidence, of.accuracy, label=label, **style)
        share = of.characters / max(of.characters.sum(), 1)
        below.stairs(share, np.linspace(0, 1, len(share) + 1), color=color, linestyle=line, linewidth=1.4)
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of right guesses")
    below.set(xlim=(0, 1), xlabel="probability of the best guess", ylabel="share of\ncharacters")
    below.set_ylim(0)
    above.legend(frameon=False, loc="upper left")
    return figure


def draw_dependence(text: str, changes: Mapping[str, np.ndarray], *, title: str = "") -> Figure:
    """Bars over the characters of a text: how much the guess of its last one depends on each before it.

    Args:
      text: T characters, some dozen.
      changes: by name, (T - 1,) in nats, such as `depends_on` and `effect_of_replacing` give; at most as many as
        there are `STYLES`.
      title: the figure's title; what is guessed if empty.

    Raises:
      ConfigurationError: if there is not one number for each character but the last.
    """
    if any(len(of) != len(text) - 1 for of in changes.values()):
        raise ConfigurationError(
            f"bars over {len(text)} characters expect {len(text) - 1} numbers, one each but the last"
        )
    title = title or f"What the guess of {_shown(text[-1])!r} depends on"
    figure, axes = _axes(title, "character that is read", "change of ln p (nats)", 0.13 * len(text) + 2, 3.4)
    places, width = np.arange(len(text) - 1), 0.8 / len(changes)
    for number, ((name, of), (color, *_)) in enumerate(zip(changes.items(), STYLES, strict=False)):
        style: dict[str, Any] = (
            {"color": color} if number == 0 else {"edgecolor": color, "fill": False, "hatch": "////"}
        )
        axes.bar(places + (number + 0.5) * width - 0.4, of, width, label=plain_label(name), **style)
    axes.set_xticks(places, [_shown(c).replace(" ", "␣") for c in text[:-1]], family="monospace", fontsize=9)
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.8, len(text) - 1.2)
    axes.legend(frameon=False, loc="upper left")
    return figure


def draw_effects(
    effects: Mapping[str, np.ndarray], marked: tuple[str, int] | None = None, *, title: str = "Each unit set to 0"
) -> Figure:
    """How much worse the text is guessed without each unit, from the unit that matters most to the one that does least.

    Args:
      effects: of `effect_of_setting`, by the name of the layer; at most as many as there are `STYLES`.
      marked: name of a layer and a unit of it, to be pointed at.
      title: the figure's title.
    """
    figure, axes = _axes(title, "rank of the unit in its layer", f"rise of the loss ({NATS})", 7.0, 4.0)
    axes.axhline(0, color=GREY, linewidth=1)
    for (name, of), (color, line, mark) in zip(effects.items(), STYLES, strict=False):
        order, style = np.argsort(-of), {"color": color, "linestyle": line, "linewidth": 0.8}
        axes.plot(np.arange(len(of)) + 1, of[order], marker=mark, markersize=3, label=plain_label(name), **style)
        if marked is not None and marked[0] == name:
            rank = int(np.flatnonzero(order == marked[1])[0]) + 1
            arrow = {"arrowstyle": "->", "color": "black"}
            told = plain_label(f"unit {marked[1]} of {name}: rank {rank} of {len(of)}")
            axes.annotate(told, (rank, of[marked[1]]), xytext=(0.35, 0.6), textcoords="axes fraction", arrowprops=arrow)
    axes.legend(frameon=False)
    return figure


def draw_loss_by_order(
    losses: np.ndarray, networks: Mapping[str, float], *, title: str = "N-gram models and the network"
) -> Figure:
    """The loss of n-gram models of the orders 1, 2, ... and, as lines across, that of networks.

    Args:
      losses: (orders,) in nats a character.
      networks: losses by name; at most one fewer than there are `STYLES`.
      title: the figure's title.
    """
    figure, axes = _axes(title, "order n of the n-gram model", f"loss ({NATS})", 7.0, 4.0)
    (color, line, mark), *others = STYLES
    best = int(np.argmin(losses))
    label = f"n-gram models; the best, n = {best + 1}: {losses[best]:.3f}"
    axes.plot(np.arange(len(losses)) + 1, losses, color=color, linestyle=line, marker=mark, label=label)
    for (name, loss), (color, line, _) in zip(networks.items(), others, strict=False):
        axes.axhline(loss, color=color, linestyle=line, label=plain_label(f"{name}: {loss:.3f}"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=20, integer=True))
    axes.legend(frameon=False)
    return figure


def draw_error_kinds(errors: ErrorKinds, *, title: str = "Errors by kind") -> Figure:
    """Of all errors, the share that each oracle repairs after those above it, and alone.

    Args:
      errors: of `kinds_of_errors`.
      title: the figure's title.
    """
    label = f"share of the {errors.errors:,} errors in {errors.characters:,} characters"
    figure, axes = _axes(title, label, "", 7.0, 0.3 * len(errors.kinds) + 1.4)
    places, ((first, *_), (second, *_), *_) = np.arange(len(errors.kinds)), STYLES
    axes.barh(places - 0.2, [kind.share for kind in errors.kinds], 0.4, color=first, label="after those above it")
    alone: dict[str, Any] = {"edgecolor": second, "fill": False, "hatch": "////"}
    axes.barh(places + 0.2, [kind.alone for kind in errors.kinds], 0.4, label="alone", **alone)
    axes.set_yticks(places, [plain_label(kind.name) for kind in errors.kinds])
    axes.set_xlim(0, min(1, 1.05 * max([kind.alone for kind in errors.kinds], default=1)) or 1)
    axes.set_ylim(len(places) - 0.4, -0.6)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure


def draw_norms(norms: Mapping[str, np.ndarray], *, title: str = "Norms by layer and update") -> Figure:
    """A panel each for the norms of the gradient, of the parameters, and of the step over those of the parameters.

    Args:
      norms: of `Run.norms`.
      title: the figure's title.

    Raises:
      ConfigurationError: if there are none.
    """
    layers = [name.partition("/")[2] for name in norms if name.startswith("gradient/")]
    if not layers:
        raise ConfigurationError("a picture of norms expects some; train with --log-norms")
    figure = titled_figure(title, 12.0, 4.0)
    labels = "norm of the gradient, before clipping", "norm of the parameters", "norm of the step / of the parameters"
    for place, label in enumerate(labels):
        axes = figure.add_subplot(1, 3, place + 1, xlabel="update", ylabel=label)
        for layer, (color, line, mark) in zip(layers, itertools.cycle(STYLES), strict=False):
            values = norms[f"{('gradient', 'parameters', 'step')[place]}/{layer}"].astype(float)
            if place == 2:
                of = norms[f"parameters/{layer}"].astype(float)
                values = np.divide(values, of, out=np.zeros_like(values), where=of > 0)  # biases begin at 0
            shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)  # a logarithm of 0 has no place
            style: dict[str, Any] = {"color": color, "linestyle": line, "marker": mark, "markersize": 3}
            axes.plot(norms["update"], shown, label=plain_label(layer), markevery=-(-len(shown) // 12), **style)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=6)
    return figure


def _axes(title: str, x: str, y: str, width: float, height: float) -> tuple[Figure, Any]:
    figure = titled_figure(title, width, height)
    return figure, figure.add_subplot(xlabel=x, ylabel=y)


def _shown(c: str) -> str:
    return SHOWN.get(c) or printable(c, keep="")
