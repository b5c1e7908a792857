"""The least time of an update whose layers run inside one kernel, on accelerators; computed, not measured.

A step waits for the one before it. The best program that is known keeps the recurrent weights on the chip for a whole
window and launches nothing. On a GPU 8 rows of the batch are a tile, which one processor works on, or a cluster of them
that shares the units and exchanges h at each step; a TPU's core takes all tiles. For a layer and its gradient

    t = 2 T (wait + 2 . 8 n_h / (share rate)) + 2 B T n / rate
    share = min(processors of a cluster / processors, 1 / tiles),  rate = reached of the data sheet's

with n_h the numbers of the layer's matrices in the loop, and n those of the update's other products, each as often as
it is used: once for the gradient of a matrix in the loop, three times W_y and W_x of an upper layer; rows of the first
W_x are looked up. Layers run one after another. Elementwise work, and what memory takes, are left out.

One LSTM layer, batch and window of 100, has 0.07, 0.09, 0.14, 0.26 and 0.76 ms at 64, 128, 256, 512 and 1,024 units in
TF32 on an H100, and 0.13, 0.14, 0.21, 0.46 and 1.46 ms in bfloat16 on a v5e. Another estimate, from public
figures too, had 0.07, 0.09, 0.15, 0.29, 0.70, and 0.15, 0.15, 0.23, 0.45, 1.6.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from experiments.benchmark.compiled_program import TARGETS


class Serial(NamedTuple):
    """What a step of a window costs on a device at least.

    Attributes:
      wait: seconds of a step beside its product: until its first results come, the gates, a barrier and, in a cluster,
        h on its way to the other processors.
      side: matrices are filled up to a multiple of it both ways.
      processors: of the device, each with its part of the rate; 1 where one core does all.
      units: of a layer, for each processor of a cluster.
      reached: part of the data sheet's rate that large products reach.
    """

    wait: float
    side: int
    processors: int
    units: int
    reached: float


# H100: 0.25 us are 440 cycles of 1.76 GHz, an estimate: 180 of them are a word on its way in a cluster
# (Luo et al., 2024, "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via Microbenchmarking"), the rest
# products that follow one another, gates and a barrier. Its `mma` has no tile of fewer than 8 rows. That large products
# reach 3/4 of the data sheet's rate is a common figure. TPU: arrays of 128 x 128 (v5e; four at 1.5 GHz are its 197
# TFLOP/s) or 256 x 256 (v6e), which take 8 rows at a time; 0.6 us, 900 cycles of a v5e, are an estimate too, for the
# arrays to be filled and emptied and for the gates.
FLOORS = {
    "h100": Serial(0.25e-6, 1, 132, 64, 0.75),
    "v5e": Serial(0.6e-6, 128, 1, 1, 1.0),
    "v6e": Serial(0.6e-6, 256, 1, 1, 1.0),
}
ROWS = 8
LARGEST_CLUSTER = 16


def floor_ms(target: str, params: Any, batch_size: int, steps: int) -> float:
    """The least milliseconds of an update of a language model that reads ids.

    In the precision that the device multiplies with by default: TF32 on the H100, bfloat16 on a TPU.

    Args:
      target: one of `FLOORS`.
      params: parameters, or their shapes: W_y, and of each layer W_x, W_h and others.
      batch_size: B.
      steps: T.

    Example:
      >>> import jax
      >>> of = lambda *shape: jax.ShapeDtypeStruct(shape, "float32")
      >>> layer = {"W_x": of(83, 256), "W_h": of(64, 256), "b": of(256)}
      >>> params = {"stack": {"layers": {0: layer}}, "W_y": of(64, 83), "b_y": of(83)}
      >>> floor_ms("h100", params, 100, 100), floor_ms("v5e", params, 100, 100)
      (0.0704, 0.1302)
    """
    serial, rate = FLOORS[target], FLOORS[target].reached * TARGETS[target].operations
    tiles, waits, elsewhere = -(-batch_size // ROWS), 0.0, 3 * params["W_y"].size
    for number, layer in params["stack"]["layers"].items():
        hidden = layer["W_h"].shape[0]
        cluster = min(max(hidden // serial.units, 1), LARGEST_CLUSTER, serial.processors)
        share = min(cluster / serial.processors, 1 / tiles)
        # Peepholes, (3, H), are no matrix of a product.
        inner = [m for name, m in layer.items() if name != "W_x" and m.ndim == 2 and m.shape[0] == hidden]
        numbers = sum(math.prod(-(-length // serial.side) * serial.side for length in m.shape) for m in inner)
        waits += serial.wait + 2 * ROWS * numbers / (share * rate)
        elsewhere += sum(m.size for m in inner) + (3 * layer["W_x"].size if int(number) else 0)
    return round(1e3 * (2 * steps * waits + 2 * batch_size * steps * elsewhere / rate), 4)
