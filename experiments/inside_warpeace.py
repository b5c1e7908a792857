"""Inside a trained model of War and Peace: loss along the novel, gates, units, n-gram models, kinds of errors.

    python -m experiments.inside_warpeace [--model FILE]

The model is that of the notebooks: two LSTMs of 128 units, 250,835 parameters, trained on the first 80 % of the novel.
The pictures are those of the thesis (loss along the corpus) and of Karpathy, Johnson and Li, KJL (saturation, a unit
that tracks quotes, n-gram models beside the network, kinds of errors). KJL's LSTM of two layers and half as
many parameters is quoted with 1.227 nats.

Obtained on 2 CPU cores, no GPU, jax 0.10.2, 2026-11-26, 2 min 23 s beside other work; nats a character:
    loss                training 1.377, validation 1.445, test 1.431 (started cold: 1.432)
    n-gram models       the orders 4, 5 and 8 have 1.569, 1.361 and 1.265 on the same test data
    calibration, test   best guess 0.567 on average, right in 0.569 of the cases, expected error 0.007
    gates above 0.9     forget 0.86 and 0.92 of the time (layers 0, 1), input 0.64 and 0.82, output 0.14 and 0.33
    unit 16 of layer 1  inside quotes r = -0.846 on the held-out 20,000 characters, by chance at most 0.093
    errors (p < 0.5)    0.561 of the characters: 0.280 an n-gram model has right, 0.161 memory, 0.086 rare words,
                        0.244 after a blank, 0.077 the rest, as far as none before it in this order repairs them
All numbers are in experiments/results/inside_warpeace.json, the pictures in experiments/figures/inside_*.png.

What differs from the papers: the n-gram table has each part without the text before it, so the network stands beside it
cold. Units are looked for on the first 60,000 characters of the test data and set to 0 on 3,000 of them.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxrnn import load_corpus, open_run
from jaxrnn.data import split_text
from jaxrnn.inspect import (
    Figure,
    Guesses,
    activations,
    calibration_of,
    calibration_sums,
    draw_calibration,
    draw_effects,
    draw_error_kinds,
    draw_loss_along_text,
    draw_loss_by_order,
    draw_saturation,
    draw_unit,
    effect_of_setting,
    find_tracking_units,
    guess,
    kinds_of_errors,
    properties_of,
    summarise_layers,
)
from jaxrnn.storage import write_atomically
from jaxrnn.terminal import run_app

HERE = Path(__file__).parent
MODEL = HERE.parent / "notebooks/models/warpeace_lstm_128x2.safetensors"
NGRAMS = HERE / "results/ngrams_warpeace.csv"
SEARCHED, SET, SHOWN, CHUNK = 60_000, 3_000, 960, 50_000  # characters
PROPERTY = "inside quotes"


def look(model_file: Path, text: str, ngram_file: Path | None) -> Iterator[tuple[str, Figure, Any]]:
    """One part of the page after the other: its name, its picture and its numbers."""
    trained = open_run(model_file)
    corpus = load_corpus(text, None, trained.vocabulary)
    model, vocabulary = trained.model(), corpus.vocabulary
    parts = split_text(corpus.ids, 0.1, 0.1)
    cold = guess(model, parts.test, best=1)
    along = guess(model, corpus.ids, best=1)
    borders = {"validation": len(parts.train), "test": len(parts.train) + len(parts.valid)}
    first, second = (border - 1 for border in borders.values())  # row n is the guess of character n + 1
    by_part = {"training": along.log_p[:first], "validation": along.log_p[first:second], "test": along.log_p[second:]}
    losses = {name: -float(of.mean()) for name, of in by_part.items()}
    yield "loss", draw_loss_along_text(along.log_p, borders), losses | {"test, cold": -float(cold.log_p.mean())}
    yield "calibration", *_calibration(model, parts.test, len(vocabulary))

    layers = summarise_layers(model, parts.test)
    shares = [
        {name: {"below 0.1": of.low.mean(), "above 0.9": of.high.mean()} for name, of in layer.gates.items()}
        for layer in layers
    ]
    yield "saturation", draw_saturation(layers), shares

    ids = parts.test[:SEARCHED]
    by_layer = activations(model, ids)
    h, read = np.concatenate(by_layer, axis=1), vocabulary.decode(ids[:-1])
    properties = properties_of(read)
    units = find_tracking_units(h, properties)
    best = next((of for of in units if of.property == PROPERTY), units[0])
    sizes = np.cumsum([0, *(of.shape[1] for of in by_layer)])
    layer = int(np.searchsorted(sizes, best.unit, side="right")) - 1
    unit = best.unit - int(sizes[layer])
    begin = _liveliest(properties[best.property])
    shown = slice(begin, begin + SHOWN)
    title = f"Unit {unit} of layer {layer} on test data: {best.property}, r = {best.held_out:.2f}"
    yield "unit", draw_unit(read[shown], h[shown, best.unit], title=title), [of._asdict() for of in units]

    effects = {f"layer {n}": effect_of_setting(model, parts.test[begin : begin + SET], n) for n in range(len(layers))}
    numbers = {name: {"median": float(np.median(of)), "largest": float(of.max())} for name, of in effects.items()}
    marked = float(effects[f"layer {layer}"][unit])
    yield (
        "effects",
        draw_effects(effects, (f"layer {layer}", unit)),
        numbers | {f"unit {unit} of layer {layer}": marked},
    )

    if ngram_file is not None:
        table = list(csv.DictReader(ngram_file.read_text("utf-8").splitlines()))
        by_order = np.array([float(row["test_loss_nats"]) for row in table])
        yield "ngrams", draw_loss_by_order(by_order, {"the network": -float(cold.log_p.mean())}), by_order.tolist()
    kinds = kinds_of_errors(cold.log_p, parts.test, parts.train, vocabulary)
    told = {of.name: {"share": of.share, "alone": of.alone} for of in kinds.kinds}
    yield "errors", draw_error_kinds(kinds), {"characters": kinds.characters, "errors": kinds.errors, "kinds": told}


def _calibration(model: Any, ids: np.ndarray, symbols: int) -> tuple[Figure, dict[str, float]]:
    """Chunk by chunk, since all probabilities of all characters at once would take much memory."""
    sums: Any = None
    for start in range(0, len(ids) - 1, CHUNK):
        chunk, before = ids[start : start + CHUNK + 1], ids[max(start - 1000, 0) : start]
        of: Guesses = guess(model, chunk, best=symbols, before=before)
        p = np.empty_like(of.best_p)
        np.put_along_axis(p, of.best, of.best_p, axis=1)
        more = calibration_sums(p, chunk[1:])
        sums = more if sums is None else sums + more
    found = calibration_of(sums)
    names = ("expected_error", "mean_confidence", "mean_accuracy", "entropy_nats", "loss_nats")
    return draw_calibration({"test": found}), {name: getattr(found, name) for name in names}


def _liveliest(marks: np.ndarray) -> int:
    """Where the stretch of `SHOWN` characters begins in which a property changes most often."""
    changes = np.abs(np.diff(marks)).cumsum()
    return int(np.argmax(changes[SHOWN:] - changes[:-SHOWN])) if len(changes) > SHOWN else 0


def main(
    text: str = "warpeace",
    /,
    *,
    model: Path = MODEL,
    ngrams: Path | None = NGRAMS,
    figures: Path = HERE / "figures",
    results: Path = HERE / "results",
) -> int:
    """Makes the pictures inside_*.png and the numbers inside_warpeace.json.

    Args:
      text: the text that the model was trained on, a known text or a file.
      model: a run directory or the file of one model.
      ngrams: the table of `experiments.ngrams` for the same text.
      figures: the folder of the pictures.
      results: the folder of the numbers.
    """
    numbers = {}
    for name, figure, found in look(model, text, ngrams):
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=100)
        write_atomically(figures / f"inside_{name}.png", picture.getvalue())
        numbers[name] = found
        print(f"{name}: {json.dumps(_rounded(found))}")
    write_atomically(results / "inside_warpeace.json", json.dumps(_rounded(numbers), indent=1) + "\n")
    return 0


def _rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {name: _rounded(of) for name, of in found.items()}
    if isinstance(found, list):
        return [_rounded(of) for of in found]
    return round(float(found), 4) if isinstance(found, (float, np.floating)) else found


if __name__ == "__main__":
    run_app(main)
