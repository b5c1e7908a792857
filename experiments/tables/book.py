"""The tables of the book: losses of a vanilla RNN, the words it writes, and the gradient tables."""

from __future__ import annotations

import itertools
import math
import statistics

from experiments.book_lstm import accuracy_rows
from experiments.book_rnn import PUBLISHED_A, PUBLISHED_C
from experiments.tables.read import Row, markdown, read_columns, read_csv, told

GROUPS = ["b", "c", "U", "W", "V"]
LENGTHS = {  # updates, what was published of it
    10_000: "B, a picture",
    89_230: "C, two epochs: a picture",
    100_000: "A 49.82 at its end",
    300_000: "A 45.69 at its end",
    312_305: "C 40.971, its best of seven epochs",
}
FACTORS = {  # of book_factors.py
    "reports": "as the reports: zero carry at each epoch, clipped",
    "kept": "the carry is kept over the epochs",
    "anew": "each window from a zero carry",
    "unclipped": "not clipped",
}


def _smooth(row: Row) -> list[float]:
    return [loss for name, loss in row.items() if name.startswith("smooth_loss")]


def lengths() -> str:
    """Of each length the loss at its end and the lowest, over the seeds. The last row's are those of every update."""
    curves, best = read_csv("book_rnn_curves"), read_csv("book_rnn_best")
    rows = []
    for updates, published in LENGTHS.items():
        within = [_smooth(row) for row in curves if row["update"] <= updates]
        lowest = [min(of) for of in zip(*within, strict=True)]
        if updates > 300_000:
            lowest = [row["smooth_loss"] for row in best]
        low, high = min(lowest), max(lowest)
        rows.append([f"{updates:,}", published, told(within[-1], 2), told(lowest, 2), f"{low:.2f} to {high:.2f}"])
    return markdown(["updates", "published", "ours at the end", "ours, lowest", "lowest of the seeds"], rows)


def updates() -> str:
    """Report A's printed losses beside ours."""
    by_update = {row["update"]: _smooth(row) for row in read_csv("book_rnn_curves")}
    rows = [[f"{at:,}", f"{loss:.2f}", told(by_update[at], 2)] for at, loss in PUBLISHED_A.items()]
    return markdown(["update", "A, smoothed loss", "ours"], rows)


def epochs() -> str:
    """The lowest smoothed loss of each epoch, and the best parameters of each seed by it and by fresh starts."""
    curves = read_csv("book_rnn_curves")
    rows = []
    for epoch in sorted({row["epoch"] for row in curves}):
        of_epoch = [_smooth(row) for row in curves if row["epoch"] == epoch]
        rows.append([epoch, told([min(of) for of in zip(*of_epoch, strict=True)], 2)])
    table = markdown(["epoch", "lowest smoothed loss"], rows)
    of_seeds = [
        [
            row["seed"],
            {"fresh": "fresh starts", "smoothed": "smoothed loss"}[row["best_by"]],
            f"{row['update']:,}",
            f"{row['smooth_loss']:.2f}",
            f"{row['fresh_loss']:.2f}",
            f"{row['known_words']:.0%}",
        ]
        for row in read_csv("book_rnn_best_by")
    ]
    header = ["seed", "best by", "at update", "its smoothed loss", "from its own start"]
    header += ["known words of 1,000 characters"]
    return f"{table}\n{markdown(header, of_seeds)}"


def factors() -> str:
    """What the lowest smoothed loss hangs on, one factor at a time; of the losses from fresh starts the median."""
    found = read_csv("book_factors")
    of = {variant: [row for row in found if row["variant"] == variant] for variant in FACTORS}
    rows = []
    for variant, told_as in FACTORS.items():
        lowest = [row["smooth_loss"] for row in of[variant]]
        moved = [low - row["smooth_loss"] for low, row in zip(lowest, of["reports"], strict=True)]
        rows.append(
            [
                told_as,
                told([row["smooth_loss_at_100000"] for row in of[variant]], 2),
                told(lowest, 2),
                "" if variant == "reports" else told(moved, 2),
                f"{sum(low <= PUBLISHED_C for low in lowest)} of {len(lowest)}",
                f"{statistics.median(row['fresh_loss'] for row in of[variant]):.2f}",
            ]
        )
    header = ["", "at update 100,000", "lowest", "against the same seed", "at most C's 40.97", "from fresh starts"]
    return markdown(header, rows)


