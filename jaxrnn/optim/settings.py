"""What is static of an optimizer."""

from __future__ import annotations

from typing import NamedTuple


class OptimizerSettings(NamedTuple):
    """What is static of an optimizer: hashable, part of the compiled program.

    Attributes:
      name: one of `jaxrnn.optim.table.OPTIMIZERS`, where stands which of the constants it uses.
      epsilon: eps of adagrad, rmsprop and adam; None is 1e-8.
      epsilon_in_root: sqrt(M + eps) if true, sqrt(M) + eps if false; None is the rule's own habit.
      rmsprop_decay: rho, char-rnn's by default.
      momentum: mu of rmsprop and sgd; 0 is none.
      nesterov: look ahead by mu, for sgd and rmsprop with momentum.
      adam_b1, adam_b2: decays of Adam's two means.
      weight_decay: lambda of adamw; PyTorch's by default.
      scheduled: whether the learning rate changes; else the program is spared the factors of a schedule, all 1.
      decay_shape: "steps" or "cosine"; see `jaxrnn.optim.schedule`.
      clips_value: whether each entry is clipped.
      clips_global_norm: whether the norm of the whole gradient is.
      clip_norm: which norm, one of `jaxrnn.optim.clipping.CLIP_NORMS`.
      accumulate: windows whose mean gradient makes one change of the parameters.
    """

    name: str = "adagrad"
    epsilon: float | None = None
    epsilon_in_root: bool | None = None
    rmsprop_decay: float = 0.95
    momentum: float = 0.0
    nesterov: bool = False
    adam_b1: float = 0.9
    adam_b2: float = 0.999
    weight_decay: float = 0.01
    scheduled: bool = True
    decay_shape: str = "steps"
    clips_value: bool = True
    clips_global_norm: bool = False
    clip_norm: str = "l2"
    accumulate: int = 1
