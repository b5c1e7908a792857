"""Bad texts, options and paths: one clear line, the right exit code, nothing written, and soon."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import sqlite3
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn.training.trainer import Trainer

from .support import Answer, assert_refused, call, command, rows_of, tiny_options, tiny_text, tree

SECONDS_TO_REFUSE = 5


class Never(Exception):
    """Raised where a refused run would have begun to compile."""


@pytest.fixture
def refused(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Answer]]:
    """Runs `jaxrnn train` and checks that it is refused before compilation, soon, with nothing written."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("JAXRNN_DATA", str(tmp_path / "no-such-folder"))

    def never(*_: Any, **__: Any) -> None:
        raise Never

    monkeypatch.setattr(Trainer, "begin", never)

    def run(code: int, arguments: list[object], *said: str) -> Answer:
        before = tree(home)
        began = time.monotonic()
        answer = command(capsys, "train", *arguments)
        assert time.monotonic() - began < SECONDS_TO_REFUSE
        assert_refused(answer, code, *said)
        assert tree(home) == before
        return answer

    yield run


def _write(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


SMALL = ["--preset", "book", "--hidden", "4", "--bptt-length", "5", "--updates", "3", "--sample-length", "9"]


# D: texts.


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", 3, ["empty", "text.txt"]),
        (b"\n", 3, ["6", "got 1"]),
        (b"abcde", 2, ["6 characters, got 5", "--bptt-length 4"]),
        (b"plain \xff text", 3, ["text.txt", "utf-8", "byte offset 6", "line 1", "--encoding", "--bytes"]),
        (b"one\ntwo \xe9t\xe9\n", 3, ["byte offset 8", "line 2"]),
        ("wide".encode("utf-16"), 3, ["--encoding utf-16"]),
        (b"sur\xed\xa0\x80rogate", 3, ["byte offset 3"]),
        (gzip.compress(b"text" * 50, mtime=0), 3, ["gzip", "gunzip"]),
        (bz2.compress(b"text" * 50), 3, ["bzip2", "bunzip2"]),
        (lzma.compress(b"text" * 50), 3, ["xz", "unxz"]),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", 3, ["PDF", "pdftotext"]),
    ],
)
def test_a_text_that_cannot_be_trained_on_is_refused(
    refused: Callable[..., Answer], content: bytes, code: int, said: list[str]
) -> None:
    refused(code, [_write("text.txt", content), *SMALL], *said)


def test_archives_and_databases_are_refused_by_kind(refused: Callable[..., Answer]) -> None:
    with zipfile.ZipFile("text.txt", "w") as archive:
        archive.writestr("a", "text")
    refused(3, ["text.txt", *SMALL], "zip", "unzip")
    os.unlink("text.txt")
    with sqlite3.connect("text.db") as database:
        database.execute("create table t (a)")
    database.close()
    refused(3, ["text.db", *SMALL], "SQLite", "sqlite3")


def test_bytes_around_a_fault_are_shown_in_hexadecimal(refused: Callable[..., Answer]) -> None:
    answer = refused(3, [_write("t.txt", b"12345678\xff\x1b[2J901234"), *SMALL])
    assert "31 32 33 34 35 36 37 38 ff 1b 5b 32 4a 39 30 31" in answer.err


def test_what_is_not_a_regular_file_is_refused(refused: Callable[..., Answer]) -> None:
    os.mkdir("folder.d")
    os.mkfifo("pipe.txt")
    os.symlink("nowhere", "link.txt")
    for name, said in (
        ("folder.d", "directory"),
        ("./pipe.txt", "pipe"),
        ("/dev/zero", "device"),
        ("link.txt", "link to a missing file"),
        ("missing.txt", "no file"),
        ("no/such/file", "no file"),
        ("x" * 300 + ".txt", "File name too long"),
    ):
        refused(3, [name, *SMALL], said)


def test_an_unknown_text_names_the_nearest_and_the_list(refused: Callable[..., Answer]) -> None:
    refused(3, ["tinyshakespear", *SMALL], "did you mean tinyshakespeare?", "Known texts:", "python-reference")


