"""The vanilla layer in plain NumPy: a loop over steps, and the chain rule backwards through it."""

import numpy as np


def unroll_vanilla(weights, xs, h, resets=None):
    """Hidden states of each step, (T, B, H); xs are ids (T, B) or features (T, B, F)."""
    hs = []
    for t in range(len(xs)):
        if resets is not None:
            h = np.where(resets[t][:, None], 0.0, h)
        x = weights["W_x"][xs[t]] if xs.ndim == 2 else xs[t] @ weights["W_x"]
        h = np.tanh(x + h @ weights["W_h"] + weights["b"])
        hs.append(h)
    return np.stack(hs)


def vanilla_gradients(weights, xs, h, d_hs, d_last, resets=None):
    """Gradients of sum(d_hs * hs) + sum(d_last * last h) by weight, with those of the first h and of dense xs."""
    hs = unroll_vanilla(weights, xs, h, resets)
    gradients = {name: np.zeros_like(value) for name, value in weights.items()}
    d_xs = np.zeros(xs.shape, h.dtype)
    d_h = d_last
    for t in reversed(range(len(xs))):
        before = h if t == 0 else hs[t - 1]
        if resets is not None:
            before = np.where(resets[t][:, None], 0.0, before)
        d_a = (d_h + d_hs[t]) * (1 - hs[t] ** 2)
        for b in range(len(d_a)):
            if xs.ndim == 2:
                gradients["W_x"][xs[t, b]] += d_a[b]
            else:
                gradients["W_x"] += np.outer(xs[t, b], d_a[b])
                d_xs[t, b] = weights["W_x"] @ d_a[b]
            gradients["W_h"] += np.outer(before[b], d_a[b])
            gradients["b"] += d_a[b]
        d_h = d_a @ weights["W_h"].T
        if resets is not None:
            d_h = np.where(resets[t][:, None], 0.0, d_h)
    return gradients, d_h, d_xs
