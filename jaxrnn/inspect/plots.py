"""Numbers to matplotlib figures. Needs the extra `plots`; nothing else in the library imports matplotlib."""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

try:
    from matplotlib.figure import Figure as MatplotlibFigure
except ImportError as error:
    raise ConfigurationError("plots need matplotlib, which is not installed; pip install 'jaxrnn[plots]'") from error

MAX_EPOCH_LINES = 60
PICTURES = ("pdf", "png", "svg", "jpg", "eps")
# Okabe and Ito's colours, which the colour-blind tell apart (2008), each with a line and a mark of its own.
STYLES: tuple[tuple[str, Any, str], ...] = (
    *(("#0072B2", "-", "o"), ("#D55E00", "--", "s"), ("#009E73", "-.", "^"), ("#CC79A7", ":", "D")),
    *(("#56B4E9", (0, (6, 1, 1, 1)), "v"), ("#E69F00", (0, (3, 2)), "P")),
)
BEST_LINE: dict[str, Any] = {"color": STYLES[2][0], "linestyle": STYLES[2][1], "linewidth": 1.2}
MARKS_A_LINE = 12


class Figure(MatplotlibFigure):
    """A figure that belongs to no window and shows itself in a notebook."""

    def drawn(self, ending: str = "png", dpi: int = 120) -> bytes:
        """A file of it, one of `PICTURES`."""
        buffer = io.BytesIO()
        self.savefig(buffer, format=ending, dpi=dpi)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.drawn(dpi=90)


