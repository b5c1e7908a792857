"""Reading: streams equal the naive reading, and every file that is no text is refused with a remedy."""

import hashlib
import io
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.reading import ReadingOptions, open_regular, read_stream
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import ConfigurationError, DataError

characters = st.one_of(st.sampled_from("ab\r\n\ufeff\x85\u2028\x00"), st.characters(exclude_categories=["Cs"]))
texts = st.text(characters, min_size=1, max_size=40)


def naive(text: str, options: ReadingOptions) -> str:
    if options.byte_order_mark == "strip":
        text = text.removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n") if options.newlines == "universal" else text


@given(
    texts,
    st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-8-sig", "utf-16", "utf-32"]),
    st.sampled_from(["keep", "universal"]),
    st.sampled_from(["strip", "keep"]),
    st.integers(1, 9),
)
@example("\0a", "utf-16", "keep", "strip", 3)  # its mark and NUL together look like the mark of UTF-32
def test_blocks_of_any_size_equal_the_naive_reading(text, encoding, newlines, mark, block_bytes):
    options = ReadingOptions(encoding, newlines, mark)
    data = text.encode(encoding)
    if encoding in ("utf-8-sig", "utf-16", "utf-32"):
        text = "\ufeff" + text  # these encodings write a mark of their own
    expected = naive(text, options)
    if not expected:
        with pytest.raises(DataError, match="empty"):
            read_stream(io.BytesIO(data), "x", options, block_bytes=block_bytes)
        return
    read = read_stream(io.BytesIO(data), "x", options, block_bytes=block_bytes)
    assert read.vocabulary == Vocabulary.from_text(expected)
    assert np.array_equal(read.ids, read.vocabulary.encode(expected)) and read.ids.dtype == read.vocabulary.id_dtype
    assert read.digest == hashlib.sha256(data).hexdigest() and read.bytes == len(data)
    assert any("byte order mark" in note for note in read.notes) == text.startswith("\ufeff")


@given(st.binary(min_size=1, max_size=60), st.integers(1, 9))
def test_byte_mode_keeps_every_byte(data, block_bytes):
    read = read_stream(io.BytesIO(data), "x", ReadingOptions(bytes_mode=True), block_bytes=block_bytes)
    assert read.vocabulary.bytes_mode and read.vocabulary.decode(read.ids).encode("latin-1") == data


@given(texts, st.binary(min_size=1, max_size=4), st.integers(1, 9))
def test_a_decoding_fault_is_placed_as_python_places_it(text, junk, block_bytes):
    data = text.encode() + junk
    try:
        data.decode()
    except UnicodeDecodeError as error:
        offset, line = error.start, data[: error.start].count(b"\n") + 1
        with pytest.raises(DataError, match=f"byte offset {offset}, line {line};") as caught:
            read_stream(io.BytesIO(data), "x", block_bytes=block_bytes)
        context = data[max(0, offset - 8) : max(0, offset - 8) + 16].hex(" ")
        assert caught.value.details == (f"bytes from offset {max(0, offset - 8)}: {context}",)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff\xfe", ["UTF-16 byte order mark", "byte offset 0, line 1", "--encoding utf-16"]),
        ("\ufeffhi".encode("utf-16-be"), ["UTF-16 byte order mark", "--encoding utf-16"]),
        ("\ufeffhi".encode("utf-32-le"), ["UTF-32 byte order mark", "--encoding utf-32"]),
        (b"ab\n\xed\xa0\x80", ["byte offset 3, line 2", "--encoding", "--bytes"]),
        (b"caf\xe9", ["byte offset 3, line 1", "--encoding", "latin-1", "--bytes"]),
        (b"a\nb\nc\xe9 d", ["byte offset 5, line 3"]),
    ],
)
def test_wrong_encodings_are_refused_with_place_and_remedy(tmp_path, data, expected):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        load_corpus(str(path))
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    for part in expected:
        assert part in message
    assert data[:16].hex(" ") in caught.value.details[0]


def test_surrogates_from_other_codecs_are_refused():
    with pytest.raises(DataError, match="surrogates"):
        read_stream(io.BytesIO(b"+2AA-"), "x", ReadingOptions("utf-7"))


def test_default_keeps_every_kind_of_line_end():
    data = b"a\r\nb\rc\nd\xc2\x85e\xe2\x80\xa8f"
    read = read_stream(io.BytesIO(data), "x")
    assert read.vocabulary.decode(read.ids).encode() == data
    read = read_stream(io.BytesIO(data), "x", ReadingOptions(newlines="universal"))
    assert read.vocabulary.decode(read.ids) == "a\nb\nc\nd\x85e\u2028f"


