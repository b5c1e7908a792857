"""What the lowest loss of the book hangs on: report C's 40.97, one factor at a time.

Command: python -m experiments.book_factors tinyshakespeare [--csv FILE]

A vanilla RNN of 100 units reads the book for seven epochs by the recipe of `book_rnn.py`, of many seeds each:
    reports     the carry is 0 at each epoch's start, gradient entries are clipped to [-5, 5]
    kept        the carry is never set to 0: the book stands seven times in one text, whose windows move on by the
                18 characters that an epoch leaves over
    anew        each window begins with a carry of 0
    unclipped   no gradient is clipped
The seed is the initial draw. Smoothed losses are sums over 25 characters in nats, as the reports have them; "from fresh
starts" is the loss of the best parameters over the book in pieces that begin with a carry of 0.

Published, on a book of 1,107,540 characters that cannot be shipped here: C 40.971, the best of seven epochs.
Obtained: see experiments/README.md, with command, time, device and date.
"""

from __future__ import annotations

import csv
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np

from experiments.book_rnn import PRESETS
from experiments.tables.read import told
from jaxrnn import Corpus, TrainConfig, Trainer, load_corpus
from jaxrnn.checks import check_choice, check_count
from jaxrnn.scoring import evaluate_pieces
from jaxrnn.terminal import run_app
from jaxrnn.training import make_job

VARIANTS = ("reports", "kept", "anew", "unclipped")
EPOCHS = PRESETS["c-7-epochs"].epochs or 0
AT = 100_000  # the update whose smoothed loss is told beside the lowest
CALL = 5_000  # updates between two lines of progress
COLUMNS = ["variant", "seed", "update", "smooth_loss", "smooth_loss_at_100000", "fresh_loss"]


def trainer_of(variant: str, corpus: Corpus, seeds: list[int], epochs: int = EPOCHS) -> Trainer:
    """The trainer of a variant, its seeds as members of one program."""
    kept = variant == "kept"
    config = TrainConfig(
        text=corpus.name,
        epochs=1 if kept else epochs,
        clip_value=0.0 if variant == "unclipped" else 5.0,
        best_by="smoothed",
        devices="1",
    )
    if kept:
        corpus = replace(corpus, ids=np.tile(corpus.ids, epochs))
    job = make_job(config, corpus)
    if variant == "anew":
        job.task.objective = replace(job.task.objective, passes_carry=False)
    return Trainer.of([job._replace(config=replace(config, seed=seed)) for seed in seeds])


def measure(variant: str, corpus: Corpus, seeds: list[int], epochs: int = EPOCHS) -> list[list[Any]]:
    """A row of `COLUMNS` a seed."""
    trainer, started = trainer_of(variant, corpus, seeds, epochs), time.monotonic()
    updates, steps = trainer.jobs[0].updates, trainer.jobs[0].config.bptt_length
    smooth: list[list[np.ndarray]] = [[] for _ in seeds]
    for done in range(0, updates, CALL):
        for parts, chunk in zip(smooth, trainer.advance(min(CALL, updates - done)), strict=True):
            parts.append(np.asarray(chunk.smooth_loss))
        if done % 50_000 == 0:
            print(f"{variant}: update {done + CALL:,} of {updates:,}, {time.monotonic() - started:.0f} s", flush=True)
    rows = []
    for member, seed in enumerate(seeds):
        state, curve = trainer.glance(member), np.concatenate(smooth[member]) * steps
        fresh = evaluate_pieces(trainer.graphdef, trainer.params(member, "best"), corpus.ids).loss_nats * steps
        found = (float(state.best_smooth_loss) * steps, float(curve[min(AT, updates) - 1]), fresh)
        rows.append([variant, seed, int(state.best_update), *(round(value, 4) for value in found)])
    return rows


def main(
    text: str = "python-reference",
    /,
    *,
    variants: tuple[str, ...] = VARIANTS,
    seeds: int = 10,
    epochs: int = EPOCHS,
    csv_file: Annotated[Path | None, cyclopts.Parameter("--csv")] = None,
) -> int:
    """Train every variant with every seed and print the lowest losses.

    Args:
      text: a file or a known text.
      variants: reports, kept, anew, unclipped.
      seeds: from 0 on.
      epochs: passes over the book.
      csv_file: where the numbers of every seed go; rows of other variants that it has stay.
    """
    for variant in variants:
        check_choice("variants", variant, VARIANTS)
    check_count("seeds", seeds, 1)
    check_count("epochs", epochs, 1)
    corpus, rows = load_corpus(text), []
    for variant in variants:
        rows += measure(variant, corpus, list(range(seeds)), epochs)
        lowest = [row[3] for row in rows if row[0] == variant]
        print(f"{variant}: lowest {told(lowest, 2)}: {lowest}")
    if csv_file is not None:
        kept: list[list[Any]] = []
        if csv_file.exists():
            with open(csv_file, encoding="utf-8", newline="") as file:
                kept = [row for row in csv.reader(file) if row and row[0] not in (*variants, COLUMNS[0])]
        with open(csv_file, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *kept, *rows])
    return 0


if __name__ == "__main__":
    run_app(main)
