"""The task that settings name, with its text."""

from __future__ import annotations

from typing import Any

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.tasks.protocol import Task
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.tasks.text import NextSymbol, Text, path_of


def objective_of(config: TrainConfig, vocabulary_size: int = 0, document_end: int | None = None) -> Any:
    """What the settings describe as learned.

    Args:
      config: the settings.
      vocabulary_size: V of a text.
      document_end: the id that ends a document of a text.
    """
    if config.task == "text":
        return NextSymbol(vocabulary_size, config.bptt_length, document_end)
    assert config.sequence_length is not None
    return Sequences(config.task, config.sequence_length, config.input, config.batch_size)


def task_of(config: TrainConfig, corpus: Corpus | None = None, vocabulary: Vocabulary | None = None) -> Task:
    """The task of the settings, with its data; the text is read if it was not; see `make_job`.

    Raises:
      DataError: if the text cannot be read or a part of it is too short.
    """
    if config.task != "text":
        return objective_of(config)
    fractions = ("validation_fraction", "test_fraction", "fold", "folds", "retrain")
    names = ("bptt_length", "batch_size", "stream_from", "vocabulary_size", *fractions)
    of_text = {name: getattr(config, name) for name in names} | {"symbols": vocabulary or config.symbols}
    text = Text(corpus or config.text, reading=config.reading_options(), **of_text)
    text.path = path_of(config.text)  # also where the text was read already
    return text


def text_of(config: TrainConfig) -> Corpus | None:
    """The text of the settings, read; None if they have none."""
    if config.task != "text":
        return None
    return load_corpus(config.text, config.reading_options(), stream_from=config.stream_from)
