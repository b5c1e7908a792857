"""Numbers to matplotlib figures. Needs the extra `plots`; nothing else in the library imports matplotlib."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np

from jaxrnn.errors import ConfigurationError
from jaxrnn.printable import printable

try:
    from matplotlib.figure import Figure as MatplotlibFigure
except ImportError as error:
    raise ConfigurationError("plots need matplotlib, which is not installed; pip install 'jaxrnn[plots]'") from error

MAX_EPOCH_LINES = 60


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
    figure = Figure(figsize=(8.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    updates = metrics["update"]
    axes.plot(
        updates, metrics["train/smooth_loss_sum_nats"], color="tab:blue", linewidth=1.2, label="training, smoothed"
    )
    if "valid/loss_nats" in metrics:
        valid = metrics["valid/loss_nats"].astype(float) * bptt_length
        known = np.isfinite(valid)
        if known.any():
            at, first = np.unique(metrics["valid/update"][known], return_index=True)
            axes.plot(at, valid[known][first], "o-", color="tab:orange", markersize=3, linewidth=1, label="validation")
    ends = np.arange(windows_per_epoch, int(updates[-1]) + 1, windows_per_epoch)
    if len(ends) <= MAX_EPOCH_LINES:
        for number, end in enumerate(ends.tolist()):
            axes.axvline(end, color="0.75", linewidth=0.8, zorder=0, label="end of an epoch" if number == 0 else None)
    axes.axvline(
        best_update,
        color="tab:green",
        linestyle="--",
        linewidth=1.2,
        label=f"best: {best_smooth_loss_nats * bptt_length:.2f} at update {best_update:,}",
    )
    axes.set_xlabel("update")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_ylabel(f"loss, sum over {bptt_length} characters (nats)")
    axes.set_title(printable(title, keep="").replace("$", r"\$"))
    scale = bptt_length * math.log(2)

    def to_bits(loss: Any) -> Any:
        return loss / scale

    def from_bits(bits: Any) -> Any:
        return bits * scale

    bits = axes.secondary_yaxis("right", functions=(to_bits, from_bits))
    bits.set_ylabel("bits per character")
    axes.legend(frameon=False)
    axes.margins(x=0.01)
    return figure
