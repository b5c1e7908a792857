"""What tests of faults share: a text, and a run of it that nothing disturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from .support import call, tiny_options, tiny_text


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text file; never changed."""
    path = tmp_path_factory.mktemp("text") / "tiny.txt"
    path.write_text(tiny_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """A run of 120 updates that nothing disturbed, made by another process; never changed, only copied."""
    run = tmp_path_factory.mktemp("finished") / "run"
    answer = call("train", text, *tiny_options(run))
    assert answer.code == 0, answer.err
    return run
