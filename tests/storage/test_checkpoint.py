"""Checkpoints: what was saved comes back to the last bit, and whatever is damaged is noticed and passed over."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.errors import CheckpointError, NumericError, StorageError
from jaxrnn.storage import checkpoint as checkpoints
from jaxrnn.storage.checkpoint import (
    Checkpoint,
    Reader,
    checkpoint_updates,
    load_checkpoint,
    load_latest,
    remove_leftovers,
    save_checkpoint,
)
from jaxrnn.storage.checkpoint_leaves import leaf_digest, to_leaves
from tests.trees import assert_trees_equal


def make_state(update: int) -> dict[str, Any]:
    """A small state of each kind of leaf; another one at each update."""
    rng = np.random.default_rng(update)
    return {
        "params": {
            "W": rng.normal(size=(7, 5)).astype(np.float32),
            "b": rng.normal(size=5).astype(np.float32),
            "wide": rng.normal(size=(40, 30)).astype(np.float32),
        },
        "optimizer_state": (rng.random((7, 5)).astype(np.float32), ()),
        "carry": [rng.normal(size=(2, 3)).astype(np.float32)],
        "seed": jax.random.key(update),
        "update": np.asarray(update, np.int32),
        "best_smooth_loss_nats": np.asarray(np.inf, np.float32),
        "valid_loss_nats": np.asarray(np.nan, np.float32),
    }


# Orbax leaves coroutines behind where it fails.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:coroutine .* was never awaited:RuntimeWarning"
)

FORMAT, MAY_BE_NAN = 1, frozenset({"valid_loss_nats"})


def readers_for(state: Any) -> dict[int, Reader]:
    """What reads a checkpoint of such a state."""
    template = jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, state))
    return {FORMAT: Reader(template, lambda saved: saved, MAY_BE_NAN)}


def save(directory: Path, state: Any, update: int, extra: dict[str, Any] | None = None) -> None:
    """Saves a state as the loop does."""
    save_checkpoint(directory, state, update, extra or {}, FORMAT, MAY_BE_NAN)


READERS = readers_for(make_state(0))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the checkpoints of updates 10 and 20. Never changed, only copied."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    for update in (10, 20):
        save(directory, make_state(update), update, {"files": {"log": {"bytes": update}}})
    return directory


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "checkpoints"))


def files_of(directory: Path, update: int) -> list[Path]:
    return sorted(p for p in (directory / f"update_{update:010d}").rglob("*") if p.is_file())


def assert_falls_back(directory: Path, *said: str) -> None:
    checkpoint, warnings = load_latest(directory, READERS)
    assert checkpoint is not None and checkpoint.metadata["update"] == 10
    assert_trees_equal(checkpoint.state, make_state(10))
    assert warnings[-1] == "going on from the older checkpoint of update 10"
    assert "update 20" in warnings[0]
    assert all(line.isprintable() for line in warnings)
    for part in said:
        assert part in warnings[0], warnings


def test_what_was_saved_comes_back_to_the_last_bit(saved: Path) -> None:
    checkpoint, warnings = load_latest(saved, READERS)
    assert checkpoint is not None and not warnings
    assert_trees_equal(checkpoint.state, make_state(20))
    assert checkpoint.metadata["files"] == {"log": {"bytes": 20}}


def test_special_numbers_keep_their_bits(tmp_path: Path) -> None:
    bits = np.array([0x80000000, 0x00000001, 0x7F800000, 0xFF7FFFFF], np.uint32).view(np.float32)
    state = {"x": bits, "long": np.asarray(2**62 + 1, np.int64)}
    save(tmp_path / "c", state, 1)
    with jax.enable_x64(True):
        loaded = load_checkpoint(tmp_path / "c", 1, readers_for(state))
    assert_trees_equal(loaded.state, state)


def test_no_checkpoint_is_not_an_error(tmp_path: Path) -> None:
    assert load_latest(tmp_path, READERS) == (None, [])
    assert load_latest(tmp_path / "missing", READERS) == (None, [])


def test_only_the_latest_two_are_kept_and_leftovers_are_removed(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    for update in (1, 2, 3, 4):
        save(directory, make_state(update), update)
        (directory / f".saving-{update + 1:010d}").mkdir()
        (directory / f".deleting-update_{update:010d}").mkdir()
    assert checkpoint_updates(directory) == [3, 4]
    remove_leftovers(directory)
    assert sorted(os.listdir(directory)) == ["update_0000000003", "update_0000000004"]


def test_what_was_passed_over_does_not_push_out_what_is_saved_next(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    save(directory, make_state(50), 50)
    for bad in (99, 100):
        (directory / f"update_{bad:010d}").mkdir()
    checkpoint, warnings = load_latest(directory, READERS)
    assert checkpoint is not None and checkpoint.metadata["update"] == 50 and len(warnings) == 3
    save(directory, make_state(60), 60)
    assert checkpoint_updates(directory) == [50, 60]
    assert load_latest(directory, READERS)[1] == []


def test_a_damaged_one_of_the_same_update_is_replaced(copy: Path) -> None:
    files_of(copy, 20)[0].write_bytes(b"")
    assert_falls_back(copy)
    save(copy, make_state(20), 20)
    assert checkpoint_updates(copy) == [10, 20]
    assert load_latest(copy, READERS)[1] == []


# C1: one bit flipped anywhere.


def _flip_bits(directory: Path, flips: int, seed: int) -> dict[str, int]:
    files = [p for p in files_of(directory, 20) if p.stat().st_size]
    weights = [p.stat().st_size for p in files]
    generator = random.Random(seed)
    counts = {"noticed": 0, "harmless": 0, "silent": 0}
    expected = make_state(20)
    for _ in range(flips):
        path = generator.choices(files, weights)[0]
        whole = path.read_bytes()
        bit = generator.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            checkpoint = load_checkpoint(directory, 20, READERS)
        except CheckpointError as error:
            assert len(str(error)) < 600 and str(error).isprintable()
            counts["noticed"] += 1
        else:
            try:
                assert_trees_equal(checkpoint.state, expected)
                assert checkpoint.metadata["files"] == {"log": {"bytes": 20}}
                counts["harmless"] += 1
            except AssertionError:
                counts["silent"] += 1
        path.write_bytes(whole)
    assert load_checkpoint(directory, 20, READERS).metadata["update"] == 20
    return counts


def test_no_flipped_bit_is_silent(copy: Path) -> None:
    counts = _flip_bits(copy, 60, seed=5)
    assert counts["silent"] == 0 and counts["noticed"] > 18, counts


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_no_flipped_bit_of_ten_thousand_is_silent(copy: Path, seed: int) -> None:
    counts = _flip_bits(copy, 2500, seed=1000 + seed)
    assert counts["silent"] == 0, counts


def test_without_digests_flipped_bits_would_be_silent(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test of the test: the digests are what notices.
    metadata = json.loads((copy / "update_0000000020" / "_CHECKPOINT_METADATA").read_bytes())["custom_metadata"]
    by_value = {leaf_digest(value): name for name, value in to_leaves(make_state(20)).items()}
    assert set(by_value) == set(metadata["leaves"].values())
    original = dict(metadata["leaves"])
    turn = iter(range(10**9))
    monkeypatch.setattr(checkpoints, "leaf_digest", lambda value: list(original.values())[next(turn) % len(original)])
    assert _silent_without_digest(copy, monkeypatch) > 0


def _silent_without_digest(directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    class Anything(dict):
        def get(self, name: str, default: object = None) -> object:
            return ANY

    class Equal(str):
        def __eq__(self, other: object) -> bool:
            return True

        def __ne__(self, other: object) -> bool:
            return False

        __hash__ = str.__hash__

    ANY = Equal("any")
    read = checkpoints.read_metadata
    monkeypatch.setattr(checkpoints, "read_metadata", lambda *given: read(*given) | {"leaves": Anything()})
    return _flip_bits(directory, 60, seed=5)["silent"]


LATE = """
import gc, logging, sys, time
import asyncio
from pathlib import Path
from jaxrnn.storage import checkpoint
from tests.storage import test_checkpoint as saved
root = Path(sys.argv[1])
make = asyncio.new_event_loop
before = (sys.unraisablehook, list(logging.getLogger("asyncio").filters), logging.getLogger("absl").level)
def assert_as_before():
    after = (sys.unraisablehook, logging.getLogger("asyncio").filters, logging.getLogger("absl").level)
    assert after == before and asyncio.new_event_loop is make, after
