"""--log-norms: the numbers are those of the parameters and gradients, and nothing else of a run changes."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.storage.logs import read_metrics
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.run import open_run
from jaxrnn.training.job import make_job
from jaxrnn.training.member_runs import train_members
from jaxrnn.training.run_files import NORMS
from jaxrnn.training.start import train
from jaxrnn.training.trainer import Trainer
from tests.trees import assert_trees_equal

pytestmark = pytest.mark.usefixtures("shared_programs")

CORPUS = corpus_from_text("".join(random.Random(1).choices("abcd ", k=300)))
CONFIG = TrainConfig(
    cell="vanilla", hidden=4, layers=2, bptt_length=5, batch_size=2, sample_every=0, checkpoint_every="11", log_every=5,
    optimizer="sgd", learning_rate=0.5, updates=18, log_norms=True,
)  # fmt: skip
LAYERS = ["W_y", "b_y", "stack.layers.0", "stack.layers.1"]


def trained(run: Path, **changed: Any) -> Path:
    train(dataclasses.replace(CONFIG, **changed), run, Progress(quiet=True), CORPUS)
    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("whole") / "run")


def norm_of(tree: Any) -> float:
    return float(np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in jax.tree.leaves(tree))))


def test_norms_are_those_of_numpy_from_one_update_to_the_next() -> None:
    """Plain gradient descent moves by rate times gradient, from which clipping at 1e-6 tells the gradient before it."""
    found = {}
    for clip in (0.0, 1e-6):
        config = dataclasses.replace(CONFIG, clip_value=clip)
        trainer = Trainer.of([make_job(config, CORPUS)])
        before = jax.tree.map(np.array, trainer.initial_state().params)
        (metrics,) = trainer.advance(1)
        after = trainer.params()
        steps = jax.tree.map(np.subtract, after, before)
        norms = {name: float(column[0]) for name, column in metrics.norms.items()}
        for layer in LAYERS:
            of = [tree if layer in tree else tree["stack"]["layers"] for tree in (before, steps)]
            parameters, step = (norm_of(tree[layer if layer in tree else int(layer[-1])]) for tree in of)
            assert norms[f"parameters/{layer}"] == pytest.approx(parameters, rel=1e-6)
            assert norms[f"step/{layer}"] == pytest.approx(step, rel=1e-5, abs=1e-9)
            if clip == 0:
                assert norms[f"gradient/{layer}"] == pytest.approx(step / config.learning_rate, rel=1e-5, abs=1e-9)
        found[clip] = norms
    assert sorted(found[0.0]) == [f"{what}/{layer}" for what in ("gradient", "parameters", "step") for layer in LAYERS]
    gradients = [[norms[f"gradient/{layer}"] for layer in LAYERS] for norms in found.values()]
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-6)
    assert found[1e-6]["step/W_y"] == pytest.approx(0.5e-6 * np.sqrt(20), rel=1e-5)  # each of its 20 entries is clipped


def test_each_row_has_its_norms_and_a_run_without_them_is_the_same(whole: Path, tmp_path: Path) -> None:
    rows, without = read_metrics(whole / NORMS), trained(tmp_path / "run", log_norms=False)
    assert [row["update"] for row in rows] == [1, 5, 10, 15, 18]
    assert all(set(row) == {"update", *(f"{w}/{n}" for w in ("gradient", "parameters", "step") for n in LAYERS)}
               for row in rows)  # fmt: skip
    assert not (without / NORMS).exists()
    states = [open_run(run).state for run in (whole, without)]
    assert_trees_equal(states[0].params, states[1].params)
    logs = [read_metrics(run / "metrics.jsonl") for run in (whole, without)]
    clock = {"chars_per_second": 0}
    assert [row | clock for row in logs[0]] == [row | clock for row in logs[1]]


def test_a_run_that_goes_on_has_the_norms_of_one_that_never_stopped(whole: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", updates=9)  # which has a row, as the last one, that the longer run has not
    assert read_metrics(run / NORMS)[-1]["update"] == 9
    trained(run)
    assert (run / NORMS).read_bytes() == (whole / NORMS).read_bytes()


@pytest.mark.slow
def test_norms_may_be_logged_for_a_part_of_a_run_and_the_record_says_so(whole: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "run", updates=10)
    kept = (run / NORMS).read_bytes()
    trained(run, updates=14, log_norms=False)
    assert (run / NORMS).read_bytes() == kept
    trained(run)
    rows = read_metrics(run / NORMS)
    assert [row["update"] for row in rows] == [1, 5, 10, 15, 18]
    assert rows[-1] == read_metrics(whole / NORMS)[-1]
    changes = open_run(run).record["environment_changes"]
    assert [(of["update"], of["changes"]) for of in changes] == [
        (10, ["--log-norms is off now"]), (14, ["--log-norms is on now"])
    ]  # fmt: skip


@pytest.mark.slow
def test_members_have_the_norms_of_the_run_alone(whole: Path, tmp_path: Path) -> None:
    paths = [tmp_path / "members" / str(k) for k in range(2)]
    configs = [CONFIG, dataclasses.replace(CONFIG, seed=1)]
    train_members(configs, paths, tmp_path / "rounds.json", corpus=CORPUS, devices=1, progress=Progress(quiet=True))
    first, second = (read_metrics(path / NORMS) for path in paths)
    for row, expected in zip(first, read_metrics(whole / NORMS), strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert second[0]["parameters/W_y"] != first[0]["parameters/W_y"]
