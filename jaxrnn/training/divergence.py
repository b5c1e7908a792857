"""Training that left what can be learned from: which leaf is ruined, which checkpoint is not, what a person is told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrnn.devices.mesh import like
from jaxrnn.errors import NumericError
from jaxrnn.storage.checkpoint_leaves import named_leaves
from jaxrnn.training.state import TrainState
from jaxrnn.training.step import EXPLOSION, MAX_BAD_IN_A_ROW, is_diverged


def ruined_leaf(state: TrainState) -> str | None:
    """The name of the first leaf of parameters, best parameters and optimizer that is not finite; None if all are.

    A single number of an optimizer may be infinite: the lowest loss of `optax.contrib.reduce_on_plateau` is at first.
    """
    for part in ("params", "best_params", "optimizer_state"):
        for name, leaf in named_leaves({part: getattr(state, part)}):
            if part == "optimizer_state" and leaf.ndim == 0 or not jnp.issubdtype(leaf.dtype, jnp.floating):
                continue
            if not np.isfinite(np.asarray(leaf)).all():
                return name
    return None


def sound_checkpoint(state: TrainState, checkpoints: Iterable[int]) -> int | None:
    """The latest of these updates whose parameters made a good update; None if there is none.

    Those that the bad updates began with may be what ruined them, and so may those that were saved in between.
    """
    return max((update for update in checkpoints if update < int(state.update) - int(state.bad_in_a_row)), default=None)


def divergence_in_words(state: TrainState, latest_loss: float, checkpoints: Iterable[int]) -> str:
    """What happened in a run that has diverged, and what to do.

    Args:
      state: the whole of it, which is looked at once.
      latest_loss: of its last update.
      checkpoints: the updates that were saved.
    """
    what, leaf = "the loss or its gradient was not finite", ruined_leaf(state)
    if math.isfinite(latest_loss):
        what = f"the loss, {latest_loss:.3g}, was above {EXPLOSION:g} times that of a model that knows nothing"
    ruined = f", and leaf {leaf} is not finite" if leaf else ""
    return (
        f"{what} for {int(state.bad_in_a_row)} updates up to update {int(state.update)}{ruined}; "
        f"{_remedy(state, checkpoints)}"
    )


def mark_ruined(trainer: Any, members: Sequence[int], files: Sequence[Any]) -> list[int]:
    """Those of the members that have a leaf that is not finite, which are not to be saved; they have diverged.

    Args:
      trainer: the `Trainer` that holds them.
      members: those that are to be saved.
      files: of all.

    Raises:
      NumericError: in place of that, for a run alone.
    """
    ruined = []
    for member in members:
        state = trainer.state(member)
        if leaf := ruined_leaf(state):
            if len(files) == 1:
                raise NumericError(
                    f"leaf {leaf} is not finite at update {int(state.update)}, so it is not saved; "
                    f"{_remedy(state, files[member].saved_updates())}"
                )
            ruined.append(member)
            if not is_diverged(state):
                trainer.put(member, state._replace(bad_in_a_row=like(MAX_BAD_IN_A_ROW, state.bad_in_a_row)))
    return ruined


def _remedy(state: TrainState, checkpoints: Iterable[int]) -> str:
    if int(state.skipped) == int(state.update):
        return "no update was good: lower --init-scale, or look for what is not finite in the data"
    sound = sound_checkpoint(state, checkpoints)
    saved = "" if sound is None else f"the checkpoint of update {sound} is intact: "
    return f"{saved}lower --learning-rate or set --clip-value in a new run"
