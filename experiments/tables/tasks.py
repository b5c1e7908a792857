"""The tables of the palindromes, the temporal gate and skip connections."""

from __future__ import annotations

import numpy as np

from experiments.palindromes.figures import SMOOTHED_UPDATES, curve_table, smoothed
from experiments.palindromes.runs import Curve
from experiments.spread import spread
from experiments.tables.read import Row, markdown, read_csv, told

BATCH = 128
AT = [100, 200, 400, 600, 800, 1000]
OPEN_GRU = "gru, open start"
CELLS = {
    "vanilla": "vanilla", "lstm": "LSTM", "gru": "GRU", OPEN_GRU: "GRU, open start",
    "temporal-gate-lstm": "temporal-gate LSTM",
}  # fmt: skip


def curves_of_steps(name: str) -> dict[str, list[Curve]]:
    """The accuracy of each network and seed at every update."""
    rows = read_csv(name)
    found: dict[str, list[Curve]] = {}
    for column in list(rows[0])[1:]:
        network = column.rpartition(", ")[0]
        right = np.array([row[column] for row in rows])
        found.setdefault(network, []).append(Curve(np.full(len(right), np.nan), right / BATCH))
    return found


def length_rows() -> list[Row]:
    """Every run of `palindromes lengths` that is shown."""
    return [
        *read_csv("palindromes_lengths"),
        *(r | {"cell": OPEN_GRU} for r in read_csv("palindromes_lengths_open_gru")),
    ]


def lengths() -> str:
    """Accuracy on fresh sequences against T, a column a cell."""
    rows = length_rows()
    table = []
    for length in sorted({row["sequence_length"] for row in rows}):
        of = [row for row in rows if row["sequence_length"] == length]
        table.append([length, *(str(spread([r["valid_accuracy"] for r in of if r["cell"] == c])) for c in CELLS)])
    return markdown(["T", *CELLS.values()], table)


def steps() -> str:
    """Accuracy against the update at T = 5, six seeds."""
    return curve_table(curves_of_steps("palindromes_steps"), AT) + "\n"


def report_d() -> str:
    """Report D's one point, RMSprop at 400 updates, with its own starting values and with ours."""
    rows = []
    for name, start in (("palindromes_steps", "ours"), ("palindromes_steps_deviation", "D's, N(0, 0.1)")):
        for network, curves in curves_of_steps(name).items():
            if network.endswith("rmsprop"):
                values = smoothed(np.stack([curve.accuracy for curve in curves]), SMOOTHED_UPDATES)
                at = [str(spread(values[:, update - 1])) for update in (200, 400, 800, 1000)]
                rows.append([network.removesuffix(", rmsprop"), start, *at])
    return markdown(["RMSprop 1e-3, T = 5", "starting values", "200", "400", "800", "1,000"], rows)


def gradients() -> str:
    """|dL/dh_t| at the last step, some steps before it and the first, at T = 100."""
    rows = read_csv("palindromes_gradients")
    accuracy = {row["network"]: row["value"] for row in rows if row["what"] == "accuracy"}
    norms: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["what"] == "hidden gradient":
            norms.setdefault((row["network"], row["which"]), []).append(row["value"])
    table = []
    for (network, which), of in norms.items():
        at = [f"{of[len(of) - 1 - before]:.1e}" if before < len(of) else "" for before in (0, 10, 50)]
        table.append([network, which, *at, f"{of[0]:.1e}", f"{accuracy[network]:.3f}" if "un" not in which else ""])
    return markdown(["network, T", "", "t = T", "T - 10", "T - 50", "1", "accuracy"], table)


def gate() -> str:
    """Accuracy after the last update of both tasks of the temporal gate."""
    table = []
    for task in ("noise", "sines"):
        rows = read_csv(f"temporal_gate_{task}")
        last = max(row["update"] for row in rows)
        ends: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            if row["update"] == last:
                ends.setdefault((str(row["sampling"] or "noise"), row["network"]), []).append(row["accuracy"])
        table += [
            [task if task == "noise" else f"sines, {mode}", name, told(of, 3)] for (mode, name), of in ends.items()
        ]
    return markdown(["task", "network", "accuracy (seeds)"], table)


def skips() -> str:
    """Smoothed loss and the gradient that reaches layer 1 of three LSTM layers, with and without skips."""
    rows, table = read_csv("skip_connections"), []
    for with_skips in (False, True):
        for update in sorted({row["update"] for row in rows}):
            of = [row for row in rows if (row["skip_connections"], row["update"]) == (with_skips, update)]
            loss = told([row["smooth_loss_nats"] for row in of], 3) if update else ""
            norm = spread([row["gradient_norm"] for row in of])
            table.append(["yes" if with_skips else "no", update, loss, f"{norm.mean:.2g} +- {norm.deviation:.1g}"])
    return markdown(["skips", "updates", "smoothed loss, nats", "gradient norm at layer 1"], table)


def temperatures() -> str:
    """Repeated phrases and unknown words by temperature."""
    rows, table = read_csv("temperatures"), []
    for temperature in dict.fromkeys(row["temperature"] for row in rows):
        of = [row for row in rows if row["temperature"] == temperature]
        shares = [told([100 * row[name] for row in of], 1) for name in ("repeated_phrases", "unknown_words")]
        table.append([temperature, *shares])
    return markdown(["temperature", "phrases of four words repeated, %", "words that the book lacks, %"], table)


def text_by_epoch() -> str:
    """What the network writes after some epochs, the first characters, and how much of all of it repeats."""
    shown, table = (0, 1, 2, 5, 10, 20, 50), []
    for row in read_csv("text_by_epoch"):
        if row["epoch"] in shown:
            text = str(row["text"])[:120].replace("\n", "⏎").replace("|", "\\|")
            table.append([row["epoch"], f"{row['valid_loss_nats']:.3f}", f"{100 * row['repeated_phrases']:.0f}", text])
    return markdown(["epoch", "validation, nats", "phrases of four words repeated, %", "text"], table)


def corpus_facts() -> str:
    """Direct speech, readability, functions and variables."""
    rows = [[row["text"], row["fact"], f"{row['value']:,}"] for row in read_csv("corpus_facts")]
    return markdown(["text", "fact", ""], rows)
