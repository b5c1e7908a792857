"""What reaches a terminal is escaped where it is printed, whoever prints it; a closed stream ends nothing."""

from __future__ import annotations

import io
import re
import sys
from typing import Any

import pytest
from cyclopts import App

from jaxrnn.errors import DataError, StorageError
from jaxrnn.terminal.command import exit_code_of, write_output
from jaxrnn.terminal.progress import Progress, Status

EVIL = "a\x1b]0;title\x07\x1b[2J\u202e\u009b31mb"
HARMLESS = "a\\x1b]0;title\\x07\\x1b[2J\\u202e\\x9b31mb"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


STATUS = Status(1, 2, EVIL, 1.0)


def test_messages_and_status_are_escaped_and_keep_their_lines() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    progress.message(f"{EVIL}\n{EVIL}")
    progress.show(STATUS, force=True)
    assert stream.getvalue() == f"{HARMLESS}\n{HARMLESS}\nupdate 1/2  {HARMLESS}  0:01 left\n"


def test_the_bar_and_what_is_printed_beside_it_are_escaped() -> None:
    stream = Terminal()
    progress = Progress(stream)
    progress.show(STATUS)
    progress.message(EVIL)
    progress.close()
    shown = stream.getvalue()
    assert HARMLESS in shown and not set(shown) & {"\x07", "\u202e", "\u009b"} and "\x1b]0" not in shown


ORDINARY = Status(2281, 3940, "epoch 12  loss 1.116 nats 1.611 bits/char  36,134 chars/s", 94.0)
LARGE_NUMBERS = "4 of 32 run  epoch 1000  loss 11.116 nats 16.111 bits/char  1,000,000 chars/s"
LARGE = Status(999_999, 1_000_000, LARGE_NUMBERS, 36_000.0)


@pytest.mark.parametrize("status", [ORDINARY, LARGE])
@pytest.mark.parametrize(("columns", "most_lines"), [(150, 1), (80, 2), (60, 3), (40, 4)])
def test_the_bar_fits_and_leaves_nothing_out(
    status: Status, columns: int, most_lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(stream)
    progress.show(status)
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", stream.getvalue()).splitlines()
    assert len(lines) <= most_lines and max(map(len, lines)) <= columns
    plain = io.StringIO()
    Progress(plain).show(status, force=True)
    words = " ".join(lines).replace("━", "").replace("─", "").split()
    assert sorted(words) == sorted(plain.getvalue().split())
    assert "━" in lines[0] or columns == 40
    progress.close()


def test_a_warning_is_one_escaped_line(capsys: Any) -> None:
    Progress(io.StringIO()).warning(f"{EVIL}\n{HARMLESS}")
    assert capsys.readouterr().err == f"jaxrnn: warning: {HARMLESS}\\n{HARMLESS}\n"  # what is escaped stays as it is


def test_errors_and_output_are_escaped(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(name="evil")

    @app.default
    def fails() -> None:
        write_output(f"{EVIL}\n")
        raise DataError(f"{EVIL}\nmore", [EVIL])

    assert exit_code_of(app, []) == 3
    out, err = capsys.readouterr()
    assert out == f"{HARMLESS}\n" and err == f"jaxrnn: error: {HARMLESS}\\nmore\n  {HARMLESS}\n"
    monkeypatch.setenv("JAXRNN_TRACEBACK", "1")
    assert exit_code_of(app, []) == 3
    err = capsys.readouterr().err
    assert "Traceback" in err and all(c.isprintable() or c == "\n" for c in err)


def test_streams_that_were_closed_from_the_start_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    progress = Progress()
    progress.message("not seen")
    progress.warning("not seen")
    progress.show(STATUS, force=True)
    progress.close()
    with pytest.raises(StorageError, match="stdout is closed"):
        write_output("lost")
