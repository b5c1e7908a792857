"""What a checkpoint is saved as, and those of older versions read into today's state.

Format 4 is of a state that keeps the carries of training beside the best parameters and the candidate, format 3 of one
that does not.
Format 2 (until November 2026) chose no best parameters by fresh starts; it is as format 3 is where those do not choose.
Format 1 (until then too) named the losses after nats also where they were squared errors, held the traced values
beside each other, counted as bad only updates that were not finite, and knew neither the mean loss of an epoch nor that
a run can be stopped from outside.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from jaxrnn.storage.checkpoint import Reader
from jaxrnn.training.state import TrainState
from jaxrnn.training.values import TracedValues

MAY_BE_NAN = frozenset({"valid_loss", "valid_loss_nats", "displaced_score"})  # before the first validation
_NAMES_OF_1 = {
    "smooth_loss": "smooth_loss_nats",
    "best_smooth_loss": "best_smooth_loss_nats",
    "valid_loss": "valid_loss_nats",
    "bad_in_a_row": "skipped_in_a_row",
}
_NEW_IN_3 = ("candidate", "best_score", "displaced_score")
_NEW_IN_4 = ("best_carry",)
_NEW_IN_2 = ("values", "epoch_loss_sum", "epoch_loss", "stopped", *_NEW_IN_3, *_NEW_IN_4)


def format_of(state: TrainState) -> int:
    """The format that a state is saved in."""
    return 4 if state.best_carry else 3


def readers(template: TrainState, others: bool = False) -> dict[int, Reader]:
    """How a checkpoint of each format becomes a state like `template` (shapes and dtypes).

    With `others` it may hold leaves that the template has not; format 1 is then not read.
    """
    as_today = Reader(template, lambda state: state, MAY_BE_NAN, others)
    without_carry = Reader(_without_carry(template), functools.partial(_with_zeros, template), MAY_BE_NAN, others)
    older = {} if others else {1: Reader(as_format_1(template), from_format_1, MAY_BE_NAN)}
    return {4: as_today, 3: without_carry, 2: without_carry, **older}


def _without_carry(state: TrainState) -> TrainState:
    if state.candidate is None:  # that of a reader, who needs the score only to know whether a carry was chosen
        return state._replace(best_score=None, best_carry=())
    return state._replace(candidate=state.candidate._replace(carry=()), best_carry=())


def _with_zeros(template: TrainState, state: TrainState) -> TrainState:
    if not template.best_carry or state.candidate is None:
        return state
    carry, best = (jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), template.best_carry) for _ in range(2))
    return state._replace(candidate=state.candidate._replace(carry=carry), best_carry=best)


def as_format_1(state: TrainState) -> dict[str, Any]:
    """The leaves of a state under the names of format 1."""
    kept = {_NAMES_OF_1.get(name, name): value for name, value in state._asdict().items() if name not in _NEW_IN_2}
    return kept | state.values._asdict()


def from_format_1(saved: dict[str, Any]) -> TrainState:
    """Today's state from one of format 1, alone or stacked."""
    values = TracedValues(**{name: saved[name] for name in TracedValues._fields})
    loss = saved["smooth_loss_nats"]
    known = {name: saved[_NAMES_OF_1.get(name, name)] for name in TrainState._fields if name not in _NEW_IN_2}
    return TrainState(
        values=values,
        epoch_loss_sum=jnp.zeros_like(loss),
        epoch_loss=jnp.full_like(loss, jnp.inf),
        stopped=jnp.zeros_like(loss, bool),
        **known,
    )
