"""One step of the LSTMs with peepholes, diagonal and full, in plain NumPy."""

import numpy as np

from tests.reference.steps import input_product, sigmoid


def peephole_lstm_step(weights, x, carry, output_sees="new"):
    c, h = carry
    a_i, a_f, a_g, a_o = np.split(input_product(weights, x) + h @ weights["W_h"] + weights.get("b", 0.0), 4, axis=1)
    i = sigmoid(a_i + weights["peephole"][0] * c)
    f = sigmoid(a_f + weights["peephole"][1] * c)
    new_c = f * c + i * np.tanh(a_g)
    o = sigmoid(a_o + weights["peephole"][2] * {"new": new_c, "old": c}[output_sees])
    return new_c, o * np.tanh(new_c)


def full_peephole_lstm_step(weights, x, carry, mask=1.0):
    c, h = carry
    H = h.shape[1]
    W_ci, W_cf, W_co = weights["W_c"][:, :H], weights["W_c"][:, H : 2 * H], weights["W_c"][:, 2 * H :]
    a = input_product(weights, x) + (mask * h) @ weights["W_h"] + weights.get("b", 0.0)
    a_i, a_f, a_g, a_o = np.split(a, 4, axis=1)
    i, f, o = sigmoid(a_i + c @ W_ci), sigmoid(a_f + c @ W_cf), sigmoid(a_o + c @ W_co)
    c = f * c + i * np.tanh(a_g)
    return c, o * np.tanh(c)
