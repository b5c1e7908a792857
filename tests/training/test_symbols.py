"""Runs whose symbols are words or byte pairs: the same characters are scored, and everything goes on with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text, load_corpus
from jaxrnn.data.long_symbols import LongSymbols, learn_symbols
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.splits import split_text
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.vocabulary_file import load_vocabulary
from jaxrnn.tasks.text import Text
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.run import open_run
from jaxrnn.training import job, start

pytestmark = pytest.mark.usefixtures("shared_programs")

TEXT = "the cat sat on the mat, and the dog sat on the cat.\nthe end of the tale of the mat\n" * 8
QUIET = Progress(quiet=True)
SETTINGS: dict[str, Any] = {"hidden": 5, "bptt_length": 5, "updates": 30, "log_every": 10, "sample_every": 30}
SETTINGS |= {"sample_length": 11, "validation_fraction": 0.1, "test_fraction": 0.1, "loss_reduction": "mean"}
SETTINGS |= {"symbols": "words", "vocabulary_size": 25}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of words; never changed."""
    root = tmp_path_factory.mktemp("words")
    (root / "text.txt").write_text(TEXT)
    assert start.train(TrainConfig(text=str(root / "text.txt"), **SETTINGS), root / "run", QUIET).update == 30
    return root / "run"


def loss_sum(run: Any, ids: np.ndarray) -> float:
    """Minus ln p of all ids but the first, from one pass over them."""
    logits, _ = run.model()(jax.numpy.asarray(ids[:-1, None], np.int32), run.model().initial_carry(1))
    log_p = np.asarray(jax.nn.log_softmax(logits[:, 0]))
    return -float(log_p[np.arange(len(ids) - 1), ids[1:]].sum())


@pytest.mark.parametrize("kind", ["words", "bpe"])
@pytest.mark.parametrize("options", [{}, {"fold": 1, "folds": 3}, {"retrain": True}])
def test_the_parts_are_of_the_same_characters_and_only_the_first_is_learned_from(kind: str, options: Any) -> None:
    pytest.importorskip("tokenizers")
    corpus = corpus_from_text(TEXT + "unseen" * 30)
    characters = split_text(corpus.ids, 0.1, 0.1, **options)
    shares: dict[str, Any] = {"validation_fraction": 0.1, "test_fraction": 0.1}
    text = Text(corpus, symbols=kind, vocabulary_size=40, bptt_length=3, **shares, **options)
    told = [corpus.vocabulary.decode(part) for part in characters]
    assert [text.vocabulary.decode(part) for part in text.parts] == told
    assert text.vocabulary == learn_symbols(kind, told[0], corpus.vocabulary, 40)
    scored = [text.vocabulary.count_characters(part[1:]) for part in text.parts if len(part)]
    assert scored == [len(part) - 1 for part in characters if len(part)]
    assert len(text.parts.train) < len(characters.train)


def test_scores_are_of_all_characters_but_the_first(path: Path) -> None:
    run = open_run(path)
    ids = run.vocabulary.encode_part(TEXT)
    expected, scores = loss_sum(run, ids), run.evaluate(str(path.parent / "text.txt"))
    assert scores["characters"] == len(TEXT) - 1 and scores["symbols"] == len(ids) - 1
    assert scores["loss_nats"] == pytest.approx(expected / (len(ids) - 1), rel=1e-5)
    assert scores["nats_per_char"] == pytest.approx(expected / (len(TEXT) - 1), rel=1e-5)
    assert scores["bits_per_char"] == pytest.approx(scores["nats_per_char"] / math.log(2), rel=1e-12)
    test = json.loads((path / "test.json").read_text())
    part = Text(
        str(path.parent / "text.txt"), symbols=run.vocabulary, validation_fraction=0.1, test_fraction=0.1
    ).parts[2]
    characters = run.vocabulary.count_characters(part[1:])
    assert test["nats_per_char"] == pytest.approx(test["loss_nats"] * (len(part) - 1) / characters, rel=1e-12)


