"""Read a text file of any size into ids, in two passes over blocks: first its symbols, then the ids."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from jaxrnn.data.reading_options import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary, code_points, named
from jaxrnn.errors import DataError
from jaxrnn.terminal.printable import printable

BLOCK_BYTES = 1 << 20

_KINDS = (
    (b"\x1f\x8b", "a gzip file", "gunzip"),
    (b"PK\x03\x04", "a zip archive", "unzip"),
    (b"PK\x05\x06", "an empty zip archive", "unzip"),
    (b"\xfd7zXZ\x00", "an xz file", "unxz"),
    (b"BZh", "a bzip2 file", "bunzip2"),  # a digit and 1AY&SY must follow: letters alone could begin a text
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unzstd"),
    (b"%PDF-", "a PDF document", "pdftotext"),
    (b"SQLite format 3\x00", "an SQLite database", "sqlite3"),
)
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NOT_FILES = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass(frozen=True)
class ReadText:
    """A text as ids, with what was learned on the way. `digest` is the SHA-256 of the bytes, `bytes` their number."""

    ids: np.ndarray
    vocabulary: Vocabulary
    digest: str
    bytes: int
    notes: tuple[str, ...]


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Opens a regular file for reading and refuses all else at once; never waits for a pipe."""
    shown = printable(os.fspath(path), keep="")
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
            mode = os.fstat(file.fileno()).st_mode  # another file may have taken its place
            if stat.S_ISREG(mode):
                return file
            file.close()
    except FileNotFoundError:
        kind = "a link to a missing file" if os.path.islink(path) else "no file"
        raise DataError(f"expected a text file, got {kind}: {shown}; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot read {shown}: {reason}; check its path and permissions") from None
    kind = next((name for test, name in _NOT_FILES if test(mode)), "something else")
    raise DataError(f"expected a text file, got {kind}: {shown}; give a regular file")


def read_stream(
    file: BinaryIO,
    name: str,
    options: ReadingOptions | None = None,
    vocabulary: Vocabulary | None = None,
    block_bytes: int = BLOCK_BYTES,
    write: Callable[[np.ndarray], object] | None = None,
    watch: Callable[[int], object] = lambda count: None,
) -> ReadText:
    """Reads a seekable binary file into ids, in the memory of the ids and a few blocks.

    Args:
      file: a binary file that can be read twice.
      name: what messages call it.
      options: how bytes become characters.
      vocabulary: symbols to encode with; without it, those that the text has.
      block_bytes: how much is read at a time.
      write: takes the ids block by block as they are made; those of the result are then none.
      watch: is told how many bytes were read, twice the file's in all.

    Raises:
      DataError: if the text is empty, packed, wrongly encoded, changes while it is read, or has characters that
        the vocabulary lacks.
    """
    options = options or ReadingOptions()
    blocks = TextBlocks(file, printable(name, keep=""), options, block_bytes, watch)
    shown = blocks.shown
    if not options.bytes_mode:
        _refuse_packed(blocks.head, shown)

    seen = np.zeros(0x110000, np.bool_)
    count = 0
    for text in blocks.read():
        seen[np.flatnonzero(np.bincount(code_points(text)))] = True  # five times as fast as by the codes themselves
        count += len(text)
    if not count:
        raise DataError(f"expected a text, got an empty file: {shown}; give one with at least two characters")
    if seen[0xD800:0xE000].any():
        raise DataError(f"expected text, got encoded surrogates in {shown}; mend it, or train with --bytes")
    digest, size = blocks.digest, blocks.bytes
    codes = np.flatnonzero(seen)
    symbols = tuple(map(chr, codes.tolist()))
    vocabulary = vocabulary or Vocabulary(symbols, options.bytes_mode)
    unknown = [symbol for symbol, i in zip(symbols, vocabulary.look_up(codes).tolist(), strict=True) if i < 0]

    changed = DataError(f"{shown} changed while it was read; wait until it is complete, or copy it first")
    ids = np.empty(0 if write else count, vocabulary.id_dtype)
    start, line, nuls = 0, 1, 0
    for text in blocks.read():
        found = vocabulary.look_up(code_points(text))
        if found.min() < 0:
            raise vocabulary.unknown(text, start, line, unknown) if unknown else changed
        if start + len(text) > count:
            raise changed
        if write:
            write(found.astype(vocabulary.id_dtype))
        else:
            ids[start : start + len(text)] = found
        start += len(text)
        line += text.count("\n") if unknown else 0
        nuls += text.count("\0") if seen[0] else 0
    if blocks.digest != digest:
        raise changed

    notes = []
    if blocks.marked:
        notes.append("byte order mark " + ("removed" if options.byte_order_mark == "strip" else "kept as a character"))
    if not options.bytes_mode and 4 * nuls > count:
        notes.append("more than a quarter of the characters are NUL; a UTF-16 file needs --encoding utf-16-le")
    if len(codes) == 1:
        notes.append(f"warning: the text is one character repeated, {named(symbols[0])}; there is nothing to learn")
    return ReadText(ids, vocabulary, digest, size, tuple(notes))


