"""Documents: JSON arrays and JSON lines become one text, each document ended by U+0003."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.data import documents
from jaxrnn.data.documents import read_documents
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.errors import DataError

texts = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x03")), min_size=1, max_size=5)


@given(texts, st.booleans(), st.sampled_from([".json", ".jsonl", ".NDJSON"]))
def test_any_documents_survive(tmp_path_factory, found, ascii_only, ending):
    path = tmp_path_factory.mktemp("d") / f"tweets{ending}"
    values = [text if i % 2 else {"text": text, "id": i} for i, text in enumerate(found)]
    if ending == ".json":
        content = json.dumps(values, ensure_ascii=ascii_only)
    else:
        content = "\r\n\n".join(json.dumps(value, ensure_ascii=ascii_only) for value in values)
    path.write_bytes(content.encode())
    kept = [text for text in found if text]
    if not kept:
        with pytest.raises(DataError, match="none"):
            read_documents(path)
        return
    read = read_documents(path)
    assert read.text == "".join(text + "\x03" for text in kept)
    assert read.digest == hashlib.sha256(content.encode()).hexdigest() and read.bytes == len(content.encode())
    assert any("left out" in note for note in read.notes) == (len(kept) < len(found))


def test_full_text_is_taken_where_there_is_no_text(tmp_path):
    path = tmp_path / "tweets.jsonl"
    path.write_text('{"full_text": "a"}\n{"full_text": "no", "text": "b"}', encoding="utf-8")
    assert read_documents(path).text == "a\x03b\x03"


def test_encoding_and_byte_order_mark_are_respected(tmp_path):
    path = tmp_path / "tweets.json"
    path.write_bytes('["é"]'.encode("utf-8-sig"))
    assert read_documents(path).text == "é\x03"
    path.write_bytes('["é"]'.encode("utf-16"))
    assert read_documents(path, ReadingOptions("utf-16")).text == "é\x03"
    with pytest.raises(DataError, match="--encoding utf-16"):
        read_documents(path)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.json", b"", "expected JSON"),
        ("a.json", b"[]", "none in"),
        ("a.json", b'{"text": "a"}', r"one object.*\.jsonl.*\.txt"),
        ("a.json", b'{"text": "a"}\n{"text": "b"}', r"Extra data.*\.jsonl"),
        ("a.json", b'["a", "b"', r"line 1, column.*\.txt"),
        ("a.json", b'["a", 7]', "entry 2, got number"),
        ("a.json", b'["a", null]', "entry 2, got null"),
        ("a.json", b"[" * 200_000, "nesting"),
        ("a.json", b"[" + b"1" * 10_000 + b"]", "too long"),
        ("a.json", b'["a\\u0003"]', r"entry 1 holds U\+0003"),
        ("a.json", b'["a\\ud800"]', "surrogate"),
        ("a.json", b'["\xff"]', "byte offset 2, line 1"),
        ("a.jsonl", b"", "none in"),
        ("a.jsonl", b'"a"\n\nnot', "line 3"),
        ("a.jsonl", b'"a"\n{"texts": "b"}', "line 2, got object without"),
        ("a.jsonl", b'"a"\n{"text": ["b"]}', "line 2, got object without"),
        ("a.jsonl", b'"a"\n["b"]', "line 2, got array"),
        ("a.jsonl", b'"a"\n"b\x03"\n', "line 2"),
        ("a.jsonl", b'"a"\n' + b"[" * 200_000, "line 2.*nesting"),
    ],
)
def test_other_content_is_refused(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=expected) as caught:
        read_documents(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "MAX_LINE_CHARACTERS", 10)
    monkeypatch.setattr(documents, "MAX_ARRAY_BYTES", 10)
    lines = tmp_path / "a.jsonl"
    lines.write_text('"12345678"\n"123456789"\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2 of .* is longer"):
        read_documents(lines)
    array = tmp_path / "a.json"
    array.write_text('["1234567"]', encoding="utf-8")
    with pytest.raises(DataError, match="at most 10 bytes"):
        read_documents(array)


def test_a_directory_is_refused(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(DataError, match="directory"):
        read_documents(tmp_path / "a.json")