def test_exactly_one_window_trains_and_one_character_less_does_not(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcabc")
    assert command(capsys, "train", path, *SMALL, "--run", tmp_path / "run").code == 0
    assert len(rows_of(tmp_path / "run")) == 2
    path.write_text("abcab")
    assert_refused(command(capsys, "train", path, *SMALL, "--run", tmp_path / "other"), 2, "--bptt-length 4")
    assert not (tmp_path / "other").exists()


def test_a_validation_part_that_is_too_short_names_the_smallest_that_works(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "text.txt"
    path.write_text("abcabc" * 20)
    arguments = ["train", path, *SMALL, "--run", tmp_path / "run", "--validation-fraction"]
    assert_refused(command(capsys, *arguments, "0.01"), 3, "validation part", "0.05", "--validation-fraction")
    assert command(capsys, *arguments, "0.05").code == 0


def test_one_character_repeated_trains_with_a_warning(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a" * 30)
    answer = command(capsys, "train", path, *SMALL, "--run", tmp_path / "run")
    assert answer.code == 0 and "there is nothing to learn" in answer.out + answer.err
    assert rows_of(tmp_path / "run")[-1]["train/loss_nats"] == 0
    assert command(capsys, "sample", tmp_path / "run", "--length", 7).out == "a" * 7


def test_line_ends_and_byte_order_mark_are_kept_or_converted_as_asked(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:  # all that is looked at is written by then
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "begin", stop)
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\xc2\x85four\xe2\x80\xa8" * 3)
    for options, symbols, said in (
        ([], "\r", "byte order mark removed"),
        (["--newlines", "universal"], "\n", "byte order mark removed"),
        (["--byte-order-mark", "keep"], "\ufeff", "byte order mark kept"),
    ):
        run = tmp_path / "-".join(["run", *options]).replace("--", "")
        answer = command(capsys, "train", path, *SMALL, *options, "--run", run)
        assert answer.code == 130 and said in answer.out
        vocabulary = (run / "vocabulary.json").read_text()
        assert all(repr(s)[1:-1] in vocabulary for s in symbols)
        assert ("\\r" in vocabulary) == (options != ["--newlines", "universal"])


# K: options.
OTHER_THAN_BYTES = ("--newlines universal", "--encoding latin-1", "--byte-order-mark keep")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--hiden", "100"], ["--hiden", "--hidden"]),
        (["--hidden", "10", "--hidden", "10"], ["--hidden", "twice"]),
        (["--cell", "vanila"], ["--cell", "did you mean vanilla?"]),
        (["--cell", "../vanilla"], ["--cell", "vanilla"]),
        (["--optimizer", "adagrd"], ["--optimizer", "did you mean adagrad?", "rmsprop"]),
        (["--engine", "fast"], ["--engine", "scan"]),
        (["--engine", "cudnn"], ["--engine cudnn cannot run here: it needs an NVIDIA GPU; train without it"]),
        (["--engine", "resident"], ["--engine resident cannot run here: it needs", "train without it"]),
        (["--engine", "hoisted", "--cell", "lstm-multiplicative"], ["--engine hoisted cannot run here"]),
        (["--dtype", "float16"], ["--dtype", "float32", "float64"]),
        (["--newlines", "none"], ["--newlines", "universal"]),
        (["--encoding", "utf-9"], ["error: --encoding expects", "utf-9", "latin-1"]),
        (["--encoding", "rot13"], ["encoding"]),
        *((["--bytes", *o.split()], ["--bytes", f"{o.split()[0]}; leave one out"]) for o in OTHER_THAN_BYTES),
        (["--updates", "5", "--epochs", "5"], ["--updates", "--epochs", "one of them"]),
        (["--bptt-length", "5000"], ["--bptt-length", "largest allowed"]),
        (["--batch-size", "5000"], ["--batch-size", "largest allowed"]),
        (["--bptt-length", "100", "--batch-size", "100"], ["--batch-size", "largest allowed"]),
        (["--hidden", "1000000"], ["GiB", "smaller --hidden"]),
        (["--hidden", "2147483647"], ["GiB", "smaller --hidden"]),
        (["--hidden"], ["--hidden", "value"]),
        (["--checkpoint-every", "0"], ["--checkpoint-every", "30s"]),
        (["--checkpoint-every", "5m"], ["--checkpoint-every", "30s"]),
        (["--checkpoint-every", "0s"], ["--checkpoint-every"]),
        (["--validation-fraction", "1"], ["--validation-fraction"]),
        (["--validation-fraction", "nan"], ["--validation-fraction"]),
        (["--decay-rate", "0"], ["--decay-rate"]),
        (["--decay-rate", "1.1"], ["--decay-rate"]),
        (["--checkpoint-every", "\u0661s"], ["--checkpoint-every", "30s"]),
        *((["--learning-rate", v], ["--learning-rate", v]) for v in ("-1", "inf", "nan", "fast", "", "1_0", "\u0661")),
    ],
)
def test_a_bad_option_is_refused(refused: Callable[..., Answer], arguments: list[object], said: list[str]) -> None:
    text = _write("text.txt", tiny_text().encode())
    refused(2, [text, "--preset", "book", *arguments], *said)


def test_a_rate_of_zero_is_allowed_with_a_warning(text: Path, tmp_path: Path, capsys: Any) -> None:
    answer = command(capsys, "train", text, *tiny_options(tmp_path / "run", updates=3, learning_rate=0))
    assert answer.code == 0 and "jaxrnn: warning: --learning-rate 0" in answer.err


SIZES = (
    "--hidden --layers --bptt-length --batch-size --updates --epochs --seed --sample-every --sample-length "
    "--log-every --decay-after-epochs"
).split()
BAD_SIZES = st.one_of(
    st.integers(max_value=-1).map(str),
    st.integers(min_value=10**12).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.sampled_from(["1.5", "nan", "inf", "true", "True", "", " ", "ten", "1e3", "0x10", "1_000", "٣", "²", "½", "--"]),
    st.text(min_size=1, max_size=20).filter(lambda t: not t.strip().lstrip("+-").isdecimal()),
)


@pytest.mark.parametrize("examples", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_no_size_but_a_whole_number_in_range_is_accepted(capsys: Any, text: Path, examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(option=st.sampled_from(SIZES), value=BAD_SIZES)
    def check(option: str, value: str) -> None:
        began = time.monotonic()
        answer = command(capsys, "train", text, f"{option}={value}")
        assert_refused(answer, 2, option)
        assert time.monotonic() - began < SECONDS_TO_REFUSE

    check()


@pytest.mark.parametrize("option", [o for o in SIZES if o not in ("--seed", "--sample-every", "--decay-after-epochs")])
def test_a_size_of_zero_is_refused(capsys: Any, text: Path, option: str) -> None:
    assert_refused(command(capsys, "train", text, option, "0"), 2, option, "from 1 to", "got 0")


# K7: names of runs.


@pytest.mark.parametrize(
    "name", ["a\nb", "a\x1b[2Jb", "x" * 256, "é" * 200, "\u202eevil", "-dash", "a/-dash/b", "/", "a\udcffb"]
)
def test_names_that_no_shell_can_handle_are_refused(refused: Callable[..., Answer], name: str) -> None:
    refused(2, [_write("text.txt", tiny_text().encode()), f"--run={name}"], "--run")


NAMES = ["ok", "with space", "ünïcödé", "🎉", "dots.and-dashes", "a/b/c"]


@pytest.mark.parametrize("name", NAMES)
def test_other_names_are_used_as_they_are(text: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    assert command(capsys, "train", text, *tiny_options(tmp_path / name, updates=1, sample_every=0)).code == 0
    assert (tmp_path / name / "config.json").is_file()


@settings(max_examples=100, deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300))
def test_the_default_name_stays_in_its_folder(name: str) -> None:
    from jaxrnn.config import TrainConfig
    from jaxrnn.storage.run_directory import check_path, default_run_path

    path = default_run_path(TrainConfig(text=name))
    assert path.parts[0] == "runs" and len(path.parts) == 2 and ".." not in path.parts
    check_path(path)


# The same through a real process: exit codes, no traceback, nothing of JAX's on stderr.


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ["train", "TEXT", "--hiden", "3"]),
        (3, ["train", "bad.txt"]),
        (2, ["resume", "."]),
        (6, ["train", "TEXT", "--run", "bad.txt/run"]),
        (2, ["nonsense"]),
    ],
)
def test_exit_codes_of_the_process(text: Path, tmp_path: Path, code: int, arguments: list[str]) -> None:
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    assert_refused(call(*(str(text) if word == "TEXT" else word for word in arguments), cwd=tmp_path), code)
    assert os.listdir(tmp_path) == ["bad.txt"]
