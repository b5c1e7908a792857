"""What the NumPy loops of all cells share: the loop over steps and the sigmoid."""

import numpy as np


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def input_product(weights, x):
    """x holds ids (B,) or features (B, F)."""
    return weights["W_x"][x] if x.ndim == 1 else x @ weights["W_x"]


def unroll_steps(step, weights, xs, carry, resets=None, masks=None):
    """The carry of each step of `carry = step(weights, x, carry)`, as a list of tuples of (B, ...) arrays.

    `masks`, (T, B, H), go to steps that take a `mask`: what h is multiplied by where it enters a product.
    """
    carries = []
    for t in range(len(xs)):
        if resets is not None:
            carry = tuple(np.where(np.asarray(resets[t])[:, None], 0.0, state) for state in carry)
        carry = step(weights, xs[t], carry, **({} if masks is None else {"mask": masks[t]}))
        carries.append(carry)
    return carries
