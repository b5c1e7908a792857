"""What a network writes as it learns: 200 greedy characters after a full stop, after each epoch (thesis, 5.4.1).

Command: python -m experiments.text_by_epoch [--epochs 50] [--csv FILE]

Published (thesis): such texts of a GRU of three layers and size 512 at 2 x 10^-2.5, judged by eye: of the last, after
49 epochs, that the same words still cycle, maybe even more than earlier. Ours is the grid's GRU of one layer and size
64, at the same rate.
Obtained: experiments/README.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from experiments.csv_file import write_table
from experiments.language_model_grid.members import Recipe, member_rows, settings_of, with_hidden_size
from experiments.language_model_grid.published import RATES
from experiments.temperatures import repeated_share
from jaxrnn import Trainer, load_corpus
from jaxrnn.inspect import known_word_share, words_of
from jaxrnn.terminal import run_app
from jaxrnn.training import make_job

LENGTH, PRIME = 200, "."
HEADER = ("epoch", "valid_loss_nats", "repeated_phrases", "unknown_words", "text")


def main(
    *,
    text: str = "warpeace",
    epochs: int = 50,
    size: int = 64,
    csv_file: Annotated[Path | None, Parameter("--csv")] = None,
) -> int:
    """Trains a GRU and lets it write after each epoch.

    Args:
      text: what it learns: a known text or a file.
      epochs: how long.
      size: its size, as the grid's.
      csv_file: where losses, shares and texts go.
    """
    corpus = load_corpus(text)
    book = frozenset(words_of(corpus.vocabulary.display_text(corpus.ids)))
    recipe = Recipe(text=text, epochs=epochs)
    row = member_rows(recipe, ["gru-reset-before"], [1], [size], [RATES["2e-2.5"]], [0.0], [], [0])[0]
    job = make_job(settings_of(with_hidden_size(row, len(corpus.vocabulary)), recipe), corpus)
    trainer = Trainer.of([job])
    table: list[tuple] = [HEADER]
    for epoch in range(epochs + 1):
        if epoch:
            trainer.advance(job.windows)
        loss = trainer.score([0])[0].loss
        written = trainer.write(0, LENGTH, 0.0, prime=PRIME)
        shares = repeated_share(written), 1 - known_word_share(written, book)
        table.append((epoch, round(loss, 4), *(round(share, 4) for share in shares), written))
        print(f"epoch {epoch}, validation {loss:.4f} nats: {written!r}", flush=True)
    if csv_file:
        write_table(csv_file, table)
    return 0


if __name__ == "__main__":
    run_app(main)
