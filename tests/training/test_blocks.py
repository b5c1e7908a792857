"""A text read from disk block by block trains what the whole text on the device trains, to the last bit."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import Corpus, corpus_from_text
from jaxrnn.tasks import text
from jaxrnn.training import trainer as module
from jaxrnn.training.blocks import Blocks, most_updates
from jaxrnn.training.job import make_job
from jaxrnn.training.trainer import Trainer
from tests.faults.support import assert_same_run, command, tiny_options, tiny_text
from tests.trees import assert_trees_equal

pytestmark = pytest.mark.usefixtures("with_optimizations", "shared_programs")

WINDOWS, K = 11, 4  # windows an epoch, and of a block: the last one holds three


def few_windows_a_block(monkeypatch: pytest.MonkeyPatch, steps: int, batch_size: int) -> None:
    monkeypatch.setattr(text, "BLOCK_BYTES", K * steps * batch_size)


def trainer_of(stream_from: str, corpus: Corpus, folds: tuple[int, ...] = (0,), **changed: Any) -> Trainer:
    options: dict[str, Any] = {"cell": "gru", "hidden": 8, "bptt_length": 5, "batch_size": 4, "updates": 99}
    options |= {"optimizer": "adam", "learning_rate": 0.02, "stream_from": stream_from, "learned_initial_carry": True}
    configs = [TrainConfig(fold=fold, folds=max(folds) + 1, **options, **changed) for fold in folds]
    return Trainer.of([make_job(config, corpus) for config in configs], 1)


@pytest.fixture
def documents(rng: np.random.Generator) -> Corpus:
    """Short documents, so that many windows hold a start."""
    corpus = corpus_from_text("".join(rng.choice(list("abcd\x03"), 4 * 5 * WINDOWS + 9)))
    return Corpus(corpus.name, corpus.ids, corpus.vocabulary, corpus.digest, corpus.reading, 0)


def copied(state: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.copy(), state)


@pytest.mark.optimized
def test_every_update_reads_its_own_window_wherever_it_goes_on(documents, monkeypatch, rng):
    few_windows_a_block(monkeypatch, 5, 4)
    whole, blocks = trainer_of("memory", documents), trainer_of("disk", documents)
    assert (whole.jobs[0].task.block, blocks.jobs[0].task.block) == (0, K)
    assert blocks.jobs[0].task.windows_per_epoch == WINDOWS
    states, losses = [], []
    for _ in range(2 * WINDOWS + 3):
        states.append(copied(whole.state()))
        losses.append(whole.advance(1)[0].loss[0])
    states.append(whole.state())
    for start in rng.permutation(len(losses)).tolist():  # as after a restart: any block may be asked for
        updates = int(rng.integers(1, 9))
        blocks.put(0, copied(states[start]))
        expected = losses[start : start + updates]
        assert blocks.advance(len(expected))[0].loss.tolist() == expected
        assert_trees_equal(jax.tree.map(np.asarray, blocks.glance()), glance_of(states[start + len(expected)]))
        assert_trees_equal(blocks.state().params, states[start + len(expected)].params)
        assert_trees_equal(blocks.state().carry, states[start + len(expected)].carry)


def glance_of(state: Any) -> Any:
    large: dict[str, Any] = dict.fromkeys(
        (
            "params",
            "optimizer_state",
            "best_params",
            "candidate",
            "carry",
            "seed",
            "variables",
            "best_variables",
            "order",
        ),
        (),
    )
    return jax.tree.map(np.asarray, state._replace(**large))


def test_members_of_several_folds_take_blocks_where_the_device_is_small(documents, monkeypatch):
    few_windows_a_block(monkeypatch, 5, 4)
    of_whole = trainer_of("auto", documents, (0, 1)).advance(2 * WINDOWS)
    free = documents.ids.nbytes * text.SHARE_OF_DEVICE * 2 - 1  # for two folds
    monkeypatch.setattr(module, "free_memory", lambda devices: free)
    small = trainer_of("auto", documents, (0, 1))
    assert small.jobs[0].task.block == K
    for found, expected in zip(small.advance(2 * WINDOWS), of_whole, strict=True):
        assert found.loss.tolist() == expected.loss.tolist()
    monkeypatch.setattr(module, "free_memory", lambda devices: free + 2)
    assert trainer_of("auto", documents, (0, 1)).jobs[0].task.block == 0
    task = small.jobs[0].task  # as another process decides
    task.fit_into(free)
    assert task.block == 0 and task.objective == trainer_of("memory", documents, (0, 1)).jobs[0].task.objective


@pytest.mark.slow  # three runs, each compiled; the test above goes on at every update in memory
def test_a_run_may_change_between_memory_and_disk_at_any_stop(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    few_windows_a_block(monkeypatch, 5, 2)
    (tmp_path / "text.txt").write_text(tiny_text(40))
    for run, stops in ((tmp_path / "whole", [("memory", 50)]), (tmp_path / "blocks", [("disk", 13), ("disk", 50)])):
        for stream_from, updates in stops:
            options = tiny_options(run, updates=updates, stream_from=stream_from, sample_length=5)
            answer = command(capsys, "train", tmp_path / "text.txt", *options)
            assert answer.code == 0, answer
    assert len(list((tmp_path / "cache" / "jaxrnn" / "ids").glob("*.u8"))) == 1
    assert_same_run(tmp_path / "blocks", tmp_path / "whole")


class Counted:
    """In place of a text: blocks that say which they are, and wait to be let through."""

    def __init__(self) -> None:
        self.block, self.windows_per_epoch = K, WINDOWS
        self.read: list[int] = []
        self.gate = threading.Semaphore(0)

    def streams(self, update: int = 0, updates: int = 0) -> Any:
        assert self.gate.acquire(timeout=30)
        self.read.append(update)
        return update


def test_one_block_is_read_ahead_and_each_is_read_once():
    task: Any = Counted()
    blocks = Blocks([task], lambda streams: streams[0])
    task.gate.release(2)  # the first, and the one after it
    for update in range(3 * WINDOWS):
        if update % WINDOWS % K == 0 and update:
            task.gate.release()
        assert blocks(update, 1) == update % WINDOWS // K * K
        left = most_updates(task, update)
        assert blocks(update + left - 1, 1) == blocks(update, 1)  # none of them needs another
    blocks._thread.shutdown()
    assert task.read == [0, 4, 8] * 3 + [0]
