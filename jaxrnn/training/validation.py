"""Scores while training, on data that is not trained on, and what they decide: the best parameters, an early end."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.devices.mesh import like, on_first_device
from jaxrnn.evaluate import evaluate_ids, evaluate_sequences
from jaxrnn.random_streams import STREAM_VALIDATION, stream_key
from jaxrnn.training.early_stopping import observe, should_stop
from jaxrnn.training.job import VALIDATION_STREAMS, TrainJob
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import is_solved


class Score(NamedTuple):
    """Loss and accuracy, and the line that tells a person."""

    loss: float
    accuracy: float
    line: str


def score_state(job: TrainJob, state: TrainState, update: int) -> Score:
    """Scores the parameters on the part of the text held out, in several streams, or on fresh sequences."""
    params = on_first_device(state.params)
    if job.corpus is None:
        key = stream_key(on_first_device(state.seed), STREAM_VALIDATION, update)
        of = evaluate_sequences(job.graphdef, params, job.settings.task, key, batch_size=job.config.batch_size)
        loss = f"{of.loss:.4f} nats" if job.settings.task.loss_name == "loss_nats" else f"error {of.loss:.5f}"
        line = f"update {update:,}: validation {loss}, accuracy {of.accuracy:.4f} over {of.sequences:,} fresh sequences"
        return Score(of.loss, of.accuracy, line)
    ids, end = job.validation_ids, job.settings.document_end
    batch_size = max(min(VALIDATION_STREAMS, (len(ids) - 1) // job.config.bptt_length), 1)
    scores = evaluate_ids(job.graphdef, params, ids, batch_size=batch_size, document_end=end)
    line = (
        f"epoch {update // job.windows.windows}: validation {scores.loss_nats:.4f} nats, "
        f"{scores.bits_per_char:.4f} bits/char over {scores.characters:,} characters in {batch_size} streams"
    )
    return Score(scores.loss_nats, scores.accuracy, line)


def with_score(state: TrainState, update: int, score: Score) -> TrainState:
    """The state that knows its score, with these parameters as the best if no score was as low.

    A NaN is no improvement: the best stay as they are, and the smoothed loss does not choose them from now on either.
    """
    seen = observe(on_first_device(state.early_stopping), score.loss)
    state = state._replace(
        valid_loss_nats=like(score.loss, state.valid_loss_nats),
        valid_accuracy=None if state.valid_accuracy is None else like(score.accuracy, state.valid_accuracy),
        valid_update=like(update, state.valid_update),
        early_stopping=jax.tree.map(like, seen, state.early_stopping),
    )
    if int(seen.since_best) > 0:
        return state
    return state._replace(
        best_params=jax.tree.map(jnp.copy, state.params),
        best_smooth_loss_nats=jnp.copy(state.smooth_loss_nats),
        best_update=like(update, state.best_update),
    )


def reason_to_stop(job: TrainJob, state: TrainState) -> str | None:
    """Why a run ends before its last update; None while it goes on."""
    config = job.config
    if config.stop_at_accuracy and bool(is_solved(job.settings, state)):
        return f"solved: the mean accuracy of the latest updates has reached {config.stop_at_accuracy:g}"
    if config.early_stopping != "none":
        stopping = on_first_device(state.early_stopping)
        if bool(should_stop(stopping, config.early_stopping, config.patience)):
            return f"stopped early by the rule {config.early_stopping!r}: see --early-stopping"
    return None
