"""Characters, bytes, words and byte pairs: what the same network makes of the same text in different symbols.

Command:
    python -m experiments.symbols warpeace --epochs 2 --run runs/symbols --csv experiments/results/symbols.csv

An LSTM of 128 units, Adam, the same number of epochs of the first 80 % of the text, the next 10 % to choose the best
parameters, the last 10 % to test. The parts are of the same characters for all, and so is what is scored: every
character of the test part but its first. Bytes are those of the text as it is read, with line feeds alone. Seconds are
those of the processor, all threads together, with compilation, validation and test. The same command goes on, also
with more epochs.

Obtained on two cores of an AMD EPYC (Zen 4), no GPU, Python 3.11, jax 0.10.2, one core, beside other work, 2026-11-26,
two epochs:
    symbols            V  characters/symbol  parameters  updates  test nats a symbol  a character  CPU s
    characters        82               1.00     118,610    9,988              1.4699       1.4699     98
    bytes             83               1.00     119,251    9,988              1.4706       1.4706     96
    bpe-1000       1,000               2.74     707,048    3,642              3.6015       1.3066    110
    bpe-4000       4,000               3.55   2,630,048    2,814              4.4069       1.2427    284
    words-8000     8,000               3.34   5,194,048    2,988              3.7432       1.2576    641
The networks have as many units, not as many parameters. One seed. After one epoch bpe-4000 had 1.58, since each stream
starts from nothing only once and a test of 32 streams does 32 times; after two it no longer shows.
"""

from __future__ import annotations

import codecs
import json
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts

from experiments.csv_file import write_table
from jaxrnn import TrainConfig, load_corpus, open_run, train
from jaxrnn.checks import check_choice, check_count
from jaxrnn.data import split_text
from jaxrnn.storage import write_atomically
from jaxrnn.terminal import EXIT_OF_STOP, run_app

KINDS: dict[str, dict[str, Any]] = {
    "characters": {},
    "bytes": {"bytes": True},
    "bpe-1000": {"symbols": "bpe", "vocabulary_size": 1000},
    "bpe-4000": {"symbols": "bpe", "vocabulary_size": 4000},
    "words-8000": {"symbols": "words", "vocabulary_size": 8000},
}
RECIPE: dict[str, Any] = {"cell": "lstm", "hidden": 128, "batch_size": 8, "bptt_length": 64, "loss_reduction": "mean"}
RECIPE |= {"optimizer": "adam", "learning_rate": 3e-3, "init": "uniform", "init_scale": 0.25}
RECIPE |= {"recurrent_init": "orthogonal", "sample_every": 0}
SHARE = 0.1


class Row(NamedTuple):
    """What the network made of one kind of symbols, V of them."""

    symbols: str
    size: int
    characters_per_symbol: float
    parameters: int
    updates: int
    test_loss_nats: float
    test_nats_per_char: float
    cpu_seconds: float


def as_read(text: str, directory: Path) -> tuple[Path, dict[str, Any]]:
    """The text as a file of what was read, and the shares of its bytes that part it at the same characters."""
    corpus, path = load_corpus(text), directory / "text.txt"
    parts = [corpus.vocabulary.decode(part).encode() for part in split_text(corpus.ids, SHARE, SHARE)]
    parts[0] = parts[0].removeprefix(codecs.BOM_UTF8)  # bytes would see it, and characters not
    whole = b"".join(parts)
    directory.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != whole:
        write_atomically(path, whole)
    return path, {"validation_fraction": len(parts[1]) / len(whole), "test_fraction": len(parts[2]) / len(whole)}


def trained(name: str, path: Path, shares: dict[str, Any], epochs: int, directory: Path) -> Row | None:
    """Trains on one kind of symbols, or goes on; None if it was stopped."""
    parts: dict[str, Any] = shares if name == "bytes" else {"validation_fraction": SHARE, "test_fraction": SHARE}
    config = TrainConfig(text=str(path), epochs=epochs, devices="1", **RECIPE, **parts, **KINDS[name])
    took, is_done, began = directory / "cpu_seconds.json", (directory / "test.json").exists(), time.process_time()
    seconds = json.loads(took.read_text()) if took.exists() else 0.0
    result = train(config, directory)
    if not is_done:
        seconds += time.process_time() - began
        write_atomically(took, json.dumps(seconds))
    if result.stopped:
        return None
    run, test = open_run(directory), json.loads((directory / "test.json").read_text())
    return Row(
        symbols=name,
        size=len(run.vocabulary),
        characters_per_symbol=result.trainer.settings.objective.characters_per_symbol,
        parameters=run.record["parameters"],
        updates=result.update,
        test_loss_nats=test["loss_nats"],
        test_nats_per_char=test.get("nats_per_char", test["loss_nats"]),
        cpu_seconds=seconds,
    )


def main(
    text: str = "python-reference",
    /,
    *,
    epochs: int = 1,
    run: Path = Path("runs/symbols"),
    kinds: Annotated[list[str] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    csv_file: Annotated[Path | None, cyclopts.Parameter("--csv")] = None,
) -> int:
    """Trains the network on each kind of symbols and prints their losses beside each other.

    Args:
      text: a known text or a file.
      epochs: passes over the training part.
      run: the directory of the runs.
      kinds: which of the kinds; all if not given.
      csv_file: where to write the table.
    """
    check_count("epochs", epochs, 1)
    for name in kinds or ():
        check_choice("kinds", name, tuple(KINDS))
    path, shares = as_read(text, run)
    rows = []
    for name in kinds or KINDS:
        row = trained(name, path, shares, epochs, run / name)
        if row is None:
            return EXIT_OF_STOP["interrupted"]
        rows.append(row)
    print("symbols            V  characters/symbol  parameters  updates  test nats a symbol  a character  CPU s")
    for row in rows:
        print(
            f"{row.symbols:<10} {row.size:9,} {row.characters_per_symbol:18.2f} {row.parameters:11,} {row.updates:8,} "
            f"{row.test_loss_nats:19.4f} {row.test_nats_per_char:12.4f} {row.cpu_seconds:6.0f}"
        )
    if csv_file is not None:
        write_table(csv_file, [Row._fields, *rows])
    return 0


if __name__ == "__main__":
    run_app(main)
