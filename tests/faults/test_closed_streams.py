"""Started with closed streams: training goes on, logging to files; text that is asked for is not lost unsaid."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .support import MAIN, Answer, assert_refused, assert_same_run, tiny_options


def closed(which: str, *arguments: object) -> Answer:
    """A command started by a shell with `>&-`, `2>&-` or both."""
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {which}', "sh", sys.executable, "-c", MAIN, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=90,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def test_a_run_without_streams_logs_to_its_files(text: Path, tmp_path: Path, finished_run: Path) -> None:
    answer = closed(">&- 2>&- <&-", "train", text, *tiny_options(tmp_path / "run"))
    assert answer == Answer(0, "", "")
    assert_same_run(tmp_path / "run", finished_run)


def test_a_warning_that_cannot_be_shown_ends_nothing(tmp_path: Path, finished_run: Path) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    record = json.loads((run / "config.json").read_text())
    record["environment"]["versions"]["jaxlib"] = "0.0.1"  # to be warned of
    (run / "config.json").write_text(json.dumps(record))
    answer = closed("2>&-", "resume", run)
    assert answer.code == 0 and "already finished" in answer.out and answer.err == ""


@pytest.mark.parametrize(("streams", "said"), [(">&-", True), (">&- 2>&-", False)])
def test_text_that_nobody_can_get_is_an_error_of_storage(finished_run: Path, streams: str, said: bool) -> None:
    answer = closed(streams, "sample", finished_run, "--length", 20)
    assert answer.code == 6
    if said:
        assert_refused(answer, 6, "stdout is closed", "redirect it")
