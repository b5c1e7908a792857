"""The rules: each a function from the optimizer's settings to the part of the chain between clipping and momentum."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxrnn.optim.settings import OptimizerSettings

EPSILON = 1e-8
ADAGRAD_INITIAL_ACCUMULATOR = 0.0
RMSPROP_INITIAL_SCALE = 0.0


def adagrad(settings: OptimizerSettings) -> optax.GradientTransformation:
    """M <- M + g^2,  s = g / sqrt(M + eps) as in the reports, with M = 0 at first.

    Optax's own defaults (M starts at 0.1, eps 1e-7) are another rule.
    """
    epsilon, in_root = _epsilon(settings, in_root=True)
    if in_root:
        return optax.scale_by_rss(ADAGRAD_INITIAL_ACCUMULATOR, epsilon)
    return _scale_by_rss_with_eps_outside(epsilon)


def rmsprop(settings: OptimizerSettings) -> optax.GradientTransformation:
    """m <- rho m + (1 - rho) g^2,  s = g / (sqrt(m) + eps) as in Torch, with m = 0 at first."""
    epsilon, in_root = _epsilon(settings, in_root=False)
    return optax.scale_by_rms(settings.rmsprop_decay, epsilon, RMSPROP_INITIAL_SCALE, eps_in_sqrt=in_root)


def adam(settings: OptimizerSettings) -> optax.GradientTransformation:
    """m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2,  s = m^ / (sqrt(v^) + eps)."""
    epsilon, in_root = _epsilon(settings, in_root=False)
    outside, inside = (0.0, epsilon) if in_root else (epsilon, 0.0)
    return optax.scale_by_adam(settings.adam_b1, settings.adam_b2, eps=outside, eps_root=inside)


def adamw(settings: OptimizerSettings) -> optax.GradientTransformation:
    """s = m^ / (sqrt(v^) + eps) + lambda theta: the decay of the weights is no part of the gradient's means.

    Reference: Loshchilov and Hutter, 2019.
    """
    return optax.chain(adam(settings), optax.add_decayed_weights(settings.weight_decay))


def sgd(settings: OptimizerSettings) -> optax.GradientTransformation:
    """s = g."""
    del settings
    return optax.identity()


def _epsilon(settings: OptimizerSettings, in_root: bool) -> tuple[float, bool]:
    """(eps, whether it is inside the root), by the rule's own habit where nothing else is asked for."""
    epsilon = EPSILON if settings.epsilon is None else settings.epsilon
    return epsilon, in_root if settings.epsilon_in_root is None else settings.epsilon_in_root


def _scale_by_rss_with_eps_outside(epsilon: float) -> optax.GradientTransformation:
    # Optax has AdaGrad with eps inside the root only.
    def init(params: Any) -> Any:
        return optax.ScaleByRssState(jax.tree.map(jnp.zeros_like, params))

    def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        del params
        sums = jax.tree.map(lambda g, M: M + g * g, gradients, state.sum_of_squares)
        steps = jax.tree.map(lambda g, M: g / (jnp.sqrt(M) + epsilon), gradients, sums)
        return steps, optax.ScaleByRssState(sums)

    return optax.GradientTransformation(init, update)
