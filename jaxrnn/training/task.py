"""The task that settings name, with its texts."""

from __future__ import annotations

from typing import Any

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import Corpus, load_corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.splits import CUT_BY
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import DataError, UnknownSymbolError
from jaxrnn.tasks.protocol import Task
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.tasks.text import NextSymbol, Text, path_of
from jaxrnn.terminal.printable import printable


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
    names = ("bptt_length", "batch_size", "stream_from", "vocabulary_size", *CUT_BY)
    of_text = {name: getattr(config, name) for name in names} | {"symbols": vocabulary or config.symbols}
    text = Text(corpus or config.text, reading=config.reading_options(), **of_text)
    text.path = path_of(config.text)  # also where the text was read already
    return text


def text_of(config: TrainConfig, path: str | None = None) -> Corpus | None:
    """The text of the settings, read from where they say, or from a path; None if they have none."""
    if config.task != "text":
        return None
    return load_corpus(path or config.text, config.reading_options(), stream_from=config.stream_from)


def validation_text_of(config: TrainConfig, reading: ReadingOptions | None, path: str | None = None) -> Corpus | None:
    """The other text that the settings validate on, read as the one that is trained on; None if there is none.

    Args:
      config: the settings.
      reading: how the bytes of that one became characters.
      path: where it lies, if not where the settings say.
    """
    if config.validation_text is None:
        return None
    try:
        return load_corpus(path or config.validation_text, reading)
    except DataError as error:
        raise DataError(f"--validation-text: {error}", error.details) from None


def validation_of(config: TrainConfig, task: Task, corpus: Corpus | None = None) -> Text | None:
    """What the settings validate on in place of a part of the task's own text; None if they name no text.

    Args:
      config: the settings.
      task: of `task_of`.
      corpus: that text, if it was read already.

    Raises:
      DataError: if it cannot be read, is too short to be scored, or has characters that the vocabulary lacks.
    """
    if config.validation_text is None:
        return None
    assert isinstance(task, Text)
    corpus = corpus or validation_text_of(config, task.corpus.reading)
    assert corpus is not None
    shown = printable(corpus.name)
    if len(corpus) < 2:
        raise DataError(f"--validation-text {shown} expects at least 2 characters to score, it has {len(corpus)}")
    try:
        text = Text(corpus, bptt_length=min(task.objective.steps, len(corpus) - 1), symbols=task.vocabulary)
    except UnknownSymbolError as error:
        raise UnknownSymbolError(f"--validation-text {shown}: {error}", error.details) from None
    text.path = path_of(config.validation_text)
    return text
