"""The reports' training loop in plain NumPy, in the manner of min-char-rnn: one window, one update, one line each."""

import numpy as np

SMOOTHING = 0.999


def window_loss_and_gradients(params, inputs, targets, h, resets):
    """Summed loss of one window of one stream, its gradients, and the hidden state after it."""
    W_x, W_h, b, W_y, b_y = (params[name] for name in ("W_x", "W_h", "b", "W_y", "b_y"))
    steps = len(inputs)
    before, after = np.zeros((2, steps, len(b)))
    d_o = np.zeros((steps, len(b_y)))
    loss = 0.0
    for t in range(steps):
        before[t] = 0.0 if resets[t] else h
        h = after[t] = np.tanh(W_x[inputs[t]] + before[t] @ W_h + b)
        o = h @ W_y + b_y
        d_o[t] = np.exp(o - o.max()) / np.exp(o - o.max()).sum()
        loss -= np.log(d_o[t, targets[t]])
        d_o[t, targets[t]] -= 1
    d_hs = d_o @ W_y.T
    d_a = np.zeros_like(after)
    d_next = np.zeros_like(b)
    for t in reversed(range(steps)):
        d_a[t] = (d_hs[t] + d_next) * (1 - after[t] ** 2)
        d_next = np.zeros_like(b) if resets[t] else W_h @ d_a[t]
    d_W_x = np.zeros_like(W_x)
    np.add.at(d_W_x, inputs, d_a)
    gradients = {"W_x": d_W_x, "W_h": before.T @ d_a, "b": d_a.sum(0), "W_y": after.T @ d_o, "b_y": d_o.sum(0)}
    return loss, gradients, h


class BookLoop:
    """Trains a vanilla RNN on ids: B contiguous streams, windows of T, AdaGrad, entries clipped.

    `advance(n)` makes n updates and returns the mean loss of each and the smoothed loss after it.
    """

    def __init__(self, params, ids, *, bptt_length, learning_rate, batch_size=1, clip_value=5.0, document_end=None):
        self.params = {name: np.array(value, np.float64) for name, value in params.items()}
        self.memory = {name: np.zeros_like(value) for name, value in self.params.items()}
        self.ids, self.T, self.B, self.document_end = np.asarray(ids, np.int64), bptt_length, batch_size, document_end
        self.learning_rate, self.clip_value = learning_rate, clip_value
        self.h = np.zeros((batch_size, len(self.params["b"])))
        self.stream_length = (len(ids) - 1) // batch_size
        self.window = self.epoch = self.updates = 0
        self.smooth = None

    def advance(self, updates):
        losses, smooths = [], []
        for _ in range(updates):
            loss = self.update()
            self.smooth = loss if self.smooth is None else SMOOTHING * self.smooth + (1 - SMOOTHING) * loss
            losses.append(loss)
            smooths.append(self.smooth)
        return np.array(losses), np.array(smooths)

    def update(self):
        if self.window == self.stream_length // self.T:
            self.window, self.epoch = 0, self.epoch + 1
            self.h = np.zeros_like(self.h)
        total, mean_gradients = 0.0, {name: np.zeros_like(value) for name, value in self.params.items()}
        for b in range(self.B):
            first = b * self.stream_length + self.window * self.T
            inputs, targets = self.ids[first : first + self.T], self.ids[first + 1 : first + self.T + 1]
            previous = self.ids[first - 1] if self.window > 0 else -1
            resets = np.concatenate([[previous], inputs[:-1]]) == self.document_end
            if self.document_end is None:
                resets = np.zeros(self.T, bool)
            loss, gradients, self.h[b] = window_loss_and_gradients(self.params, inputs, targets, self.h[b], resets)
            total += loss / self.B
            for name, gradient in gradients.items():
                mean_gradients[name] += gradient / self.B
        for name, gradient in mean_gradients.items():
            gradient = np.clip(gradient, -self.clip_value, self.clip_value)
            self.memory[name] += gradient**2
            self.params[name] -= self.learning_rate * gradient / np.sqrt(self.memory[name] + 1e-8)
        self.window += 1
        self.updates += 1
        return total / self.T
