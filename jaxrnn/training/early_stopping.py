"""When to stop: rules over the validation losses of the epochs, in a state of fixed size that any run length fits.

All functions are pure and work under `jit` and `vmap`. The state goes into `TrainState`, so that a resumed run stops
where the run that never paused does.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

EARLY_STOPPING_RULES = ("none", "patience", "relative-decrease")

# Of relative-decrease: over the last 10 epochs the loss must have fallen by 5 per mille an epoch.
DECREASE_EPOCHS = 10
LEAST_DECREASE = 0.005


class EarlyStopping(NamedTuple):
    """What the rules need to know of the epochs so far.

    Attributes:
      losses: C of the latest `DECREASE_EPOCHS` + 1 epochs, the newest last; infinity where there was none yet, or where
        the loss was NaN.
      best: the lowest of all; infinity before the first.
      since_best: epochs since it.
      epochs: epochs observed.
    """

    losses: jax.Array
    best: jax.Array
    since_best: jax.Array
    epochs: jax.Array


def initial_early_stopping(dtype: jax.typing.DTypeLike = float) -> EarlyStopping:
    """The state before the first epoch."""
    return EarlyStopping(
        losses=jnp.full((DECREASE_EPOCHS + 1,), jnp.inf, dtype),
        best=jnp.full((), jnp.inf, dtype),
        since_best=jnp.zeros((), jnp.int32),
        epochs=jnp.zeros((), jnp.int32),
    )


def fewest_validations(rule: str, patience: int) -> int:
    """How many there are at least before a rule can stop; 0 for none.

    Example:
      >>> fewest_validations("patience", 5), fewest_validations("relative-decrease", 5)
      (6, 11)
    """
    return {"none": 0, "patience": patience + 1, "relative-decrease": DECREASE_EPOCHS + 1}[rule]


def observe(state: EarlyStopping, loss: jax.Array | float) -> EarlyStopping:
    """The state after one more epoch with this validation loss. NaN counts as infinity: it is no improvement."""
    loss = jnp.asarray(loss, state.best.dtype)
    loss = jnp.where(jnp.isnan(loss), jnp.inf, loss)
    better = loss < state.best
    return EarlyStopping(
        losses=jnp.concatenate([state.losses[1:], loss[None]]),
        best=jnp.where(better, loss, state.best),
        since_best=jnp.where(better, 0, state.since_best + 1),
        epochs=state.epochs + 1,
    )


def should_stop(state: EarlyStopping, rule: str, patience: jax.Array | int = 5) -> jax.Array:
    """Whether training stops after the epoch observed last, as a bool scalar.

    With C_t the validation loss of epoch t, counted from 1:

        patience            t - argmin_s C_s >= patience      the first of equal minima counts
        relative-decrease   C_t > C_{t-10} (1 - 0.005)^10     from t = 11 on, and there if C_t is not finite
        none                never

    Args:
      state: what was observed.
      rule: one of `EARLY_STOPPING_RULES`.
      patience: epochs without a new lowest loss, at least 1; for the rule "patience". May be traced.

    Raises:
      ValueError: if the rule is unknown.

    Example:
      >>> state = initial_early_stopping()
      >>> for loss in (2.0, 1.5, 1.6, 1.5):
      ...     state = observe(state, loss)
      >>> bool(should_stop(state, "patience", 2)), bool(should_stop(state, "patience", 3))
      (True, False)

    Source: relative-decrease is the thesis's. Its text says 5 %, its formula 5 per mille; this is the formula.
    """
    if rule == "none":
        return jnp.asarray(False)
    if rule == "patience":
        return state.since_best >= patience
    if rule == "relative-decrease":
        newest, oldest = state.losses[-1], state.losses[0]
        fell = jnp.isfinite(newest) & (newest <= oldest * (1 - LEAST_DECREASE) ** DECREASE_EPOCHS)
        return (state.epochs > DECREASE_EPOCHS) & ~fell
    raise ValueError(f"should_stop expects a rule out of {', '.join(EARLY_STOPPING_RULES)}; got {rule!r}")
