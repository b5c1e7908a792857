"""What is best on each platform, and for which of them a program is being traced.

Every choice that depends on the platform reads this table. A program is traced for the devices that it will be lowered
for, which need not be those JAX starts with: `tracing_for("gpu")` says so while it is traced.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import jax

from jaxrnn.errors import ConfigurationError


class Platform(NamedTuple):
    """The choices for one kind of device, with what they rest on.

    Attributes:
      name: "cpu", "gpu" or "tpu".
      multiplies_first: whether all input products of a window are made before the loop, as one large product or gather;
        on every platform they are with a batch of 1.
      largest_block: so many steps at most share one product for the weight gradients; None is the whole window.
      unrolled: so many steps at most are one turn of the loop over time, see `steps_a_turn`.
      engines: those to choose, the first that can run a cell; none where the rule of `choose_engine` decides by sizes.
      largest_one_hot: with so many symbols at most the gradient of looked-up rows is a product with one-hot rows. On a
        GPU a scatter adds in whatever order its threads come, so that no two runs need give the same bits.
      counts_kernels: whether what a kernel costs to start counts: the training loop holds the scalars of its state as
        a row of a table, gradients are looked at as one array, those of biases are rows of the products for the
        weights', and one product gives those of W_x and W_h where a cell only adds what they give.
      largest_vector: so many parameters at most, in few arrays, are one vector in the training loop, with what the
        optimizer keeps of them: one kernel changes them all. Large arrays would be copied out of it for their products.
      largest_gradient: gradients of so many numbers at most are written as one vector, by one kernel that adds up the
        pieces of all products, see `summing_programs`. Of larger ones few are in pieces: they would only be copied.
      updates_a_look: updates between two looks at whether training goes on. A GPU's loops run on the host, which then
        waits for the device; it knows beforehand how often the loops inside turn, and is ahead of them.
      batches_members: whether members of a population run at once by `vmap`, or one after another.
      flattens_sums: whether what is summed over steps and batch is a product of matrices, see `products.py`.
      summing_programs: so many programs of the device share a product that is summed over steps and batch, see
        `products.pieces_of`; 0 leaves it to XLA.
      compiler_options: of XLA, for training programs.
      start_options: of XLA, for what makes a state to begin with, and runs once.
      evidence: what was measured, or "compiled, not measured".
    """

    name: str
    multiplies_first: bool
    largest_block: int | None
    unrolled: int
    engines: tuple[str, ...]
    largest_one_hot: int
    counts_kernels: bool
    largest_vector: int
    largest_gradient: int
    updates_a_look: int
    batches_members: bool
    flattens_sums: bool
    summing_programs: int
    compiler_options: dict[str, bool]
    start_options: dict[str, int]
    evidence: str


# CPU: inside the loop the input products stay in the cache and no array of T B G numbers is written; three LSTM layers
# of 128, batch 100, ran 1.1 times as fast. With blocks of ten steps an LSTM of 128 ran 1.17 times as fast as with the
# whole window of 100. Products of several members at once are poor there. XLA's own tanh and exp in place of the
# platform's: the book recipe ran 1.18 times as fast, an LSTM or GRU with a batch no faster, and fewer things outside
# the program decide its bits. What draws a state runs once: compiled with less care for its speed it takes 0.6 s of
# processor time in place of 0.95, and drew 50 million parameters as fast, to the same bits. Not taken: fewer copies
# (`xla_cpu_copy_insertion_use_region_analysis`, off in XLA on every platform): the book recipe ran 1.06 times as fast,
# when AdaGrad's sums were still copied, which made 1.03 of it; of two members compiled without XLA's optimizations the
# last bit of a bias depended on it.
_CPU_OPTIONS = {"xla_cpu_enable_platform_dependent_math": False}
_CPU_START = {"xla_backend_optimization_level": 1}
# An H100: a layer of 128 LSTM units, batch 64, 512 steps, TF32, forward and gradients, with `recompute` 11.9 ms with a
# step a turn, 5.2 with 8, 5.0 with 16, 4.7 with 32, 4.9 with 64. The loop as a graph of the device
# (`xla_gpu_enable_command_buffer=+WHILE`): 12.9 ms. An H200, batch and window of 100: an update of an LSTM of 256 units
# takes 0.9 ms with `resident`, 1.5 with `recompute`; of 512 in bfloat16 1.06 and 2.0. With scalars packed 0.413 ms,
# else 0.419, for 64 LSTM units, 0.83 and 0.86 for 128 GRU units, 1.087 and 1.080 for 128 LSTM units. With all products
# by cuBLAS (`xla_gpu_enable_triton_gemm=false`) 4.4 ms in place of 2.6 for 512 LSTM units. A look at each update:
# 0.377 ms from one update of 64 LSTM units to the next, of which the card worked 0.284; one in 16: 0.283 and 0.258.
# Compiled for an H100 only: with the parameters as one vector an update of 64 LSTM units is 26 kernels in place of 29;
# with products summed in pieces one of 128 GRU units was 33 in place of 37. With gradients written as one vector 128
# LSTM units in three layers are 42 in place of 46, one layer of 64 units 23 in place of 24, of 1,024 units as many.
_GPU_ENGINES = ("resident", "recompute", "scan")
PLATFORMS = {
    "cpu": Platform(
        *("cpu", False, 16, 1, (), 0, False, 0, 0, 1, False, True, 0, _CPU_OPTIONS, _CPU_START),
        "measured on 2 cores of an AMD EPYC, jax 0.10.2",
    ),
    "gpu": Platform(
        *("gpu", True, None, 32, _GPU_ENGINES, 2048, True, 2**17, 2**21, 16, True, False, 264, {}, {}),
        "measured on an H100 and an H200, jax 0.11.2",
    ),
    "tpu": Platform(
        *("tpu", True, None, 1, ("recompute", "scan"), 2048, False, 0, 0, 1, True, False, 0, {}, {}),
        "compiled for a v5e, not measured",
    ),
}
_TRACED_FOR: ContextVar[str | None] = ContextVar("platform", default=None)
_MEMBERS: ContextVar[bool] = ContextVar("members", default=False)


def platform() -> Platform:
    """The platform of the program that is being traced; outside `tracing_for` that of JAX's default device.

    Raises:
      ConfigurationError: if JAX, which starts here, finds no device.
    """
    name = _TRACED_FOR.get()
    if name is None:
        device = jax.config.values["jax_default_device"]
        try:
            name = jax.default_backend() if device is None else getattr(device, "platform", str(device))
        except (RuntimeError, AssertionError) as error:
            asked = [f"{variable}={os.environ.get(variable, '')}" for variable in ("JAX_PLATFORMS", "XLA_FLAGS")]
            raise ConfigurationError(
                f"JAX expects a device to compute on and found none; mend or unset {', '.join(asked)}",
                [line[:200] for line in str(error).splitlines()[:3]],
            ) from error
    return PLATFORMS[{"cuda": "gpu", "rocm": "gpu"}.get(name, name)]


@contextlib.contextmanager
def tracing_for(name: str) -> Iterator[None]:
    """Programs traced inside are for this platform, whatever JAX's default is; an outer one has precedence.

    Raises:
      KeyError: if there is no such platform in `PLATFORMS`.
    """
    token = _TRACED_FOR.set(PLATFORMS[name].name if _TRACED_FOR.get() is None else _TRACED_FOR.get())
    try:
        yield
    finally:
        _TRACED_FOR.reset(token)


def is_for_another() -> bool:
    """Whether a program is being traced inside `tracing_for`: what JAX's own devices are like says nothing of it."""
    return _TRACED_FOR.get() is not None


@contextlib.contextmanager
def tracing_members() -> Iterator[None]:
    """What is traced inside runs for several members at once, by `vmap`: some kernels cannot."""
    token = _MEMBERS.set(True)
    try:
        yield
    finally:
        _MEMBERS.reset(token)


def members_at_once() -> bool:
    """Whether the program that is being traced is one of `tracing_members`."""
    return _MEMBERS.get()


def steps_a_turn(steps: int) -> int:
    """How many steps are one turn of the loop over time: the largest divisor of T up to the platform's limit.

    A turn's writes are then one write, its counter one addition, and a GPU launches it as one graph. A T without a
    divisor from 4 on takes the limit: the rest is a turn of its own.

    Example:
      >>> with tracing_for("gpu"):
      ...     steps_a_turn(100), steps_a_turn(512), steps_a_turn(97), steps_a_turn(5)
      (25, 32, 32, 5)
    """
    limit = platform().unrolled
    if limit == 1:
        return 1
    largest = max(length for length in range(1, limit + 1) if steps % length == 0)
    return largest if largest >= min(4, steps) else min(limit, steps)
