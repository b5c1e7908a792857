"""The best parameters by what they do from a fresh start, where no part of the text is held out.

The smoothed loss alone can choose parameters that work only with the carry of training: from a zero carry the network
falls into another attractor and stays there. So the parameters with the lowest smoothed loss of each interval are a
candidate only, and the best are the candidate with the lowest loss on pieces of the training text from fresh starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.checks import check_choice
from jaxrnn.devices.mesh import like
from jaxrnn.models.structure import joined
from jaxrnn.tasks.protocol import Objective, Score
from jaxrnn.training.state import Candidate, TrainState, best_of, with_best

LARGE_DIFFERENCE = 0.1  # in nats, between smoothed loss and loss from fresh starts, of which a person is told
SMOOTHED_OVER = 1000  # updates; before them the smoothed loss lags behind
REMEDY = "begin with a --batch-size above 1: each epoch then has as many fresh starts"


def with_candidate(state: TrainState) -> TrainState:
    """A state before the first update whose best parameters are to be chosen by fresh starts."""
    loss = state.best_smooth_loss
    first = jax.tree.map(jnp.copy, Candidate(state.params, loss, state.update, state.variables))
    return state._replace(candidate=first, best_score=jnp.copy(loss), displaced_score=jnp.full_like(loss, jnp.nan))


def judged(state: TrainState, score: float, at_end: bool = False) -> TrainState:
    """The state that knows the score of its candidate, the best from now on if no score was as low.

    Args:
      state: with a candidate.
      score: mean loss of the candidate from fresh starts; NaN is as bad as infinity.
      at_end: whether this choice is beside the regular ones, since the run is over. `taken_back` undoes it.
    """
    if math.isinf(float(state.candidate.smooth_loss)):  # no update since the latest choice
        return state
    before, new = state.best_score, like(math.inf if math.isnan(score) else score, state.best_score)
    if float(new) < float(before) or int(state.best_update) == 0:
        state = _exchanged(state)._replace(best_score=new, displaced_score=like(before if at_end else math.nan, new))
    if at_end:
        return state
    return state._replace(candidate=state.candidate._replace(smooth_loss=like(math.inf, before)))


def shown(state: TrainState) -> TrainState:
    """The state as others may see it: before the first choice its candidate is the best."""
    if state.best_score is None or int(state.best_update):
        return state
    return _exchanged(state)._replace(displaced_score=state.best_score)


def params_of_state(state: TrainState, checkpoint: str) -> Any:
    """Parameters and variables of a state: "best", "latest", or the "candidate" for the best."""
    check_choice("checkpoint", checkpoint, ("best", "latest", "candidate"))
    if checkpoint == "candidate":
        return joined(state.candidate.params, state.candidate.variables)
    if checkpoint == "latest":
        return joined(state.params, state.variables)
    best = shown(state)
    return joined(best.best_params, best.best_variables)


def taken_back(state: TrainState) -> TrainState:
    """The state of a run that goes on, as if neither `shown` nor a choice at its end had been."""
    displaced = state.displaced_score
    if displaced is None or math.isnan(float(displaced)):
        return state
    return _exchanged(state)._replace(best_score=displaced, displaced_score=like(math.nan, displaced))


def is_far_above(smooth: float, loss: float, update: int) -> bool:
    """Whether a loss from fresh starts tells that the parameters of a smoothed loss need the carry of training."""
    return update >= SMOOTHED_OVER and loss > smooth + LARGE_DIFFERENCE


def needs_carry(smooth: float, scores: Sequence[Score], update: int) -> str | None:
    """What a person is told of candidates that do far worse from fresh starts than in training; None if nothing.

    Args:
      smooth: the smoothed loss.
      scores: of the candidates, from fresh starts.
      update: updates done.
    """
    if not any(is_far_above(smooth, score.loss, update) for score in scores):
        return None
    return f"the lowest smoothed loss, {smooth:.3f} nats, needs the carry of training: {scores[0].line}"


def is_lost(objective: Objective, loss: float, training_loss: float) -> str | None:
    """What a person is told of a validation that is worse than knowing nothing, where training is far better.

    Args:
      objective: what is learned.
      loss: of the validation, from a fresh start.
      training_loss: that of the updates before it, with the carry of training.
    """
    if not objective.passes_carry or loss <= objective.chance or training_loss > objective.chance - 1:
        return None
    worse = f"validation is worse than knowing nothing ({objective.chance_in_words}), training has {training_loss:.3f}"
    return f"{worse}: from a fresh start this network is lost; {REMEDY}"


def _exchanged(state: TrainState) -> TrainState:
    best, candidate = jax.tree.map(jnp.copy, (best_of(state), state.candidate))
    return with_best(state, candidate)._replace(candidate=best)
