"""What tests of faults share: a text, and a run of it that nothing disturbed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jaxrnn.cli import app
from jaxrnn.terminal.command import exit_code_of

from .support import tiny_options, tiny_text


@pytest.fixture(scope="module", autouse=True)
def _shared_programs(shared_programs: None) -> None:
    """These runs are the same few, stopped in many ways."""


@pytest.fixture(scope="session")
def text(once: Callable[..., Path]) -> Path:
    """A small text file; never changed."""
    return once("tiny.txt", lambda path: path.write_text(tiny_text(), encoding="utf-8"))


@pytest.fixture(scope="session")
def finished_run(once: Callable[..., Path], text: Path) -> Path:
    """A run of 120 updates that nothing disturbed; never changed, only copied."""

    def make(run: Path) -> None:
        assert exit_code_of(app, ["train", str(text), *tiny_options(run)]) == 0

    return once("finished", make)