def titled_figure(title: str, width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(plain_label(title))
    return figure


def learning_curve(
    metrics: dict[str, np.ndarray],
    *,
    best_update: int,
    windows_per_epoch: int = 0,
    shows_smoothed: bool = False,
    title: str = "",
) -> Figure:
    """The mean loss against the update, epochs' ends as vertical lines, the best as a marked line; the accuracy below.

    Args:
      metrics: columns `update`, `train/mean_loss_nats` (a run of an older version has the smoothed loss only) or those
        of a squared error, and where they were measured those of the accuracy and of validations.
      best_update: the update whose parameters are kept as the best.
      windows_per_epoch: updates an epoch of a text, whose loss in bits per character has an axis too.
      shows_smoothed: whether the reports' smoothed loss is drawn too.
      title: the figure's title.
    """
    loss_name = next(name for name in ("loss_nats", "squared_error", "loss") if f"train/{name}" in metrics)
    is_text = windows_per_epoch > 0
    has_accuracy = "train/accuracy" in metrics
    figure = titled_figure(title, 8.0, 7.0 if has_accuracy else 4.5)
    axes = figure.add_subplot(2 if has_accuracy else 1, 1, 1)
    if has_accuracy:
        _draw_accuracy(figure.add_subplot(2, 1, 2), metrics)
    _draw_loss(axes, metrics, loss_name, shows_smoothed)
    if is_text:
        ends = np.arange(windows_per_epoch, int(metrics["update"][-1]) + 1, windows_per_epoch)
        for number, end in enumerate(ends.tolist() if len(ends) <= MAX_EPOCH_LINES else []):
            axes.axvline(end, color="0.75", linewidth=0.8, zorder=0, label="end of an epoch" if number == 0 else None)
    axes.axvline(best_update, label=f"best: update {best_update:,}", **BEST_LINE)
    _label_loss(axes, loss_name, is_text)
    return _finished(figure)


def learning_curves(runs: Mapping[str, dict[str, np.ndarray]], loss_name: str, is_text: bool, title: str) -> Figure:
    """The curves of several runs in one plot: the mean training loss, and with marks the validation loss where it is.

    Args:
      runs: by name, the columns of metrics.jsonl; at most as many as there are `STYLES`.
      loss_name: of all of them, without "train/mean_".
      is_text: whether the loss is that of characters, then it has an axis in bits too.
      title: the figure's title.
    """
    figure = titled_figure(title, 8.0, 5.0)
    axes = figure.add_subplot()
    for (name, metrics), (color, line, mark) in zip(runs.items(), STYLES, strict=False):
        style: dict[str, Any] = {"color": color, "linestyle": line}
        shown = plain_label(name if len(name) <= 50 else f"...{name[-47:]}")
        mean = metrics[next(n for n in (f"train/mean_{loss_name}", f"train/smooth_{loss_name}") if n in metrics)]
        # A label that begins with an underscore would be left out.
        axes.plot(metrics["update"], mean, label=f"training, {shown}", linewidth=1.2, **style)
        _draw_validation(axes, metrics, f"valid/{loss_name}", label=f"validation, {shown}", marker=mark, **style)
    _label_loss(axes, loss_name, is_text)
    return _finished(figure)


def draw_seeds(axes: Any, at: np.ndarray, values: np.ndarray, label: str, style: tuple[str, Any, str]) -> None:
    """The mean over seeds as a line with marks, and from the lowest to the highest of them as a band.

    A band of deviations would go past what is possible, such as an accuracy above 1.

    Args:
      axes: to draw on.
      at: (N,).
      values: (seeds, N).
      label: what the line is called; the seeds are counted behind it.
      style: one of `STYLES`.
    """
    color, line, mark = style
    every = -(-len(at) // MARKS_A_LINE)
    label = plain_label(f"{label}, {len(values)} seeds" if len(values) > 1 else f"{label}, one seed")
    marks: dict[str, Any] = {"marker": mark, "markersize": 4, "markevery": every}
    axes.plot(at, values.mean(axis=0), color=color, linestyle=line, linewidth=1.4, label=label, **marks)
    axes.fill_between(at, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)


def draw_distinct_words(
    counts: Mapping[str, np.ndarray],
    every: int,
    borders: Mapping[str, Mapping[str, int]] | None = None,
    title: str = "Different words along the text",
) -> Figure:
    """Above how many different words texts have had, below how many new ones each window brings.

    Args:
      counts: of `distinct_words` by name; at most as many as there are `STYLES`.
      every: characters a window.
      borders: of each text, by name, the character at which a part of it begins.
      title: the figure's title.
    """
    figure = titled_figure(title, 8.0, 6.0)
    above, below = figure.subplots(2, 1, sharex=True)
    for (name, count), (color, line, mark) in zip(counts.items(), STYLES, strict=False):
        at = every * (np.arange(len(count)) + 1)
        marks: dict[str, Any] = {"marker": mark, "markevery": -(-len(at) // MARKS_A_LINE), "markersize": 4}
        above.plot(at, count, color=color, linestyle=line, label=plain_label(name), **marks)
        below.plot(at, np.diff(count, prepend=0), color=color, linewidth=0.7, alpha=0.8, **marks)
        for part, start in (borders or {}).get(name, {}).items():
            for axes in (above, below):
                axes.axvline(start, color=color, linestyle=line, linewidth=1)
            style: dict[str, Any] = {"color": color, "fontsize": 8, "rotation": 40, "rotation_mode": "anchor"}
            above.text(start, 1.02, plain_label(part), transform=above.get_xaxis_transform(), **style)
    above.set(ylabel="different words so far")
    below.set(xlabel="place in the text (characters)", ylabel=f"new words in {every:,} characters")
    below.xaxis.set_major_formatter("{x:,.0f}")
    above.legend(frameon=False)
    return figure


def picture_name(path: Path) -> Path:
    """The path, if its ending is that of a picture.

    Raises:
      ConfigurationError: if not.
    """
    if path.suffix[1:].lower() not in PICTURES:
        raise ConfigurationError(f"--output expects a name that ends in .{', .'.join(PICTURES)}; got {path.name!r}")
    return path


def _label_loss(axes: Any, loss_name: str, is_text: bool) -> None:
    if is_text:
        bits_and_back = (functools.partial(np.multiply, 1 / math.log(2)), functools.partial(np.multiply, math.log(2)))
        axes.secondary_yaxis("right", functions=bits_and_back).set_ylabel("bits per character")
    unit = "loss (nats)" if loss_name == "loss_nats" else loss_name.replace("_", " ")
    axes.set_ylabel("loss (nats per character)" if is_text else unit)


def _draw_loss(axes: Any, metrics: dict[str, np.ndarray], loss_name: str, shows_smoothed: bool) -> None:
    mean, smooth = metrics.get(f"train/mean_{loss_name}"), metrics[f"train/smooth_{loss_name}"]
    if mean is not None:
        axes.plot(metrics["update"], mean, color=STYLES[0][0], linewidth=1.2, label="training")
    if shows_smoothed or mean is None or np.isnan(mean).any():  # the rows of an older version know no mean
        axes.plot(metrics["update"], smooth, color="black", linestyle="--", linewidth=1, label="training, smoothed")
    _draw_validation(axes, metrics, f"valid/{loss_name}")


def _draw_accuracy(axes: Any, metrics: dict[str, np.ndarray]) -> None:
    updates = metrics["update"]
    axes.plot(updates, metrics["train/accuracy"], color="0.75", linewidth=0.8, label="training, one update")
    recent = metrics["train/recent_accuracy"]
    axes.plot(updates, recent, color=STYLES[0][0], linewidth=1.2, label="mean of the latest 100")
    _draw_validation(axes, metrics, "valid/accuracy")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("accuracy")


def _finished(figure: Figure) -> Figure:
    for axes in figure.axes:
        axes.set_xlabel("update")
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.margins(x=0.01)
        axes.legend(frameon=False)
    return figure


def plain_label(text: str) -> str:
    """Text from outside as a figure shows it: printable, and no formula."""
    return printable(text, keep="").replace("$", r"\$")


def _draw_validation(axes: Any, metrics: dict[str, np.ndarray], name: str, **style: Any) -> None:
    if name not in metrics:
        return
    values = metrics[name].astype(float)
    known = np.isfinite(values)
    if known.any():
        at, first = np.unique(metrics["valid/update"][known], return_index=True)
        style = {"color": STYLES[1][0], "marker": STYLES[1][2], "label": "validation"} | style
        axes.plot(at, values[known][first], markersize=3, linewidth=1, **style)
