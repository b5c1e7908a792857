"""A corpus: one text as ids, with its vocabulary, digest and reading options. `load_corpus` finds and reads it."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from jaxrnn.data import documents, known_texts, local_texts, several
from jaxrnn.data.mapped_ids import read_ids
from jaxrnn.data.reading import ReadingOptions, ReadText, open_regular, read_stream
from jaxrnn.data.vocabulary import Vocabulary, named
from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.terminal.printable import printable


@dataclass(frozen=True, eq=False)
class Corpus:
    """One text, ready to train on.

    Args:
      name: what it is called in messages and records.
      ids: the text as ids of `vocabulary`, in its `id_dtype`; one per character, unless that has longer symbols.
      vocabulary: the symbols.
      digest: SHA-256 of the source's bytes, hexadecimal; of a generated text's UTF-8.
      reading: how bytes became characters.
      document_end: the id of U+0003 where the text is many documents, each ended by it; else None.
      notes: lines to print, such as "byte order mark removed".
      source_bytes: how many bytes the source has.
    """

    name: str
    ids: np.ndarray
    vocabulary: Vocabulary
    digest: str
    reading: ReadingOptions
    document_end: int | None = None
    notes: tuple[str, ...] = ()
    source_bytes: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def in_symbols(self, vocabulary: Vocabulary) -> Corpus:
        """The same text in the symbols of another vocabulary.

        Raises:
          DataError: for a character that it lacks.
          ConfigurationError: if one holds bytes and the other characters, which are the same in ASCII only.
        """
        text = self.vocabulary.decode(self.ids)
        if self.vocabulary.bytes_mode != vocabulary.bytes_mode and not text.isascii():
            raise _of_another_kind(vocabulary, self.vocabulary.bytes_mode)
        ids = vocabulary.encode_part(text)
        end = None if self.document_end is None else int(vocabulary.encode(documents.END)[0])
        return replace(self, ids=ids, vocabulary=vocabulary, document_end=end)


def corpus_from_text(text: str, name: str = "text") -> Corpus:
    """A corpus of a string, each of its characters kept; for notebooks and tests.

    Example:
      >>> corpus = corpus_from_text("abba")
      >>> corpus.ids
      array([0, 1, 1, 0], dtype=uint8)
    """
    options = ReadingOptions(byte_order_mark="keep")
    return _corpus(name, _read_text(text, name, options, None), options)


def load_corpus(
    source: str | Path | Sequence[str],
    reading: ReadingOptions | None = None,
    vocabulary: Vocabulary | None = None,
    stream_from: str = "auto",
) -> Corpus:
    """Finds a text by its name or path and reads it.

    A source is a path if it holds a slash or a file ending such as `.txt`, or if a file of that name exists; then the
    file is read, also where a known text has the same name (a note says so). Else it is the name of a text that
    needs no download (`python-reference`, `python-stdlib`) or of a known text, which may be downloaded.
    Files that end in .json, .jsonl or .ndjson hold many documents. Of a directory the files that end in .txt are read,
    one after the other in the order of their paths, and several paths in the order in which they are given, with
    nothing between them; "-" is standard input.

    Args:
      source: a path, a name, several paths, or "-".
      reading: how bytes become characters. None: as the known text says, if the file is one, whatever its name;
        as the vocabulary says; else the defaults.
      vocabulary: symbols to encode with; a character that it lacks is refused.
      stream_from: where the ids lie: "memory"; "disk", encoded once into a file of the cache and mapped from there,
        which takes no memory; "auto" for disk where the text is larger than an eighth of the free memory. Standard
        input and documents are in memory anyway.

    Raises:
      DataError: if the text cannot be found or read.
      StorageError: if the file of ids cannot be written.
      ConfigurationError: if `reading` and `vocabulary` disagree about byte mode.
    """
    if vocabulary is not None and vocabulary.spelt is not vocabulary:
        return load_corpus(source, reading, vocabulary.spelt, "memory").in_symbols(vocabulary)
    if not isinstance(source, str | os.PathLike):
        if not isinstance(source, Sequence) or not source or not all(isinstance(of, str | Path) for of in source):
            raise DataError(f"expected a file, a known text or a list of files; got {source!r:.60}")
        name = f"{Path(source[0]).name} and {len(source) - 1} more"
        return _load_several(list(source), name, reading, vocabulary, stream_from)
    source, notes = os.fspath(source), tuple[str, ...]()
    if "\n" in source and not os.path.lexists(source):
        given = f"a text of {len(source):,} characters; give that to jaxrnn.data.corpus_from_text"
        raise DataError(f"expected the name of a file or a known text, got {given}")
    if source in several.STDIN:
        options = _options(reading, None, vocabulary)
        return _corpus("stdin", read_stream(several.read_stdin(), "standard input", options, vocabulary), options)
    if os.path.isdir(source) and source not in (*known_texts.names(), *local_texts.LOCAL_TEXTS):
        return _load_several(several.files_in(source), Path(source).resolve().name, reading, vocabulary, stream_from)
    path = Path(source) if _is_path(source) else None
    if path and path.suffix.lower() in documents.ENDINGS:
        return _load_documents(path, source, reading, vocabulary)
    if path and source in known_texts.names():
        notes = (f"read from the file {source}; the known text of that name is another, rename the file to get it",)
    if not path and source in local_texts.LOCAL_TEXTS:
        text, notes = local_texts.local_text(source)
        options = replace(_options(reading, None, vocabulary), encoding="utf-8")
        return _corpus(source, _read_text(text, source, options, vocabulary), options, notes)
    known = None if path else known_texts.find_by_name(source)
    with open_regular(known_texts.locate(known)) if known else _open(source) as file:
        if path and (found := known_texts.recognise(file)):
            known, is_own = (found, True) if reading is None else (None, reading == found.reading)
            used = "its own reading options are used" if is_own else "the options given are used, not its own"
            notes = (*notes, f"this is the known text {found.name}; {used}")
        options = _options(reading, known, vocabulary)
        read = read_ids(file, source, options, vocabulary, stream_from)
    if known and known.sha256 and read.digest != known.sha256:
        raise DataError(f"the file of {known.name} changed while it was read; try again")
    if known and options != known.reading:
        notes = (*notes, f"other reading options than those of the known text {known.name}: its counts do not apply")
    return _corpus(path.name if path else source, read, options, notes)


def _load_several(
    paths: Sequence[str | Path],
    name: str,
    reading: ReadingOptions | None,
    vocabulary: Vocabulary | None,
    stream_from: str,
) -> Corpus:
    if packed := [path for path in paths if Path(path).suffix.lower() in documents.ENDINGS]:
        shown = printable(str(packed[0]), keep="")
        raise DataError(f"several files are joined as one text, which {shown} is not; give it alone")
    options = _options(reading, None, vocabulary)
    marked = options.byte_order_mark == "strip" and options.encoding == "utf-8" and not options.bytes_mode
    files = several.JoinedFiles(paths, codecs.BOM_UTF8 if marked else b"")
    read = read_ids(cast(BinaryIO, files), name, options, vocabulary, stream_from)
    return _corpus(name, read, options, (f"{name}: {len(paths)} files, one after the other",))


def _load_documents(path: Path, shown: str, reading: ReadingOptions | None, vocabulary: Vocabulary | None) -> Corpus:
    options = _options(reading, None, vocabulary)
    found = documents.read_documents(path, options)
    read = _read_text(found.text, shown, replace(options, byte_order_mark="keep"), vocabulary)
    end = int(read.vocabulary.encode(documents.END)[0])
    return _corpus(path.name, replace(read, digest=found.digest, bytes=found.bytes), options, found.notes, end)


def _options(
    reading: ReadingOptions | None, known: known_texts.KnownText | None, vocabulary: Vocabulary | None
) -> ReadingOptions:
    """What the caller asks for, else what the known text says, else the defaults; byte mode as in the vocabulary."""
    options = reading or (known.reading if known else ReadingOptions())
    if vocabulary is None or options.bytes_mode == vocabulary.bytes_mode:
        return options
    if reading is None:
        return ReadingOptions(bytes_mode=vocabulary.bytes_mode)
    raise _of_another_kind(vocabulary, options.bytes_mode)


def _of_another_kind(vocabulary: Vocabulary, bytes_mode: bool) -> ConfigurationError:
    kinds = ["bytes" if mode else "characters" for mode in (vocabulary.bytes_mode, bytes_mode)]
    return ConfigurationError(
        f"the vocabulary holds {kinds[0]}, the reading options ask for {kinds[1]}; give them the other bytes_mode"
    )


def _open(source: str) -> io.BufferedReader:
    try:
        return open_regular(source)
    except DataError as error:
        nearest = known_texts.nearest(Path(source).stem)
        if nearest and not os.path.lexists(source):
            raise DataError(f"{error}; or did you mean the known text {nearest}?") from None
        raise


def _is_path(source: str) -> bool:
    looks_like_path = "/" in source or os.sep in source or Path(source).suffix != ""
    return looks_like_path or (os.path.lexists(source) and not os.path.isdir(source))


def _read_text(text: str, name: str, options: ReadingOptions, vocabulary: Vocabulary | None) -> ReadText:
    """A string through the same reader as a file."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"expected characters, got the lone surrogate {named(text[error.start])}") from None
    return read_stream(io.BytesIO(data), name, replace(options, encoding="utf-8"), vocabulary)


def _corpus(
    name: str, read: ReadText, options: ReadingOptions, notes: tuple[str, ...] = (), document_end: int | None = None
) -> Corpus:
    notes = (*notes, *read.notes)
    if "\r" in read.vocabulary.symbols and options.newlines == "keep":
        notes = (*notes, "lines end in a carriage return and a line feed; --newlines universal reads one line feed")
    return Corpus(name, read.ids, read.vocabulary, read.digest, options, document_end, notes, read.bytes)
