"""The LSTM whose units are open at some times only."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxrnn.cells.base import Cell
from jaxrnn.cells.lstm import lstm_step
from jaxrnn.cells.phase import phase_of


class TemporalGateCarry(NamedTuple):
    """The state of a time-gated LSTM.

    c and h, (B, H) each, and the number of steps since the fresh start, (B, 1). It is counted in floating point,
    in float32 at least, and hence up to 2^24 steps; `train` and `fit` refuse longer streams.
    """

    c: jax.Array
    h: jax.Array
    steps: jax.Array


class Timing(NamedTuple):
    """When each unit opens, (H,) each."""

    period: jax.Array
    shift: jax.Array
    open_ratio: jax.Array


def openness(time: Any, period: Any, shift: Any, open_ratio: Any, leak: Any = 0.0) -> jax.Array:
    r"""The temporal gate k: the share of the new state that a unit lets through at a time.

    With the phase, in [0, 1):

        phi = ((time - shift) mod period) / period

        k = 2 phi / open_ratio           while phi < open_ratio / 2
            2 - 2 phi / open_ratio       while phi < open_ratio
            leak * phi                   else

    A triangle of height 1 at the start of each period, then closed. Shapes broadcast. Derivatives by period, shift
    and open_ratio hold everywhere but at the corners; the one by period has the number of periods passed in it:
    d phi / d period = -(time - shift) / period^2.

    A narrow opening magnifies rounding, periods passed do not: in float32, for times up to 2^24, the phase is off by at
    most 1.1e-7, and k by 2.2e-7 / open_ratio (measured with periods from 1 to 100). That holds for the very values
    given: a period that differs in its last bit, by 6e-8 of it, has after n periods a phase that differs by 6e-8 n.

    Args:
      time: in the unit of period and shift.
      period: time from one opening to the next, positive.
      shift: a time at which an opening starts.
      open_ratio: the open share of the period, between 0 and 1.
      leak: slope of what a closed unit lets through, so that it has a gradient.

    Example:
      >>> import numpy as np
      >>> k = openness(np.asarray([3.0, 3.6, 3.75, 4.2, 9.6]), period=6.0, shift=3.0, open_ratio=0.2)
      >>> print(np.asarray(k).round(2))
      [0.   1.   0.75 0.   1.  ]
    """
    phase = phase_of(time, shift, period)
    rising = 2 * phase / open_ratio
    triangle = jnp.where(phase < open_ratio / 2, rising, 2 - rising)
    return jnp.where(phase < open_ratio, triangle, leak * phase)


class TemporalGateLSTMCell(Cell):
    r"""One step of a long short-term memory cell with a temporal gate, the Phased LSTM.

    With c~ and h~, the new states of a plain LSTM (`LSTMCell`), and the gate k_t of each unit at the time of the step:

        k_t = openness(time, period, shift, open_ratio, leak)          leak is 0 after `eval()`
        c_t = k_t * c~ + (1 - k_t) * c_{t-1}
        h_t = k_t * h~ + (1 - k_t) * h_{t-1}

    Where k_t is 0 the state stays as it is, to the last bit. The time is the number of steps since the fresh start,
    which the carry counts, so that the phase runs on from window to window; or the times that were given with the
    input, in any unit. At whole steps and with period 6 and an open ratio of 0.2 a unit is open at one step in six.

    Args: those of `Cell`, and
      forget_bias: starting value of b_f; see `LSTMCell`.
      leak: slope of what a closed unit lets through (alpha in the paper), so that it has a gradient. It is for training
        alone: where `deterministic` is true, as `eval()` of the cell or of the model sets it, closed units have k = 0.
      period_range: least and greatest starting period. Their logarithms are drawn evenly; each shift evenly from 0 to
        its unit's period.
      open_ratio: starting open share of each period.

    The timing is learned, each in a form that any step of an optimizer leaves valid: `log_period`, (H,), since a
    period is positive and its useful changes are relative; `shift`, (H,), as it is, since it may be any number;
    `open_logit`, (H,), with open_ratio = sigmoid(open_logit), since clipping to the range from 0 to 1 would stop the
    gradient at its ends. They are kept in float32 at least: times are large numbers. `cell.timing()` gives period,
    shift and open_ratio.

    Raises:
      ValueError: if period_range is not positive and rising or open_ratio is not between 0 and 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> cell = TemporalGateLSTMCell(3, 4, rngs=nnx.Rngs(0))
      >>> carry, h = cell(cell.initial_carry(batch_size=2), jnp.ones((2, 3)))
      >>> h.shape, carry.steps.tolist()
      ((2, 4), [[1.0], [1.0]])

    References: Neil, Pfeiffer and Liu, Phased LSTM: accelerating recurrent network training for long or event-based
    sequences, 2016.
    """

    sums_products = True

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        forget_bias: float = 1.0,
        leak: float = 0.001,
        period_range: tuple[float, float] = (1.0, 100.0),
        open_ratio: float = 0.05,
        param_dtype: Any = jnp.float32,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        least, greatest = period_range
        if not 0 < least <= greatest < math.inf:
            raise ValueError(
                f"TemporalGateLSTMCell expects a period_range that is positive and rises, got {period_range}"
            )
        if not 0 < open_ratio < 1:
            raise ValueError(f"TemporalGateLSTMCell expects an open_ratio between 0 and 1, got {open_ratio}")
        options.update(gate_bias=forget_bias, param_dtype=param_dtype, rngs=rngs)
        super().__init__(in_features, hidden_features, blocks=4, **options)
        self.leak = leak
        self.deterministic = False  # the name that `nnx.Module.eval` and `train` look for
        dtype = param_dtype if jnp.finfo(param_dtype).bits >= 32 else jnp.float32
        draws = jax.random.uniform(rngs.params(), (2, hidden_features), dtype)
        log_period = math.log(least) + math.log(greatest / least) * draws[0]
        self.log_period = nnx.Param(log_period)
        self.shift = nnx.Param(draws[1] * jnp.exp(log_period))
        self.open_logit = nnx.Param(jnp.full((hidden_features,), math.log(open_ratio / (1 - open_ratio)), dtype))

    def update(
        self, p: jax.Array, r: jax.Array, carry: TemporalGateCarry, pointwise: Timing, t: jax.Array
    ) -> tuple[TemporalGateCarry, jax.Array]:
        time = carry.steps if t.ndim == 0 else t.astype(carry.steps.dtype).reshape(-1, 1)
        period, shift, open_ratio = (row[None, :] for row in pointwise)
        k = openness(time, period, shift, open_ratio, 0.0 if self.deterministic else self.leak).astype(p.dtype)
        new = lstm_step(p + r, carry.c)
        c, h = _blend(k, new.c, carry.c), _blend(k, new.h, carry.h)
        return TemporalGateCarry(c, h, carry.steps + 1), h

    def pointwise(self) -> Timing:
        return self.timing()

    def timing(self) -> Timing:
        """Period, shift and open ratio of each unit, (H,) each, from the parameters."""
        return Timing(jnp.exp(self.log_period[...]), self.shift[...], jax.nn.sigmoid(self.open_logit[...]))

    def initial_carry(self, batch_size: int) -> TemporalGateCarry:
        zeros = jnp.zeros((batch_size, self.hidden_features), self.W_h[...].dtype)
        return TemporalGateCarry(zeros, zeros, jnp.zeros((batch_size, 1), self.shift[...].dtype))


def _blend(k: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    # The sum alone would turn -0 into 0 in a closed unit, and let a NaN in.
    return jnp.where(k == 0, old, k * new + (1 - k) * old)
