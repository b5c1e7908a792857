"""A run directory made or changed by somebody else: nothing outside it is written, nothing waits, nothing is obeyed."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import CheckpointError, JaxrnnError
from jaxrnn.storage.checkpoint import load_checkpoint, save_checkpoint
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.storage.vocabulary_file import load_vocabulary, save_vocabulary
from jaxrnn.trained.run import open_run
from jaxrnn.training.formats import MAY_BE_NAN, format_of
from jaxrnn.training.record import refuse_other_run

from .support import assert_refused, assert_same_run, command, readers_of, tree


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


@pytest.mark.parametrize("name", ["metrics.jsonl", "samples.txt"])
def test_a_log_with_a_second_name_elsewhere_is_not_written(run: Path, tmp_path: Path, capsys: Any, name: str) -> None:
    victim = tmp_path / "victim"
    os.link(run / name, victim)
    content = victim.read_bytes()
    assert_refused(command(capsys, "resume", run), 4, str(run / name), "link", "copy")
    assert victim.read_bytes() == content


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


# C9: another vocabulary, document end or reading options than those that were trained with.


def change(run: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    record = json.loads((run / "config.json").read_text())
    edit(record)
    (run / "config.json").write_text(json.dumps(record))


def test_another_vocabulary_of_the_same_size_is_refused_and_shown(run: Path, text: Path, capsys: Any) -> None:
    symbols = load_vocabulary(run / "vocabulary.json").symbols
    other = Vocabulary(tuple(sorted({*symbols} - {"a"} | {"\u202e"})))
    save_vocabulary(other, run / "vocabulary.json")
    for arguments in (["sample", run], ["evaluate", run, text], ["plot", run], ["resume", run]):
        answer = command(capsys, *arguments)
        assert_refused(answer, 4, "'a' (U+0061)", "'\\u202e' (U+202E)")
        assert answer.out == "" or arguments[0] == "resume"
    save_vocabulary(Vocabulary(symbols, bytes_mode=True), run / "vocabulary.json")
    assert_refused(command(capsys, "sample", run), 4, "bytes or characters")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda r: r["data"].update(document_end=3), "document_end"),
        (lambda r: r["data"]["reading"].update(newlines="universal"), "universal"),
        (lambda r: r["data"]["reading"].update(encoding="latin-1"), "iso8859-1"),
        (lambda r: r["data"].update(sha256="0" * 64), "checksum of the data"),
        (lambda r: r["config"].update(init_scale=0.5), "init_scale"),
        (lambda r: r["config"].update(cell="lstm"), "its leaves are not those of this model"),
        (lambda r: r["config"].update(dtype="float64"), "is float32[8, 20], this model's is float64[8, 20]"),
    ],
)
def test_a_changed_record_does_not_change_what_a_model_writes(
    run: Path, text: Path, capsys: Any, edit: Callable[[dict[str, Any]], Any], said: str
) -> None:
    change(run, edit)
    for arguments in (["sample", run], ["evaluate", run, text]):
        answer = command(capsys, *arguments)
        assert_refused(answer, 4, said)
        assert answer.out == ""


@pytest.mark.parametrize("name", ["document_end", "reading"])
def test_a_changed_record_is_not_taken_over_by_a_resumed_run(run: Path, capsys: Any, name: str) -> None:
    new = {"document_end": 3, "reading": {"newlines": "universal"}}
    change(run, lambda record: record["data"].update({name: new[name]}))
    assert_refused(command(capsys, "resume", run), 4, name, "config.json", "copy")


def test_a_checkpoint_of_an_earlier_version_is_read(run: Path, capsys: Any, finished_run: Path) -> None:
    saved = load_checkpoint(run / "checkpoints", 60, readers_of(run))
    known = {name: saved.metadata[name] for name in ("files", "config", "data")}
    assert {"vocabulary", "document_end", "reading"} <= set(saved.metadata)
    save_checkpoint(run / "checkpoints", saved.state, 60, known, format_of(saved.state), MAY_BE_NAN)
    answer = command(capsys, "sample", run, "--length", 50)
    assert answer.code == 0 and len(answer.out) == 50
    assert command(capsys, "resume", run).code == 0
    assert_same_run(run, finished_run)


def test_no_flipped_bit_of_a_vocabulary_gives_another_one(run: Path) -> None:
    path, generator = run / "vocabulary.json", random.Random(11)
    whole, symbols = path.read_bytes(), load_vocabulary(path).symbols
    metadata = load_checkpoint(run / "checkpoints", 60, readers_of(run)).metadata
    refused = other_symbols = 0
    for _ in range(200):
        bit, damaged = generator.randrange(8 * len(whole)), bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            opened = open_run(run)
            other_symbols += opened.vocabulary.symbols != symbols
            refuse_other_run(metadata, opened._identity())
        except CheckpointError:
            refused += 1
        else:
            assert opened.vocabulary.symbols == symbols and not opened.vocabulary.bytes_mode
    assert refused > 150 and other_symbols > 0


# A record of the wrong types and ranges.

VALUES = [
    "x",
    -1,
    0,
    2.5,
    True,
    10**9,
    10**400,
    None,
    [],
    {},
    [1],
    {"a": 1},
    "\x00",
    "\x1b[2J\u202e\u009b",
    float("nan"),
]
PLACES = [
    ("devices",), ("parameters",), ("data", "windows_per_epoch"), ("data", "document_end"), ("data", "reading"),
    ("data", "reading", "encoding"), ("data", "reading", "bytes_mode"), ("data", "characters"), ("data", "name"),
    ("data", "path"), ("data", "sha256"), ("environment", "versions"), ("environment_changes",), ("config", "hidden"),
    ("config", "batch_size"), ("config", "text"), ("config", "checkpoint_every"), ("config", "devices"),
    ("config", "stop_at_accuracy"), ("config", "early_stopping"), ("config", "updates"),
]  # fmt: skip


@pytest.mark.parametrize("value", ["x", -1, 0, 2.5, True, 10**9, 3])
def test_a_number_of_devices_that_cannot_be_is_refused(run: Path, capsys: Any, value: Any) -> None:
    change(run, lambda record: record.update(devices=value))
    for name in ("resume", "sample"):
        answer = command(capsys, name, run)
        assert_refused(answer, 4, "config.json", "devices is", "restore it from a copy")
        assert len(answer.err.splitlines()) == 1


def test_a_record_of_any_content_is_read_or_refused_by_name(run: Path) -> None:
    whole = json.loads((run / "config.json").read_text())
    for place in PLACES:
        for value in VALUES:
            record = json.loads(json.dumps(whole))
            inner = record
            for name in place[:-1]:
                inner = inner[name]
            inner[place[-1]] = value
            (run / "config.json").write_text(json.dumps(record))
            try:
                opened = open_run(run)
                opened._identity()
                assert repr(opened).isprintable()
            except JaxrnnError as error:
                assert "\n" not in str(error) and len(str(error)) < 1000, error
            except Exception as error:
                pytest.fail(f"{place} {value!r}: {error!r}")
    assert RunDirectory(run).read_config()["config"]["hidden"] == 8


# X7: what a terminal would obey, in everything that is printed of a run.

EVIL = "x\x1b[2J\u202e\u009b31m\nx"


def test_nothing_that_a_terminal_obeys_is_printed(run: Path, text: Path, capsys: Any) -> None:
    def edit(record: dict[str, Any]) -> None:
        record["data"]["name"] = record["config"]["text"] = EVIL
        record["environment"] |= {"device": EVIL, EVIL: EVIL}
        record["environment"]["versions"]["jaxlib"] = EVIL

    change(run, edit)
    saved = load_checkpoint(run / "checkpoints", 60, readers_of(run))
    extra = {name: saved.metadata[name] for name in ("files", "config", "data")}
    outputs = [command(capsys, "resume", run), command(capsys, "plot", run)]
    assert outputs[0].code == 0 and "jaxlib x\\x1b[2J\\u202e\\x9b31m\\nx -> " in outputs[0].err
    assert len(outputs[0].err.splitlines()) == 1
    extra["config"] |= {"init": EVIL, EVIL: EVIL}
    extra |= {"reading": {"encoding": EVIL}}
    save_checkpoint(run / "checkpoints", saved.state, 60, extra, format_of(saved.state), MAY_BE_NAN)
    outputs += [command(capsys, *arguments) for arguments in (["resume", run], ["sample", run])]
    change(run, lambda record: record["config"].update(task=EVIL))
    outputs += [command(capsys, *arguments) for arguments in (["resume", run], ["plot", run])]
    assert [answer.code for answer in outputs] == [0, 0, 4, 4, 4, 4]
    for answer in outputs:
        assert all(c.isprintable() or c == "\n" for c in answer.out + answer.err), answer
