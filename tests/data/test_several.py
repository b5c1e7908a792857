"""A text out of several files, of a directory, of standard input: what one file with all of it would give."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.reading_options import ReadingOptions
from jaxrnn.data.several import JoinedFiles
from jaxrnn.errors import DataError

PARTS = {"b.txt": "second\n", "a/z.txt": "first, é\n", "c.txt": "\ufeffthird"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name, content in PARTS.items() | {("notes.md", "left out"), (".hidden/x.txt", "left out")}:
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def test_a_directory_is_its_text_files_in_the_order_of_their_paths(folder: Path) -> None:
    corpus = load_corpus(str(folder))
    assert corpus.vocabulary.decode(corpus.ids) == "first, é\nsecond\nthird"
    assert corpus.name == folder.name and "3 files" in corpus.notes[0]
    kept = load_corpus(folder, ReadingOptions(byte_order_mark="keep"))
    assert kept.vocabulary.decode(kept.ids) == "first, é\nsecond\n\ufeffthird"


def test_several_files_are_what_one_file_of_all_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(folder / name) for name in ("b.txt", "a/z.txt", "b.txt")]
    whole = "".join(Path(path).read_text(encoding="utf-8") for path in paths)
    (folder / "whole.txt").write_text(whole, encoding="utf-8")
    one, several = load_corpus(str(folder / "whole.txt")), load_corpus(paths)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(whole.encode()), encoding="utf-8"))
    for other in (several, load_corpus("-")):
        assert (other.digest, other.vocabulary) == (one.digest, one.vocabulary)
        np.testing.assert_array_equal(other.ids, one.ids)


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=5), st.integers(1, 7), st.integers(0, 50))
def test_joined_files_read_as_their_bytes(tmp_path_factory: pytest.TempPathFactory, parts, size, offset) -> None:
    folder = tmp_path_factory.mktemp("parts")
    for number, part in enumerate(parts):
        (folder / str(number)).write_bytes(part)
    joined, whole = JoinedFiles([folder / str(number) for number in range(len(parts))]), b"".join(parts)
    assert b"".join(iter(lambda: joined.read(size), b"")) == whole
    joined.seek(offset)
    assert joined.read(size) == whole[offset : offset + size]


def test_what_cannot_be_joined_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "bad.txt").write_bytes(b"one\ntw\xff")
    with pytest.raises(DataError, match=r"in .*bad.txt, byte offset 6, line 2;"):
        load_corpus([str(folder / "b.txt"), str(folder / "bad.txt")])
    (folder / "d.jsonl").write_text('{"text": "x"}')
    with pytest.raises(DataError, match="d.jsonl"):
        load_corpus([str(folder / "b.txt"), str(folder / "d.jsonl")])
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"end in \.txt"):
        load_corpus(str(folder / "empty"))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(DataError, match="standard input"):
        load_corpus("-")
