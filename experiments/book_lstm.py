"""An LSTM of two layers writes Democracy in America (report D): accuracy, loss, samples, newlines.

    python -m experiments.book_lstm --updates 200000 --run runs/book-lstm

The same command goes on after a kill, and a larger --updates goes on from the end.

Published by report D, training accuracy: 0.57 at 50,000 updates, 0.59 at 100,000, 0.61 at 200,000, about 0.68 at
500,000. Its loss of 0.126 is in a unit that it does not give, and is no target.
Obtained on one core of an AMD EPYC with AVX-512, no GPU, jax 0.10.2, 2026-11-27, `--updates 200000`, 2.6 h beside
other work (60 updates/s alone); training accuracy (mean of 1,000 updates), validation accuracy and loss in nats:
     10,000   0.690   0.630   1.383
     20,000   0.712   0.625   1.500
     50,000   0.731   0.616   1.713      published 0.57
    100,000   0.745   0.608   1.933      published 0.59
    200,000   0.762   0.602   2.170      published 0.61
D's 0.61 of update 200,000 and 0.68 of 500,000 are passed before update 20,000, but not on new text: the validation loss
is lowest at update 7,532. Newlines are 1.3 to 1.7 % of the samples from update 5,000 on, as in the book (1.7 %); their
share does not fall, since the book is read with its line ends.

Recipe of D: LSTM 2 x 128, windows of 30 characters, batch 64, RMSprop 2e-3 times 0.96 every 5,000 updates, the norm of
the whole gradient at most 5. Chosen here, since D does not say: decay 0.95 of the mean square, weights
U(-0.08, 0.08), forget bias 1. Deviations: the carry passes from window to window; the last tenth of the book is kept
out of training, so that there is a validation accuracy, and is scored at each epoch's end.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn import TrainConfig, Trainer, load_corpus, open_run, train
from jaxrnn.devices import use_compile_cache
from jaxrnn.errors import ConfigurationError
from jaxrnn.random_streams import STREAM_SAMPLES, run_key, stream_key
from jaxrnn.storage import read_json, read_samples, write_atomically
from jaxrnn.terminal import EXIT_OF_STOP, run_app, write_output
from jaxrnn.training import prepare_devices

PUBLISHED_ACCURACY = {50_000: 0.57, 100_000: 0.59, 200_000: 0.61, 500_000: 0.68}
# After so many updates the model goes on with the seed text, greedily and at D's temperatures.
MILESTONES = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 300_000, 400_000, 500_000)
TEMPERATURES = (0.0, 0.5, 1.0, 2.0)
CONTINUATION_LENGTH = 30
FIRST_UPDATES = 2_000  # D shows them apart
LOG_EVERY, DRAWN_EVERY = 10, 100  # later updates are drawn less often
ACCURACY_UPDATES = 1_000  # the training accuracy is the mean of so many


def recipe(text: str, updates: int, seed: int) -> TrainConfig:
    """The settings of D's text generator."""
    return TrainConfig(
        text=text,
        cell="lstm",
        layers=2,
        hidden=128,
        init="uniform",
        init_scale=0.08,
        bptt_length=30,
        batch_size=64,
        optimizer="rmsprop",
        learning_rate=2e-3,
        decay_rate=0.96,
        decay_every_updates=5_000,
        clip_value=0.0,
        clip_global_norm=5.0,
        loss_reduction="mean",
        accuracy=True,
        validation_fraction=0.1,
        updates=updates,
        sample_every=1_000,
        log_every=LOG_EVERY,
        seed=seed,
    )


