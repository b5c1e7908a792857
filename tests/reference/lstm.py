"""The LSTM in plain NumPy: one step, gate by gate, and the chain rule backwards through a window."""

import numpy as np

from tests.reference.steps import input_product, sigmoid, unroll_steps


def lstm_gates(weights, x, h):
    """i, f, g and o of a step, from the columns of the weights that belong to each."""
    H = h.shape[1]
    a = [
        input_product(weights, x)[:, k * H : (k + 1) * H] + h @ weights["W_h"][:, k * H : (k + 1) * H] for k in range(4)
    ]
    if "b" in weights:
        a = [a[k] + weights["b"][k * H : (k + 1) * H] for k in range(4)]
    return sigmoid(a[0]), sigmoid(a[1]), np.tanh(a[2]), sigmoid(a[3])


def lstm_step(weights, x, carry):
    c, h = carry
    i, f, g, o = lstm_gates(weights, x, h)
    c = f * c + i * g
    return c, o * np.tanh(c)


def lstm_gradients(weights, xs, carry, d_hs, d_last, resets=None):
    """Gradients of sum(d_hs * hs) + sum(d_last.c * last c) + sum(d_last.h * last h).

    By weight, by the first carry and by dense xs. d_last is a pair (of c, of h).
    """
    after = unroll_steps(lstm_step, weights, xs, carry, resets)
    gradients = {name: np.zeros_like(value) for name, value in weights.items()}
    d_xs = np.zeros(xs.shape, d_hs.dtype)
    d_c, d_h = d_last
    for t in reversed(range(len(xs))):
        keep = np.ones((len(d_c), 1)) if resets is None else 1.0 - np.asarray(resets[t])[:, None]
        c_before, h_before = (keep * state for state in (carry if t == 0 else after[t - 1]))
        i, f, g, o = lstm_gates(weights, xs[t], h_before)
        tanh_c = np.tanh(after[t][0])
        d_h = d_h + d_hs[t]
        d_c = d_c + d_h * o * (1 - tanh_c**2)
        d_a = np.concatenate(
            [
                d_c * g * i * (1 - i),
                d_c * c_before * f * (1 - f),
                d_c * i * (1 - g**2),
                d_h * tanh_c * o * (1 - o),
            ],
            axis=1,
        )
        add_products(gradients, d_xs, weights, xs, t, h_before, d_a, d_a)
        d_c, d_h = keep * d_c * f, keep * (d_a @ weights["W_h"].T)
    return gradients, (d_c, d_h), d_xs


def add_products(gradients, d_xs, weights, xs, t, h_before, d_p, d_r):
    """Adds one step's gradients of the two products, stream by stream."""
    for b in range(len(d_p)):
        if xs.ndim == 2:
            gradients["W_x"][xs[t, b]] += d_p[b]
        else:
            gradients["W_x"] += np.outer(xs[t, b], d_p[b])
            d_xs[t, b] = weights["W_x"] @ d_p[b]
        gradients["W_h"] += np.outer(h_before[b], d_r[b])
        gradients["b"] += d_p[b]
        if "b_h" in weights:
            gradients["b_h"] += d_r[b]
