"""The files of a run directory: logs that are cut back exactly, small files whole or not at all, one owner."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxrnn.errors import CheckpointError, ConfigurationError, StorageError
from jaxrnn.storage.logs import AppendLog, json_number, read_metrics, read_samples, sample_entry
from jaxrnn.storage.run_directory import RunDirectory, check_path
from jaxrnn.storage.small_files import MAX_JSON_BYTES, read_json, write_atomically


def test_a_log_is_cut_back_to_where_the_state_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AppendLog(path, None)
    log.append("one\n")
    log.sync()
    position = log.position()
    log.append("two\n{torn")
    log.close()
    log = AppendLog(path, position)
    assert path.read_text() == "one\n"
    log.append("drei\n")
    log.close()
    assert path.read_text() == "one\ndrei\n"
    AppendLog(path, None).close()
    assert path.read_text() == ""


def test_a_log_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = AppendLog(path, None)
    log.append("one\n")
    log.close()
    for content in (b"", b"on", b"oNe\n", b"one"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="changed since the checkpoint was saved"):
            AppendLog(path, log.position())
        assert path.read_bytes() == content


class FullDisk:
    """Takes some bytes, then is full until told otherwise."""

    def __init__(self, file: Any, room: int):
        self.file, self.room = file, room

    def write(self, data: Any) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self.file.write(bytes(data)[: self.room])
        self.room -= taken
        return taken

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()


@given(rooms=st.lists(st.integers(0, 12), min_size=1, max_size=8))
def test_a_full_disk_neither_tears_nor_loses_a_row(tmp_path_factory: pytest.TempPathFactory, rooms: list[int]) -> None:
    path = tmp_path_factory.mktemp("full") / "log"
    log = AppendLog(path, None)
    file = log._file
    expected = ""
    for number, room in enumerate(rooms):
        log._file = FullDisk(file, room)  # type: ignore[assignment]
        log.append(f"row {number}\n")
        expected += f"row {number}\n"
        content = path.read_text()
        assert expected.startswith(content) and (not content or content.endswith("\n"))
        assert log.position()["bytes"] == len(expected)
        try:
            log.sync()
        except StorageError as error:
            assert "No space left" in str(error)
    log._file = file
    log.sync()
    assert path.read_text() == expected
    position = log.position()
    log.close()
    AppendLog(path, position).close()


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    write_atomically(path, "old")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(StorageError, match="No space left"):
                write_atomically(path, "new")
        assert path.read_text() == "old" and os.listdir(tmp_path) == ["config.json"]
    write_atomically(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("behind_a_link", [False, True])
def test_what_is_no_file_is_not_replaced_by_one(tmp_path: Path, behind_a_link: bool) -> None:
    path, pipe, link = tmp_path / "pipe", tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    if behind_a_link:
        link.symlink_to(pipe)
        path = link
    with pytest.raises(StorageError, match=r"is a device, a pipe or a socket, not a file; give the path of a file"):
        write_atomically(path, "new")
    with pytest.raises(StorageError, match="is a directory"):
        write_atomically(tmp_path, "new")
    assert pipe.is_fifo() and link.is_symlink() == behind_a_link
    write_atomically(tmp_path / "new", "new")


def test_what_a_killed_process_left_of_a_small_file_goes(tmp_path: Path) -> None:
    """A kill in a folder that has no lock of its own: pictures, rounds of a sweep."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    kept = [f".a.png.{os.getppid()}", f".b.png.{gone.pid}", ".a.png.backup"]
    for name in (f".a.png.{gone.pid}", *kept):
        (tmp_path / name).write_bytes(b"half")
    write_atomically(tmp_path / "a.png", b"whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, "a.png"])


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b" " * (MAX_JSON_BYTES + 1)])
def test_json_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="x.json"):
        read_json(tmp_path / "x.json")


def test_the_lock_belongs_to_one(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    with directory.lock():
        owner = json.loads((tmp_path / "owner.json").read_text())
        assert owner["pid"] == os.getpid() and set(owner) == {"pid", "host", "started"}
        with pytest.raises(ConfigurationError, match=f"process {os.getpid()} on "), directory.lock():
            pytest.fail("two owners")
        (tmp_path / "owner.json").write_text("\x1b")
        with pytest.raises(ConfigurationError, match="owner is not known"), directory.lock():
            pytest.fail("two owners")
    with directory.lock():
        pass
    assert not (tmp_path / "owner.json").exists()


def test_a_lock_that_cannot_name_its_owner_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(StorageError), RunDirectory(tmp_path).lock():
            pytest.fail("no owner")
    with RunDirectory(tmp_path).lock():
        pass


def test_the_owner_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    written = ["vocabulary.json", "test.json", "sweep.json", "metrics.jsonl", "results.jsonl", "results.csv"]
    written += ["config.json", "owner.json"]
    for name in (".write-test-99", ".vocabulary.json.k3_x", *(f".{name}.99" for name in written)):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".mine").write_bytes(b"")
    with RunDirectory(tmp_path).lock():
        assert sorted(os.listdir(tmp_path)) == [".mine", "lock", "owner.json"]


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    for name in ("thesis.doc", "vocabulary.json", ".config.json.99.mine"):
        directory = tmp_path / f"d{len(name)}"
        directory.mkdir()
        (directory / name).write_bytes(b"mine")
        with pytest.raises(ConfigurationError, match="holds .* but no run"):
            RunDirectory(directory).prepare()
        assert os.listdir(directory) == [name]
    RunDirectory(tmp_path / "new" / "deep").prepare()
    assert os.listdir(tmp_path / "new" / "deep") == []


@given(st.text(st.characters(), min_size=1, max_size=300).filter(lambda t: "\0" not in t))
def test_names_are_refused_or_harmless(name: str) -> None:
    path = Path("runs") / name
    try:
        check_path(path)
    except ConfigurationError as error:
        assert str(error).isprintable()
    else:
        assert str(path).isprintable() and all(len(part.encode()) <= 255 for part in path.parts)


def test_numbers_that_json_lacks_are_strings_and_come_back(tmp_path: Path) -> None:
    values = [1.5, float("inf"), float("-inf"), float("nan")]
    assert [json_number(v) for v in values] == [1.5, "inf", "-inf", "nan"]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"x": json_number(v)}) + "\n" for v in values) + '{"x": 3')
    assert [str(row["x"]) for row in read_metrics(path)] == ["1.5", "inf", "-inf", "nan"]
    path.write_text('{"x": 1}\n{"x"\n{"x": 2}\n')
    with pytest.raises(CheckpointError, match="line 2"):
        read_metrics(path)
    assert read_metrics(tmp_path / "missing") == []


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=5), st.integers(0, 40))
def test_samples_come_back_whatever_they_hold(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], cut: int
) -> None:
    path = tmp_path_factory.mktemp("samples") / "samples.txt"
    texts = [*texts, "=== update 3, temperature 1, 5 characters ===\n"]
    content = "".join(sample_entry(i, 0.5, text) for i, text in enumerate(texts))
    path.write_bytes(content.encode())
    assert read_samples(path) == [(i, 0.5, text) for i, text in enumerate(texts)]
    path.write_bytes(content.encode()[: -3 - cut])
    assert read_samples(path) == [(i, 0.5, text) for i, text in enumerate(texts)][: len(read_samples(path))]
