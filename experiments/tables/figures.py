"""The figures that are drawn from committed numbers, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.benchmark.cells_figure import save_figure
from experiments.book_lstm import curves as lstm_curves
from experiments.book_rnn import PUBLISHED_A
from experiments.language_model_grid.drawings import loss_by_depth
from experiments.palindromes.figures import draw_curves, draw_lengths
from experiments.palindromes.gradients import hidden_gradients_figure, law_figure
from experiments.tables.read import read_columns, read_csv
from experiments.tables.tasks import curves_of_steps, length_rows
from experiments.temporal_gate import figures as gate_figures
from experiments.temporal_gate.__main__ import LEAK, OPEN_RATIO, PERIOD, SHIFT, WAVES
from experiments.temporal_gate.tasks import NoisyWaves
from experiments.temporal_gate.timed_signals import Bursts
from experiments.temporal_gate.units import Curve, Units

BURSTS = Bursts(24.0, 6.0, 0.75, 3.0)  # the defaults of `temporal_gate noise`


def grid_depth(size: int) -> Callable[[Path], None]:
    """Test loss by depth of the networks of one size, without dropout of other sites than the best."""
    cells = ("lstm", "gru-reset-before")  # those of several depths

    def draw(path: Path) -> None:
        rows = [row for row in read_csv("language_model_grid_warpeace") if row["size"] == size and row["cell"] in cells]
        loss_by_depth([row | {"dropout_sites": row["dropout_sites"] or ""} for row in rows]).savefig(path, dpi=110)

    return draw


def speeds(path: Path) -> None:
    """Training speed over PyTorch's, a bar a network."""
    rows = read_csv("benchmark_cells")
    shown = [{"row": row["row"], "ours_over": {"torch malloc": row["ours_malloc_over_torch_malloc"]}} for row in rows]
    save_figure(shown, path)


def book_curves(path: Path) -> None:
    """The smoothed loss of each seed, A's printed losses, the epochs' ends and the best; beside it the beginning."""
    from jaxrnn.inspect import Figure

    rows, best = read_csv("book_rnn_curves"), read_csv("book_rnn_best")
    updates = np.array([row["update"] for row in rows])
    seeds = [name for name in rows[0] if name.startswith("smooth_loss")]
    figure = Figure(figsize=(11.0, 4.5), layout="constrained")
    for axes, last, title in zip(
        figure.subplots(1, 2),
        (updates[-1], 10_000),
        ("seven epochs (A, C)", "the first 10,000 updates (B)"),
        strict=True,
    ):
        shown = updates <= last
        mean = np.array([row["mean_loss_0"] for row in rows])
        axes.plot(updates[shown], mean[shown], color="0.8", linewidth=0.6, label="seed 0, mean of 100 updates")
        for number, name in enumerate(seeds):
            loss = np.array([row[name] for row in rows])[shown]
            of_first = {"color": "tab:blue", "linewidth": 1.4, "label": "seed 0, smoothed"}
            others = {"color": "tab:cyan", "linewidth": 0.7, "label": "the other seeds" if number == 1 else None}
            axes.plot(updates[shown], loss, **(others if number else of_first))
        known = {at: loss for at, loss in PUBLISHED_A.items() if at <= last}
        axes.plot(list(known), list(known.values()), "kx", label="report A, another book")
        if last > 10_000:
            epochs = np.array([row["epoch"] for row in rows])
            for at in updates[1:][np.diff(epochs) > 0]:
                axes.axvline(at, color="tab:red", linewidth=0.6, alpha=0.6)
            axes.axvline(best[0]["update"], color="tab:green", linestyle="--", linewidth=1.0, label="seed 0, best")
            axes.plot([], [], color="tab:red", linewidth=0.6, label="ends of epochs")
        axes.set(title=title, xlabel="update", ylim=(39, 75 if last > 10_000 else 110))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.margins(x=0.01)
        axes.legend(loc="upper right", fontsize="small", framealpha=0.9)
    figure.axes[0].set_ylabel("loss of 25 characters (nats)")
    figure.savefig(path, dpi=110)


