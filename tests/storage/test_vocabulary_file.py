"""vocabulary.json: what is saved comes back, whole or not at all, and nothing else is taken for it."""

import errno
import json
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data.long_symbols import LongSymbols
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import CheckpointError, StorageError
from jaxrnn.storage.vocabulary_file import MAX_FILE_BYTES, load_vocabulary, save_vocabulary

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(texts, st.booleans())
def test_save_and_load_give_the_same_vocabulary(tmp_path_factory, text, bytes_mode):
    if bytes_mode:
        text = text.encode("utf-8").decode("latin-1")
    vocabulary = Vocabulary(tuple(sorted(set(text))), bytes_mode)
    path = tmp_path_factory.mktemp("v") / "vocabulary.json"
    save_vocabulary(vocabulary, path)
    save_vocabulary(vocabulary, path)
    assert path.read_bytes().isascii()
    assert load_vocabulary(path) == vocabulary
    assert os.listdir(path.parent) == ["vocabulary.json"]


@given(texts, texts)
def test_longer_symbols_come_back_with_what_they_were_merged_from(tmp_path_factory, text, other):
    characters = tuple(sorted(set(text + other)))
    pairs = {characters[0] + character: (0, i) for i, character in enumerate(characters)}
    path = tmp_path_factory.mktemp("v") / "vocabulary.json"
    for merges in (None, tuple(pairs.values())):
        vocabulary = LongSymbols((*characters, *pairs), merges=merges)
        save_vocabulary(vocabulary, path)
        found = load_vocabulary(path)
        assert found == vocabulary and found.digest == vocabulary.digest and path.read_bytes().isascii()
        np.testing.assert_array_equal(found.encode(text), vocabulary.encode(text))


def test_characters_and_bytes_are_written_as_ever(tmp_path):
    save_vocabulary(Vocabulary(("a", "\u00e9")), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b'{"format":1,"bytes_mode":false,"symbols":["a","\\u00e9"]}\n'
    save_vocabulary(Vocabulary(("a", "\u00e9"), True), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b'{"format":1,"bytes_mode":true,"symbols":["a","\\u00e9"]}\n'


def test_a_large_file_of_longer_symbols_is_read_in_a_second(tmp_path):
    symbols = [f"{i:06d}" for i in range(400_000)]
    (tmp_path / "v").write_text(json.dumps({"format": 2, "kind": "words", "symbols": [*"0123456789", *symbols]}))
    began = time.process_time()
    assert len(load_vocabulary(tmp_path / "v")) == 400_010
    assert time.process_time() - began < 10  # about 1 on a machine that is quiet


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    save_vocabulary(Vocabulary.from_text("ab"), path)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(full))
    with pytest.raises(StorageError, match="No space left"):
        save_vocabulary(Vocabulary.from_text("xyz"), path)
    assert load_vocabulary(path).symbols == ("a", "b")
    assert os.listdir(tmp_path) == ["vocabulary.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[1]",
        b"[" * 200_000,
        b'{"format": 1' + b"1" * 10_000 + b"}",
        b'{"symbols": ["a"]}',
        b'{"format": 3, "symbols": ["a"]}',
        b'{"format": 2, "symbols": ["a"]}',
        b'{"format": 2, "kind": "words", "symbols": {"a": 1}}',
        b'{"format": 2, "kind": "words", "symbols": []}',
        b'{"format": 2, "kind": "letters", "symbols": ["a"]}',
        b'{"format": 2, "kind": ["words"], "symbols": ["a"]}',
        b'{"format": 2, "kind": "words", "symbols": ["a"], "bytes_mode": true}',
        b'{"format": 2, "kind": "words", "symbols": ["a", "aa"], "merges": [[0, 0]]}',
        b'{"format": 2, "kind": "words", "symbols": ["a", "aa", "aa"]}',
        b'{"format": 2, "kind": "words", "symbols": ["b", "a", "ab"]}',
        b'{"format": 2, "kind": "words", "symbols": ["a", "ab"]}',
        b'{"format": 2, "kind": "words", "symbols": ["a", "a\\ud800"]}',
        b'{"format": 2, "kind": "words", "symbols": ["a", "' + b"a" * 1_000_000 + b'"]}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"]}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": {}}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": []}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": [7]}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": ["aa"]}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": [[0, 0, 0]]}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": [[0, 1e9]]}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": [[0, 99999999999999999999]]}',
        b'{"format": 2, "kind": "bpe", "symbols": ["a", "aa"], "merges": [[0, 0], [1, 1]]}',
        b'{"format": true, "symbols": ["a"]}',
        b'{"format": 1, "symbols": "abc"}',
        b'{"format": 1, "symbols": []}',
        b'{"format": 1, "symbols": ["b", "a"]}',
        b'{"format": 1, "symbols": ["a", "a"]}',
        b'{"format": 1, "symbols": ["a", "bc"]}',
        b'{"format": 1, "symbols": ["a", 7]}',
        b'{"format": 1, "symbols": ["\\ud800"]}',
        b'{"format": 1, "symbols": ["a"], "bytes_mode": 1}',
        b'{"format": 1, "symbols": ["\\u0100"], "bytes_mode": true}',
    ],
)
def test_load_refuses_other_content(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        load_vocabulary(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_load_refuses_large_files_links_pipes_and_missing_ones(tmp_path):
    large = tmp_path / "large.json"
    large.write_bytes(b" " * (MAX_FILE_BYTES + 1))
    with pytest.raises(CheckpointError, match="larger"):
        load_vocabulary(large)
    save_vocabulary(Vocabulary.from_text("ab"), tmp_path / "good.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "good.json")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("link.json", "pipe.json", "missing.json"):
        with pytest.raises(CheckpointError):
            load_vocabulary(tmp_path / name)


def test_same_size_in_another_order_is_refused_when_loaded(tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps({"format": 1, "symbols": ["b", "a", "c"]}))
    with pytest.raises(CheckpointError, match=r"'a' \(U\+0061\) at place 1, after 'b'"):
        load_vocabulary(path)
