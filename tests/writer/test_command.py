import importlib.util
import io
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxrnn.cli import app
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.writer import command

ROOT = Path(__file__).parent.parent.parent


def refused(capsys, *arguments: str) -> tuple[int, str]:
    code = exit_code_of(app, ["write", *arguments])
    lines = capsys.readouterr().err.strip().split("\n")
    assert len(lines) == 1
    return code, lines[0]


@pytest.fixture
def at_a_terminal(monkeypatch):
    monkeypatch.setattr(command, "_at_a_terminal", lambda: True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("other", ["stdin", "stdout", "stderr", "TERM", None])
def test_what_is_no_terminal_is_refused(monkeypatch, other):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.StringIO() if name == other else Terminal())
    monkeypatch.setenv("TERM", "dumb" if other == "TERM" else "xterm")
    code = exit_code_of(app, ["write", "runs/none"])
    assert isinstance(sys.stderr, io.StringIO)
    complaint = sys.stderr.getvalue()
    assert code == 2 and complaint.count("\n") == 1 and ("needs a terminal" in complaint) is (other is not None)


def test_without_textual_the_line_says_what_to_install(capsys, at_a_terminal, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "textual" else found(name))
    code, line = refused(capsys, "runs/none")
    assert code == 2 and 'pip install "jaxrnn[tui]"' in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--output", "no/such/a.txt"], 6, "--output expects a file in a directory that is there"),
        (["--output", "."], 6, "--output expects a file"),
        (["--output", "pipe"], 6, "is a device, a pipe or a socket"),
        (["--output", "run/metrics.jsonl"], 2, "belongs to the run"),
        (["--text", "no.txt"], 3, "no file: no.txt"),
        (["--text", "latin.txt"], 3, "byte offset 1"),
        (["--temperature", "-1"], 2, "--temperature expects"),
        ([], 2, "nothing"),
    ],
)
def test_what_cannot_be_written_with_is_refused(capsys, at_a_terminal, monkeypatch, tmp_path, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    Path("latin.txt").write_bytes(b"a\xe9")
    os.mkfifo("pipe")
    Path("run").mkdir()
    Path("run/config.json").touch()
    got, line = refused(capsys, "nothing", *arguments)
    assert got == code and message in line


def test_help_loads_neither_textual_nor_jax():
    code = (
        "import sys\nfrom jaxrnn.cli import app\n"
        "app(['write', '--help'], exit_on_error=False, result_action='return_value')\n"
        "print([name for name in ('jax', 'textual') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "--erase-all" in result.stdout and result.stdout.rstrip().endswith("[]")


PROGRAM = """
import sys
from pathlib import Path
from jaxrnn.terminal.command import run_app
from tests.writer.small import session

def main() -> int:
    from jaxrnn.writer.app import Writer
    from jaxrnn.writer.command import run_writer
    from jaxrnn.writer.text_file import TextFile
    session().prepare = lambda: print(end="", flush=True)  # nothing is to be suggested here
    return run_writer(Writer(session(), "small", TextFile(Path(sys.argv[1]))))

run_app(main, [])
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (signal.SIGTERM, 75),
        pytest.param(b"\x03", 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 75, marks=pytest.mark.slow),
    ],
)
def test_at_a_terminal_every_way_out_saves_the_text_and_names_its_file(tmp_path, end, code):
    """In a real terminal device, as a user or the system ends it."""
    path = tmp_path / "written.txt"
    main, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path)],
        cwd=ROOT, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    os.set_blocking(main, False)
    shown = b""

    def wait_for(part: bytes) -> None:
        nonlocal shown
        until = time.monotonic() + 60
        while part not in shown and time.monotonic() < until:
            try:
                shown += os.read(main, 65536)
            except (BlockingIOError, OSError):  # nothing more now, or at its end
                time.sleep(0.02)
        assert part in shown, shown[-2000:]

    try:
        wait_for(b"accept")
        os.write(main, b"hello")
        wait_for(b"hello")
        os.write(main, b"\xff")  # no UTF-8
        wait_for(b"U+FFFD")
        if isinstance(end, bytes):
            os.write(main, end)
        else:
            process.send_signal(end)
        wait_for(b"\x1b[?1049l")  # the screen from before is back
        wait_for(f"saved in {path}".encode())
        assert process.wait(60) == code, shown
    finally:
        process.kill()
        os.close(main)
    assert path.read_text("utf-8") == "hello\ufffd"
