"""One step of the multiplicative LSTM and of the LSTM with layer normalization, in plain NumPy."""

import numpy as np

from tests.reference.steps import input_product, sigmoid


def multiplicative_lstm_step(weights, x, carry, output_gate="inside", mask=1.0):
    c, h = carry
    p = input_product(weights, x)
    m = p[:, : h.shape[1]] * ((mask * h) @ weights["W_h"])
    a_i, a_f, a_g, a_o = np.split(p[:, h.shape[1] :] + m @ weights["W_m"] + weights.get("bias", 0.0), 4, axis=1)
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    return c, np.tanh(sigmoid(a_o) * c) if output_gate == "inside" else sigmoid(a_o) * np.tanh(c)


def normalized(v):
    return (v - np.mean(v, axis=1, keepdims=True)) / np.sqrt(np.var(v, axis=1, keepdims=True) + 1e-5)


def layer_norm_lstm_step(weights, x, carry):
    c, h = carry
    a = weights["gain_x"] * normalized(input_product(weights, x)) + weights["gain_h"] * normalized(h @ weights["W_h"])
    a_i, a_f, a_g, a_o = np.split(a + weights.get("bias", 0.0), 4, axis=1)
    c = sigmoid(a_f) * c + sigmoid(a_i) * np.tanh(a_g)
    return c, sigmoid(a_o) * np.tanh(weights["gain_c"] * normalized(c) + weights["bias_c"])
