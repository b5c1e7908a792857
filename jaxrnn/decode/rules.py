"""The rules that choose the next symbol from logits, for many texts at once.

Only one symbol is drawn, so no filter sorts. The draw is the argmax of logits plus Gumbel noise; the same argmax among
the symbols that the filters keep is a draw from those, renormalised. So the symbols are tried from the highest sum
downward, and whether a filter keeps the one at hand is a single sum over those before it. Most draws need one try.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

LOWEST = -1e30


def penalised(logits: jax.Array, age: jax.Array, penalty: Any, window: Any) -> jax.Array:
    r"""Logits (..., V), those of the symbols of the last steps made smaller.

        z_i <- z_i / theta  where z_i > 0, else  z_i theta           for i among the last `window` symbols

    The source divides all; a negative logit would grow by that, so it is multiplied, as other libraries do. The result
    depends on the logits' zero, which the softmax does not: a rule of thumb, of which 1 changes nothing.

    Args:
      logits: z.
      age: steps since each symbol was last read or written, 0 for the newest; (..., V).
      penalty: theta, at least 1.
      window: how many of the last symbols.

    References: Keskar et al., 2019, CTRL, section 4.1.
    """
    smaller = jnp.where(logits > 0, logits / penalty, logits * penalty)
    return jnp.where(age < window, smaller, logits)


def keeps_top_k(above: jax.Array, k: Any) -> jax.Array:
    """Top-k: fewer than k symbols are more probable. (Fan et al., 2018)"""
    return above.sum(-1) < k


def keeps_mass(above: jax.Array, weights: jax.Array, share: Any) -> jax.Array:
    """Nucleus, or top-p: the symbols that come before have less than this share of the probability together.

    The symbols kept are then the fewest, from the first on, that have it: the last one of them is what reaches it.
    (Holtzman et al., 2020; with the order of `typicality`, Meister et al., 2022.)
    """
    return jnp.where(above, weights, 0).sum(-1) < share * weights.sum(-1)


def keeps_min_p(scaled: jax.Array, share: Any) -> jax.Array:
    """Min-p: p_i >= share max_j p_j, where `scaled` is log(p_i / max_j p_j). (Nguyen et al., 2024)"""
    return scaled >= jnp.log(share)


def typicality(scaled: jax.Array, weights: jax.Array) -> jax.Array:
    r"""How near each symbol's surprise is to the one that is expected: -| -ln p_i - H |, H = -sum_j p_j ln p_j.

    Args:
      scaled: ln p and a constant, (..., V).
      weights: exp(scaled).

    References: Meister et al., 2022, Locally typical sampling.
    """
    # The constant is in both, and goes out.
    entropy = -(weights * scaled).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)
    return -jnp.abs(-scaled - entropy)


def choose(logits: jax.Array, noise: jax.Array, values: Mapping[str, Any], age: jax.Array | None) -> jax.Array:
    """A symbol for each text, (N,): the rules of `Decoding` in its order.

    Args:
      logits: (N, V).
      noise: standard Gumbel, (N, V).
      values: those of `Decoding.values`, traced; which there are says which rules are on.
      age: see `penalised`; None if nothing is penalised.
    """
    if age is not None:
        logits = penalised(logits, age, values["repetition_penalty"], values["penalty_window"])
    sums = values["scales"][0] * logits + values["scales"][1] * noise
    drawn = jnp.argmax(sums, -1)
    on = {name: values[name] for name in ("top_k", "top_p", "min_p", "typical") if name in values}
    if not on:
        return drawn.astype(jnp.int32)
    below = jnp.maximum(logits - logits.max(-1, keepdims=True), jnp.finfo(logits.dtype).min)
    scaled = jnp.maximum(below * values["sharpness"], LOWEST)
    weights = jnp.exp(scaled)
    score = typicality(scaled, weights) if "typical" in on else below  # at an infinite temperature all are equal

    def of(array: jax.Array, drawn: jax.Array) -> jax.Array:
        return jnp.take_along_axis(array, drawn[:, None], -1)

    def kept(drawn: jax.Array) -> jax.Array:
        above = score > of(score, drawn)
        good = jnp.ones(drawn.shape, bool)
        if "top_k" in on:
            good &= keeps_top_k(above, on["top_k"])
        for name in {"top_p", "typical"} & set(on):
            good &= keeps_mass(above, weights, on[name])
        return good & keeps_min_p(of(scaled, drawn)[:, 0], on["min_p"]) if "min_p" in on else good

    def again(state: tuple) -> tuple:
        sums, drawn, good = state
        # What comes after a symbol that is left out is left out too. The first one is kept by every filter.
        sums = jnp.where(good[:, None] | (score > of(score, drawn)), sums, -jnp.inf)
        drawn = jnp.argmax(sums, -1)
        return sums, drawn, kept(drawn)

    state = jax.lax.while_loop(lambda state: ~state[2].all(), again, (sums, drawn, kept(drawn)))
    return state[1].astype(jnp.int32)
