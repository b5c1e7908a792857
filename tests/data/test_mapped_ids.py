"""Mapped ids: the same as those in memory, made once, checked at each use, never half-written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxrnn.data import corpus, mapped_ids
from jaxrnn.data.cache import cache_folder
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import DataError, StorageError

WIDE = "".join(map(chr, range(0x4E00, 0x4E00 + 300)))  # needs 16 bits an id


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "jaxrnn" / "ids"


def files_of(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.exists() else []


@pytest.mark.parametrize("text", ["\ufeffone\r\ntwo\x00\x00\x00\x00\x00", WIDE * 2, "aaaa"], ids=["marks", "wide", "a"])
@pytest.mark.parametrize("options", [None, ReadingOptions(newlines="universal"), ReadingOptions(bytes_mode=True)])
def test_mapped_ids_equal_those_in_memory_and_are_made_once(tmp_path, monkeypatch, text, options):
    path = tmp_path / "text.txt"
    path.write_bytes(text.encode())
    expected = load_corpus(path, options, stream_from="memory")
    first = load_corpus(path, options, stream_from="disk")
    monkeypatch.setattr(mapped_ids, "read_stream", None)  # a second encoding would fail
    for found in (first, load_corpus(path, options, stream_from="disk")):
        assert isinstance(found.ids, np.memmap) and not isinstance(expected.ids, np.memmap)
        assert found.ids.dtype == expected.ids.dtype and np.array_equal(found.ids, expected.ids)
        for name in ("name", "vocabulary", "digest", "reading", "notes", "source_bytes"):
            assert getattr(found, name) == getattr(expected, name), name


def test_files_read_as_one_text_are_mapped_too(tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / "books").mkdir(exist_ok=True)
        (tmp_path / "books" / name).write_bytes(b"\xef\xbb\xbfabc" + name.encode())
    expected = load_corpus(tmp_path / "books", stream_from="memory")
    for _ in range(2):
        found = load_corpus(tmp_path / "books", stream_from="disk")
        assert np.array_equal(found.ids, expected.ids) and found.source_bytes == expected.source_bytes
        assert isinstance(found.ids, np.memmap)


def test_what_decides_the_ids_decides_the_file(tmp_path, cache):
    path = tmp_path / "text.txt"
    for content, options, vocabulary in [
        ("a\r\nb", None, None),
        ("a\r\nc", None, None),
        ("a\r\nb", ReadingOptions(newlines="universal"), None),
        ("a\r\nb", None, Vocabulary.from_text("abc\r\n")),
    ]:
        path.write_bytes(content.encode())
        read = load_corpus(path, options, vocabulary, stream_from="disk")
        expected = load_corpus(path, options, vocabulary, stream_from="memory")
        assert np.array_equal(read.ids, expected.ids)
    assert len(files_of(cache)) == 2 * 4
    with pytest.raises(DataError, match="vocabulary"):
        load_corpus(path, vocabulary=Vocabulary.from_text("xyz"), stream_from="disk")
    assert len(files_of(cache)) == 2 * 4  # nothing half-made is left


@pytest.mark.parametrize("ending", [".u8", ".json"])
@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "link", "longer"])
def test_a_damaged_file_is_made_again(tmp_path, cache, ending, damage):
    path = tmp_path / "text.txt"
    path.write_text("abcd" * 50)
    expected = load_corpus(path, stream_from="memory").ids
    load_corpus(path, stream_from="disk")
    (file,) = [file for file in files_of(cache) if file.suffix == ending]
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "longer":
        file.write_bytes(content + b"\1")
    elif damage == "changed":
        at = content.index(b"abcd") if ending == ".json" else 7
        file.write_bytes(content[:at] + (b"A" if ending == ".json" else b"\2") + content[at + 1 :])
    else:
        file.unlink()
        if damage == "link":
            (tmp_path / "elsewhere").write_bytes(content)
            file.symlink_to(tmp_path / "elsewhere")
    assert np.array_equal(load_corpus(path, stream_from="disk").ids, expected)
    assert file.is_file() and not file.is_symlink() and file.read_bytes() == content


def test_a_killed_encoding_leaves_nothing_that_is_used_and_is_cleared_away(tmp_path, cache):
    path = tmp_path / "text.txt"
    path.write_text("abcd" * 50)
    code = (
        "import os, signal\nfrom jaxrnn.data import mapped_ids\nfrom jaxrnn.data.corpus import load_corpus\n"
        "mapped_ids.os.replace = lambda *of: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"load_corpus({str(path)!r}, stream_from='disk')"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    assert len(files_of(cache)) == 2 and all(file.name.startswith(".") for file in files_of(cache))
    assert len(load_corpus(path, stream_from="disk").ids) == 200
    assert [file.suffix for file in files_of(cache)] == [".json", ".u8"]


def test_a_cache_that_cannot_be_written_is_refused_with_what_to_do(tmp_path, monkeypatch, cache):
    path = tmp_path / "text.txt"
    path.write_text("abcd")
    cache.parent.mkdir(parents=True)
    cache.write_text("in the way")
    with pytest.raises(StorageError, match="exists; make it a directory that can .* --stream-from memory"):
        load_corpus(path, stream_from="disk")
    cache.unlink()
    for number, remedy in ((errno.EROFS, "make it a directory"), (errno.ENOSPC, "free some space there, set XDG")):
        monkeypatch.setattr(mapped_ids.os, "fsync", raises(OSError(number, os.strerror(number))))
        with pytest.raises(StorageError, match=f"{os.strerror(number)}; {remedy}"):
            load_corpus(path, stream_from="disk")


def raises(error: Exception):
    """A function that does nothing else."""

    def function(*_):
        raise error

    return function


def test_auto_maps_a_text_by_the_free_memory(tmp_path, monkeypatch):
    path = tmp_path / "text.txt"
    path.write_text("abcd" * 100)
    assert not isinstance(load_corpus(path).ids, np.memmap)
    monkeypatch.setattr(mapped_ids, "SMALLEST", 100)
    assert not isinstance(load_corpus(path).ids, np.memmap)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 8 * 400 - 1}))
    assert isinstance(load_corpus(path).ids, np.memmap)
    assert cache_folder("ids") == Path(os.environ["XDG_CACHE_HOME"]) / "jaxrnn" / "ids"
    assert isinstance(corpus.load_corpus(path, stream_from="memory").ids, np.ndarray)
