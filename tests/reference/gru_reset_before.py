"""One step of the GRU that resets before the product, in plain NumPy."""

import numpy as np

from tests.reference.steps import input_product, sigmoid


def gru_reset_before_step(weights, x, carry, mask=1.0):
    (h,) = carry
    H = h.shape[1]
    p = input_product(weights, x) + weights.get("b", 0.0)
    r = sigmoid(p[:, :H] + (mask * h) @ weights["W_h"][:, :H])
    z = sigmoid(p[:, H : 2 * H] + (mask * h) @ weights["W_h"][:, H:])
    candidate = np.tanh(p[:, 2 * H :] + (r * mask * h) @ weights["W_hn"])
    return (h + z * (candidate - h),)
