"""One step of the time-gated LSTM, and its gate unit by unit, in plain NumPy."""

import numpy as np

from tests.reference.lstm import lstm_step
from tests.reference.steps import sigmoid


def gate(time, period, shift, open_ratio, leak):
    """k of one unit at one time."""
    phase = ((time - shift) % period) / period
    if phase < open_ratio / 2:
        return 2 * phase / open_ratio
    return 2 - 2 * phase / open_ratio if phase < open_ratio else leak * phase


def temporal_gate_lstm_step(weights, x, carry, leak=0.001, time=None):
    """`time` is one number a stream; the count of steps in the carry if None."""
    c, h, steps = carry
    time = steps[:, 0] if time is None else time
    timing = zip(np.exp(weights["log_period"]), weights["shift"], sigmoid(weights["open_logit"]), strict=True)
    k = np.array([[gate(at, *unit, leak) for at in time] for unit in timing]).T
    new_c, new_h = lstm_step(weights, x, (c, h))
    return c + k * (new_c - c), h + k * (new_h - h), steps + 1
