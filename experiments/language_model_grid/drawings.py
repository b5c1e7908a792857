"""The drawings of a grid: rows of results, or losses by epoch, to matplotlib figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps

from experiments.language_model_grid.published import KJL, is_doubtful, of_thesis, published
from experiments.language_model_grid.results import IDENTITY, best_by_validation
from jaxrnn.inspect import STYLES, Figure, plain_label

MARKERS = "osD^v<>P"
Row = dict[str, Any]


class GridData(NamedTuple):
    """What is drawn: rows of members with a result, and by `identity` the row and the epochs of each with a log."""

    rows: list[Row]
    histories: dict[str, tuple[Row, list[Row]]]


class LeftOut(Exception):
    """Raised by a figure that lacks its data, with what it lacks."""


def loss_by_epoch(data: GridData, **key: Any) -> Figure:
    """Validation (solid) and training loss (dotted) against the epoch, a colour a dropout rate."""
    members = [
        (row, log)
        for row, log in data.histories.values()
        if not row["retrained"] and all(row[name] == value for name, value in key.items())
    ]
    rates = unique([row for row, _ in members], "dropout_sites", "dropout_rate")
    figure, (axes,) = _figure(f"{_title(key)}, rate {key['learning_rate']:.4g}")
    seen = []
    for place, ((sites, rate), color) in enumerate(zip(rates, _colors(len(rates)), strict=True)):
        of_rate = [log for row, log in members if (row["dropout_sites"], row["dropout_rate"]) == (sites, rate)]
        epochs = sorted({entry["epoch"] for log in of_rate for entry in log})
        label = f"dropout {rate:g}" + (f" ({sites})" if sites else "")
        for column, style in (("valid/loss_nats", "-"), ("train/loss_nats", ":")):
            losses = [_mean(e[column] for log in of_rate for e in log if e["epoch"] == epoch) for epoch in epochs]
            shown: Row = {"marker": MARKERS[place % len(MARKERS)], "markevery": -(-len(epochs) // 10), "markersize": 4}
            axes.plot(epochs, losses, style, color=color, label=label if style == "-" else None, **shown)
            seen += losses[len(losses) // 10 :]  # the first epochs would squeeze the rest
    known = [loss for loss in seen if np.isfinite(loss)]
    if known and max(known) > min(known):
        margin = 0.05 * (max(known) - min(known))
        axes.set_ylim(min(known) - margin, max(known) + margin)
    for label, style in (("validation", "-"), ("training", ":")):
        axes.plot([], [], style, color="0.4", label=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set(xlabel="epoch", ylabel="loss (nats per character)")
    axes.legend(frameon=False, loc="upper right")
    return figure


def best_dropout(rows: list[Row]) -> Figure:
    """The dropout rate of the lowest validation loss against the model size, a line a learning rate; a panel a depth.

    Raises:
      LeftOut: without two dropout rates in a network of 2 or 3 layers.
    """
    deep = [row for row in rows if row["layers"] in (2, 3)]
    by_point = {
        point: _best(deep, "dropout_rate", zip(("layers", "learning_rate", "size"), point, strict=True))
        for point in unique(deep, "layers", "learning_rate", "size")
    }
    chosen = {point: best for point, best in by_point.items() if best is not None}
    if not chosen:
        raise LeftOut("needs two dropout rates of a network of 2 or 3 layers")
    depths = sorted({depth for depth, _, _ in chosen})
    figure, panels = _figure(
        f"best dropout by validation: {rows[0]['text']}, {rows[0]['cell']}", len(depths), sharey=True
    )
    for axes, depth in zip(panels, depths, strict=True):
        rates = sorted({rate for layers, rate, _ in chosen if layers == depth})
        for place, rate in enumerate(rates):
            points = sorted((size, best) for (layers, r, size), best in chosen.items() if (layers, r) == (depth, rate))
            axes.plot(*zip(*points, strict=True), "-", **_marker(place), label=f"rate {rate:.4g}")
        axes.set_title(f"{depth} layers", fontsize="medium")
        _size_axis(axes, [size for _, _, size in chosen])
        axes.legend(frameon=False, loc="upper left")
    top = 1.3 * max(*chosen.values(), 0.1)  # room for the legends
    panels[0].set(ylabel="best dropout rate (probability of zeroing)", ylim=(-0.02, top))
    return figure


def seeds(rows: list[Row]) -> Figure:
    """Test loss of each seed, their mean and standard deviation; of each structure the settings best by validation.

    Raises:
      LeftOut: without two seeds of the same settings.
    """
    same = ("cell", "layers", "size", "learning_rate", "dropout_sites", "dropout_rate", "fold")
    chosen: dict[tuple, list[Row]] = {}
    for settings in unique(rows, *same):
        members = [row for row in rows if tuple(row[name] for name in same) == settings]
        key = settings[:3]
        if len(members) > 1 and (key not in chosen or _valid(members) < _valid(chosen[key])):
            chosen[key] = members
    if not chosen:
        raise LeftOut("needs two seeds of the same settings")
    figure, (axes,) = _figure(f"test loss over seeds, mean and standard deviation: {rows[0]['text']}")
    for place, members in enumerate(chosen.values()):
        tests = [row["test_loss_nats"] for row in members]
        axes.plot([place] * len(tests), tests, "o", color="0.65", label="a seed" if place == 0 else None)
        spread = np.std(tests, ddof=1)
        label = "mean and standard deviation" if place == 0 else None
        axes.errorbar([place + 0.12], [np.mean(tests)], [spread], fmt="D", color=STYLES[0][0], capsize=4, label=label)
    names = [f"{cell}\n{layers} x size {size}\n{len(m)} seeds" for (cell, layers, size), m in chosen.items()]
    axes.set_xticks(range(len(names)), names, fontsize="small", rotation=0 if len(names) < 7 else 90)
    axes.set(xlim=(-0.6, len(names) - 0.4), ylabel="test loss (nats per character)")
    axes.legend(frameon=False)
    return figure


def validation_gap(rows: list[Row]) -> Figure:
    """Test minus validation loss against the model size, best by validation; a line a cell and depth."""
    figure, (axes,) = _figure(f"test minus validation loss: {rows[0]['text']}")
    axes.axhline(0, color="0.75", linewidth=0.8, zorder=0)
    _lines_by_structure(
        axes, list(best_by_validation(rows).values()), lambda row: row["test_loss_nats"] - row["valid_loss_nats"]
    )
    axes.set_ylabel("test - validation loss (nats per character)")
    return figure


def best_rate(rows: list[Row]) -> Figure:
    """The learning rate of the lowest validation loss against the model size; a line a cell and depth.

    Raises:
      LeftOut: without two learning rates of a structure.
    """
    names = ("cell", "layers", "size")
    chosen = []
    for point in unique(rows, *names):
        best = _best(rows, "learning_rate", zip(names, point, strict=True))
        if best is not None:
            chosen.append(dict(zip(names, point, strict=True)) | {"best": best})
    if not chosen:
        raise LeftOut("needs two learning rates of the same cell, depth and size")
    figure, (axes,) = _figure(f"best learning rate by validation: {rows[0]['text']}")
    _lines_by_structure(axes, chosen, lambda row: row["best"])
    axes.set(yscale="log")
    axes.minorticks_off()
    tried = sorted({row["learning_rate"] for row in rows})
    axes.set_yticks(tried, [f"{rate:.4g}" for rate in tried])
    axes.set(ylim=(tried[0] / 1.3, tried[-1] * 1.3), ylabel="best learning rate")
    return figure


def epochs_to_the_best(rows: list[Row]) -> Figure:
    """Epochs until the lowest validation loss, a GRU against the LSTM of the same settings.

    Raises:
      LeftOut: if no GRU has its LSTM.
    """
    same = ("layers", "size", "learning_rate", "dropout_sites", "dropout_rate", "seed", "fold")
    families: dict[str, dict[tuple, list[int]]] = {"lstm": {}, "gru": {}}
    for row in rows:
        for family, found in families.items():
            if row["cell"].startswith(family):
                found.setdefault(tuple(row[name] for name in same), []).append(row["best_epoch"])
    pairs = [
        (settings[0], lstm, gru)
        for settings, of_lstm in families["lstm"].items()
        for lstm in of_lstm
        for gru in families["gru"].get(settings, [])
    ]
    if not pairs:
        raise LeftOut("needs an LSTM and a GRU of the same depth, size, rates and seed")
    figure, (axes,) = _figure(f"epochs to the lowest validation loss: {rows[0]['text']}")
    top = max(max(pair[1:]) for pair in pairs) * 1.08
    axes.plot([0, top], [0, top], color="0.75", linewidth=0.8, zorder=0, label="equal")
    for depth, marker in zip(sorted({p[0] for p in pairs}), MARKERS, strict=False):
        points = [pair[1:] for pair in pairs if pair[0] == depth]
        axes.plot(*zip(*points, strict=True), marker, alpha=0.7, label=_layers(depth))
    axes.set(xlabel="LSTM (epochs)", ylabel="GRU (epochs)", xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.legend(frameon=False, loc="upper left")
    return figure


def loss_by_depth(rows: list[Row]) -> Figure:
    """Test loss against depth, best by validation, beside the thesis's best rate and KJL's; a panel a cell.

    All seeds of the settings chosen are crosses; a question mark stands at what the thesis probably misquotes.
    """
    text, size = rows[0]["text"], rows[0]["size"]
    cells = [cell for (cell,) in unique(rows, "cell")]
    figure, panels = _figure(f"test loss by depth: {text}, size {size}", len(cells), sharey=True)
    best = best_by_validation(rows)
    chosen_of = {name: {layers: row for (_, c, layers, _), row in sorted(best.items()) if c == name} for name in cells}
    same, seeds_of = [name for name in IDENTITY if name != "seed"], {}
    for name, chosen in chosen_of.items():
        seeds_of[name] = {d: [r for r in rows if all(r[n] == of[n] for n in same)] for d, of in chosen.items()}
    count = max(len(found) for seeds in seeds_of.values() for found in seeds.values())
    label = "ours, best by validation" + (", one seed each" if count == 1 else f", of up to {count} seeds")
    for axes, cell in zip(panels, cells, strict=True):
        chosen, seeds = chosen_of[cell], seeds_of[cell]
        known = {layers: published(text, cell, layers, size) for layers in (1, 2, 3)}
        if known[1]:
            theirs = {layers: of_thesis(losses) for layers, losses in known.items()}
            _line(axes, {layers: of[1] for layers, of in theirs.items() if of}, 1, "thesis, its best rate")
            _line(axes, {layers: losses[KJL] for layers, losses in known.items()}, 2, "KJL as quoted by the thesis")
            for layers in filter(lambda layers: is_doubtful(text, cell, layers, size), known):  # noqa: B023
                axes.annotate("?", (layers, known[layers][KJL]), (6, 4), textcoords="offset points")
        _line(axes, {layers: row["test_loss_nats"] for layers, row in chosen.items()}, 0, label)
        others = [(row["layers"], row["test_loss_nats"]) for of in seeds.values() for row in of if len(of) > 1]
        if others:
            axes.plot(*zip(*others, strict=True), "x", color="0.4", markersize=5, label="each of these seeds")
        lacking = ", ".join(str(layers) for layers in known if known[layers] and layers not in chosen)
        told = f"ours: {lacking} layers not trained" * bool(lacking)
        axes.text(0.98, 0.02, told, ha="right", fontsize="small", transform=axes.transAxes)
        axes.set_title(cell, fontsize="medium")
        axes.set(xticks=sorted({*range(1, 4), *chosen}), xlabel="layers")
        axes.margins(x=0.15, y=0.1)
    panels[0].set_ylabel("test loss (nats per character)")
    marks = {name: mark for axes in panels for mark, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend([*marks.values()], [*marks], frameon=False, loc="outside lower center", ncols=2)
    return figure


def unique(rows: Iterable[Row], *names: str) -> list[tuple]:
    """The different values of these columns, sorted."""
    return sorted({tuple(row[name] for name in names) for row in rows})


def _line(axes: Any, by_depth: dict[int, Any], style: int, label: str) -> None:
    color, line, mark = STYLES[style]
    axes.plot(list(by_depth), list(by_depth.values()), color=color, linestyle=line, marker=mark, label=label)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _valid(rows: Iterable[Row]) -> float:
    return _mean(row["valid_loss_nats"] for row in rows)


def _best(rows: list[Row], column: str, key: Iterable[tuple[str, Any]]) -> Any:
    # The value of a column with the lowest validation loss; of each other setting the mean over seeds and folds.
    wanted = dict(key)
    members = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    settings = ("learning_rate", "dropout_sites", "dropout_rate")
    if len(unique(members, column)) < 2:
        return None

    def valid(values: tuple) -> float:
        return _valid(row for row in members if tuple(row[name] for name in settings) == values)

    return min(unique(members, *settings), key=valid)[settings.index(column)]


def _lines_by_structure(axes: Any, rows: list[Row], value: Callable[[Row], float]) -> None:
    cells = [cell for (cell,) in unique(rows, "cell")]
    for place, (cell, layers) in enumerate(unique(rows, "cell", "layers")):
        points = sorted((row["size"], value(row)) for row in rows if (row["cell"], row["layers"]) == (cell, layers))
        style = ("-", "--", ":")[(layers - 1) % 3]
        color = STYLES[cells.index(cell) % len(STYLES)][0]
        axes.plot(*zip(*points, strict=True), style, color=color, **_marker(place), label=f"{cell}, {_layers(layers)}")
    _size_axis(axes, [row["size"] for row in rows])
    axes.figure.legend(frameon=False, loc="outside right center")


def _layers(count: int) -> str:
    return f"{count} layer" + ("s" if count > 1 else "")


def _size_axis(axes: Any, sizes: Iterable[int]) -> None:
    ticks = sorted(set(sizes))
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * 1.3)
    axes.set_xlabel("model size (hidden units of the LSTM of equal cost)")


def _figure(title: str, panels: int = 1, sharey: bool = False) -> tuple[Figure, list[Any]]:
    figure = Figure(figsize=(6.4 if panels == 1 else 4.6 * panels, 4.5), layout="constrained")
    figure.suptitle(plain_label(title))  # it comes from a file
    grid = figure.subplots(1, panels, sharey=sharey, squeeze=False)
    return figure, list(grid[0])


def _title(key: Row) -> str:
    return f"{key['text']}, {key['cell']}, {_layers(key['layers'])}, size {key['size']}"


def _marker(place: int) -> Row:
    # Open and ever smaller, so that equal numbers are seen as such.
    return {"marker": MARKERS[place % len(MARKERS)], "markersize": max(12 - 2 * place, 3), "fillstyle": "none"}


def _colors(count: int) -> Any:
    return [colormaps["viridis"](0.8 * i / max(count - 1, 1)) for i in range(count)]
