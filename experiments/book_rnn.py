"""A vanilla RNN writes a book (reports A, B and C of the course assignment): learning curve, samples, best loss.

Command:
    python experiments/book_rnn.py tinyshakespeare --updates 100000

Published, on a book of 1,107,540 characters that cannot be shipped here (smoothed loss, sum over 25 characters, nats):
    A: 108.92 at update 1, 49.82 at 100,000, 45.69 at 300,000      C: 40.97, the best of 7 epochs
Obtained: see experiments/README.md, with command, time, device and date.

Deviations: another book; the gradient is clipped to [-5, 5] as in the assignment's text, though the reports do not say
so (--clip-value 0 runs without); samples during training start from a zero carry and a random character.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxrnn import TrainConfig, load_corpus, open_run, train
from jaxrnn.devices import use_compile_cache
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect import known_word_share, words_of
from jaxrnn.scoring import evaluate_pieces
from jaxrnn.storage import json_number, read_samples, write_atomically
from jaxrnn.terminal import EXIT_OF_STOP, run_app, write_output

# Report A's printed losses, by update.
PUBLISHED_A = {
    1: 108.92, 10_000: 57.81, 20_000: 54.01, 30_000: 52.11, 40_000: 51.03, 50_000: 51.65, 60_000: 50.42, 70_000: 49.71,
    80_000: 48.42, 90_000: 48.91, 100_000: 49.82, 150_000: 48.50, 200_000: 48.08, 250_000: 46.32, 300_000: 45.69,
}  # fmt: skip
PUBLISHED_C = 40.971  # the best of seven epochs
BEST_SAMPLE_LENGTH = 1000


@dataclass(frozen=True)
class Preset:
    """The length of a report's run; all else is the recipe that the reports share."""

    updates: int | None = None
    epochs: int | None = None
    sample_every: int = 10_000
    log_every: int = TrainConfig.log_every


PRESETS = {
    "a-100k": Preset(updates=100_000),
    "a-300k": Preset(updates=300_000),
    "b-10k": Preset(updates=10_000, sample_every=1_000),
    "b-100k": Preset(updates=100_000),
    "c-100k": Preset(updates=100_000),
    "c-2-epochs": Preset(epochs=2, log_every=1),  # C draws the loss of each update
    "c-7-epochs": Preset(epochs=7),
    "smoke": Preset(updates=300, sample_every=100),
}


def main(
    text: str = "python-reference",
    /,
    *,
    preset: str = "a-100k",
    updates: int | None = None,
    epochs: int | None = None,
    clip_value: float = 5.0,
    learning_rate: float = 0.1,
    seed: int = 0,
    best_by: str = "smoothed",
    run: Path | None = None,
) -> int:
    """Train a vanilla RNN of 100 units on a book by the reports' recipe, and report what they report.

    Args:
      text: a file or a known text.
      preset: a-100k, a-300k, b-10k, b-100k, c-100k, c-2-epochs, c-7-epochs or smoke: how long.
      updates: this many updates, in place of the preset's.
      epochs: this many epochs, in place of the preset's.
      clip_value: limit of each gradient entry; 0 clips nothing.
      learning_rate: of AdaGrad.
      seed: seed of everything random.
      best_by: what chooses the best parameters: smoothed, as the reports, or fresh, see docs/numbers.md.
      run: run directory; runs/book-TEXT-PRESET if not given.
    """
    if preset not in PRESETS:
        raise ConfigurationError(f"--preset expects one of {', '.join(PRESETS)}; got {preset!r}")
    length = PRESETS[preset]
    if updates is None and epochs is None:
        updates, epochs = length.updates, length.epochs
    config = TrainConfig(
        text=text,
        updates=updates,
        epochs=epochs,
        clip_value=clip_value,
        learning_rate=learning_rate,
        seed=seed,
        sample_every=length.sample_every,
        log_every=length.log_every,
        best_by=best_by,
    )
    use_compile_cache()
    run = run or Path("runs") / f"book-{Path(text).stem}-{preset}"
    started = time.monotonic()
    result = train(config, run)
    if result.stopped:
        return EXIT_OF_STOP[result.stopped]
    report(run, time.monotonic() - started)
    return 0


