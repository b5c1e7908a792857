"""What a score on data that is not trained on decides: the best parameters, an early end."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxrnn.config import TrainConfig
from jaxrnn.devices.mesh import like, on_first_device
from jaxrnn.errors import ConfigurationError
from jaxrnn.tasks.protocol import Score
from jaxrnn.training.early_stopping import observe, should_stop
from jaxrnn.training.state import Candidate, TrainState, with_best
from jaxrnn.training.step import StepSettings, is_diverged, is_solved


def refuse_none(validates: Sequence[bool]) -> None:
    """Refuses to choose parameters by data that is not there: without it another rule chooses them.

    Raises:
      ConfigurationError: if a member holds nothing out.
    """
    if not all(validates):
        raise ConfigurationError("validate expects data that is held out, got none; give some, or look with `score`")


def with_score(state: TrainState, score: Score, plateau_patience: int = 0) -> TrainState:
    """The state that knows its score, with these parameters as the best if no score was as low.

    A NaN is no improvement: the best stay as they are, and the smoothed loss does not choose them from now on either.
    After `plateau_patience` validations without a new lowest loss, and again after as many more, the learning rate
    decays by its factor; 0 lets it be.
    """
    seen = observe(on_first_device(state.early_stopping), score.loss)
    state = state._replace(
        valid_loss=like(score.loss, state.valid_loss),
        valid_accuracy=None if state.valid_accuracy is None else like(score.accuracy, state.valid_accuracy),
        valid_update=jnp.copy(state.update),
        early_stopping=jax.tree.map(like, seen, state.early_stopping),
    )
    if int(seen.since_best) > 0:
        if plateau_patience and int(seen.since_best) % plateau_patience == 0:
            rates = state.values.hyperparameters
            lower = like(np.asarray(rates.learning_rate) * np.asarray(rates.decay_rate), rates.learning_rate)
            state = state._replace(values=state.values._replace(hyperparameters=rates._replace(learning_rate=lower)))
        return state
    best = Candidate(state.params, state.smooth_loss, state.update, state.variables)
    return with_best(state, jax.tree.map(jnp.copy, best))


def end_of(config: TrainConfig, settings: StepSettings, state: TrainState, total: int) -> str | None:
    """How a run has ended, "finished", "diverged", "solved", "stopped early" or "stopped"; None while it goes on.

    It follows from the state, so that a run that is opened again knows it too. One whose updates were all left out has
    learned nothing and counts as diverged, however few they are.
    """
    if bool(is_diverged(state)):
        return "diverged"
    if settings.stop_at_accuracy and bool(is_solved(settings, state)):
        return "solved"
    stopping = on_first_device(state.early_stopping)
    if config.early_stopping != "none" and bool(should_stop(stopping, config.early_stopping, config.patience)):
        return "stopped early"
    if int(state.update) >= total:
        return "diverged" if 0 < int(state.update) == int(state.skipped) else "finished"
    return "stopped" if bool(state.stopped) else None


def reason_in_words(config: TrainConfig, end: str) -> str:
    """Why a run ended before its last update."""
    if end == "solved":
        return f"solved: the mean accuracy of the latest updates has reached {config.stop_at_accuracy:g}"
    if end == "stopped early":
        return f"stopped early by the rule {config.early_stopping!r}: see --early-stopping"
    return end
