"""Known texts: found in $JAXRNN_DATA, the cache or over https, and never taken with a wrong digest."""

import dataclasses
import hashlib
import http.server
import io
import os
import stat
import threading
import zipfile
from pathlib import Path

import pytest
import requests

from jaxrnn.config import TrainConfig
from jaxrnn.data import download, known_texts, local_texts
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.known_texts import KNOWN_TEXTS, Archive, KnownText
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.errors import DataError

CONTENT = b"a small text\n" * 1000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and no $JAXRNN_DATA."""
    monkeypatch.delenv("JAXRNN_DATA", raising=False)
    folder = tmp_path / "cache" / "texts"
    monkeypatch.setattr(known_texts, "cache_folder", lambda of: folder)
    return folder


@pytest.fixture
def server(monkeypatch):
    """A web server on this machine; `files` maps paths to contents, `asked` lists the requests."""
    files: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/text.txt")
                self.end_headers()
                return
            content = files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            if content is not None:
                try:
                    self.wfile.write(content)
                except OSError:
                    pass  # the client had enough

        def log_message(self, *_):
            pass

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(known_texts, "_SCHEME", "http://")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}", files, asked
        web.shutdown()
        thread.join()


def known_at(address, content=CONTENT, **changes):
    text = KnownText(
        name="small",
        description="",
        address=address,
        file_name="small.txt",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        characters=len(content),
        distinct=8,
    )
    return dataclasses.replace(text, **changes)


def test_a_text_is_downloaded_once_and_announced(cache, server, capsys):
    base, files, asked = server
    files["/text.txt"] = CONTENT
    known = known_at(f"{base}/text.txt")
    path = known_texts.locate(known)
    assert path == cache / "small.txt" and path.read_bytes() == CONTENT
    assert f"13,000 bytes, from {base}/text.txt" in capsys.readouterr().err
    assert known_texts.locate(known) == path and asked == ["/text.txt"]
    assert os.listdir(cache) == ["small.txt"]


def test_a_damaged_cached_copy_is_fetched_again(cache, server, capsys):
    base, files, _ = server
    files["/text.txt"] = CONTENT
    cache.mkdir(parents=True)
    (cache / "small.txt").write_bytes(CONTENT[:-1])
    assert known_texts.locate(known_at(f"{base}/text.txt")).read_bytes() == CONTENT
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("served", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x", CONTENT * 1000, b"", None])
def test_another_content_is_refused_and_nothing_is_left(cache, server, served):
    base, files, _ = server
    if served is not None:
        files["/text.txt"] = served
    with pytest.raises(DataError, match=r"cannot download small.*place small\.txt.*JAXRNN_DATA") as caught:
        known_texts.locate(known_at(f"{base}/text.txt"))
    assert "\n" not in str(caught.value) and len(caught.value.details) <= 3
    assert os.listdir(cache) == []


def test_a_download_stops_at_the_size_of_the_text(cache, server, monkeypatch):
    base, files, _ = server
    files["/text.txt"] = CONTENT * 1000
    came = []
    iter_content = requests.Response.iter_content

    def counting(self, size):
        for block in iter_content(self, size):
            came.append(len(block))
            yield block

    monkeypatch.setattr(download, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(requests.Response, "iter_content", counting)
    with pytest.raises(DataError) as caught:
        known_texts.locate(known_at(f"{base}/text.txt"))
    assert sum(came) <= len(CONTENT) + 1000 and "more bytes" in caught.value.details[0]


def test_redirections_are_not_followed(cache, server):
    base, files, asked = server
    files["/text.txt"] = CONTENT
    with pytest.raises(DataError, match="cannot download"):
        known_texts.locate(known_at(f"{base}/moved"))
    assert asked == ["/moved"]


def test_the_temporary_file_is_private_and_beside_the_target(cache, server, monkeypatch):
    base, files, _ = server
    files["/text.txt"] = CONTENT
    seen = []
    replace = os.replace

    def spy(source, target):
        folder = Path(source).parent
        seen.append((folder.parent, *(stat.S_IMODE(os.stat(path).st_mode) for path in (folder, source))))
        replace(source, target)

    monkeypatch.setattr(os, "replace", spy)
    known_texts.locate(known_at(f"{base}/text.txt"))
    assert seen == [(cache, 0o700, 0o600)]


def test_an_unprotected_address_is_refused_without_a_request(cache, server, monkeypatch):
    base, files, asked = server
    files["/text.txt"] = CONTENT
    monkeypatch.setattr(known_texts, "_SCHEME", "https://")
    with pytest.raises(DataError, match="unprotected"):
        known_texts.locate(known_at(f"{base}/text.txt"))
    assert asked == []


def test_offline_is_refused_with_the_remedy(cache, monkeypatch):
    monkeypatch.setattr(known_texts, "_SCHEME", "http://")
    known = known_at("http://127.0.0.1:9/text.txt")
    with pytest.raises(DataError, match=r"are you offline\? place small\.txt"):
        known_texts.locate(known)


def test_a_text_without_checksum_is_never_downloaded_but_read_where_given(cache, server, tmp_path, monkeypatch):
    base, files, asked = server
    files["/text.txt"] = CONTENT
    known = known_at(f"{base}/text.txt", sha256=None)
    with pytest.raises(DataError, match="no checksum"):
        known_texts.locate(known)
    assert asked == []
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))
    (tmp_path / "small.txt").write_bytes(b"whatever")
    assert known_texts.locate(known) == tmp_path / "small.txt"


def test_a_wrong_file_in_the_data_folder_is_refused_and_kept(cache, server, tmp_path, monkeypatch):
    base, files, asked = server
    files["/text.txt"] = CONTENT
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))
    (tmp_path / "small.txt").write_bytes(b"another")
    with pytest.raises(DataError, match=r"another file: .*small\.txt"):
        known_texts.locate(known_at(f"{base}/text.txt"))
    assert (tmp_path / "small.txt").read_bytes() == b"another" and asked == []
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="expects a folder"):
        known_texts.locate(known_at(f"{base}/text.txt"))


def test_a_pipe_in_the_data_folder_is_refused(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path))
    os.mkfifo(tmp_path / "small.txt")
    with pytest.raises(DataError, match="pipe"):
        known_texts.locate(known_at("https://example.invalid/"))


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def known_in_archive(base, files, data):
    files["/small.zip"] = data
    archive = Archive(f"{base}/small.zip", hashlib.sha256(data).hexdigest(), len(data))
    return known_at("https://example.invalid/page", archive=archive)


def test_a_text_in_an_archive_is_unpacked_and_the_archive_removed(cache, server):
    base, files, _ = server
    known = known_in_archive(base, files, packed({"../other": b"x", "small.txt": CONTENT}))
    assert known_texts.locate(known).read_bytes() == CONTENT
    assert os.listdir(cache) == ["small.txt"] and os.listdir(cache.parent) == ["texts"]


@pytest.mark.parametrize("members", [{"other": CONTENT}, {"small.txt": CONTENT[:-1]}, {"small.txt": b"0" * 10**7}])
def test_an_archive_with_another_content_is_refused(cache, server, members):
    base, files, _ = server
    with pytest.raises(DataError, match="cannot download"):
        known_texts.locate(known_in_archive(base, files, packed(members)))
    assert not (cache / "small.txt").exists()
    assert os.listdir(cache) == []


def test_the_table_is_sound():
    assert len({known.sha256 for known in KNOWN_TEXTS}) == len(KNOWN_TEXTS)
    for known in KNOWN_TEXTS:
        assert known.address.startswith("https://") and known.name not in local_texts.LOCAL_TEXTS
        assert Path(known.file_name).name == known.file_name
        if known.sha256:
            assert len(known.sha256) == 64 and known.bytes and known.characters and known.distinct
        if known.archive:
            assert known.archive.address.startswith("https://") and len(known.archive.sha256) == 64


def test_the_language_reference_is_the_same_each_time():
    corpus = load_corpus("python-reference")
    again = load_corpus("python-reference", ReadingOptions(encoding="latin-1"))  # it is made here, so never decoded
    assert corpus.digest == again.digest and len(corpus) > 400_000 and 90 < len(corpus.vocabulary) < 256
    assert corpus.vocabulary.decode(corpus.ids[:30]).startswith('The "assert" statement')


def test_the_standard_library_is_taken_in_path_order_without_tests(tmp_path):
    for name in (
        "b.py",
        "a/z.py",
        "a.py",
        "test/x.py",
        "json/tests/x.py",
        "idlelib/idle_test/x.py",
        "site-packages/x.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"# {name}", encoding="utf-8")
    (tmp_path / "c.py").write_bytes(b"# coding: latin-1\r\n# \xe9\n")
    (tmp_path / "d.py").write_bytes(b"# \xe9\n")
    (tmp_path / "e.txt").write_bytes(b"no")
    text, notes = local_texts._standard_library(tmp_path, "3.x")
    assert text == "# a/z.py\n# a.py\n# b.py\n# coding: latin-1\n# \xe9\n"
    assert "4 files" in notes[0] and notes[1].startswith("1 files")


def test_the_python_reference_has_no_tables():
    text, notes = local_texts.local_text("python-reference")
    assert "+---" not in text and "lines of tables left out" in notes[0]


def test_the_standard_library_has_no_tests():
    corpus = load_corpus("python-stdlib")
    assert len(corpus) > 5_000_000 and "tests left out" in corpus.notes[0]


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("JAXRNN_DATA"), reason="JAXRNN_DATA names no folder of texts")
@pytest.mark.parametrize("known", KNOWN_TEXTS, ids=lambda known: known.name)
def test_counts_are_those_published(known):
    if not (Path(os.environ["JAXRNN_DATA"]) / known.file_name).exists():
        pytest.skip(f"{known.file_name} is not in JAXRNN_DATA")
    corpus = load_corpus(known.name)
    assert corpus.digest == known.sha256 and corpus.source_bytes == known.bytes
    assert (len(corpus), len(corpus.vocabulary)) == (known.characters, known.distinct)
    by_path = load_corpus(str(Path(os.environ["JAXRNN_DATA"]) / known.file_name))
    assert by_path.reading == known.reading and (by_path.ids == corpus.ids).all()


def test_one_option_that_is_asked_for_leaves_a_known_texts_others_as_they_are():
    def asked(text, **given):
        return TrainConfig(text=text, **given).reading_options()

    assert asked("warpeace") is None
    assert asked("warpeace", newlines="keep") == ReadingOptions(byte_order_mark="keep")
    assert asked("warpeace", byte_order_mark="strip") == ReadingOptions(newlines="universal")
    assert asked("warpeace", bytes=True) == ReadingOptions(bytes_mode=True)  # it goes with no other
    assert asked("enwik8", newlines="universal") == asked("other.txt", newlines="universal")
    assert asked("other.txt", newlines="universal") == ReadingOptions(newlines="universal")
