"""Dropout masks, drawn for a whole window before the loop over its steps."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

SITES = ("input", "between", "output", "recurrent")


class DropoutRates(NamedTuple):
    """The probability of zeroing at each site, a scalar array; None where the network has no such site.

    Which sites exist is fixed when a program is compiled; the rates are values, so a population may hold many.

    Attributes:
      input: the input of the network: each symbol, or each feature of dense input.
      between: what a layer hands to the layer above it (Zaremba et al., 2014).
      output: what the output layer sees (char-rnn has both this and `between`).
      recurrent: h_{t-1} in the recurrent product.
    """

    input: jax.Array | None = None
    between: jax.Array | None = None
    output: jax.Array | None = None
    recurrent: jax.Array | None = None


class Dropout(NamedTuple):
    """How the masks of one window are drawn.

    Attributes:
      rates: the rates by site.
      key: random key of this update.
      rows: numbers of the streams, (B,). A stream's mask depends on its number, not on how the batch is split over
        devices.
      per_window: one mask for all steps of a window (Gal and Ghahramani, 2016), or a fresh one at each step.
    """

    rates: DropoutRates
    key: jax.Array
    rows: jax.Array
    per_window: bool = False

    def mask(self, site: str, layer: int, steps: int, features: int, dtype) -> jax.Array | None:
        """Factors 0 or 1 / (1 - rate), (T, B, F), or (1, B, F) with one mask a window; None if there is no such site.

            m = keep / (1 - rate)       keep ~ Bernoulli(1 - rate)

        The mean of m is 1, so nothing is scaled when the network is used.
        """
        rate = getattr(self.rates, site)
        if rate is None:
            return None
        key = jax.random.fold_in(jax.random.fold_in(self.key, layer), SITES.index(site))
        shape = (1 if self.per_window else steps, features)
        keep = jax.vmap(
            lambda row: jax.random.bernoulli(jax.random.fold_in(key, row), 1.0 - rate.astype(jnp.float32), shape),
            out_axes=1,
        )(self.rows)
        return jnp.where(keep, (1 / (1 - rate)).astype(dtype), jnp.zeros((), dtype))
