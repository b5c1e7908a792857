"""A cell as a user writes one, for `compiled.py`: the minimal gated unit of Zhou et al., 2016."""

from typing import Any

import jax
import jax.numpy as jnp

import jaxrnn


class MinimalGatedCell(jaxrnn.Cell):
    """f = sigmoid(p_f + r_f),  h_t = f h_{t-1} + (1 - f) tanh(p_n + f r_n)."""

    def __init__(self, in_features: int, hidden_features: int, **options: Any):
        super().__init__(in_features, hidden_features, blocks=2, **options)

    def update(self, p: Any, r: Any, carry: Any, pointwise: Any, t: Any) -> tuple[Any, Any]:
        (p_f, p_n), (r_f, r_n) = jnp.split(p, 2, axis=-1), jnp.split(r, 2, axis=-1)
        f = jax.nn.sigmoid(p_f + r_f)
        h = f * carry.h + (1 - f) * jnp.tanh(p_n + f * r_n)
        return jaxrnn.VanillaCarry(h), h

    def initial_carry(self, batch_size: int) -> Any:
        return jaxrnn.VanillaCarry(jnp.zeros((batch_size, self.hidden_features)))
