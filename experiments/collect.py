"""Turns what experiments leave in their directories into the tables of experiments/results, which are committed.

    python -m experiments.collect book RUN...             of book_rnn.py: one run a seed, the longest preset
    python -m experiments.collect book-best RUN...        the best alone, of runs with --best-by smoothed and fresh
    python -m experiments.collect raw-loss RUN            of book_rnn.py --preset c-2-epochs: the loss of every update
    python -m experiments.collect steps RUN NAME          of palindromes steps: right answers of every update
    python -m experiments.collect gate RUN                of temporal_gate noise and sines
    python -m experiments.collect gradients RUN           of palindromes gradients
    python -m experiments.collect gradient-tables FILE    of gradient_check.py --json
    python -m experiments.collect book-lstm RUN           of book_lstm.py

`python -m experiments.tables` makes figures and tables of them, without training anything.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np

from experiments.book_lstm import DRAWN_EVERY, FIRST_UPDATES, MILESTONES, written_between
from experiments.palindromes.runs import PalindromeRuns
from jaxrnn import load_corpus, open_run
from jaxrnn.inspect import known_word_share, words_of
from jaxrnn.inspect.novelty import WORD
from jaxrnn.storage import read_samples
from jaxrnn.terminal import run_app

app = cyclopts.App(help="Tables of experiments/results from the directories of runs.", version_flags=[])
RESULTS = Path(__file__).parent / "results"
CURVE_EVERY, RAW_EVERY = 200, 100
NAME_AT_LEAST = 20  # times that a book has a word, always with a capital letter, for it to be a name
LSTM_WORDS = ("the", "a", "of", "and", "to")
BEST = ["seed", "update", "smooth_loss", "fresh_loss", "known_words"]
RULES = ("sgd", "rmsprop", "adam")


def write_csv(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table of experiments/results."""
    with open(RESULTS / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    print(f"wrote {RESULTS / name}.csv")


def names_of(text: str, at_least: int = NAME_AT_LEAST) -> frozenset[str]:
    """The names in a book: words that begin with a capital letter wherever they stand, and that it has often enough.

    Example:
      >>> sorted(names_of("Harry ran. The cat saw Harry and the owl.", 2))
      ['harry']
    """
    counts = Counter(WORD.findall(text))
    by_word: dict[str, list[str]] = {}
    for word in counts:
        by_word.setdefault(word.lower(), []).append(word)
    return frozenset(
        word
        for word, forms in by_word.items()
        if len(word) > 2
        and all(form[0].isupper() and form.isalpha() for form in forms)
        and sum(counts[form] for form in forms) >= at_least
    )


@app.command
def book(*runs: Path) -> int:
    """Learning curves, best losses and sampled words of a vanilla RNN that writes a book, one run a seed.

    Args:
      runs: directories of the same recipe and length with seeds of their own.
    """
    opened = sorted((open_run(run) for run in runs), key=lambda run: run.config.seed)
    corpus = load_corpus(opened[0].config.text, opened[0].config.reading_options())
    text = corpus.vocabulary.display_text(corpus.ids)
    known, names = frozenset(words_of(text)), names_of(text)
    best, samples, curves = [], [], []
    for run in opened:
        seed, columns = run.config.seed, run.metrics
        best.append(_best_of(run))
        curves.append(columns["train/smooth_loss_sum_nats"])
        for update, _, sample in read_samples(run.directory.samples_path):
            words = words_of(sample)
            of_names = sorted(names.intersection(words))
            share = round(known_word_share(sample, known), 4)
            samples.append([seed, update, len(words), share, " ".join(of_names)])
    write_csv("book_rnn_best", BEST, best)
    write_csv("book_rnn_samples", ["seed", "update", "words", "known_words", "names"], samples)
    updates, epochs = columns["update"], columns["epoch"]
    mean = opened[0].metrics["train/mean_loss_nats"] * opened[0].config.bptt_length
    shown = [row for row, update in enumerate(updates) if update == 1 or update % CURVE_EVERY == 0]
    rows = [[int(updates[r]), int(epochs[r]), f"{mean[r]:.3f}", *(f"{of[r]:.3f}" for of in curves)] for r in shown]
    header = ["update", "epoch", "mean_loss_0", *(f"smooth_loss_{run.config.seed}" for run in opened)]
    write_csv("book_rnn_curves", header, rows)
    return 0


@app.command
def book_best(*runs: Path) -> int:
    """The best parameters of such runs by the smoothed loss and by fresh starts, those of a seed beside each other.

    Args:
      runs: directories of the same recipe and length, two a seed.
    """
    opened = sorted((open_run(run) for run in runs), key=lambda run: (run.config.seed, run.config.best_by))
    write_csv("book_rnn_best_by", ["best_by", *BEST], ([run.config.best_by, *_best_of(run)] for run in opened))
    return 0


def _best_of(run: Any) -> list[Any]:
    report = json.loads((run.directory.path / "book_rnn.json").read_text("utf-8"))
    found = [report["best"][name] for name in ("update", "smooth_loss_sum_nats", "fresh_loss_sum_nats")]
    return [run.config.seed, *(round(value, 4) for value in (*found, report["known_word_share_of_best"]))]


@app.command
def raw_loss(run: Path) -> int:
    """The loss of every update of a book's run: least, mean and largest of each hundred.

    Args:
      run: a run with a row an update.
    """
    opened = open_run(run)
    loss = opened.metrics["train/loss_nats"] * opened.config.bptt_length
    groups = loss[: len(loss) // RAW_EVERY * RAW_EVERY].reshape(-1, RAW_EVERY)
    parts = (np.arange(1, len(groups) + 1) * RAW_EVERY, groups.min(1), groups.mean(1), groups.max(1))
    rows = [[update, *(f"{value:.2f}" for value in of)] for update, *of in zip(*parts, strict=True)]
    write_csv("book_rnn_raw_loss", ["update", "least", "mean", "largest"], rows)
    return 0


@app.command
def steps(run: Path, name: str) -> int:
    """How many of the batch were right at every update, a column a network and seed.

    Args:
      run: the directory of `palindromes steps`.
      name: of the table.
    """
    runs = PalindromeRuns(run, 1, open("/dev/null", "w"))  # noqa: SIM115
    rows = sorted(runs.rows(), key=lambda row: (row["cell"] != "vanilla", RULES.index(row["optimizer"]), row["seed"]))
    batch = rows[0]["batch_size"]
    right = [np.rint(runs.curve(row).accuracy * batch).astype(int).tolist() for row in rows]
    header = ["update", *(f"{row['cell']}, {row['optimizer']}, {row['seed']}" for row in rows)]
    write_csv(name, header, ([update, *of] for update, of in enumerate(zip(*right, strict=True), 1)))
    return 0


@app.command
def gate(run: Path) -> int:
    """Accuracies, gates and sensitivities of the temporal gate, of what was run.

    Args:
      run: the directory of `temporal_gate noise` and `sines`.
    """
    found = {name: run / f"{name}.json" for name in ("noise", "sines")}
    known = {name: json.loads(path.read_text("utf-8")) for name, path in found.items() if path.is_file()}
    for name, of in known.items():
        rows = [
            [mode, network, seed, update, round(value, 4)]
            for mode, networks in ({"": of["accuracy"]} if name == "noise" else of["accuracy"]).items()
            for network, by_seed in networks.items()
            for seed, values in enumerate(by_seed)
            for update, value in zip(of["updates"], values, strict=True)
        ]
        write_csv(f"temporal_gate_{name}", ["sampling", "network", "seed", "update", "accuracy"], rows)
    if "noise" not in known:
        return 0
    noise = known["noise"]
    parts = ("period", "shift", "open_ratio", "use")
    units = [
        [when, seed, unit, *(f"{of[part][unit]:.5g}" for part in parts)]
        for when, by_seed in noise["units"].items()
        for seed, of in enumerate(by_seed)
        for unit in range(len(of["period"]))
    ]
    write_csv("temporal_gate_units", ["when", "seed", "unit", *parts], units)
    by_seed = noise["sensitivity"]
    steps = [[step, *(f"{of[step]:.5g}" for of in by_seed)] for step in range(len(by_seed[0]))]
    write_csv("temporal_gate_sensitivity", ["step", *(f"seed_{n}" for n in range(len(by_seed)))], steps)
    return 0


@app.command
def gradients(run: Path) -> int:
    """Norms of gradients through time, of products of Jacobians, and eigenvalues.

    Args:
      run: the directory of `palindromes gradients`.
    """
    found = json.loads((run / "gradients.json").read_text("utf-8"))
    rows: list[list[Any]] = []
    for network, by_model in found["hidden_gradient_norms"].items():
        for model, norms in by_model.items():
            rows += [["hidden gradient", network, model, t, _digits(norm), ""] for t, norm in enumerate(norms, 1)]
    for activation, by_radius in found["jacobian_norms"].items():
        for radius, norms in by_radius.items():
            rows += [["jacobian", activation, radius, t, _digits(norm), ""] for t, norm in enumerate(norms)]
    for network, values in found["eigenvalues"].items():
        rows += [["eigenvalue", network, "", n, _digits(re), _digits(im)] for n, (re, im) in enumerate(values)]
    rows += [["accuracy", network, "", "", _digits(value), ""] for network, value in found["recent_accuracy"].items()]
    write_csv("palindromes_gradients", ["what", "network", "which", "place", "value", "imaginary"], rows)
    return 0


@app.command
def gradient_tables(file: Path) -> int:
    """The gradient tables, a row a group and kind of differences.

    Args:
      file: what `gradient_check.py --json` wrote.
    """
    rows = [
        [
            row["text"],
            row["table"],
            row["group"],
            row["published"],
            method,
            f"{error:.3g}",
            f"{row['hand_derived']:.3g}",
        ]
        for row in json.loads(file.read_text("utf-8"))
        for method, error in row["differences"].items()
    ]
    write_csv("gradient_tables", ["text", "table", "group", "published", "differences", "error", "hand_derived"], rows)
    return 0


@app.command
def book_lstm(run: Path) -> int:
    """An LSTM that writes a book: accuracy and loss, every tenth update at first and then every hundredth; its words.

    Args:
      run: the directory of book_lstm.py.
    """
    opened = open_run(run)
    columns = opened.metrics
    names = ("train/recent_accuracy", "train/loss_nats", "train/smooth_loss_nats", "valid/accuracy", "valid/loss_nats")
    at = columns["update"]
    scored = np.isfinite(columns["valid/accuracy"].astype(float))
    shown = np.flatnonzero((at <= FIRST_UPDATES) | (at % DRAWN_EVERY == 0) | scored)
    rows = [[int(at[n]), int(at[n]) if scored[n] else "", *(_known(columns[name][n]) for name in names)] for n in shown]
    write_csv("book_lstm", ["update", "valid/update", *names], rows)
    corpus = load_corpus(opened.config.text, opened.config.reading_options())
    ends = (*(milestone for milestone in MILESTONES if milestone < at[-1]), int(at[-1]))
    written = written_between(read_samples(opened.directory.samples_path), ends)
    texts = [("book", corpus.vocabulary.display_text(corpus.ids)), *((until, text) for _, until, text in written)]
    counted = [
        [until, len(text), text.count("\n"), len(words), *(words.count(word) for word in LSTM_WORDS)]
        for until, text in texts
        if (words := words_of(text))
    ]
    write_csv("book_lstm_words", ["until", "characters", "newlines", "words", *LSTM_WORDS], counted)
    return 0


def _digits(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"


def _known(value: Any) -> str:
    return f"{value:.5g}" if np.isfinite(float(value)) else ""


if __name__ == "__main__":
    run_app(app)
