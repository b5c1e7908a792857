"""The resident engine of a GPU, in Pallas's Mosaic GPU: Hopper or newer.

`engine.py` is `unroll` with the weights resident: arrays as the kernels take them, and the gradients of the weights.
`forward.py` and `backward.py` are the two kernels; `program.py` what both do, `launch.py` how they are launched, for
one model or several at once, `settings.py` how they run and what fits.
`copies.py` has what a step reads and writes brought and taken. The instructions for all that are in `memory.py`,
`exchange.py`, `mma.py` and `ptx.py`, which are loaded on a GPU only.
"""

from jaxrnn.engines.resident_gpu.engine import pays, unroll_resident, why_not

__all__ = ["pays", "unroll_resident", "why_not"]
