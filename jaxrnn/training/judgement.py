"""The best parameters by what they do from a fresh start, where no part of the text is held out.

The smoothed loss alone can choose parameters that work only with the carry of training: from a zero carry the network
falls into another attractor and stays there. So the parameters with the lowest smoothed loss of each interval are a
candidate only, and the best are the candidate with the lowest loss on pieces of the training text from fresh starts.

A candidate that is lost from zeros may not be from the carry that training had then, a state which it knows. Where it
does better by far, that carry is kept beside the parameters: the best model starts from it, as from a learned one.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.checks import check_choice
from jaxrnn.devices.mesh import like
from jaxrnn.models.first_carry import starting_from
from jaxrnn.models.structure import joined
from jaxrnn.tasks.protocol import Objective
from jaxrnn.training.state import Candidate, TrainState, best_of, with_best

LARGE_DIFFERENCE = 0.1  # in nats, between smoothed loss and loss from fresh starts, of which a person is told
FROM_CARRY = "candidate from its carry"
SMOOTHED_OVER = 1000  # updates; before them the smoothed loss lags behind
REMEDY = "begin with a larger --batch-size: each epoch then has as many fresh starts"


def with_candidate(state: TrainState, keeps_carry: bool = False) -> TrainState:
    """A state before the first update whose best parameters are to be chosen by fresh starts.

    With `keeps_carry` the carry of training is kept with them, for a model that can start from it.
    """
    loss, carry = state.best_smooth_loss, state.carry if keeps_carry else ()
    first = jax.tree.map(jnp.copy, Candidate(state.params, loss, state.update, state.variables, carry))
    state = state._replace(candidate=first, best_carry=jax.tree.map(jnp.copy, carry))
    return state._replace(best_score=jnp.copy(loss), displaced_score=jnp.full_like(loss, jnp.nan))


def judged(state: TrainState, score: float, at_end: bool = False, from_carry: float = math.nan) -> TrainState:
    """The state that knows the score of its candidate, the best from now on if no score was as low.

    Args:
      state: with a candidate.
      score: mean loss of the candidate from fresh starts; NaN is as bad as infinity.
      at_end: whether this choice is beside the regular ones, since the run is over. `taken_back` undoes it, but for the
        carry of a candidate that does not need it, which is zeros from now on: a regular choice would find that again.
      from_carry: its mean loss from the carry that is kept with it, where that was tried.
    """
    if math.isinf(float(state.candidate.smooth_loss)):  # no update since the latest choice
        return state
    keeps = needs_start(score, from_carry)
    score = from_carry if keeps else score
    before, new = state.best_score, like(math.inf if math.isnan(score) else score, state.best_score)
    if float(new) < float(before) or int(state.best_update) == 0:
        if not keeps:
            zeros = jax.tree.map(jnp.zeros_like, state.candidate.carry)
            state = state._replace(candidate=state.candidate._replace(carry=zeros))
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
    check_choice("checkpoint", checkpoint, ("best", "latest", *(("candidate", FROM_CARRY) if state.candidate else ())))
    if checkpoint in ("candidate", FROM_CARRY):
        return joined(state.candidate.params, state.candidate.variables)
    if checkpoint == "latest":
        return joined(state.params, state.variables)
    best = shown(state)
    return joined(best.best_params, best.best_variables)


def split_of_state(graphdef: nnx.GraphDef, state: TrainState, checkpoint: str) -> tuple[nnx.GraphDef, Any]:
    """The structure and the leaves of a state's model: as `params_of_state`, with the carry that it starts from.

    Args:
      graphdef: structure of the model that is trained.
      state: of training.
      checkpoint: as there, or `FROM_CARRY` for the candidate from the carry that is kept with it.
    """
    carry = state.candidate.carry if checkpoint == FROM_CARRY else start_of(state) if checkpoint == "best" else None
    params = params_of_state(state, checkpoint)
    return (graphdef, params) if carry is None else starting_from(graphdef, params, carry)


def start_of(state: TrainState) -> Any:
    """The carry that the best parameters of a state start from; None where that is the model's own start."""
    if state.best_score is None or not math.isfinite(float(state.best_score)):  # not chosen yet
        return None
    return state.best_carry if any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(state.best_carry)) else None


def needs_start(score: float, from_carry: float) -> bool:
    """Whether parameters with these mean losses, from fresh starts and from a carry of training, start from it."""
    return from_carry + LARGE_DIFFERENCE < (math.inf if math.isnan(score) else score)


def taken_back(state: TrainState) -> TrainState:
    """The state of a run that goes on, as if neither `shown` nor a choice at its end had been."""
    displaced = state.displaced_score
    if displaced is None or math.isnan(float(displaced)):
        return state
    return _exchanged(state)._replace(best_score=displaced, displaced_score=like(math.nan, displaced))


def is_far_above(smooth: float, loss: float, update: int) -> bool:
    """Whether a loss from fresh starts tells that the parameters of a smoothed loss need the carry of training."""
    return update >= SMOOTHED_OVER and loss > smooth + LARGE_DIFFERENCE


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