def test_rows_tell_characters(path: Path) -> None:
    run, data = open_run(path), open_run(path).record["data"]
    metrics, mean = run.metrics, data["train_characters"] / data["symbols"]["train"]
    bits = metrics["train/mean_loss_nats"] / math.log(2) / mean
    np.testing.assert_allclose(metrics["train/bits_per_char"], bits, rtol=1e-6)
    valid = metrics["valid/nats_per_char"][-1] / metrics["valid/loss_nats"][-1]
    assert 1 / mean == pytest.approx(valid, rel=0.3) and data["distinct"] == len(run.vocabulary) == 25
    assert data["characters"] == len(TEXT) == sum(data[f"{part}_characters"] for part in data["symbols"])


def test_samples_have_as_many_characters_as_asked_for(path: Path) -> None:
    run = open_run(path)
    for length in (0, 1, 7, 1500):
        written = run.sample(length=length, prime="the cat", seed=1)
        assert len(written) == length and set(written) <= set(TEXT)
    assert run.sample(length=1500, seed=1).startswith(run.sample(length=70, seed=1))
    with pytest.raises(ConfigurationError, match="--length expects"):
        run.sample(length=-1)


def test_a_run_goes_on_with_the_symbols_it_has(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(text=str(path.parent / "text.txt"), **SETTINGS)
    start.train(TrainConfig(**config.to_json() | {"updates": 17}), tmp_path / "run", QUIET)
    monkeypatch.setattr("jaxrnn.tasks.text.learn_symbols", lambda *_: pytest.fail("learned again"))
    assert start.train(config, tmp_path / "run", QUIET).update == 30
    whole, gone_on = open_run(path), open_run(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, whole.params("latest"), gone_on.params("latest"))
    assert (path / "samples.txt").read_bytes().endswith((tmp_path / "run/samples.txt").read_bytes()[-20:])


def test_one_file_holds_a_model_of_words(path: Path, tmp_path: Path) -> None:
    run, text = open_run(path), str(path.parent / "text.txt")
    exported = open_run(run.export(tmp_path / "model.safetensors"))
    assert exported.vocabulary == run.vocabulary == load_vocabulary(path / "vocabulary.json")
    assert exported.sample(50, prime="the") == run.sample(50, prime="the")
    assert exported.evaluate(text) == run.evaluate(text)
    run._vocabulary = LongSymbols(run.vocabulary.symbols[:-1])
    with pytest.raises(CheckpointError, match="symbols of another text"):
        run.export(tmp_path / "other.safetensors")


def test_what_takes_a_text_by_characters_refuses_longer_symbols(path: Path) -> None:
    from jaxrnn.inspect.look import Look
    from jaxrnn.inspect.report_of_run import look_inside_run

    with pytest.raises(ConfigurationError, match="character by character; this model has words"):
        look_inside_run(open_run(path), Look())


def test_a_job_of_bytes_tells_characters_too(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("d\u00e9j\u00e0 vu " * 40)
    objective = job.task_of(TrainConfig(text=str(tmp_path / "text.txt"), bytes=True, bptt_length=5)).objective
    assert objective.characters_per_symbol == pytest.approx(8 / 10)


def test_a_text_in_the_symbols_of_bytes_is_read_as_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The character of a byte's number is another one: U+00E9 is not the byte E9."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    of_bytes, path = ReadingOptions(bytes_mode=True), tmp_path / "other.txt"
    (tmp_path / "text.txt").write_text("d\u00e9j\u00e0 vu \u9fff" * 9)  # which has the byte E9 too
    path.write_text("d\u00e9j\u00e0 vu" * 9)
    known = Text(tmp_path / "text.txt", bptt_length=5, reading=of_bytes).vocabulary
    for stream_from in ("memory", "disk"):
        text = Text(path, bptt_length=5, symbols=known, stream_from=stream_from)
        assert bytes(map(ord, known.decode(text.parts.train))) == path.read_bytes() and text.corpus.reading == of_bytes
        assert isinstance(text.parts.train, np.memmap) == (stream_from == "disk")
    for corpus, symbols in ((load_corpus(path), known), (text.corpus, load_corpus(path).vocabulary)):
        with pytest.raises(ConfigurationError, match="give them the other bytes_mode"):
            Text(corpus, bptt_length=5, symbols=symbols)
    assert Text(corpus_from_text("vu" * 9), bptt_length=5, symbols=known).vocabulary is known