def best_smooth_loss_by_epoch(columns: dict[str, np.ndarray]) -> list[tuple[int, int, float]]:
    """(epoch, update, smoothed loss summed over a window in nats) of the lowest logged loss of each epoch.

    Args:
      columns: `Run.metrics`, of which `epoch`, `update` and `train/smooth_loss_sum_nats` are read.

    Example:
      >>> import numpy as np
      >>> best_smooth_loss_by_epoch({"epoch": np.array([1, 1, 2]), "update": np.array([1, 100, 200]),
      ...     "train/smooth_loss_sum_nats": np.array([100.0, 60.0, 50.0])})
      [(1, 100, 60.0), (2, 200, 50.0)]
    """
    rows = []
    for epoch in np.unique(columns["epoch"]):
        of_epoch = np.flatnonzero(columns["epoch"] == epoch)
        best = of_epoch[np.argmin(columns["train/smooth_loss_sum_nats"][of_epoch])]
        loss = float(columns["train/smooth_loss_sum_nats"][best])
        rows.append((int(epoch), int(columns["update"][best]), loss))
    return rows


def report(run: Path, seconds: float) -> None:
    """Writes the report of a finished run into its directory, and prints it."""
    opened = open_run(run)
    corpus = load_corpus(opened.config.text, opened.config.reading_options())
    columns = opened.metrics
    losses = dict(zip(columns["update"].tolist(), columns["train/smooth_loss_sum_nats"].tolist(), strict=True))
    book = frozenset(words_of(corpus.vocabulary.display_text(corpus.ids)))
    shares = [(at, known_word_share(text, book)) for at, _, text in read_samples(opened.directory.samples_path)]
    best_text = opened.sample(BEST_SAMPLE_LENGTH)
    (run / "best_sample.txt").write_text(best_text, encoding="utf-8", errors="surrogatepass")
    picture = opened.save_plot()
    best = {
        "update": int(opened.state.best_update),
        "smooth_loss_sum_nats": float(opened.state.best_smooth_loss) * opened.config.bptt_length,
        # What they do from where the model starts; from zeros some seeds' fall into another attractor.
        "fresh_loss_sum_nats": evaluate_pieces(*opened.split(), corpus.ids).loss_nats * opened.config.bptt_length,
    }
    by_epoch = best_smooth_loss_by_epoch(columns)
    numbers = {
        "best": best,
        "best_by_epoch": by_epoch,
        "known_word_share_by_update": [(at, json_number(share)) for at, share in shares],
        "known_word_share_of_best": json_number(known_word_share(best_text, book)),
        "seconds_of_this_call": round(seconds, 1),
    }
    write_atomically(run / "book_rnn.json", json.dumps(numbers, indent=2) + "\n")
    print("\n   update   smoothed loss   report A (another book)   sampled words in the book")
    known = dict(shares)
    for at in sorted({1, *known, *(at for at in PUBLISHED_A if at in losses)} & set(losses)):
        published = f"{PUBLISHED_A[at]:.2f}" if at in PUBLISHED_A else ""
        share = f"{known[at]:.0%}" if at in known else ""
        print(f"{at:>9,}   {losses[at]:>13.2f}   {published:>23}   {share:>25}")
    print("\n    epoch   at update   lowest smoothed loss")
    for epoch, at, loss in by_epoch:
        print(f"{epoch:>9}   {at:>9,}   {loss:>20.2f}")
    lowest, best_at = best["smooth_loss_sum_nats"], best["update"]
    print(
        f"\nbest smoothed loss {lowest:.2f} at update {best_at:,}, {best['fresh_loss_sum_nats']:.2f} from fresh "
        f"starts; this call took {seconds:.0f} s"
    )
    print(f"learning curve: {picture}\n")
    write_output(f"{BEST_SAMPLE_LENGTH} characters from the best parameters:\n{best_text}\n")


if __name__ == "__main__":
    run_app(main)
