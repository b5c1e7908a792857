"""Compiles the training program for a device that need not be there, and counts what it would run.

Command, in a process of its own:
python -m experiments.benchmark.compiled_program TARGET CELL HIDDEN LAYERS BATCH STEPS [ENGINE [MEMBERS]]

It prints one JSON object. XLA compiles for a described device: nothing can be run and no product is tuned, but the
fusions, loops, copies and memory are those of the real program. On a GPU each fusion, library call and copy of a loop's
body is a kernel that a turn launches; on a TPU the same number counts passes over the data.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, NamedTuple

# A description of an NVIDIA H100 SXM as XLA's GPU compiler wants it: figures of its data sheet.
H100 = """
gpu_device_info {
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  threads_per_warp: 32  threads_per_block_limit: 1024  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448  shared_memory_per_core: 233472
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  device_memory_size: 84942979072  l2_cache_size: 52428800
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class Target(NamedTuple):
    """A device that XLA compiles for without having it.

    Attributes:
      platform: as JAX names it.
      compilers: modules that the compiler needs, any one set of them.
      install: what pip installs for that.
      operations: a second, of products as `default` precision makes them: TF32 on the H100, bfloat16 on a TPU.
      bandwidth: bytes a second of its memory.
      launch: seconds that a kernel costs beside its work, in a graph; a TPU launches nothing.
    """

    platform: str
    compilers: tuple[tuple[str, ...], ...]
    install: str
    operations: float
    bandwidth: float
    launch: float


# Rates are those of the makers' data sheets, dense; 1.3 us a kernel in a graph is a common figure, not of a data sheet.
TARGETS = {
    "h100": Target(
        "gpu",
        (("jax_cuda12_plugin", "nvidia.cuda_nvcc"), ("jax_cuda13_plugin", "nvidia.cu13")),
        "jax-cuda12-plugin jax-cuda12-pjrt nvidia-cuda-nvcc-cu12 nvidia-cuda-runtime-cu12",
        495e12,
        3.35e12,
        1.3e-6,
    ),
    "v5e": Target("tpu", (("libtpu",),), "libtpu", 197e12, 0.82e12, 0.0),
    "v6e": Target("tpu", (("libtpu",),), "libtpu", 918e12, 1.64e12, 0.0),
}
SYMBOLS, WINDOWS = 83, 250
KINDS = "fusion|custom-call|copy|dot|convolution|sort|scatter|all-reduce|reduce-scatter"
KERNEL = re.compile(r"= [^\n]*?[\]})] (" + KINDS + r")\(")


class Loop(NamedTuple):
    """A loop of a compiled program.

    Attributes:
      depth: 0 for one that is in no other.
      turns: how many it makes; None where that is not known when compiling.
      kernels: what one turn runs itself, without the loops inside.
    """

    depth: int
    turns: int | None
    kernels: int


def loops_of(program: str) -> list[Loop]:
    """The loops of a compiled program, from its text, each before those inside it.

    Args:
      program: XLA's text form of the optimized module.

    Raises:
      ValueError: if it is not such a text.
    """
    bodies: dict[str, list[str]] = {}
    entry, lines = "", list[str]()
    for line in program.splitlines():
        head = re.match(r"(ENTRY )?%?([\w.\-]+) \(", line)
        if head:
            lines = bodies.setdefault(head[2], [])
            entry = head[2] if head[1] else entry
        elif line.startswith("  "):
            lines.append(line)
    if not entry:
        raise ValueError("loops_of expects the text of a compiled XLA module, which has an ENTRY")
    return _loops_in(entry, 0, bodies)


def _loops_in(name: str, depth: int, bodies: dict[str, list[str]]) -> list[Loop]:
    found = []
    for line in bodies[name]:
        body = re.search(r" while\(.*body=%?([\w.\-]+)", line)
        if body:
            turns = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            kernels = sum(KERNEL.search(of) is not None for of in bodies[body[1]])
            found.append(Loop(depth, int(turns[1]) if turns else None, kernels))
            found += _loops_in(body[1], depth + 1, bodies)
        called = re.search(r" (?:call|conditional)\(.*(?:to_apply|branch_computations)=\{?%?([\w.\-]+)", line)
        if called and called[1] in bodies:
            found += _loops_in(called[1], depth, bodies)
    return found


def kernels_an_update(loops: list[Loop]) -> int | None:
    """What one update runs: its own kernels, and those of the loops in it times their turns; None if turns are unknown.

    The first loop is that over updates.
    """
    if not loops or any(loop.turns is None for loop in loops[1:]):
        return None
    total, factors = loops[0].kernels, [1]
    for loop in loops[1:]:
        factors = [*factors[: loop.depth], factors[loop.depth - 1] * (loop.turns or 1)]
        total += factors[loop.depth] * loop.kernels
    return total


def described_device(target: str) -> Any:
    """The first device of a described machine."""
    # A TPU's compiler looks for no chip, and lets others compile beside it.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    from jax.experimental import topologies

    if target == "h100":
        options = {"target_config": H100, "topology": "1x1x1"}
        return topologies.get_topology_desc(topology_name="1x1x1", platform="cuda", **options).devices[0]
    return topologies.get_topology_desc(topology_name=f"{target}:2x2", platform="tpu").devices[0]


def kernels_a_step(loops: list[Loop], steps: int) -> list[float | None]:
    """What each loop over time runs a step, in the program's order: forward by layers, then backward.

    A turn may be several steps, or a step several loops deep: what counts is a loop with all inside it, over T.
    """
    found: list[float | None] = []
    for number, loop in enumerate(loops):
        if loop.depth != 1:
            continue
        inside = [loop]
        for other in loops[number + 1 :]:
            if other.depth <= 1:
                break
            inside.append(other)
        if any(one.turns is None for one in inside):
            found.append(None)
            continue
        total, turns = 0.0, [1]
        for one in inside:
            turns = [*turns[: one.depth], turns[one.depth - 1] * (one.turns or 1)]
            total += turns[one.depth] * one.kernels
        found.append(round(total / steps, 2))
    return found


def roofline(
    target: Target, parameters: int, symbols: int, batch_size: int, steps: int, kernels: int
) -> dict[str, float]:
    """The least milliseconds of an update by its operations, by its bytes, and by its launches; computed, not measured.

    Operations: 2 a parameter that multiplies and character, three times for an update. Bytes: the parameters and their
    accumulators read and written, and the logits written and read twice.
    """
    characters = batch_size * steps
    moved = 4 * (6 * parameters + 4 * characters * symbols)
    return {
        "operations_ms": round(1e3 * 6 * parameters * characters / target.operations, 4),
        "bytes_ms": round(1e3 * moved / target.bandwidth, 4),
        "launches_ms": round(1e3 * kernels * target.launch, 4),
    }


def processor_seconds() -> float:
    """What this process and those that it started have computed so far: other work on the machine has no part in it."""
    return sum(os.times()[:4])


def measured(
    target: str,
    cell: str,
    hidden: int,
    layers: int,
    batch_size: int,
    steps: int,
    engine: str = "auto",
    members: int = 1,
) -> dict[str, Any]:
    """Compiles the training program of a language model, or of several members at once, and counts."""
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import jax
    import jax.numpy as jnp
    from jax.sharding import SingleDeviceSharding

    from experiments.benchmark.compiled_floor import floor_ms
    from jaxrnn import TrainConfig, use_cell
    from jaxrnn.data import corpus_from_text
    from jaxrnn.engines.platforms import PLATFORMS, steps_a_turn, tracing_for
    from jaxrnn.training import make_job
    from jaxrnn.training.chunk import train_chunk_of
    from jaxrnn.training.job import model_structure, settings_of, template_of
    from jaxrnn.training.members import lift

    sharding = SingleDeviceSharding(described_device(target))
    if ":" in cell:
        use_cell(cell)
    config = TrainConfig(
        text="x",
        cell=cell,
        hidden=hidden,
        layers=layers,
        batch_size=batch_size,
        bptt_length=steps,
        engine=engine,
        optimizer="rmsprop",
        learning_rate=2e-3,
        loss_reduction="mean",
        devices="1",
    )
    symbols = "".join(map(chr, range(32, 32 + SYMBOLS)))
    job = make_job(
        config, corpus_from_text((symbols * (steps * WINDOWS * batch_size))[: steps * WINDOWS * batch_size + 1])
    )
    chunk = train_chunk_of(model_structure(job.make_model, job.config.dtype)[0], settings_of(job))
    state = template_of(job)
    streams = jax.ShapeDtypeStruct((steps * WINDOWS + 1, batch_size), jnp.uint8)
    updates = jax.ShapeDtypeStruct((), jnp.int32)
    arguments: tuple[Any, ...] = (state, streams, updates)
    if members > 1:
        chunk, stacked = lift(chunk, batched=True), (state, updates, updates)
        along = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype), stacked)
        arguments = (along[0], streams, *along[1:])
    placed = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), arguments)
    started = processor_seconds()
    with tracing_for(TARGETS[target].platform):
        turn = steps_a_turn(steps)
        lowered = jax.jit(chunk, donate_argnums=0).lower(*placed)
    program = lowered.compile()
    memory = program.memory_analysis()
    assert memory is not None
    # A TPU's compiler does not say how many turns a loop makes; those inside an update go over time.
    loops = loops_of(program.as_text() or "")
    if PLATFORMS[TARGETS[target].platform].updates_a_look > 1:
        # The outermost loop only looks whether the one over updates goes on.
        loops = [loop._replace(depth=loop.depth - 1) for loop in loops[1:]]
    loops = [loop._replace(turns=steps // turn) if loop.depth == 1 and loop.turns is None else loop for loop in loops]
    update = kernels_an_update(loops)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params) if leaf.ndim > 1)
    return {
        "seconds": round(processor_seconds() - started, 1),
        "temporary_megabytes": round(memory.temp_size_in_bytes / 1e6, 1),
        "kernels_an_update": update,
        "own_kernels": loops[0].kernels if loops else None,
        "kernels_a_step": kernels_a_step(loops, steps),
        **roofline(TARGETS[target], parameters, SYMBOLS, batch_size, steps, update or 0),
        "floor_ms": floor_ms(target, state.params, batch_size, steps),
        "loops": [loop._asdict() for loop in loops],
    }


if __name__ == "__main__":
    name, of_cell, hidden, layers, batch_size, steps, *more = sys.argv[1:]
    engine, members = [*more, *["auto", "1"][len(more) :]]
    sizes = (int(hidden), int(layers), int(batch_size), int(steps))
    print(json.dumps(measured(name, of_cell, *sizes, engine, int(members))))
