"""Numbers to matplotlib figures. Needs the extra `plots`; nothing else in the library imports matplotlib."""

from __future__ import annotations

import functools
import io
import math
from typing import Any

import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

try:
    from matplotlib.figure import Figure as MatplotlibFigure
except ImportError as error:
    raise ConfigurationError("plots need matplotlib, which is not installed; pip install 'jaxrnn[plots]'") from error

MAX_EPOCH_LINES = 60
BEST_LINE: dict[str, Any] = {"color": "tab:green", "linestyle": "--", "linewidth": 1.2}


class Figure(MatplotlibFigure):
    """A figure that belongs to no window and shows itself in a notebook."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=90)
        return buffer.getvalue()


def learning_curve(
    metrics: dict[str, np.ndarray],
    *,
    bptt_length: int,
    windows_per_epoch: int,
    best_update: int,
    best_smooth_loss_nats: float,
    title: str = "",
) -> Figure:
    """The smoothed loss against the update, epochs' ends as vertical lines, the best as a marked line.

    The left axis is the reports' unit, the sum over a window; the right one bits per character.

    Args:
      metrics: columns `update`, `train/smooth_loss_sum_nats` and, if there was validation, `valid/loss_nats`.
      bptt_length: T, the characters in a window.
      windows_per_epoch: updates an epoch.
      best_update: the update with the lowest smoothed loss.
      best_smooth_loss_nats: that loss, mean per character.
      title: the figure's title.
    """
    has_accuracy = "train/accuracy" in metrics
    figure = Figure(figsize=(8.0, 7.0 if has_accuracy else 4.5), layout="constrained")
    axes = figure.add_subplot(2 if has_accuracy else 1, 1, 1)
    if has_accuracy:
        _draw_accuracy(figure.add_subplot(2, 1, 2), metrics)
    ends = np.arange(windows_per_epoch, int(metrics["update"][-1]) + 1, windows_per_epoch)
    if len(ends) <= MAX_EPOCH_LINES:
        for number, end in enumerate(ends.tolist()):
            axes.axvline(end, color="0.75", linewidth=0.8, zorder=0, label="end of an epoch" if number == 0 else None)
    _draw_loss(axes, metrics, "train/smooth_loss_sum_nats", "valid/loss_nats", factor=bptt_length)
    best = f"best: {best_smooth_loss_nats * bptt_length:.2f} at update {best_update:,}"
    axes.axvline(best_update, label=best, **BEST_LINE)
    axes.set_ylabel(f"loss, sum over {bptt_length} characters (nats)")
    scale = bptt_length * math.log(2)
    bits_and_back = (functools.partial(np.multiply, 1 / scale), functools.partial(np.multiply, scale))
    bits = axes.secondary_yaxis("right", functions=bits_and_back)
    bits.set_ylabel("bits per character")
    return _finished(figure, title)


def accuracy_curve(metrics: dict[str, np.ndarray], *, best_update: int, title: str = "") -> Figure:
    """Accuracy above, smoothed loss below, both against the update; for generated sequences.

    Args:
      metrics: columns `update`, `train/accuracy`, `train/recent_accuracy`, the losses, and those of a validation.
      best_update: the update whose parameters are kept as the best.
      title: the figure's title.
    """
    figure = Figure(figsize=(8.0, 7.0), layout="constrained")
    _draw_accuracy(figure.add_subplot(2, 1, 1), metrics)
    axes = figure.add_subplot(2, 1, 2)
    loss = "loss_nats" if "train/loss_nats" in metrics else "squared_error"
    _draw_loss(axes, metrics, f"train/smooth_{loss}", f"valid/{loss}")
    axes.axvline(best_update, label=f"best: update {best_update:,}", **BEST_LINE)
    axes.set_ylabel("loss (nats)" if loss == "loss_nats" else "squared error")
    return _finished(figure, title)


def _draw_loss(axes: Any, metrics: dict[str, np.ndarray], smooth: str, valid: str, factor: int = 1) -> None:
    axes.plot(metrics["update"], metrics[smooth], color="tab:blue", linewidth=1.2, label="training, smoothed")
    _draw_validation(axes, metrics, valid, factor)


def _draw_accuracy(axes: Any, metrics: dict[str, np.ndarray]) -> None:
    updates = metrics["update"]
    axes.plot(updates, metrics["train/accuracy"], color="0.75", linewidth=0.8, label="training, one update")
    axes.plot(
        updates, metrics["train/recent_accuracy"], color="tab:blue", linewidth=1.2, label="mean of the latest 100"
    )
    _draw_validation(axes, metrics, "valid/accuracy")
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("accuracy")


def _finished(figure: Figure, title: str) -> Figure:
    for axes in figure.axes:
        axes.set_xlabel("update")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.margins(x=0.01)
        axes.legend(frameon=False)
    figure.suptitle(printable(title, keep="").replace("$", r"\$"))
    return figure


def _draw_validation(axes: Any, metrics: dict[str, np.ndarray], name: str, factor: int = 1) -> None:
    if name not in metrics:
        return
    values = metrics[name].astype(float) * factor
    known = np.isfinite(values)
    if known.any():
        at, first = np.unique(metrics["valid/update"][known], return_index=True)
        axes.plot(at, values[known][first], "o-", color="tab:orange", markersize=3, linewidth=1, label="validation")