@pytest.mark.parametrize("block_bytes", range(1, 14))
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_line_ends_and_marks_on_the_border_of_blocks(encoding, block_bytes):
    text = "\ufeff\ufeffa\r\nb\r\r\n\n\ufeffc\r"
    for options in (ReadingOptions(encoding, "universal"), ReadingOptions(encoding, "keep")):
        read = read_stream(io.BytesIO(text.encode(encoding)), "x", options, block_bytes=block_bytes)
        assert read.vocabulary.decode(read.ids) == naive(text, options)


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-16", "utf-16-be", "gb18030", "shift_jis", "euc_jp", "iso2022_jp", "hz", "utf-7", "utf-32"],
)
def test_a_fault_is_placed_in_every_encoding_and_block_size(encoding, block_bytes):
    text = "\u65e5\na\n\u672c"
    good = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16" else text.encode(encoding)
    junk = {"utf-16": b"\x00\xdc\x00\xdc", "utf-16-be": b"\xdc\x00\xdc\x00"}.get(encoding, b"\xff\xff\xff")
    with pytest.raises(DataError, match=f"byte offset {len(good)}, line 3;"):
        read_stream(io.BytesIO(good + junk), "x", ReadingOptions(encoding), block_bytes=block_bytes)


def test_byte_order_mark_is_removed_and_said_so():
    read = read_stream(io.BytesIO(b"\xef\xbb\xbfab"), "x")
    assert read.vocabulary.symbols == ("a", "b") and read.notes == ("byte order mark removed",)
    kept = read_stream(io.BytesIO(b"\xef\xbb\xbfab"), "x", ReadingOptions(byte_order_mark="keep"))
    assert kept.vocabulary.symbols == ("a", "b", "\ufeff") and kept.notes == ("byte order mark kept as a character",)


@pytest.mark.parametrize(
    "text",
    ["a\0b", "\x1b]0;title\x07", "\u202eabc", "e\u0301", "\U0001f469\u200d\U0001f680", "\xe9 e\u0301"],
)
def test_odd_characters_are_plain_code_points(text):
    read = read_stream(io.BytesIO(text.encode()), "x")
    assert read.vocabulary.decode(read.ids) == text


def test_utf16_without_mark_read_as_utf8_is_noticed():
    read = read_stream(io.BytesIO("plain words".encode("utf-16-le")), "x")
    assert "utf-16-le" in read.notes[0]


@pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf"])
def test_a_file_without_characters_is_refused(data):
    with pytest.raises(DataError, match="empty"):
        read_stream(io.BytesIO(data), "x")


@pytest.mark.parametrize(
    ("data", "kind", "command"),
    [
        (b"\x1f\x8b\x08\0", "gzip", "gunzip"),
        (b"PK\x03\x04\x14", "zip", "unzip"),
        (b"\xfd7zXZ\x00\x00", "xz", "unxz"),
        (b"BZh91AY&SY..", "bzip2", "bunzip2"),
        (b"\x28\xb5\x2f\xfd\x04", "zstd", "unzstd"),
        (b"%PDF-1.7\n", "PDF", "pdftotext"),
        (b"SQLite format 3\x00\x10", "SQLite", "sqlite3"),
    ],
)
def test_packed_files_are_refused_with_the_command(tmp_path, data, kind, command):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=f"{kind}.*{command}"):
        load_corpus(str(path), ReadingOptions("latin-1"))
    assert len(load_corpus(str(path), ReadingOptions(bytes_mode=True)).ids) == len(data)


def test_a_text_that_begins_like_bzip2_is_read():
    assert len(read_stream(io.BytesIO(b"BZh is the start of a text"), "x").ids) == 26


def test_special_files_are_refused_at_once(tmp_path):
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "to_pipe").symlink_to(tmp_path / "pipe")
    cases = {"directory": "a directory", "pipe": "a pipe", "to_pipe": "a pipe"}
    cases |= {"dangling": "a link to a missing file", "none": "no file"}
    began = time.monotonic()
    for name, kind in cases.items():
        with pytest.raises(DataError, match=f"^expected a text file, got {kind}: "):
            open_regular(tmp_path / name)
    with pytest.raises(DataError, match="device"):
        open_regular("/dev/zero")
    with pytest.raises(DataError, match="cannot read"):
        open_regular("a\0b")
    assert time.monotonic() - began < 1


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        with pytest.raises(DataError, match="socket"):
            open_regular("s")


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_bytes(b"ab")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read anything, so the mode alone shows nothing
    with pytest.raises(DataError, match=r"text\.txt: Permission denied"):
        open_regular(path)


