"""What the loop measures, keeps and decides, against plain loops over the parameters at the end of each epoch."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from flax import nnx

from jaxrnn.config import TrainConfig
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.decode.sampling import sample_ids
from jaxrnn.models.structure import params_of
from jaxrnn.random_streams import STREAM_INIT, STREAM_SAMPLES, run_key, stream_key
from jaxrnn.storage.logs import read_metrics, read_samples
from jaxrnn.tasks.text import NextSymbol
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.run import open_run
from jaxrnn.training.job import make_model
from jaxrnn.training.loop import Loop
from jaxrnn.training.start import train

pytestmark = pytest.mark.usefixtures("shared_programs")

SEED, HIDDEN, WINDOW, CHARACTERS, HELD_OUT, PATIENCE = 3, 8, 25, 300, 39, 2
WINDOWS = (CHARACTERS - HELD_OUT - 1) // 2 // WINDOW  # an epoch of two streams


class Trained(NamedTuple):
    """A run, with the parameters as they were after some of its updates."""

    path: Path
    text: str
    config: TrainConfig
    update: int
    params: dict[int, Any]


def trained(root: Path, **options: Any) -> Trained:
    """Trains, and keeps what the loop would have saved; only the end is saved."""
    generator = random.Random(1)
    text = "".join(generator.choice("abcd ") for _ in range(CHARACTERS))
    (root / "text.txt").write_text(text)
    config = TrainConfig(
        text=str(root / "text.txt"),
        hidden=HIDDEN,
        bptt_length=WINDOW,
        batch_size=2,
        seed=SEED,
        log_every=1,
        sample_length=60,
        **options,
    )
    params: dict[int, Any] = {}
    save = Loop._save

    def keep(self: Loop, final: bool = False) -> None:
        params[int(self.updates[0])] = jax.tree.map(np.array, self.trainer.state().params)
        if final:
            save(self, final)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "_save", keep)
        result = train(config, root / "run", Progress(quiet=True))
    return Trained(root / "run", text, config, result.update, params)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run that learns its text by heart until the validation loss has not fallen for some epochs."""
    return trained(
        tmp_path_factory.mktemp("stopped"),
        validation_fraction=(HELD_OUT + 0.5) / CHARACTERS,
        early_stopping="patience",
        patience=PATIENCE,
        epochs=200,
        init_scale=1.0,
        checkpoint_every=str(WINDOWS),
        sample_every=1000,
    )


