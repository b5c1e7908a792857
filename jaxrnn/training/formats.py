"""Checkpoints of older versions, read into today's state.

Format 2 (until November 2026) chose no best parameters by fresh starts; it is as format 3 is where those do not choose.
Format 1 (until then too) named the losses after nats also where they were squared errors, held the traced values
beside each other, counted as bad only updates that were not finite, and knew neither the mean loss of an epoch nor that
a run can be stopped from outside.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from jaxrnn.storage.checkpoint import Reader
from jaxrnn.training.state import TrainState
from jaxrnn.training.values import TracedValues

FORMAT = 3
MAY_BE_NAN = frozenset({"valid_loss", "valid_loss_nats", "displaced_score"})  # before the first validation
_NAMES_OF_1 = {
    "smooth_loss": "smooth_loss_nats",
    "best_smooth_loss": "best_smooth_loss_nats",
    "valid_loss": "valid_loss_nats",
    "bad_in_a_row": "skipped_in_a_row",
}
_NEW_IN_3 = ("candidate", "best_score", "displaced_score")
_NEW_IN_2 = ("values", "epoch_loss_sum", "epoch_loss", "stopped", *_NEW_IN_3)


def readers(template: TrainState, others: bool = False) -> dict[int, Reader]:
    """How a checkpoint of each format becomes a state like `template` (shapes and dtypes).

    With `others` it may hold leaves that the template has not; format 1 is then not read.
    """
    as_today = Reader(template, lambda state: state, MAY_BE_NAN, others)
    older = {} if others else {1: Reader(as_format_1(template), from_format_1, MAY_BE_NAN)}
    return {FORMAT: as_today, 2: as_today, **older}


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