for update in (10, 20):
    saved.save(root, saved.make_state(update), update, {"files": {"log": {"bytes": update}}})
assert_as_before()
checkpoint.load_checkpoint(root, 20, saved.READERS)
assert_as_before()
print(saved._flip_bits(root, 30, seed=5)["noticed"])
assert_as_before()
save = saved.checkpoints._read
def damaged(path, update, wanted):
    for data in path.glob("**/d/*"):
        data.write_bytes(data.read_bytes()[:-9])
    return save(path, update, wanted)
saved.checkpoints._read = damaged
for update in (30, 31, 32):
    try:
        saved.save(root, saved.make_state(update), update)
        raise SystemExit("saved")
    except saved.StorageError:
        pass
assert_as_before()
for _ in range(20):
    time.sleep(0.02)
    gc.collect()
assert_as_before()
"""


def test_damage_is_met_in_silence_and_the_process_stays_as_it_was(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LATE, tmp_path / "checkpoints"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert int(done.stdout) > 9


# C2, C3, C4: cut, zeroed and missing files.


def _names(directory: Path) -> list[Path]:
    return [p for p in files_of(directory, 20) if p.stat().st_size]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.9, 0.999])
def test_a_cut_file_is_noticed(copy: Path, share: float) -> None:
    for path in _names(copy):
        whole = path.read_bytes()
        path.write_bytes(whole[: min(int(len(whole) * share), len(whole) - 1)])
        _noticed_or_harmless(copy)
        path.write_bytes(whole)


def test_a_zeroed_file_is_noticed(copy: Path) -> None:
    for path in _names(copy):
        whole = path.read_bytes()
        path.write_bytes(bytes(len(whole)))
        _noticed_or_harmless(copy)
        path.write_bytes(whole)


def test_a_missing_file_is_noticed(copy: Path) -> None:
    noticed = 0
    for path in files_of(copy, 20):
        whole = path.read_bytes()
        path.unlink()
        noticed += _noticed_or_harmless(copy)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole)
    assert noticed >= 4


def _noticed_or_harmless(directory: Path) -> bool:
    checkpoint, warnings = load_latest(directory, READERS)
    assert checkpoint is not None
    assert_trees_equal(checkpoint.state, make_state(checkpoint.metadata["update"]))
    assert bool(warnings) == (checkpoint.metadata["update"] == 10)
    return bool(warnings)


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "state", "state/_METADATA", "state/manifest.ocdbt"])
def test_a_missing_part_makes_it_fall_back(copy: Path, name: str) -> None:
    path = copy / "update_0000000020" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_falls_back(copy)


# C5: partial copies, strays.


def test_strays_are_never_taken_for_checkpoints(copy: Path) -> None:
    (copy / "update_0000000099").write_bytes(b"a file")
    (copy / "update_99").mkdir()
    (copy / "update_0000000098.tmp").mkdir()
    (copy / "99").mkdir()
    os.symlink(copy / "update_0000000020", copy / "update_0000000077")
    assert checkpoint_updates(copy) == [10, 20]


def test_an_empty_or_renamed_or_half_copied_one_is_passed_over(copy: Path) -> None:
    (copy / "update_0000000030").mkdir()
    shutil.copytree(copy / "update_0000000020", copy / "update_0000000031")
    half = copy / "update_0000000032"
    shutil.copytree(copy / "update_0000000020", half)
    shutil.rmtree(half / "state" / "ocdbt.process_0")
    checkpoint, warnings = load_latest(copy, READERS)
    assert checkpoint is not None and checkpoint.metadata["update"] == 20
    assert [re.findall(r"update (\d+)", line)[0] for line in warnings] == ["32", "31", "30", "20"]


# C6: newest bad; all bad.


def test_all_bad_is_an_error_that_names_each(copy: Path) -> None:
    for update in (10, 20):
        (copy / f"update_{update:010d}" / "state" / "_METADATA").write_bytes(b"{")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints") as caught:
        load_latest(copy, READERS)
    assert [line[:23] for line in caught.value.details] == ["checkpoint of update 20", "checkpoint of update 10"]
    assert caught.value.exit_code == 4


def test_a_reader_looks_again_when_a_run_removes_what_it_reads(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = (copy / "update_0000000020").rename(copy / ".newer")

    def removed(directory: Path, update: int, readers: Any) -> Checkpoint:
        if newer.exists():
            shutil.rmtree(copy / "update_0000000010")
            newer.rename(copy / "update_0000000020")
        return load_checkpoint(directory, update, readers)

    monkeypatch.setattr(checkpoints, "load_checkpoint", removed)
    checkpoint, warnings = load_latest(copy, READERS)
    assert checkpoint is not None and checkpoint.metadata["update"] == 20 and not warnings


# C8, C10, C13: another model, dtype, program; not-a-number inside.


def _with(name: str, value: Any) -> dict[str, Any]:
    return make_state(20) | {name: value}


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (
            _with("carry", [np.zeros((3, 2), np.float32)]),
            "leaf carry.0 is float32[2, 3], this model's is float32[3, 2]",
        ),
        (_with("carry", [np.zeros((2, 3), np.int32)]), "leaf carry.0 is float32[2, 3], this model's is int32[2, 3]"),
        (_with("carry", [np.zeros((2, 3), np.bool_)]), "this model's is bool[2, 3]"),
        (_with("carry", [np.zeros((2, 3), np.float16)]), "this model's is float16[2, 3]"),
        (_with("carry", [np.zeros((2, 3), jax.numpy.bfloat16)]), "this model's is bfloat16[2, 3]"),
        (_with("carry", []), "its leaves are not those of this model"),
        (_with("more", np.zeros(2, np.float32)), "its leaves are not those of this model"),
    ],
)
def test_another_shape_or_dtype_is_refused_by_name(saved: Path, template: Any, said: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(said)):
        load_checkpoint(saved, 20, readers_for(template))


def test_float64_is_never_read_as_float32(tmp_path: Path) -> None:
    wide = {"x": np.array([1e300])}
    save(tmp_path / "c", wide, 1)
    with pytest.raises(CheckpointError, match="leaf x is float64"):
        load_checkpoint(tmp_path / "c", 1, readers_for({"x": np.zeros(1, np.float32)}))


@pytest.mark.parametrize("name", ["params", "optimizer_state"])
def test_not_a_number_inside_is_refused_by_name(copy: Path, name: str) -> None:
    state = make_state(20)
    leaf = state["params"]["W"] if name == "params" else state["optimizer_state"][0]
    leaf[1, 2] = np.nan
    with pytest.raises(NumericError, match=f"leaf {name}.* is not a number at update 20"):
        save(copy, state, 20)
    save_checkpoint(copy, state, 20, {}, FORMAT, frozenset(to_leaves(state)))
    assert_falls_back(copy, f"leaf {name}", "not a number")


def test_a_checkpoint_of_another_program_is_refused(tmp_path: Path) -> None:
    from orbax.checkpoint import v1 as ocp

    ocp.save((tmp_path / "update_0000000001").resolve(), to_leaves(make_state(1)), custom_metadata={"step": 1})
    with pytest.raises(CheckpointError, match="metadata"):
        load_checkpoint(tmp_path, 1, READERS)


def _rewrite_metadata(directory: Path, change: Callable[[dict[str, Any]], None], sign: bool = True) -> None:
    path = directory / "update_0000000020" / "_CHECKPOINT_METADATA"
    content = json.loads(path.read_bytes())
    change(content["custom_metadata"])
    if sign:
        content["custom_metadata"]["digest"] = checkpoints.metadata_digest(content["custom_metadata"])
    path.write_text(json.dumps(content))


def test_a_newer_format_is_refused_by_number(copy: Path) -> None:
    _rewrite_metadata(copy, lambda metadata: metadata.update(format=2))
    assert_falls_back(copy, "its format is 2, this version reads 1")


def test_each_format_is_read_as_it_was_written_and_becomes_todays_state(tmp_path: Path) -> None:
    old, today = {"was": np.ones(2, np.float32)}, {"is": np.zeros(2, np.float32), "new": np.float32(0)}
    readers = readers_for(old)[FORMAT]._replace(upgrade=lambda saved: {"is": saved["was"], "new": np.float32(0)})
    both = {1: readers, 2: readers_for(today)[FORMAT]}
    save_checkpoint(tmp_path, old, 1, {}, 1)
    save_checkpoint(tmp_path, today, 2, {}, 2)
    assert_trees_equal(load_checkpoint(tmp_path, 1, both).state, today | {"is": old["was"]})
    assert_trees_equal(load_checkpoint(tmp_path, 2, both).state, today)
    with pytest.raises(CheckpointError, match="its format is 2, this version reads 1$"):
        load_checkpoint(tmp_path, 2, {1: both[1]})
    # A file of one format is not taken for one of another, whatever its metadata say.
    with pytest.raises(CheckpointError, match="its leaves are not those of this model"):
        load_checkpoint(tmp_path, 1, {1: both[2]})


def test_none_of_a_later_update_is_looked_at(copy: Path) -> None:
    for update in (20, 10):
        latest, warnings = load_latest(copy, READERS, newest=update)
        assert isinstance(latest, Checkpoint) and latest.metadata["update"] == update and not warnings
    assert load_latest(copy, READERS, newest=9) == (None, [])


@pytest.mark.parametrize("change", [{"update": 19}, {"files": {}}, {"leaves": {}}, {"format": None}, {"extra": 1}])
def test_changed_metadata_are_noticed(copy: Path, change: dict[str, Any]) -> None:
    _rewrite_metadata(copy, lambda metadata: metadata.update(change), sign=False)
    assert_falls_back(copy, "metadata are damaged")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'{"custom_metadata": 3}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"\xff",
        b'{"custom_metadata": {}}',
    ],
)
def test_metadata_that_are_no_such_thing_are_refused_soon(copy: Path, content: bytes) -> None:
    (copy / "update_0000000020" / "_CHECKPOINT_METADATA").write_bytes(content)
    began = time.monotonic()
    assert_falls_back(copy)
    assert time.monotonic() - began < 5


# X2, X3, X5, X6: hostile checkpoints.


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "state/_METADATA"])
def test_huge_metadata_are_refused_before_they_are_parsed(copy: Path, name: str) -> None:
    (copy / "update_0000000020" / name).write_bytes(b" " * (32 << 20))
    began = time.monotonic()
    assert_falls_back(copy, "33554432 bytes of metadata")
    assert time.monotonic() - began < 5


def test_deeply_nested_tree_metadata_are_refused(copy: Path) -> None:
    (copy / "update_0000000020" / "state" / "_METADATA").write_bytes(b'{"a":' * 100_000)
    assert_falls_back(copy)


def _data_file(directory: Path) -> Path:
    return next(p for p in files_of(directory, 20) if p.parent.name == "d")


def test_links_pipes_and_devices_are_never_opened(copy: Path, tmp_path: Path) -> None:
    path = _data_file(copy)
    private = tmp_path / "private"
    private.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(private)
    assert_falls_back(copy, "not a regular file")
    path.unlink()
    os.mkfifo(path)
    assert_falls_back(copy, "not a regular file")
    path.unlink()


def test_a_linked_directory_is_never_followed(copy: Path, tmp_path: Path) -> None:
    state = copy / "update_0000000020" / "state"
    state.rename(tmp_path / "elsewhere")
    state.symlink_to(tmp_path / "elsewhere")
    assert_falls_back(copy, "not a regular")


def test_leaf_names_come_from_the_template_only(tmp_path: Path) -> None:
    directory = tmp_path / "checkpoints"
    save(directory, {"x": np.ones(3, np.float32), "y": np.ones(3, np.float32)}, 1)
    template = {"x": np.ones(3, np.float32), "../../other": np.ones(3, np.float32)}
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CheckpointError, match="leaves are not those"):
        load_checkpoint(directory, 1, readers_for(template))
    assert sorted(os.listdir(tmp_path)) == before


def test_a_bomb_is_refused_from_its_declared_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orbax.checkpoint import v1 as ocp

    directory = tmp_path / "checkpoints"
    save(directory, {"x": np.zeros(16 << 20, np.uint8)}, 1)
    monkeypatch.setattr(ocp, "load", lambda *_: pytest.fail("the arrays were read"))
    with pytest.raises(CheckpointError, match=re.escape("leaf x is uint8[16777216], this model's is uint8[4]")):
        load_checkpoint(directory, 1, readers_for({"x": np.zeros(4, np.uint8)}))


def test_a_lying_declaration_does_not_make_it_read_more(tmp_path: Path) -> None:
    # The tree's metadata say (4,), the array file holds 16 MiB.
    directory = tmp_path / "checkpoints"
    save(directory, {"x": np.zeros(16 << 20, np.uint8)}, 1)
    metadata = directory / "update_0000000001" / "state" / "_METADATA"
    metadata.write_text(metadata.read_text().replace("16777216", "4"))
    with pytest.raises(CheckpointError):
        load_checkpoint(directory, 1, readers_for({"x": np.zeros(4, np.uint8)}))


# P10, P11, P12, P13: errors while saving.


CALLS = ("rename", "fsync", "open", "scandir", "rmdir")


def _failing(call: Callable, at: int, number: int, count: Iterator[int]) -> Callable:
    def fails(*args: Any, **options: Any) -> Any:
        if next(count) == at:
            raise OSError(number, os.strerror(number), str(args[0]))
        return call(*args, **options)

    return fails


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(("number", "step"), [(errno.ENOSPC, 3), pytest.param(errno.EIO, 1, marks=pytest.mark.slow)])
def test_an_error_at_any_call_of_a_save_is_reported_and_loses_nothing(
    saved: Path, tmp_path: Path, name: str, number: int, step: int
) -> None:
    failed, copy = 0, tmp_path / "checkpoints"
    for at in range(0, 100, step):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(saved, copy)
        count = iter(range(10**6))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, name, _failing(getattr(os, name), at, number, count))
            try:
                save(copy, make_state(30), 30)
            except StorageError as error:
                failed += 1
                assert "update 30" in str(error) and error.exit_code == 6
        checkpoint, warnings = load_latest(copy, READERS)
        assert checkpoint is not None and not warnings
        assert_trees_equal(checkpoint.state, make_state(checkpoint.metadata["update"]))
        if next(count) <= at:
            break
    else:
        pytest.fail("a save makes more than 100 calls")
    assert failed
    save(copy, make_state(40), 40)
    assert checkpoint_updates(copy)[-1] == 40


def test_a_directory_that_cannot_be_made_leaves_no_thread_behind(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Orbax would leave two that wait for minutes and then print a traceback each.
    before = threading.active_count()
    monkeypatch.setattr(os, "mkdir", _failing(os.mkdir, 0, errno.EROFS, itertools.repeat(0)))
    for update in (30, 31):
        with pytest.raises(StorageError, match="Read-only file system"):
            save(copy, make_state(update), update)
    assert threading.active_count() == before
    assert checkpoint_updates(copy) == [10, 20]


def test_a_vanished_run_directory_is_reported_and_not_made_again(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="could not be saved"):
        save(tmp_path / "gone" / "checkpoints", make_state(1), 1)
    assert not (tmp_path / "gone").exists()


def test_a_file_in_the_way_is_reported(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_bytes(b"mine")
    with pytest.raises(StorageError):
        save(tmp_path / "checkpoints", make_state(1), 1)
    assert (tmp_path / "checkpoints").read_bytes() == b"mine"


def test_everything_is_synced_before_the_checkpoint_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, str]] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        events.append(("sync", os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def renamed(old: Any, new: Any, **options: Any) -> None:
        events.append(("rename", str(new)))
        rename(old, new, **options)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    directory = tmp_path / "checkpoints"
    save(directory, make_state(1), 1)
    target = directory / "update_0000000001"
    named = events.index(("rename", str(target)))
    before = {path for kind, path in events[:named] if kind == "sync"}
    inside = {str(directory / ".saving-0000000001" / p.relative_to(target)) for p in target.rglob("*")}
    assert inside <= before and str(tmp_path) in before
    assert ("sync", str(directory)) in events[named:]