@pytest.fixture(scope="module")
def unvalidated(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run without a validation part, on random letters, whose loss does not fall all the time."""
    return trained(
        tmp_path_factory.mktemp("unvalidated"),
        updates=12,
        learning_rate=0.1,
        checkpoint_every="1",
        sample_every=0,
        best_by="smoothed",
    )


def loss_of(params: dict[str, Any], text: str, symbols: tuple[str, ...]) -> float:
    """Mean loss of all characters but the first, one step after the other from a zero carry."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    p = {str(path[-1].key): np.asarray(value, np.float64) for path, value in leaves}
    h, losses = np.zeros(HIDDEN), []
    for x, target in zip(text, text[1:], strict=False):
        h = np.tanh(p["W_x"][symbols.index(x)] + h @ p["W_h"] + p["b"])
        logits = h @ p["W_y"] + p["b_y"]
        losses.append(np.log(np.exp(logits).sum()) - logits[symbols.index(target)])
    return float(np.mean(losses))


@pytest.fixture(scope="module")
def validation_losses(stopped: Trained) -> list[float]:
    """The loss of the held-out part after each epoch."""
    symbols = tuple(sorted(set(stopped.text)))
    ends = range(WINDOWS, stopped.update + 1, WINDOWS)
    return [loss_of(stopped.params[end], stopped.text[-HELD_OUT:], symbols) for end in ends]


def test_the_validation_loss_is_that_of_the_parameters_at_the_epochs_end(
    stopped: Trained, validation_losses: list[float]
) -> None:
    rows = read_metrics(stopped.path / "metrics.jsonl")
    logged = {row["update"]: row["valid/loss_nats"] for row in rows if row["valid/update"] is not None}
    assert sorted(logged) == list(range(WINDOWS, stopped.update + 1, WINDOWS))
    np.testing.assert_allclose([logged[update] for update in sorted(logged)], validation_losses, rtol=1e-5)
    state = open_run(stopped.path).state
    assert float(state.valid_loss) == pytest.approx(validation_losses[-1], rel=1e-5)
    assert int(state.valid_update) == stopped.update


def test_the_best_parameters_are_those_of_the_lowest_validation_loss(
    stopped: Trained, validation_losses: list[float]
) -> None:
    best = (int(np.argmin(validation_losses)) + 1) * WINDOWS
    state = open_run(stopped.path).state
    assert int(state.best_update) == best < stopped.update
    assert_same(open_run(stopped.path).params("best"), stopped.params[best])
    assert_same(open_run(stopped.path).params("latest"), stopped.params[stopped.update])


def test_by_the_smoothed_loss_the_best_parameters_are_those_where_it_is_lowest(unvalidated: Trained) -> None:
    rows = read_metrics(unvalidated.path / "metrics.jsonl")
    losses = np.array([row["train/loss_nats"] for row in rows])
    smooth = [losses[0]]
    for loss in losses[1:]:
        smooth.append(0.999 * smooth[-1] + 0.001 * loss)
    np.testing.assert_allclose([row["train/smooth_loss_nats"] for row in rows], smooth, rtol=1e-6)
    best = int(np.argmin(smooth)) + 1
    assert 1 < best < unvalidated.update  # neither the first nor the last would tell
    assert int(open_run(unvalidated.path).state.best_update) == best
    assert_same(open_run(unvalidated.path).params("best"), unvalidated.params[best])


def test_a_run_ends_at_the_epoch_at_which_the_rule_says_so(stopped: Trained, validation_losses: list[float]) -> None:
    stops = [t for t in range(len(validation_losses)) if t - int(np.argmin(validation_losses[: t + 1])) >= PATIENCE]
    assert stops == [len(validation_losses) - 1] and stopped.update == WINDOWS * len(validation_losses)
    assert len(validation_losses) > PATIENCE + 1  # it did learn something first
    rows = read_metrics(stopped.path / "metrics.jsonl")
    assert [row["update"] for row in rows] == list(range(1, stopped.update + 1))


def test_the_epoch_of_a_row_changes_after_the_last_window_of_the_text(stopped: Trained) -> None:
    rows = read_metrics(stopped.path / "metrics.jsonl")
    epochs = [epoch for epoch in range(1, stopped.update // WINDOWS + 1) for _ in range(WINDOWS)]
    assert [row["epoch"] for row in rows] == epochs


def test_sample_0_is_what_the_untrained_model_writes(stopped: Trained) -> None:
    vocabulary = Vocabulary.from_text(stopped.text)
    key = stream_key(run_key(SEED), STREAM_INIT)
    model = make_model(stopped.config, NextSymbol(len(vocabulary), WINDOW), nnx.Rngs(params=key))
    texts = {}
    for update, params in ((0, params_of(model)), (1, None)):
        if params is None:  # after one update it would write something else: else this test says nothing
            params = stopped.params[WINDOWS]
        key = stream_key(run_key(SEED), STREAM_SAMPLES, 0)
        parts = sample_ids(nnx.split(model)[0], params, length=60, key=key, temperature=1.0)
        texts[update] = vocabulary.decode(np.concatenate(list(parts)))
    samples = read_samples(stopped.path / "samples.txt")
    assert samples[0] == (0, 1.0, texts[0]) and texts[1] != texts[0]
    assert [update for update, _, _ in samples] == [0, 1]


def assert_same(actual: Any, expected: Any) -> None:
    """Equal trees, bit for bit."""
    one, other = (jax.tree_util.tree_flatten_with_path(tree)[0] for tree in (actual, expected))
    assert [path for path, _ in one] == [path for path, _ in other]
    for (path, a), (_, b) in zip(one, other, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), path
