"""One setting of the kernels of the engine `resident` on a GPU, in a process of its own: see `resident.py`."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmark.resident import COMPILED, TURN

CHECKED, TIMED = (20, 37), (64, 512)  # B, T
ROUNDS, CALLS = 5, 10


def measured(variant: tuple[str, int, str, dict[str, Any]], turn: Callable[[], Any]) -> dict[str, Any]:
    """Compiles all, and in its turn compares and times."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from jaxrnn import GRUCell, LSTMCell, VanillaCell, unroll
    from jaxrnn.engines.resident_gpu import unroll_resident
    from jaxrnn.engines.resident_gpu.backward import backward
    from jaxrnn.engines.resident_gpu.forward import forward
    from jaxrnn.engines.resident_gpu.program import Marks
    from jaxrnn.engines.resident_gpu.settings import Setting, Sizes, best_setting, floats

    name, H, dtype, options = variant
    made: Any = {"lstm": LSTMCell, "gru": GRUCell, "vanilla": VanillaCell}[name]
    cell = made(H, H, rngs=nnx.Rngs(0))
    best = best_setting(H, cell.W_h.shape[1] // H, dtype) or Setting(jnp.dtype(dtype))
    setting = dataclasses.replace(best, **options)
    keys = iter(jax.random.split(jax.random.key(0), 99))

    def drawn(like: Any, scale: float) -> Any:
        return jax.tree.map(lambda leaf: (scale * jax.random.normal(next(keys), leaf.shape)).astype(leaf.dtype), like)

    graph, state = nnx.split(cell)
    state = drawn(state, 0.8 / H**0.5)

    def given(B: int, T: int) -> tuple[Any, ...]:
        return state, *drawn((jnp.zeros((T, B, H)), cell.initial_carry(B), jnp.zeros((T, B, H))), 0.7)

    def ours(*window: Any) -> Any:
        return unroll_resident(*window, setting=setting)

    def layer(engine: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def loss(state: Any, xs: Any, carry: Any, weights: Any) -> Any:
            last, ys = unroll(nnx.merge(graph, state), xs, carry, engine=engine)
            total = (weights * ys).sum() + sum((leaf * weights[0]).sum() for leaf in jax.tree.leaves(last))
            return total, {"ys": ys, "last": last}

        return lambda *arrays: loss(*arrays)[1]["ys"], jax.value_and_grad(loss, (0, 1, 2), has_aux=True)

    small, large = given(*CHECKED), given(*TIMED)
    check, exact = (compiled(layer(engine)[1], small, "highest") for engine in (ours, "reference"))
    sizes, (B, T) = Sizes(H, cell.W_h.shape[1] // H, setting), TIMED
    ps = drawn(floats(T, B, cell.W_x.shape[1] // H, sizes.U), 0.7)
    weights = drawn(jax.ShapeDtypeStruct((sizes.rows_of_weights, sizes.K), setting.dtype), 0.8 / H**0.5)
    first = tuple(jnp.zeros((B, 1, sizes.U)) for _ in jax.tree.leaves(large[2]))

    def run_forward(ps: Any, weights: Any, first: Any) -> Any:
        return forward(cell, setting, ps, None, weights, first, Marks())

    def run_backward(ps: Any, kept: Any, weights: Any, carries: Any, d_last: Any, d_ys: Any) -> Any:
        return backward(cell, setting, ps, kept, weights, carries, d_last, d_ys, Marks(), None)[:3]

    carries, ys, kept = drawn(jax.eval_shape(run_forward, ps, weights, first), 0.1)
    once, both = layer(ours)
    todo: dict[str, tuple[Callable[..., Any], tuple[Any, ...], float]] = {
        "forward_us": (run_forward, (ps, weights, first), 1e6 / T),
        "backward_us": (run_backward, (ps, kept, weights, carries, first, ys), 1e6 / T),
        "forward_ms": (once, large, 1e3),
        "both_ms": (both, large, 1e3),
    }
    programs = {name: (compiled(function, arrays), arrays, scale) for name, (function, arrays, scale) in todo.items()}
    right = jax.block_until_ready(exact(*small))
    turn()
    found, again = (jax.block_until_ready(check(*small)) for _ in range(2))
    same = all(bool((a == b).all()) for a, b in zip(*map(jax.tree.leaves, (found, again)), strict=True))
    errors = {
        jax.tree_util.keystr(path): float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
        for (path, a), (_, b) in zip(*map(jax.tree_util.tree_leaves_with_path, (found, right)), strict=True)
        if a.ndim
    }
    worst = max(errors, key=lambda name: (errors[name] != errors[name], errors[name]))  # NaN is the worst
    times = {name: scale * seconds_of_call(program, arrays) for name, (program, arrays, scale) in programs.items()}
    held = {"programs": setting.programs, "held": setting.held}
    return {"same": same, "error_of": (worst, errors[worst]), "errors": errors, **held, **times}


def compiled(function: Callable[..., Any], arrays: tuple[Any, ...], precision: str = "default") -> Callable[..., Any]:
    import jax

    with jax.default_matmul_precision(precision):
        return jax.jit(function).lower(*arrays).compile()


def seconds_of_call(program: Callable[..., Any], arrays: tuple[Any, ...]) -> float:
    import jax

    jax.block_until_ready(program(*arrays))
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(CALLS):
            out = program(*arrays)
        jax.block_until_ready(out)
        rounds.append((time.perf_counter() - started) / CALLS)
    return statistics.median(rounds)


if __name__ == "__main__":
    with open(sys.argv[1]) as lock:

        def take_turn() -> None:
            print(COMPILED, end="", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            print(TURN, end="", flush=True)

        print(json.dumps(measured(json.loads(sys.argv[2]), take_turn)), flush=True)
