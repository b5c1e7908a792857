"""The best parameters by fresh starts: the choice against a plain loop, and the same of a run that is stopped."""

from __future__ import annotations

import dataclasses
import math
import os
import random
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrnn import LanguageModel, Text, fit
from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text, load_corpus
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.novelty import known_word_share, words_of
from jaxrnn.models.structure import params_of
from jaxrnn.storage.checkpoint import load_checkpoint, save_checkpoint
from jaxrnn.storage.checkpoint_metadata import read_metadata
from jaxrnn.tasks.text import NextSymbol
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.run import open_run
from jaxrnn.training import judgement
from jaxrnn.training.formats import MAY_BE_NAN, format_of, readers
from jaxrnn.training.job import make_job, template_of
from jaxrnn.training.judgement import is_lost, judged, shown, start_of, taken_back
from jaxrnn.training.member_runs import train_members
from jaxrnn.training.start import train
from jaxrnn.training.trainer import Trainer
from tests.faults.support import call
from tests.trees import assert_trees_equal

pytestmark = pytest.mark.usefixtures("shared_programs")

TEXT = "".join(random.Random(1).choices("abcd ", k=900))
CORPUS = corpus_from_text(TEXT)
CONFIG = TrainConfig(
    hidden=4, bptt_length=5, sample_every=0, log_every=1, checkpoint_every="50", validation_every=7, learning_rate=0.3,
    init_scale=0.5, updates=23, devices="1",
)  # fmt: skip
QUIET = Progress(quiet=True)


def trained(run: Path, updates: int, at: Any = None, **options: Any) -> Path:
    callbacks = [([update], lambda _, trainer, call=call: call(trainer)) for update, call in (at or {}).items()]
    train(dataclasses.replace(CONFIG, updates=updates, **options), run, QUIET, CORPUS, callbacks)
    return run


@pytest.fixture(scope="module")
def params() -> dict[int, Any]:
    """Of each update of `whole`."""
    return {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, params: dict[int, Any]) -> Path:
    def keep(trainer: Trainer) -> None:
        params[int(trainer.updates[0])] = jax.tree.map(np.array, trainer.params())

    return trained(tmp_path_factory.mktemp("whole") / "run", 23, {update: keep for update in range(1, 24)})


