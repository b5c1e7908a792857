"""A stack of layers as a plain loop over layers and steps, with the masks of dropout written out where they act."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def random_values(module, rng, std=0.5):
    """The module with random parameters that all differ, those included that start at zero."""
    values = jax.tree.map(lambda v: jnp.asarray(std * rng.normal(size=v.shape), v.dtype), nnx.state(module, nnx.Param))
    nnx.update(module, values)
    return module


def stack_by_hand(layers, xs, carries, skip_connections=False, masks=None, resets=None, fresh=None, lengths=None):
    """Outputs (T, B, ...) and last carries of dense xs (T, B, F); each cell is called step by step.

    `masks` maps (site, layer) to an array that broadcasts to what it multiplies, (T, B, ...).
    """
    T, B = xs.shape[:2]
    masks = masks or {}

    def masked(site, layer, value):
        return value * masks.get((site, layer), 1.0)

    xs = masked("input", 0, xs)
    outputs, lasts, below = [], [], None
    for number, (layer, carry) in enumerate(zip(layers, carries, strict=True)):
        inputs = xs if below is None else jnp.concatenate([below, xs], -1) if skip_connections else below
        keep_h = np.broadcast_to(masks.get(("recurrent", number), 1.0), (T, B, layer.hidden_features))
        hs = []
        for t in range(T):
            inside = np.asarray(T if lengths is None else lengths).reshape(-1, 1) > t
            if resets is not None:
                start = jax.tree.map(jnp.zeros_like, carry) if fresh is None else fresh[number]
                at = np.asarray(resets[t])[:, None] & inside
                carry = jax.tree.map(lambda c, s, at=at: jnp.where(at, s, c), carry, start)
            p, r = layer.products(carry._replace(h=carry.h * keep_h[t]), inputs[t])
            new, y = layer.update(p, r, carry, layer.pointwise(), jnp.asarray(t))
            if lengths is not None:
                new, y = jax.tree.map(lambda n, o, i=inside: jnp.where(i, n, o), new, carry), jnp.where(inside, y, 0.0)
            carry = new
            hs.append(y)
        lasts.append(carry)
        outputs.append(jnp.stack(hs))
        below = masked("between", number, outputs[-1])
    ys = jnp.concatenate(outputs, -1) if skip_connections else outputs[-1]
    return masked("output", 0, ys), tuple(lasts)
