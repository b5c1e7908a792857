"""One step of a minimal gated unit in NumPy."""

import numpy as np


def minimal_gated_step(weights, x, carry):
    (h,) = carry
    hidden = h.shape[-1]
    p, r = x @ weights["W_x"] + weights.get("b", 0.0), h @ weights["W_h"]
    f = 1 / (1 + np.exp(-(p + r)[:, :hidden]))
    return (h + f * (np.tanh(p[:, hidden:] + f * r[:, hidden:]) - h),)
