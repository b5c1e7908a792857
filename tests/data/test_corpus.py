"""Corpora: found by name or path, read with the right options."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxrnn.data import known_texts
from jaxrnn.data.corpus import corpus_from_text, load_corpus
from jaxrnn.data.known_texts import KnownText
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import ConfigurationError, DataError

CRLF = b"\xef\xbb\xbfone\r\ntwo\r\n"


@pytest.fixture
def known(tmp_path, monkeypatch):
    """A known text of our own, its file in $JAXRNN_DATA, read with other options than the defaults."""
    folder = tmp_path / "known"
    folder.mkdir()
    (folder / "ours.txt").write_bytes(CRLF)
    text = KnownText(
        name="ours",
        description="",
        address="https://example.invalid/ours.txt",
        file_name="ours.txt",
        sha256=hashlib.sha256(CRLF).hexdigest(),
        bytes=len(CRLF),
        characters=9,
        distinct=7,
        reading=ReadingOptions(newlines="universal", byte_order_mark="keep"),
    )
    monkeypatch.setattr(known_texts, "KNOWN_TEXTS", (text,))
    monkeypatch.setenv("JAXRNN_DATA", str(folder))
    return text


def text_of(corpus):
    return corpus.vocabulary.decode(corpus.ids)


def test_a_file_is_read_with_the_defaults(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(CRLF)
    corpus = load_corpus(str(path))
    assert text_of(corpus) == "one\r\ntwo\r\n" and len(corpus) == 10
    assert corpus.name == "book.txt" and corpus.reading == ReadingOptions() and corpus.document_end is None
    assert corpus.digest == hashlib.sha256(CRLF).hexdigest() and corpus.source_bytes == len(CRLF)
    assert corpus.notes[0] == "byte order mark removed" and "--newlines universal" in corpus.notes[1]


def test_a_known_text_brings_its_options(known):
    corpus = load_corpus("ours")
    assert text_of(corpus) == "\ufeffone\ntwo\n" and corpus.reading == known.reading
    assert (len(corpus), len(corpus.vocabulary)) == (known.characters, known.distinct)


def test_a_file_with_a_known_digest_takes_the_known_options_whatever_its_name(tmp_path, known):
    path = tmp_path / "mine.dat"
    path.write_bytes(CRLF)
    corpus = load_corpus(str(path))
    assert text_of(corpus) == "\ufeffone\ntwo\n" and corpus.reading == known.reading
    assert corpus.name == "mine.dat" and "known text ours; its own reading options are used" in corpus.notes[0]
    other = load_corpus(str(path), ReadingOptions(newlines="keep"))
    assert "known text ours; the options given are used, not its own" in other.notes[0]
    path.write_bytes(CRLF.replace(b"o", b"0"))  # the same size, another digest
    assert load_corpus(str(path)).reading == ReadingOptions()


@pytest.mark.parametrize("source", ["ours", "./copy.txt"])
def test_options_given_win_over_the_known_ones(tmp_path, known, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "copy.txt").write_bytes(CRLF)
    corpus = load_corpus(source, ReadingOptions())
    assert text_of(corpus) == "one\r\ntwo\r\n" and corpus.reading == ReadingOptions()


def test_an_existing_file_wins_over_a_name_and_a_folder_does_not(tmp_path, known, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours").mkdir()
    assert text_of(load_corpus("ours")) == "\ufeffone\ntwo\n"
    (tmp_path / "ours").rmdir()
    (tmp_path / "ours").write_bytes(b"another")
    corpus = load_corpus("ours")
    assert text_of(corpus) == "another" and "rename the file" in corpus.notes[0]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(DataError, match="got 'warpaece'; did you mean warpeace") as caught:
        load_corpus("warpaece")
    for name in known_texts.names():
        assert name in str(caught.value)
    with pytest.raises(DataError, match="give a path"):
        load_corpus("qqq\x1b")
    with pytest.raises(DataError, match="got a text of 1,638 characters; give that to jaxrnn.data.corpus_from_text"):
        load_corpus("First\n/b." * 182)


def test_a_missing_file_is_refused_with_a_name_like_it():
    with pytest.raises(DataError, match=r"no file: nowhere/tinyshakespear\.txt.*known text tinyshakespeare"):
        load_corpus("nowhere/tinyshakespear.txt")
    with pytest.raises(DataError, match=r"no file: nowhere/qqq\.txt; check the path$"):
        load_corpus("nowhere/qqq.txt")


def test_a_path_object_like_source_and_special_files_are_handled(tmp_path):
    with pytest.raises(DataError, match="directory"):
        load_corpus(f"{tmp_path}/")
    os.mkfifo(tmp_path / "pipe.txt")
    os.mkfifo(tmp_path / "pipe.json")
    began = time.monotonic()
    for name in ("pipe.txt", "pipe.json"):
        with pytest.raises(DataError, match="pipe"):
            load_corpus(str(tmp_path / name))
    assert time.monotonic() - began < 1


def test_a_given_vocabulary_encodes_or_refuses(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("abca", encoding="utf-8")
    vocabulary = Vocabulary.from_text("abcz")
    corpus = load_corpus(str(path), vocabulary=vocabulary)
    assert corpus.vocabulary is vocabulary and text_of(corpus) == "abca"
    with pytest.raises(DataError, match=r"U\+0063\) at position 2, line 1"):
        load_corpus(str(path), vocabulary=Vocabulary.from_text("ab"))


def test_a_byte_vocabulary_reads_bytes(tmp_path, known):
    path = tmp_path / "text.txt"
    path.write_bytes(CRLF)
    vocabulary = Vocabulary(tuple(map(chr, range(256))), bytes_mode=True)
    for source in (str(path), "ours"):
        corpus = load_corpus(source, vocabulary=vocabulary)
        assert corpus.ids.tobytes() == CRLF and corpus.reading.bytes_mode
    reference = load_corpus("python-reference", vocabulary=vocabulary)
    assert reference.ids.tobytes().decode("utf-8") == text_of(load_corpus("python-reference"))
    with pytest.raises(ConfigurationError, match="the other bytes_mode"):
        load_corpus(str(path), ReadingOptions(), vocabulary)
    with pytest.raises(ConfigurationError, match="the other bytes_mode"):
        load_corpus(str(path), ReadingOptions(bytes_mode=True), Vocabulary.from_text("abc"))


def test_one_repeated_character_is_a_warning_only(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("aaaa", encoding="utf-8")
    corpus = load_corpus(str(path))
    assert corpus.ids.tolist() == [0, 0, 0, 0] and "'a' (U+0061)" in corpus.notes[0]


def test_document_files_know_their_end(tmp_path):
    path = tmp_path / "tweets.jsonl"
    path.write_bytes(b'"hi"\r\n{"text": "you\\r\\n"}\r\n')
    corpus = load_corpus(str(path))
    assert text_of(corpus) == "hi\x03you\r\n\x03"
    assert corpus.document_end == corpus.vocabulary.symbols.index("\x03")
    assert corpus.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert corpus.source_bytes == path.stat().st_size
    universal = load_corpus(str(path), ReadingOptions(newlines="universal"))
    assert text_of(universal) == "hi\x03you\n\x03"
    as_bytes = load_corpus(str(path), ReadingOptions(bytes_mode=True))
    assert as_bytes.document_end is not None and text_of(as_bytes) == "hi\x03you\r\n\x03"
    with pytest.raises(DataError, match=r"U\+0003"):
        load_corpus(str(path), vocabulary=Vocabulary.from_text("hiyou\r\n"))


def test_corpus_from_text_keeps_every_character():
    text = "\ufeffa\r\nb\x85\U0001f600"
    corpus = corpus_from_text(text, "mine")
    assert text_of(corpus) == text and corpus.name == "mine"
    assert corpus.digest == hashlib.sha256(text.encode()).hexdigest()
    for bad in ("", "a\ud800"):
        with pytest.raises(DataError):
            corpus_from_text(bad)


def test_reading_a_megabyte_is_fast(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("It was – as ever – the best of times.\n" * 28_000, encoding="utf-8")
    load_corpus(str(path))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        load_corpus(str(path))
        times.append(time.perf_counter() - began)
    assert min(times) < 0.1


def test_importing_the_data_room_needs_no_jax_and_no_download_client():
    # An empty package stands for `jaxrnn/__init__.py`, which may offer the whole library.
    folder = Path(known_texts.__file__).parents[1]
    code = (
        "import sys, types; package = types.ModuleType('jaxrnn'); package.__path__ = [sys.argv[1]]; "
        "sys.modules['jaxrnn'] = package; import jaxrnn.data.corpus, jaxrnn.data.facts; "
        "print([m for m in ('jax', 'pooch', 'requests', 'platformdirs', 'zipfile') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