def words() -> str:
    """Words of the book, and names of its characters, in samples of 200 characters while training, over the seeds."""
    samples, rows = read_csv("book_rnn_samples"), []
    for first, last in ((0, 0), (1, 1), (10_000, 50_000), (60_000, 100_000), (110_000, 200_000), (210_000, 310_000)):
        of = [row for row in samples if first <= row["update"] <= last]
        names = [name for row in of for name in str(row["names"] or "").split()]
        by_seed = [
            statistics.fmean(100 * row["known_words"] for row in of if row["seed"] == seed)
            for seed in sorted({row["seed"] for row in of})
        ]
        between = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        frequent = sorted({*names}, key=lambda name: (-names.count(name), name))[:4]
        shown = ", ".join(name.title() for name in frequent)
        rows.append([between, len(of), told(by_seed, 1), f"{len(names) / len(of):.2f}", shown])
    return markdown(["updates", "samples", "known words, %", "names a sample", "most often"], rows)


def lstm_accuracy() -> str:
    """An LSTM that writes a book: accuracy in training and on the part held out, at report D's updates and others."""
    names = ("train_accuracy", "valid_accuracy", "train_smooth_loss_nats", "valid_loss_nats")
    rows = []
    for row in accuracy_rows(read_columns("book_lstm")):
        published = "" if math.isnan(row["published"]) else f"{row['published']:.2f}"
        rows.append([f"{row['update']:,}", published, *(f"{row[name]:.3f}" for name in names)])
    header = ["update", "D, training", "training accuracy", "validation", "training loss, nats", "validation"]
    return markdown(header, rows)


def lstm_words() -> str:
    """What an LSTM that writes a book writes while it trains: newlines and common words, beside the book's."""
    found = read_csv("book_lstm_words")
    words, rows = [*found[0]][4:], []
    ends = [0, *(row["until"] for row in found[1:])]
    between = [f"{before + 1:,} to {until:,}" for before, until in itertools.pairwise(ends)]
    for row, updates in zip([*found[1:], found[0]], [*between, "book"], strict=True):
        newlines = f"{100 * row['newlines'] / row['characters']:.1f}"
        shares = [f"{100 * row[word] / row['words']:.1f}" for word in words]
        rows.append([updates, f"{row['characters']:,}", newlines, *shares])
    return markdown(["updates", "characters", "newlines, %", *(f"{word}, % of words" for word in words)], rows)


def gradient_tables() -> str:
    """Largest errors of each published table on the literal window: published, ours by method, and which meets it."""
    found: dict[str, list[Row]] = {}
    for row in read_csv("gradient_tables"):
        if row["text"] == "literal":
            found.setdefault(row["table"], []).append(row)
    lines = []
    for table, rows in found.items():
        published = {row["group"]: row["published"] for row in rows}
        lines.append([table, "published", *(f"{published[group]:.1e}" for group in GROUPS), ""])
        for method in dict.fromkeys(row["differences"] for row in rows):
            of = {row["group"]: row["error"] for row in rows if row["differences"] == method}
            over = {group: of[group] / published[group] for group in GROUPS if of[group] > published[group]}
            met = ", ".join(f"{group} by {factor:.3g}" for group, factor in over.items())
            lines.append(["", method, *(f"{of[group]:.1e}" for group in GROUPS), f"misses {met}" if met else "all met"])
    return markdown(["table", "", *GROUPS, "published maximum"], lines)