def main(
    text: str = "democracy",
    /,
    *,
    updates: int = 200_000,
    prime: str = "The people of the United States ",
    seed: int = 0,
    run: Path = Path("runs/book-lstm"),
) -> int:
    """Train, let the model write at each milestone, and tabulate what report D shows.

    Args:
      text: a file or a known text.
      updates: how many in all.
      prime: the seed text that the model goes on with.
      seed: seed of everything random.
      run: the run directory.
    """
    final = recipe(text, updates, seed)
    vocabulary = load_corpus(text, final.reading_options()).vocabulary
    vocabulary.encode_prompt(prime)  # what it cannot go on with is refused now, not at the first milestone
    written, begun = run / "continuations.json", run / "prime.json"
    if begun.is_file() and read_json(begun) != prime:
        raise ConfigurationError(
            f"--prime of {run} is {read_json(begun)!r}; give that, or another --run for another one"
        )
    use_compile_cache()
    prepare_devices(final, run)
    started = time.monotonic()
    table = json.loads(written.read_text(encoding="utf-8")) if written.is_file() else {}

    def write(update: int, trainer: Trainer) -> None:
        table[str(update)] = continuations(trainer, prime, update)
        write_atomically(begun, json.dumps(prime) + "\n")
        write_atomically(written, json.dumps(table, indent=2) + "\n")

    milestones = {*(at for at in MILESTONES if at < updates), updates}
    result = train(final, run, callbacks=[({at for at in milestones if str(at) not in table}, write)])
    if result.stopped:
        return EXIT_OF_STOP[result.stopped]
    report(run, prime, table, time.monotonic() - started)
    return 0


def continuations(trainer: Trainer, prime: str, seed: int) -> dict[str, str]:
    """What the latest parameters write after the seed text, by temperature: that of `Run.sample` with this seed."""
    task, params, key = trainer.jobs[0].task, trainer.params(), stream_key(run_key(seed), STREAM_SAMPLES)
    return {f"{t:g}": task.write(trainer.graphdef, params, key, CONTINUATION_LENGTH, t, prime) for t in TEMPERATURES}


def mean_accuracy(columns: dict[str, np.ndarray], update: int, updates: int = ACCURACY_UPDATES) -> float:
    """The training accuracy over the latest so many updates, from rows that each tell the mean of the latest 100."""
    wanted = np.isin(columns["update"], np.arange(update, max(update - updates, 0), -100))
    return float(columns["train/recent_accuracy"][wanted].astype(float).mean())


def accuracy_rows(columns: dict[str, np.ndarray]) -> list[dict[str, float]]:
    """Training and validation accuracy at the milestones that were reached, with the published one."""
    last = int(columns["update"][-1])
    rows = []
    for at in sorted({m for m in MILESTONES if 1_000 <= m <= last} | {last}):
        place = int(np.searchsorted(columns["update"], at))
        row = {
            "update": at,
            "train_accuracy": mean_accuracy(columns, at),
            "published": PUBLISHED_ACCURACY.get(at, float("nan")),
            "train_smooth_loss_nats": float(columns["train/smooth_loss_nats"][place]),
            "valid_accuracy": latest_known(columns["valid/accuracy"][: place + 1]),
            "valid_loss_nats": latest_known(columns["valid/loss_nats"][: place + 1]),
        }
        rows.append(row)
    return rows


def latest_known(column: np.ndarray) -> float:
    """The last value that was measured; NaN if none was.

    Example:
      >>> latest_known(np.array([np.nan, 0.5, np.nan]))
      0.5
    """
    known = column[np.isfinite(column)]
    return float(known[-1]) if len(known) else float("nan")


def written_between(samples: list[tuple[int, float, str]], milestones: Sequence[int]) -> Iterator[tuple[int, int, str]]:
    """(first update, last update, text) of the samples between two milestones, where there are any."""
    for before, at in itertools.pairwise((0, *milestones)):
        if text := "".join(text for update, _, text in samples if before < update <= at):
            yield before + 1, at, text


def newline_shares(samples: list[tuple[int, float, str]]) -> list[tuple[int, int, float]]:
    """(first update, last update, share of newlines) of the samples between two milestones."""
    parts = written_between(samples, MILESTONES)
    return [(first, last, text.count("\n") / len(text)) for first, last, text in parts]