def _refuse_packed(head: bytes, shown: str) -> None:
    """Refuses known binary kinds by their first bytes. Byte mode may read them."""
    for magic, kind, command in _KINDS:
        if head.startswith(magic) and (magic != b"BZh" or head[4:10] == b"1AY&SY"):
            raise DataError(f"expected a text, got {kind}: {shown}; unpack it first: {command} {shown}")


class TextBlocks:
    """A file decoded block by block, as often as wanted.

    Args:
      file: a seekable binary file.
      shown: its printable name.
      options: how bytes become characters.
      block_bytes: how much is read at a time.
      watch: is told of the bytes of each block.

    After each whole reading `digest`, `bytes` and `marked` (began with a byte order mark) belong to it.
    """

    def __init__(
        self,
        file: BinaryIO,
        shown: str,
        options: ReadingOptions,
        block_bytes: int = BLOCK_BYTES,
        watch: Callable[[int], object] = lambda count: None,
    ):
        self.file, self.shown, self.options, self.block_bytes, self.watch = file, shown, options, block_bytes, watch
        self.encoding = "latin-1" if options.bytes_mode else options.encoding
        file.seek(0)
        self.head = file.read(16)
        self.digest, self.bytes, self.marked = "", 0, False

    def read(self) -> Iterator[str]:
        """The text in blocks, none of them empty. Raises DataError with offset and line where it cannot be decoded."""
        options = self.options
        decoder = codecs.getincrementaldecoder(self.encoding)()
        newlines = io.IncrementalNewlineDecoder(None, translate=True) if options.newlines == "universal" else None
        digest = hashlib.sha256()
        self.bytes, self.marked = 0, False
        line, began, block = 1, options.bytes_mode, b"start"
        self.file.seek(0)
        while block:
            block = self.file.read(self.block_bytes)
            state = decoder.getstate()
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                kept = len(error.object) - len(block)  # bytes of a character that the last block began
                decoder.setstate(state)
                line += decoder.decode(block[: max(0, error.start - kept)]).count("\n")
                raise self._undecodable(self.bytes - kept + error.start, line) from None
            except UnicodeError:
                raise self._undecodable(self.bytes, line) from None
            digest.update(block)
            self.bytes += len(block)
            self.watch(len(block))
            line += text.count("\n")
            if text and not began:
                began = True
                text = self._marked(text)
            if newlines:
                text = newlines.decode(text, final=not block)
            if text:
                yield text
        self.digest = digest.hexdigest()

    def _marked(self, text: str) -> str:
        """The beginning of the text with its byte order mark kept or stripped; some decoders swallow it."""
        swallowed = any(self.encoding == encoding and self.head.startswith(mark) for mark, encoding in _MARKS)
        self.marked = swallowed or text[0] == "\ufeff"
        if not swallowed:
            return text[1:] if self.marked and self.options.byte_order_mark == "strip" else text
        return "\ufeff" + text if self.options.byte_order_mark == "keep" else text

    def _undecodable(self, offset: int, line: int) -> DataError:
        first = max(0, offset - 8)
        self.file.seek(first)
        around = self.file.read(16)
        # The encoding, other than UTF-8, whose byte order mark the file most likely begins with.
        mark = next((encoding for first_bytes, encoding in _MARKS if self.head.startswith(first_bytes)), "")
        remedy = f"--encoding {mark}" if mark else "--encoding, such as latin-1, or on raw bytes with --bytes"
        found = f"a {mark.upper()} byte order mark" if mark else "other bytes"
        where = self.shown
        if hasattr(self.file, "place"):  # one of several files
            where, offset, line = self.file.place(offset, line)
        return DataError(
            f"expected {self.encoding} text, got {found} in {printable(where, keep='')}, byte offset {offset}, "
            f"line {line}; convert it to {self.encoding}, or train with {remedy}",
            details=[f"bytes from offset {first}: {around.hex(' ')}"] if where == self.shown else [],
        )