def leaves_of(params: dict[str, Any]) -> dict[str, np.ndarray]:
    """By their own names, in float64."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return {str(path[-1].key): np.asarray(value, np.float64) for path, value in leaves}


def loss_from_fresh_starts(params: dict[str, Any]) -> float:
    """Mean loss over 256 characters at the text's beginning, middle and end, each from a zero carry."""
    p, losses = leaves_of(params), []
    for begin in (0, (len(TEXT) - 257) // 2, len(TEXT) - 257):
        h = np.zeros(4)
        for x, target in zip(CORPUS.ids[begin:], CORPUS.ids[begin + 1 : begin + 257], strict=False):
            h = np.tanh(p["W_x"][x] + h @ p["W_h"] + p["b"])
            logits = h @ p["W_y"] + p["b_y"]
            losses.append(np.log(np.exp(logits).sum()) - logits[target])
    assert len(losses) == 3 * 256
    return float(np.mean(losses))


def test_the_best_is_the_lowest_smoothed_of_an_interval_that_does_best_from_fresh_starts(
    whole: Path, params: dict[int, Any]
) -> None:
    smooth = open_run(whole).metrics["train/smooth_loss_nats"]
    intervals = [range(0, 7), range(7, 14), range(14, 21), range(21, 23)]
    candidates = [min(interval, key=lambda i: smooth[i]) + 1 for interval in intervals]
    scores = [loss_from_fresh_starts(params[update]) for update in candidates]
    best, state = candidates[int(np.argmin(scores))], open_run(whole).state
    assert best != int(np.argmin(smooth)) + 1  # else this test would not tell it from the lowest smoothed loss
    assert int(state.best_update) == best and float(state.best_score) == pytest.approx(min(scores), rel=1e-6)
    assert_trees_equal(open_run(whole).params("best"), params[best])
    assert float(state.best_smooth_loss) == pytest.approx(smooth[best - 1], rel=1e-6)


# The smoothed loss rises and falls, so that a choice at a run's end that stayed would show in the later ones.
UNSTEADY: dict[str, Any] = {"learning_rate": 0.7, "seed": 1}


@pytest.fixture(scope="module")
def unsteady(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The state at the end of a run that never stopped."""
    return open_run(trained(tmp_path_factory.mktemp("unsteady") / "run", 23, **UNSTEADY)).state


@pytest.mark.parametrize("first", [3, 16, 23])
def test_a_run_that_is_trained_for_longer_chooses_as_one_that_never_stopped(
    first: int, unsteady: Any, tmp_path: Path
) -> None:
    """At update 3 nothing was chosen, at 16 the choice at the end is beside the regular ones."""
    run = trained(tmp_path / "run", first, **UNSTEADY)
    ended = open_run(run).state
    assert 0 < int(ended.best_update) <= first
    trained(run, first, **UNSTEADY)
    assert_trees_equal(open_run(run).state, ended)
    trained(run, 23, **UNSTEADY)
    assert_trees_equal(open_run(run).state, unsteady)


def test_a_run_that_was_killed_before_its_first_choice_has_a_best_and_goes_on(
    whole: Path, params: dict[int, Any], tmp_path: Path
) -> None:
    def kill(trainer: Trainer) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", 23, {6: kill}, checkpoint_every="4")
    smooth = open_run(whole).metrics["train/smooth_loss_nats"]
    state = open_run(tmp_path / "run").state
    assert (int(state.update), int(state.best_update)) == (4, int(np.argmin(smooth[:4])) + 1)
    assert_trees_equal(state.best_params, params[int(state.best_update)])
    trained(tmp_path / "run", 23)
    assert_trees_equal(open_run(tmp_path / "run").state, open_run(whole).state)


def test_a_member_chooses_as_the_run_alone(whole: Path, tmp_path: Path) -> None:
    configs = [dataclasses.replace(CONFIG, seed=7), CONFIG]
    members = [tmp_path / "0", tmp_path / "1"]
    results = train_members(configs, members, tmp_path / "rounds.json", corpus=CORPUS, devices=1, progress=QUIET)
    assert results is not None and results[1].best_update == int(open_run(whole).state.best_update)
    assert_trees_equal(open_run(members[1]).state, open_run(whole).state)


def test_a_score_that_is_not_lower_chooses_nothing() -> None:
    trainer = Trainer.of([make_job(CONFIG, CORPUS)])
    assert_trees_equal(trainer.params(checkpoint="best"), trainer.params())
    trainer.advance(3)
    three = jax.tree.map(np.array, trainer.params(checkpoint="candidate"))
    assert_trees_equal(trainer.params(checkpoint="best"), three)  # nothing was chosen yet
    trainer.put(0, judged(trainer.state(), 2.0))
    trainer.advance(4)
    four = trainer.params(checkpoint="candidate")
    for score in (2.0, math.inf, math.nan):
        state = judged(trainer.state(), score)
        assert (float(state.best_score), int(state.best_update)) == (2.0, int(trainer.state().best_update))
        assert_trees_equal(state.best_params, three)
        assert math.isinf(float(state.candidate.smooth_loss))
    state = judged(trainer.state(), 1.0, at_end=True)
    assert_trees_equal(state.best_params, four)
    assert_trees_equal(shown(state), state)
    before = trainer.state()
    zeros = jax.tree.map(np.zeros_like, before.candidate.carry)  # which a later choice would find as well
    assert_trees_equal(taken_back(state), before._replace(candidate=before.candidate._replace(carry=zeros)))
    assert_trees_equal(taken_back(trainer.state()), trainer.state())
    nothing_since = judged(trainer.state(), 3.0)
    assert_trees_equal(judged(nothing_since, 0.0), nothing_since)


def test_people_are_told_where_the_smoothed_loss_needs_the_carry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(judgement, "LARGE_DIFFERENCE", -100.0)
    trained(tmp_path / "early", 15)
    assert not capsys.readouterr().err  # the smoothed loss lags behind
    monkeypatch.setattr(judgement, "SMOOTHED_OVER", 10)
    trained(tmp_path / "run", 15)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and "needs the carry of training" in said[0] and "nats from fresh starts" in said[0]
    assert "which is kept: the best parameters start from it" in said[0]
    assert "from 3 of 3 fresh starts the best parameters are worse than knowing nothing (ln 5 = 1.609 nats)" in said[1]


def test_what_is_lost_is_the_same_in_a_run_that_is_trained_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lowest of the first interval is of update 1, before the smoothed loss can be compared; its end is not."""
    monkeypatch.setattr(judgement, "LARGE_DIFFERENCE", -100.0)
    monkeypatch.setattr(judgement, "SMOOTHED_OVER", 4)
    for updates in (3, 7):
        trained(tmp_path / "run", updates, **UNSTEADY)
    assert_trees_equal(open_run(tmp_path / "run").state, open_run(trained(tmp_path / "straight", 7, **UNSTEADY)).state)


@pytest.fixture
def always_from_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if each candidate were lost from zeros and not from the carry of training."""
    monkeypatch.setattr(judgement, "LARGE_DIFFERENCE", -100.0)
    monkeypatch.setattr(judgement, "SMOOTHED_OVER", 0)


def test_a_carry_of_training_is_kept_only_for_what_is_lost_from_zeros() -> None:
    trainer = Trainer.of([make_job(dataclasses.replace(CONFIG, batch_size=2), CORPUS)])
    trainer.advance(3)
    carry = jax.tree.map(np.array, trainer.state().candidate.carry)
    put = trainer.state()
    for score, from_carry, kept in (
        (5.0, 4.95, False),
        (5.0, 2.0, True),
        (math.nan, 2.0, True),
        (5.0, math.nan, False),
    ):
        trainer.put(0, state := judged(put, score, from_carry=from_carry))
        assert float(state.best_score) == np.float32(from_carry if kept else score)
        assert (start_of(state) is not None) == kept
        model = trainer.model()
        assert_trees_equal(params_of(model)["W_y"], state.best_params["W_y"])
        (start,) = model.initial_carry(3)
        np.testing.assert_array_equal(start.h, np.tile(carry[0].h[:1] * kept, (3, 1)))
    assert trainer.model(checkpoint="latest").stack.first_carry is None
    with pytest.raises(ConfigurationError, match="validate expects data that is held out, got none"):
        trainer.validate([0])  # it would choose the best by another rule


@pytest.mark.usefixtures("always_from_carry")
def test_a_run_whose_best_start_from_a_carry_is_opened_scored_exported_and_resumed(tmp_path: Path) -> None:
    run = open_run(trained(tmp_path / "run", 16))
    state, model = run.state, run.model()
    start = np.asarray(state.best_carry[0].h)
    assert start.any() and np.asarray(model.initial_carry(2)[0].h).tolist() == [start[0].tolist()] * 2
    (tmp_path / "text").write_text(TEXT[:300])
    ids, h, p, losses = CORPUS.ids[:300], start[0].astype(np.float64), leaves_of(run.params()), []
    for x, target in zip(ids, ids[1:], strict=False):
        h = np.tanh(p["W_x"][x] + h @ p["W_h"] + p["b"])
        losses.append(np.log(np.exp(h @ p["W_y"] + p["b_y"]).sum()) - (h @ p["W_y"] + p["b_y"])[target])
    found = run.evaluate(str(tmp_path / "text"))
    assert found["loss_nats"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found != run.evaluate(str(tmp_path / "text"), "latest")
    file = open_run(run.export(tmp_path / "model.safetensors"))
    assert file.evaluate(str(tmp_path / "text")) == found and file.sample(200) == run.sample(200)
    assert file.sample(200, start="learned") == file.sample(200, start="fresh")  # it has one
    assert nnx.split(file.model())[0] == nnx.split(model)[0]
    run.export(tmp_path / "model.safetensors")  # again, over the one of before
    train(dataclasses.replace(CONFIG, updates=1), tmp_path / "next", QUIET, CORPUS, init_from=run)
    assert open_run(tmp_path / "next").record["init_from"]["update"] == int(state.best_update)
    trained(tmp_path / "run", 23)
    assert_trees_equal(open_run(tmp_path / "run").state, open_run(trained(tmp_path / "straight", 23)).state)


@pytest.mark.usefixtures("always_from_carry")
def test_the_best_of_a_users_own_model_start_from_a_carry_too(tmp_path: Path) -> None:
    def model(rngs: nnx.Rngs) -> LanguageModel:
        return LanguageModel(5, 4, rngs=rngs)

    text = Text(CORPUS, bptt_length=5)
    result = fit(model, text, optax.adagrad(0.3), run=tmp_path / "run", updates=10)
    run = open_run(tmp_path / "run", model)
    assert np.asarray(run.model().initial_carry(1)[0].h).any()
    assert_trees_equal(params_of(run.model()), params_of(result.trainer.model()))


def test_a_run_of_format_3_goes_on(unsteady: Any, tmp_path: Path) -> None:
    """It kept no carry."""
    run = trained(tmp_path / "run", 16, **UNSTEADY)
    checkpoints, job = run / "checkpoints", make_job(dataclasses.replace(CONFIG, **UNSTEADY), CORPUS)
    state, metadata = load_checkpoint(checkpoints, 16, readers(template_of(job)))
    assert metadata["format"] == format_of(state) == 4
    older = state._replace(candidate=state.candidate._replace(carry=()), best_carry=())
    extra = {name: metadata[name] for name in metadata if name not in ("format", "update", "leaves", "digest")}
    save_checkpoint(checkpoints, older, 16, extra, format_of(older), MAY_BE_NAN)
    assert read_metadata(checkpoints / "update_0000000016", (3,))["format"] == 3
    trained(run, 23, **UNSTEADY)
    assert_trees_equal(open_run(run).state, unsteady)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("JAXRNN_DATA"), reason="JAXRNN_DATA names no folder of texts")
@pytest.mark.parametrize("seed", [1, 4])
def test_the_books_seeds_that_were_lost_from_zeros_write_words(seed: int, tmp_path: Path) -> None:
    """They have 9.9 and 7.7 nats there by the lowest smoothed loss, and one made 6.98 by the best choice of zeros."""
    told = ["--preset", "book", "--updates", 100_000, "--sample-every", 0, "--seed", seed, "--run", tmp_path / "run"]
    answer = call("train", "tinyshakespeare", *told, timeout=300)
    assert answer.code == 0, answer
    run, text = open_run(tmp_path / "run"), load_corpus("tinyshakespeare")
    whole = text.vocabulary.display_text(text.ids)
    (tmp_path / "first").write_text(whole[:30_000])
    assert run.evaluate(str(tmp_path / "first"))["loss_nats"] < 2.3
    assert known_word_share(run.sample(2000, temperature=0.7), frozenset(words_of(whole))) > 0.5


def test_a_validation_that_is_worse_than_knowing_nothing_is_told_where_training_is_better() -> None:
    said = is_lost(NextSymbol(65, 25, None), 9.8, 1.8) or ""
    assert "worse than knowing nothing (ln 65 = 4.174 nats), training has 1.800" in said and "--batch-size" in said
    assert is_lost(NextSymbol(65, 25, None), 4.1, 1.8) is None  # not worse
    assert is_lost(NextSymbol(65, 25, None), 9.8, 4.0) is None  # training has not begun, or explodes


def test_a_run_of_before_goes_on_by_the_smoothed_loss() -> None:
    """Where nothing else chooses. Settings that the choice does not concern stay those of a new run."""
    text = {name: value for name, value in CONFIG.to_json().items() if name not in ("best_by", "validation_every")}
    assert TrainConfig.from_json(text).best_by == "smoothed"
    assert TrainConfig.from_json(text | {"validation_fraction": 0.1}) == dataclasses.replace(
        CONFIG, validation_fraction=0.1, validation_every=0
    )
    with pytest.raises(ConfigurationError, match="--best-by has no effect"):
        dataclasses.replace(CONFIG, validation_fraction=0.1, best_by="smoothed")
    assert make_job(dataclasses.replace(CONFIG, validation_every=0), CORPUS).judgement_every == 899 // 5
    smoothed = dataclasses.replace(CONFIG, validation_every=0, best_by="smoothed")
    assert make_job(smoothed, CORPUS).judgement_every == 0
    assert Trainer.of([make_job(smoothed, CORPUS)]).template.candidate is None
