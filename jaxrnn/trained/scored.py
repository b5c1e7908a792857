"""A trained model scored on a text, alone or with others, as it is or with parameters that follow the text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import nnx

from jaxrnn.checks import check_choice
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.recorded import recorded_text, split_again
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError, DataError, NumericError, UnknownSymbolError
from jaxrnn.models.ensemble import Ensemble
from jaxrnn.scoring.adaptation import Adaptation
from jaxrnn.scoring.dynamic import evaluate_adapting, mean_squared_gradients
from jaxrnn.scoring.evaluation import evaluate_ids
from jaxrnn.terminal.printable import printable
from jaxrnn.terminal.table import Shown


def score_text(
    trained: Any,
    text: str | Sequence[str],
    checkpoint: str | None,
    unknown: str,
    beside: Sequence[Any],
    adaptation: Adaptation | None,
    trained_on: str | None,
) -> dict[str, Any]:
    """The numbers of `TrainedModel.evaluate`, which says what these arguments are."""
    check_choice("unknown", unknown, ("refuse", "skip"))
    with numerics(trained.config.dtype):
        graphdef, params = _together(trained, beside, checkpoint)
    ids, document_end, skipped = _read(trained, text, unknown == "skip")
    learned = _learned_from(trained, trained_on) if adaptation else None
    with numerics(trained.config.dtype):
        options = {"document_end": document_end, "characters": trained.vocabulary.count_characters(ids[1:])}
        if adaptation is None or learned is None:
            score = evaluate_ids(graphdef, params, ids, **options)
        else:
            end, segment = trained.document_end, adaptation.segment
            squares = mean_squared_gradients(graphdef, params, learned, segment=segment, document_end=end)
            score = evaluate_adapting(graphdef, params, ids, squares, adaptation, **options)
    if not math.isfinite(score.loss_nats):
        remedy = "use an older checkpoint, or train anew" if adaptation is None else "lower --adapt-rate"
        raise NumericError(f"the loss on the text is not finite; {remedy}")
    return Shown(score.numbers() | ({"skipped": skipped} if unknown == "skip" else {}))


def _read(trained: Any, text: Any, skips: bool) -> tuple[np.ndarray, int | None, int]:
    # Ids, the id that ends a document, and how many characters were left out.
    vocabulary = trained.vocabulary
    try:
        corpus = load_corpus(text, trained.reading, None if skips else vocabulary)
    except UnknownSymbolError as error:
        raise UnknownSymbolError(f"{error}, or leave them out with --unknown skip", error.details) from None
    if not skips:
        return corpus.ids, corpus.document_end, 0
    known = np.isin(corpus.vocabulary.symbols, vocabulary.symbols)[corpus.ids]
    ids, end = vocabulary.encode_part(corpus.vocabulary.decode(corpus.ids[known])), corpus.document_end
    return ids, None if end is None else trained.document_end, int(known.size - known.sum())


def _learned_from(trained: Any, text: str | None) -> np.ndarray:
    # What the parameters were fitted to: without what was kept out, where the record says which text it was.
    data, config, shown = trained.record["data"], trained.config, printable(str(trained.path))
    spelt, own = trained.vocabulary.spelt, recorded_text(config, data)
    if not text and own is None:
        raise ConfigurationError(f"{shown} does not say where its text is; give that as --adapt-text")
    try:
        corpus = load_corpus(text or own, trained.reading, spelt)
    except DataError as error:
        hint = "" if text else "; or give the text that the model was trained on as --adapt-text"
        raise DataError(f"{error}{hint}", error.details) from None
    if not text and corpus.digest != data["sha256"]:
        raise ConfigurationError(
            f"{shown} was trained on another text than {printable(corpus.name)} is now; give that one as --adapt-text"
        )
    ids = corpus.ids if text else split_again(corpus.ids, config, data).train
    return ids if spelt is trained.vocabulary else trained.vocabulary.encode_part(spelt.decode(ids))


def _together(trained: Any, others: Sequence[Any], checkpoint: str | None) -> tuple[Any, dict]:
    if not others:
        return trained.split(checkpoint)
    models = [trained.model(checkpoint)]
    for other in others:
        trained.vocabulary.require_same(other.vocabulary, printable(str(trained.path)))
        if other.config.dtype != trained.config.dtype:
            raise ConfigurationError(
                f"--ensemble expects models of one dtype, here {trained.config.dtype}; "
                f"{printable(str(other.path))} has {other.config.dtype}"
            )
        models.append(other.model(checkpoint if checkpoint in other.checkpoints else None))
    graphdef, state = nnx.split(Ensemble(models))
    return graphdef, nnx.to_pure_dict(state)