def test_a_pipe_put_in_place_after_the_check_does_not_block(tmp_path, monkeypatch):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    regular = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda *_: regular)
    with pytest.raises(DataError, match="pipe"):
        open_regular(path)


class Changing(io.BytesIO):
    """A file whose second reading gives other bytes."""

    def __init__(self, first: bytes, second: bytes):
        super().__init__(first)
        self.second, self.ended = second, 0

    def read(self, size: int | None = -1) -> bytes:
        block = super().read(size)
        if not block and not self.ended:
            self.ended = 1
            self.seek(0)
            self.truncate()
            self.write(self.second)
        return block


@pytest.mark.parametrize("second", [b"aaaa", b"aba", b"abbab", b"abxa", b"", b"ab\xff\xff"])
def test_a_file_that_changes_between_the_passes_is_refused(second):
    with pytest.raises(DataError):
        read_stream(Changing(b"abba", second), "x")
    assert len(read_stream(Changing(b"abba", b"abba"), "x").ids) == 4


@given(st.text("ab\nxyz", min_size=1, max_size=30), st.integers(1, 5))
def test_unknown_characters_are_placed_across_blocks(text, block_bytes):
    vocabulary = Vocabulary.from_text("ab\n")
    unknown = set(text) - set("ab\n")
    if not unknown:
        read = read_stream(io.BytesIO(text.encode()), "t", None, vocabulary, block_bytes)
        assert vocabulary.decode(read.ids) == text
        return
    at = min(text.index(c) for c in unknown)
    line = text.count("\n", 0, at) + 1
    with pytest.raises(DataError, match=rf"position {at}, line {line} \({len(unknown)} different"):
        read_stream(io.BytesIO(text.encode()), "t", None, vocabulary, block_bytes)


@pytest.mark.parametrize(
    "settings",
    [
        {"encoding": "utf-9"},
        {"encoding": "hex"},
        {"encoding": "rot13"},
        {"encoding": "a\0b"},
        {"encoding": None},
        {"encoding": ""},
        {"newlines": "unix"},
        {"byte_order_mark": True},
        {"bytes_mode": "yes"},
        {"bytes_mode": True, "newlines": "universal"},
    ],
)
def test_reading_options_are_checked(settings):
    with pytest.raises(ConfigurationError) as caught:
        ReadingOptions(**settings)
    assert str(caught.value).isprintable()


def test_reading_options_survive_json_and_have_one_spelling():
    options = ReadingOptions("UTF8", "universal", "keep")
    assert options == ReadingOptions("utf-8", "universal", "keep")
    assert ReadingOptions.from_json(options.to_json()) == options
    assert ReadingOptions.from_json({}) == ReadingOptions()
    contents: list[object] = [None, [], {"encodings": "utf-8"}]
    for content in contents:
        with pytest.raises(ConfigurationError):
            ReadingOptions.from_json(content)


def test_a_large_vocabulary_is_read(tmp_path):
    text = "".join(map(chr, [*range(1, 0xD800), *range(0x10000, 0x10000 + 50_000)]))
    read = read_stream(io.BytesIO(text.encode()), "cjk")
    assert len(read.vocabulary) > 100_000 and read.ids.dtype == np.uint32
    assert read.vocabulary.decode(read.ids) == text


def test_bytes_are_the_same_in_the_plain_locale(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("né – \U0001f600".encode())
    code = (
        "import sys; from jaxrnn.data.corpus import load_corpus; r = load_corpus(sys.argv[1]); "
        "sys.stdout.buffer.write(r.vocabulary.decode(r.ids).encode())"
    )
    environment = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, env=environment, timeout=60)
    assert done.stdout == path.read_bytes(), done.stderr


PEAK = """
import resource, sys
from jaxrnn.data.reading import open_regular, read_stream
with open(sys.argv[1], "rb") as file: file.read(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_regular(sys.argv[1]) as file: read = read_stream(file, "text")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024, len(read.ids))
"""


@pytest.mark.parametrize("ending", ["", "\U0001f600"])
def test_peak_memory_is_near_the_size_of_the_file(tmp_path, ending):
    path = tmp_path / "text.txt"
    line = b"the quick brown fox jumps over the lazy dog, again and again\n"
    path.write_bytes(line * (48 * 1024 * 1024 // len(line)) + ending.encode())
    size = path.stat().st_size
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, timeout=120, check=True)
    peak, characters = map(int, done.stdout.split())
    assert characters > 48_000_000
    assert peak < 1.5 * size + 20e6
