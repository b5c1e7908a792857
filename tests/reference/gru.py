"""The GRU that resets after the product, in plain NumPy: one step, and the chain rule backwards."""

import numpy as np

from tests.reference.lstm import add_products
from tests.reference.steps import input_product, sigmoid, unroll_steps


def gru_gates(weights, x, h):
    """r, z, n and the recurrent product of the candidate."""
    H = h.shape[1]
    p, q = input_product(weights, x) + weights.get("b", 0.0), h @ weights["W_h"] + weights.get("b_h", 0.0)
    r, z = sigmoid(p[:, :H] + q[:, :H]), sigmoid(p[:, H : 2 * H] + q[:, H : 2 * H])
    return r, z, np.tanh(p[:, 2 * H :] + r * q[:, 2 * H :]), q[:, 2 * H :]


def gru_step(weights, x, carry):
    (h,) = carry
    _, z, n, _ = gru_gates(weights, x, h)
    return (n + z * (h - n),)


def gru_gradients(weights, xs, carry, d_hs, d_last, resets=None):
    """Gradients of sum(d_hs * hs) + sum(d_last * last h) by weight, by the first h and by dense xs."""
    after = unroll_steps(gru_step, weights, xs, carry, resets)
    gradients = {name: np.zeros_like(value) for name, value in weights.items()}
    d_xs = np.zeros(xs.shape, d_hs.dtype)
    d_h = d_last
    for t in reversed(range(len(xs))):
        keep = np.ones((len(d_h), 1)) if resets is None else 1.0 - np.asarray(resets[t])[:, None]
        before = keep * (carry if t == 0 else after[t - 1])[0]
        r, z, n, q_n = gru_gates(weights, xs[t], before)
        d_h = d_h + d_hs[t]
        d_a_n = d_h * (1 - z) * (1 - n**2)
        d_a_r = d_a_n * q_n * r * (1 - r)
        d_a_z = d_h * (before - n) * z * (1 - z)
        d_p, d_q = np.concatenate([d_a_r, d_a_z, d_a_n], axis=1), np.concatenate([d_a_r, d_a_z, r * d_a_n], axis=1)
        add_products(gradients, d_xs, weights, xs, t, before, d_p, d_q)
        d_h = keep * (d_h * z + d_q @ weights["W_h"].T)
    return gradients, d_h, d_xs
