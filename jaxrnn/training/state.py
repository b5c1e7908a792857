"""The state of training: one pytree with all that changes, so that what is saved is everything."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrnn.models.structure import params_of, variables_of, with_leaves_of
from jaxrnn.random_streams import run_key
from jaxrnn.training.early_stopping import EarlyStopping, initial_early_stopping
from jaxrnn.training.values import TracedValues

RECENT_UPDATES = 100
BEST = ("best_params", "best_smooth_loss", "best_update", "best_variables", "best_carry")  # as in `Candidate`
COUNTS = ("update", "epoch", "window", "best_update", "skipped", "bad_in_a_row", "valid_update")  # that begin at 0


class Candidate(NamedTuple):
    """What may become the best parameters.

    Attributes:
      params: parameters after the update with the lowest smoothed loss since the latest choice.
      smooth_loss: the smoothed loss then; infinity if there was no update since.
      update: that update.
      variables: the model's others then.
      carry: that of training after it; () where none is kept.
    """

    params: Any
    smooth_loss: jax.Array
    update: jax.Array
    variables: Any = ()
    carry: Any = ()


class TrainState(NamedTuple):
    """All that changes while training. A restart from it is exact to the last bit.

    Losses are in the unit of the task's objective: nats a scored step, or a squared error.

    Attributes:
      params: parameters of the model, a nested dict.
      optimizer_state: Optax's.
      values: learning rate, limits, dropout rates: what members of a population may differ in.
      carry: the carry that enters the next window, one a layer; empty where each update starts afresh.
      seed: key of the run, from which each stream is folded.
      update: updates done.
      epoch: epochs done.
      window: the next window of the epoch.
      smooth_loss: 0.999 s + 0.001 l of the mean loss l per scored step, started at the first loss.
      epoch_loss_sum: sum of the losses of this epoch's windows so far.
      epoch_loss: mean loss of the epoch before; infinity at first, and where there are no epochs.
      best_params: parameters after the update with the lowest smoothed loss; from the first validation on, those with
        the lowest validation loss, where NaN is none; where fresh starts choose, the candidate that did best from them.
        Never an alias of `params`, since the state is donated to the compiled step.
      best_smooth_loss: the smoothed loss then; infinity before the first update.
      best_update: that update.
      skipped: updates left out because their loss or gradient was not finite.
      bad_in_a_row: how many just now were left out or had a loss far above that of a model that knows nothing.
      valid_loss: the latest validation loss; NaN before there is one.
      valid_update: the update it was taken at; 0 before there is one.
      early_stopping: the validation losses that the stopping rule looks at.
      stopped: whether it was ended from outside before its last update, as successive halving does.
      recent_accuracy: accuracies of the latest updates, (RECENT_UPDATES,), that of update u at place (u - 1) mod
        RECENT_UPDATES; None where the accuracy is not measured.
      valid_accuracy: the accuracy at the latest validation, 0 before there is one; None where it is not measured.
      candidate: where the best are chosen by fresh starts, the `Candidate` of the next choice; else None, as are
        the next two.
      best_score: mean loss of the best from fresh starts; infinity before the first choice.
      displaced_score: NaN; but where the candidate was made the best before its time, since the state was saved before
        the first choice or at the end, the `best_score` of what stands in the candidate's place: see `judgement.py`.
      variables: what the model holds beside its parameters, such as running means; () if there is nothing.
      best_variables: those of `best_params`.
      order: of the rows in this epoch, (N,), where they are shuffled; else ().
      best_carry: the carry of training that the best start from, its first row, where they are lost from zeros; zeros
        where they are not, and () where none is kept.
    """

    params: Any
    optimizer_state: Any
    values: TracedValues
    carry: Any
    seed: jax.Array
    update: jax.Array
    epoch: jax.Array
    window: jax.Array
    smooth_loss: jax.Array
    epoch_loss_sum: jax.Array
    epoch_loss: jax.Array
    best_params: Any
    best_smooth_loss: jax.Array
    best_update: jax.Array
    skipped: jax.Array
    bad_in_a_row: jax.Array
    valid_loss: jax.Array
    valid_update: jax.Array
    early_stopping: EarlyStopping
    stopped: jax.Array
    recent_accuracy: jax.Array | None = None
    valid_accuracy: jax.Array | None = None
    candidate: Any = None
    best_score: Any = None
    displaced_score: Any = None
    variables: Any = ()
    best_variables: Any = ()
    order: Any = ()
    best_carry: Any = ()


def best_of(state: TrainState) -> Candidate:
    """The best parameters and what is known of them."""
    return Candidate(*[getattr(state, name) for name in BEST])


def with_best(state: TrainState, best: Candidate) -> TrainState:
    """The state with these as its best."""
    return state._replace(**dict(zip(BEST, best, strict=True)))


def initial_train_state(
    model: Any,
    optimizer: optax.GradientTransformation,
    values: TracedValues,
    batch_size: int,
    seed: int | np.integer | jax.Array,
    passes_carry: bool = True,
    measures_accuracy: bool = False,
    shuffled: int = 0,
    given: Any = None,
) -> TrainState:
    """The state before the first update, from a freshly made model.

    Args:
      model: the model: a module with `initial_carry(batch_size)`.
      optimizer: what changes its parameters.
      values: rates and limits.
      batch_size: B.
      seed: seed of everything random.
      passes_carry: whether the carry of one update enters the next, `Objective.passes_carry`.
      measures_accuracy: whether the accuracies of the latest updates are kept, `StepSettings.accuracy`.
      shuffled: N, `Objective.shuffled`.
      given: parameters in place of the model's, and other variables if they are there.
    """
    params, variables = params_of(model), variables_of(model)
    if given is not None:
        params, variables = with_leaves_of(given, params), variables and with_leaves_of(given, variables)
        params = jax.tree.map(jnp.copy, params)  # the caller's own stay alive
    dtype = jax.tree.leaves(params)[0].dtype
    # Each its own array: a donated buffer may stand in the state only once.
    counts: dict[str, Any] = {name: jnp.zeros((), jnp.int32) for name in COUNTS}
    return TrainState(
        params=params,
        optimizer_state=jax.tree.map(jnp.copy, optimizer.init(params)),
        # Copied, since no buffer may stand in the state twice, or be given away with it.
        values=jax.tree.map(jnp.copy, values),
        carry=jax.tree.map(jnp.copy, model.initial_carry(batch_size)) if passes_carry else (),
        seed=run_key(seed),
        smooth_loss=jnp.zeros((), dtype),
        epoch_loss_sum=jnp.zeros((), dtype),
        epoch_loss=jnp.full((), jnp.inf, dtype),
        best_params=jax.tree.map(jnp.copy, params),
        best_smooth_loss=jnp.full((), jnp.inf, dtype),
        valid_loss=jnp.full((), jnp.nan, dtype),
        early_stopping=initial_early_stopping(dtype),
        stopped=jnp.zeros((), bool),
        recent_accuracy=jnp.zeros((RECENT_UPDATES,), dtype) if measures_accuracy else None,
        valid_accuracy=jnp.zeros((), dtype) if measures_accuracy else None,
        variables=jax.tree.map(jnp.copy, variables),
        best_variables=jax.tree.map(jnp.copy, variables),
        order=jnp.arange(shuffled, dtype=jnp.int32) if shuffled else (),
        **counts,
    )
