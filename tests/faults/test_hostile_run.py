"""A run directory made or changed by somebody else: nothing outside it is written, nothing waits, nothing is obeyed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from .support import assert_refused, assert_same_run, command, tree


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a run that still has five of its updates to make."""
    copy = Path(shutil.copytree(finished_run, tmp_path / "run"))
    shutil.rmtree(copy / "checkpoints" / "update_0000000120")
    return copy


# X3: links and pipes in the run directory.

FILES = ("config.json", "vocabulary.json", "metrics.jsonl", "samples.txt")


@pytest.mark.parametrize("name", FILES)
def test_a_linked_file_is_neither_written_nor_read(run: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    victim = tmp_path / "victim"
    shutil.move(run / name, victim)
    (run / name).symlink_to(Path("..", "victim"))
    content = victim.read_bytes()
    assert_refused(command(capsys, "resume", run), 4, str(run / name), "link", "copy")
    assert victim.read_bytes() == content
    if name != "samples.txt":
        reads = {"config.json": ["sample", run], "vocabulary.json": ["sample", run], "metrics.jsonl": ["plot", run]}
        assert_refused(command(capsys, *reads[name]), 4, str(run / name), "link")


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_is_refused_and_not_waited_for(run: Path, capsys: Any, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    assert_refused(command(capsys, "resume", run), 4, str(run / name), "pipe")
    if name != "samples.txt":
        assert_refused(command(capsys, "plot", run), 4, str(run / name), "pipe")


def test_a_pipe_in_place_of_the_owner_is_not_waited_for(run: Path, capsys: Any, finished_run: Path) -> None:
    os.mkfifo(run / "owner.json")
    assert command(capsys, "resume", run).code == 0
    assert_same_run(run, finished_run)


def test_a_linked_directory_of_checkpoints_or_plots_is_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run / "plots").symlink_to(elsewhere)
    assert_refused(command(capsys, "plot", run), 4, str(run / "plots"), "link")
    shutil.move(run / "checkpoints", elsewhere / "checkpoints")
    (run / "checkpoints").symlink_to(elsewhere / "checkpoints")
    before = tree(elsewhere)
    for name in ("resume", "sample"):
        assert_refused(command(capsys, name, run), 4, str(run / "checkpoints"), "link")
    assert tree(elsewhere) == before


def test_a_linked_picture_is_replaced_and_what_it_leads_to_is_left(run: Path, tmp_path: Path, capsys: Any) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (run / "plots").mkdir()
    picture = run / "plots" / "learning_curve.png"
    picture.symlink_to(victim)
    assert command(capsys, "plot", run).code == 0
    assert victim.read_bytes() == b"mine"
    assert not picture.is_symlink() and picture.read_bytes().startswith(b"\x89PNG")


def test_the_users_own_output_and_run_directory_may_be_links(
    run: Path, tmp_path: Path, capsys: Any, finished_run: Path
) -> None:
    (tmp_path / "link").symlink_to(run)
    assert command(capsys, "resume", tmp_path / "link").code == 0
    assert_same_run(run, finished_run)
    (tmp_path / "picture.png").symlink_to(tmp_path / "real.png")
    assert command(capsys, "plot", tmp_path / "link", "--output", tmp_path / "picture.png").code == 0
    assert (tmp_path / "real.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "picture.png").is_symlink()


def test_links_that_stand_where_small_files_are_made_are_replaced(
    run: Path, tmp_path: Path, capsys: Any, finished_run: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    for name in (f".write-test-{os.getpid()}", f".config.json.{os.getpid()}", "owner.json"):
        (run / name).symlink_to(victim)
    (run / "checkpoints" / ".saving-0000000120").symlink_to(tmp_path)
    assert command(capsys, "resume", run).code == 0
    assert victim.read_bytes() == b"mine"
    assert_same_run(run, finished_run)


def test_a_linked_lock_is_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (run / "lock").unlink()
    (run / "lock").symlink_to(victim)
    assert_refused(command(capsys, "resume", run), 6, str(run), "locked")
    assert victim.read_bytes() == b"mine"
