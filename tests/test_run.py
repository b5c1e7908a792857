"""A finished run opened for reading."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxrnn
from jaxrnn.config import TrainConfig
from jaxrnn.errors import CheckpointError, ConfigurationError, DataError
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.start import train

TEXT = "the cat sat on the mat, and the dog sat on the cat.\n" * 8


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run; never changed, only copied."""
    root = tmp_path_factory.mktemp("run")
    (root / "text.txt").write_text(TEXT)
    config = TrainConfig(
        text=str(root / "text.txt"),
        hidden=6,
        bptt_length=5,
        updates=40,
        log_every=10,
        sample_every=20,
        sample_length=11,
        checkpoint_every="20",
    )
    result = train(config, root / "run", Progress(quiet=True))
    assert (result.update, result.stopped) == (40, None)
    return root / "run"


def test_a_run_tells_what_it_is(path: Path) -> None:
    run = jaxrnn.open_run(path)
    assert run.config.hidden == 6 and len(run.vocabulary) == len(set(TEXT))
    parameters = sum(x.size for x in jax.tree.leaves(run.params()))
    assert run.record["parameters"] == parameters and f"{parameters:,} parameters" in repr(run)
    assert run.windows_per_epoch == (len(TEXT) - 1) // 5 and run.document_end is None
    assert {"config", "data", "environment", "parameters", "format"} <= set(run.record)


def test_metrics_are_columns(path: Path) -> None:
    metrics = jaxrnn.open_run(path).metrics
    assert metrics["update"].tolist() == [1, 10, 20, 30, 40]
    np.testing.assert_allclose(metrics["train/smooth_loss_sum_nats"], 5 * metrics["train/smooth_loss_nats"], rtol=1e-6)
    np.testing.assert_allclose(metrics["train/bits_per_char"], metrics["train/mean_loss_nats"] / math.log(2), rtol=1e-6)
    assert metrics["train/loss_nats"][0] == pytest.approx(math.log(len(set(TEXT))), rel=0.01)
    assert (metrics["chars_per_second"] > 0).all() and metrics["epoch"].tolist() == [1] * 5


def test_the_model_is_the_one_that_was_trained(path: Path) -> None:
    run = jaxrnn.open_run(path)
    ids = run.vocabulary.encode(TEXT)
    model = run.model()
    logits, _ = model(jax.numpy.asarray(ids[:-1, None], np.int32), model.initial_carry(1))
    log_p = jax.nn.log_softmax(logits[:, 0])
    expected = -float(np.mean(np.asarray(log_p)[np.arange(len(ids) - 1), ids[1:]]))
    scores = run.evaluate(run.config.text)
    assert scores["loss_nats"] == pytest.approx(expected, rel=1e-5)
    assert scores["bits_per_char"] == pytest.approx(expected / math.log(2), rel=1e-5)
    assert scores["perplexity"] == pytest.approx(math.exp(expected), rel=1e-4)
    assert scores["characters"] == len(TEXT) - 1


def test_samples_repeat_and_stream(path: Path) -> None:
    run = jaxrnn.open_run(path)
    text = run.sample(length=1500, seed=4, prime="the ")
    assert len(text) == 1500 and set(text) <= set(TEXT)
    parts = list(jaxrnn.open_run(path).stream(length=1500, seed=4, prime="the "))
    assert "".join(parts) == text and max(map(len, parts)) <= 1024


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"checkpoint": "newest"}, ConfigurationError),
        ({"length": -1}, ConfigurationError),
        ({"length": 2.5}, ConfigurationError),
        ({"length": True}, ConfigurationError),
        ({"temperature": -1.0}, ConfigurationError),
        ({"temperature": math.nan}, ConfigurationError),
        ({"seed": -1}, ConfigurationError),
        ({"prime": "Ω"}, DataError),
    ],
)
def test_what_cannot_be_sampled_is_refused(path: Path, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        jaxrnn.open_run(path).sample(**options)


def test_a_newer_checkpoint_is_seen(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "run"))
    run = jaxrnn.open_run(copy)
    assert int(run.state.update) == 40
    jaxrnn.resume(copy, {"updates": 50}, Progress(quiet=True))
    assert int(run.state.update) == 50


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_word(path: Path, tmp_path: Path, capsys: Any) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "run"))
    metadata = copy / "checkpoints" / "update_0000000040" / "_CHECKPOINT_METADATA"
    metadata.write_text(metadata.read_text().replace('"update": 40', '"update": 41'))
    assert int(jaxrnn.open_run(copy).state.update) == 20
    assert "jaxrnn: warning: checkpoint of update 40" in capsys.readouterr().err


def test_a_checkpoint_of_another_text_is_not_used(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "run"))
    record = json.loads((copy / "config.json").read_text())
    record["data"]["sha256"] = "0" * 64
    (copy / "config.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="another run"):
        jaxrnn.open_run(copy).sample(length=3)


def test_a_run_without_a_checkpoint_or_record_says_so(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "run"))
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        jaxrnn.open_run(copy).sample(length=3)
    (copy / "config.json").unlink()
    with pytest.raises(ConfigurationError, match="holds no run"):
        jaxrnn.open_run(copy)