def raw_loss(path: Path) -> None:
    """Report C's figure: the loss of every update of two epochs, as least, mean and largest of each hundred."""
    from jaxrnn.inspect import Figure

    rows = read_csv("book_rnn_raw_loss")
    at, least, mean, largest = (
        np.array([row[name] for row in rows]) for name in ("update", "least", "mean", "largest")
    )
    figure = Figure(figsize=(7.5, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(at, least, largest, color="0.8", label="least to largest of 100 updates", linewidth=0)
    axes.plot(at, mean, color="tab:blue", linewidth=0.8, label="their mean")
    axes.set(xlabel="update", ylabel="loss of 25 characters (nats)", title="two epochs, the loss of single updates")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.margins(x=0.01)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def book_lstm(path: Path) -> None:
    """An LSTM that writes a book; on the left its first 2,000 updates, report D's figure 4."""
    lstm_curves(read_columns("book_lstm")).savefig(path, dpi=120)


def steps(path: Path) -> None:
    """Accuracy against the update at T = 5."""
    draw_curves(curves_of_steps("palindromes_steps"), path, "T = 5")


def hidden_gradients(path: Path) -> None:
    """The gradient on its way back from the last step."""
    norms: dict[str, dict[str, list[float]]] = {}
    for row in read_csv("palindromes_gradients"):
        if row["what"] == "hidden gradient" and "solved" not in row["network"]:
            norms.setdefault(row["network"], {}).setdefault(row["which"], []).append(row["value"])
    hidden_gradients_figure(norms).savefig(path, dpi=120)


def jacobian_law(path: Path) -> None:
    """Products of Jacobians, and the eigenvalues of trained matrices."""
    law: dict[str, dict[str, list[float]]] = {}
    spectra: dict[str, list[complex]] = {}
    for row in read_csv("palindromes_gradients"):
        if row["what"] == "jacobian":
            law.setdefault(row["network"], {}).setdefault(f"{row['which']:g}", []).append(row["value"])
        elif row["what"] == "eigenvalue":
            spectra.setdefault(row["network"], []).append(complex(row["value"], row["imaginary"]))
    law_figure(law, {name: np.array(of) for name, of in spectra.items()}).savefig(path, dpi=120)


def openness(path: Path) -> None:
    """k_t of the gate, which is a formula: computed, not read."""
    times = np.arange(2401) / 100
    k, xs, h = gate_figures.gate_example(times, PERIOD, SHIFT, OPEN_RATIO, 0.0)
    leaking = gate_figures.gate_example(times, PERIOD, SHIFT, OPEN_RATIO, LEAK)[0]
    gate_figures.openness_figure(times, k, leaking, xs, h, LEAK).savefig(path, dpi=110)


def gate_curves(task: str) -> dict[str, dict[str, Curve]]:
    """The learning curves of each way of sampling and network."""
    found: dict[str, dict[str, dict[int, list[tuple[int, float]]]]] = {}
    for row in read_csv(f"temporal_gate_{task}"):
        of = found.setdefault(str(row["sampling"] or ""), {}).setdefault(row["network"], {})
        of.setdefault(row["seed"], []).append((row["update"], row["accuracy"]))
    return {
        mode: {name: Curve(*_curve(of), [], [], []) for name, of in networks.items()}
        for mode, networks in found.items()
    }


def _curve(by_seed: dict[int, list[tuple[int, float]]]) -> tuple[np.ndarray, np.ndarray]:
    points = np.array(list(by_seed.values()))
    return points[0, :, 0], points[:, :, 1]


def gate_noise(path: Path) -> None:
    """Noise shut out: a sequence, learned gates over it, learning curves and periods."""
    curves, gated = gate_curves("noise")[""], "gated LSTM"
    units: dict[str, dict[int, list[list[float]]]] = {"before": {}, "after": {}}
    for row in read_csv("temporal_gate_units"):
        units[row["when"]].setdefault(row["seed"], []).append([row[name] for name in Units._fields])
    before, after = ([Units(*np.array(of).T) for of in units[when].values()] for when in ("before", "after"))
    steps = read_csv("temporal_gate_sensitivity")
    sensitivity = [np.array([row[name] for row in steps]) for name in steps[0] if name != "step"]
    curves[gated] = curves[gated]._replace(before=before, after=after, sensitivity=sensitivity)
    signal = NoisyWaves(len(steps), WAVES, BURSTS)
    gate_figures.noise_figure(curves, signal, gated).savefig(path, dpi=110)


def gate_sines(path: Path) -> None:
    """Frequency from samples at coarse, fine and random times."""
    gate_figures.sines_figure(gate_curves("sines")).savefig(path, dpi=110)


def distinct_words(path: Path) -> None:
    """Different words along two texts."""
    from jaxrnn.inspect import draw_distinct_words

    rows = read_csv("distinct_words")
    counts: dict[str, list[int]] = {}
    borders, every = {}, rows[0]["characters"]
    for row in rows:
        counts.setdefault(row["text"], []).append(row["distinct_words"])
        borders[row["text"]] = {"validation": row["characters"] * 8 // 10, "test": row["characters"] * 9 // 10}
    found = {text: np.array(of) for text, of in counts.items()}
    draw_distinct_words(found, every, borders).savefig(path, dpi=100)


FIGURES: dict[str, Callable[[Path], None]] = {
    "book_rnn_tinyshakespeare": book_curves,
    "book_rnn_raw_loss": raw_loss,
    "book_lstm_democracy": book_lstm,
    "grid_depth_warpeace_64": grid_depth(64),
    "grid_depth_warpeace_128": grid_depth(128),
    "palindromes_lengths": lambda path: draw_lengths(length_rows(), path),
    "palindromes_steps": steps,
    "palindromes_hidden_gradients": hidden_gradients,
    "palindromes_jacobian_law": jacobian_law,
    "temporal_gate_openness": openness,
    "temporal_gate_noise": gate_noise,
    "temporal_gate_sines": gate_sines,
    "distinct_words": distinct_words,
    "benchmark_cells": speeds,
}