def report(run: Path, prime: str, table: dict[str, dict[str, str]], seconds: float) -> None:
    """Prints what D prints, and writes it into the run directory with the curves."""
    opened = open_run(run)
    columns, rows = opened.metrics, accuracy_rows(opened.metrics)
    samples = read_samples(opened.directory.samples_path)
    shares = newline_shares(samples)
    corpus = load_corpus(opened.config.text, opened.config.reading_options())
    book = corpus.vocabulary.display_text(corpus.ids)
    of_book = book.count("\n") / len(book)
    numbers = {"accuracy": rows, "newline_share": shares, "newline_share_of_book": of_book}
    write_atomically(run / "book_lstm.json", json.dumps(numbers, indent=2) + "\n")
    print("\n   update   training accuracy   report D   validation accuracy   training loss   validation loss (nats)")
    for row in rows:
        published = f"{row['published']:.2f}" if row["published"] == row["published"] else ""
        print(
            f"{row['update']:>9,}   {row['train_accuracy']:>17.4f}   {published:>8}   {row['valid_accuracy']:>19.4f}   "
            f"{row['train_smooth_loss_nats']:>13.4f}   {row['valid_loss_nats']:>22.4f}"
        )
    print(f"\nthe model goes on with {prime!r}; a newline is shown as ⏎\n   update   temperature   text")
    for update, texts in table.items():
        for temperature, text in texts.items():
            write_output(f"{int(update):>9,}   {temperature:>11}   {text.replace(chr(10), '⏎')}\n")
    print(f"\nshare of newlines in the samples (in the book {of_book:.2%}):")
    for first, last, share in shares:
        print(f"   updates {first:>7,} to {last:>7,}   {share:.2%}")
    figure = curves(columns)
    figure.savefig(run / "curves.png", dpi=120)
    print(f"\nthis call took {seconds:.0f} s; curves: {run / 'curves.png'}")


def curves(columns: dict[str, np.ndarray]) -> Any:
    """Accuracy and loss: the first 2,000 updates, and all of them with the published accuracies."""
    from jaxrnn.inspect import Figure

    figure = Figure(figsize=(10.0, 7.0), layout="constrained")
    panels = figure.subplots(2, 2, sharey="row")
    updates = columns["update"]
    for column, last in enumerate((min(FIRST_UPDATES, int(updates[-1])), int(updates[-1]))):
        shown = (updates <= last) & ((updates <= FIRST_UPDATES) | (updates % DRAWN_EVERY == 0))
        accuracy, loss = panels[0, column], panels[1, column]
        accuracy.plot(updates[shown], columns["train/recent_accuracy"][shown], label="training, mean of 100 updates")
        loss.plot(updates[shown], columns["train/loss_nats"][shown], color="0.75", label="training, one update")
        loss.plot(updates[shown], columns["train/smooth_loss_nats"][shown], label="training, smoothed")
        _draw_validation(accuracy, columns, "valid/accuracy", last)
        _draw_validation(loss, columns, "valid/loss_nats", last)
        known = {at: value for at, value in PUBLISHED_ACCURACY.items() if at <= last}
        if known:
            accuracy.plot(list(known), list(known.values()), "kx", label="report D, training")
        accuracy.set_title(f"the first {last:,} updates" if column == 0 else "all updates")
        loss.set_xlabel("update")
        for axes in (accuracy, loss):
            axes.locator_params(axis="x", nbins=5)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
            axes.margins(x=0.01)
            axes.grid(color="0.9")
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("loss (nats per character)")
    for axes in (panels[0, 1], panels[1, 1]):
        axes.legend(frameon=False)
    return figure


def _draw_validation(axes: Any, columns: dict[str, np.ndarray], name: str, last: int) -> None:
    values, at = columns[name].astype(float), columns["valid/update"]
    known = np.isfinite(values) & (at <= last)
    updates, first = np.unique(at[known], return_index=True)
    axes.plot(updates, values[known][first], ".-", color="tab:orange", linewidth=1, markersize=3, label="validation")


if __name__ == "__main__":
    run_app(main)
