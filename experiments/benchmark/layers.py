"""One recurrent layer alone, forward and with all gradients: every engine against `torch.nn` on the same device.

Command: python -m experiments.benchmark layers [--only lstm-64,gru-128] [--batch-size B] [--steps T]
         [--precisions float32 tf32 bf16] [--engines scan recompute cudnn] [--json FILE]

Inputs are (T, B, H) features drawn once, the loss is the sum of the outputs times fixed numbers, and gradients are of
the inputs, the first state and all weights. All competitors of a row are made first, then measured in turn in rounds,
every other one in reverse order; a number is the median of the rounds. Times are of the host, from the call to the end
of the device's work, over as many calls as fill a tenth of a second. Beside each engine stands how far its gradients
are from PyTorch's in float64 on the CPU, || ours - theirs || / || theirs ||. On a GPU PyTorch is cuDNN.

Obtained on one NVIDIA H100 80GB HBM3, jax 0.11.2, torch 2.11.0 with cuDNN 9.19, 2026-11-26, batch 64, 512 steps: all of
experiments/results/h100_layers.csv. PyTorch's time over ours, forward with gradients, TF32: LSTM of 64 units 0.96
(`resident`), 128 0.51 (`recompute`: W_h does not fit into one program), 256 2.31, 512 1.99; 1,024 1.39 before steps
shared a turn of the loop; GRU of 64 units 1.29. Up to 128 units cuDNN has persistent kernels of its own
(RNN_blockPersist), beyond it does not. In bfloat16 64 units 11.8 and 128 units 6.8, where PyTorch warned that it
compacts its weights at each call, and had no persistent kernel. Whole updates, batch and window of 100, are in
h100_updates.csv.
"""

from __future__ import annotations

import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np

from experiments.benchmark.timing import in_rounds, median_ratio
from jaxrnn.checks import check_choice

PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32", "bf16": "bfloat16"}
ROWS = [f"{cell}-{hidden}" for cell in ("lstm", "gru") for hidden in (64, 128, 256, 512, 1024)]
ENGINES = "resident", "recompute", "scan", "cudnn"
SECONDS, ROUNDS = 0.1, 5


def weights_for(cell: str, hidden: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """W_x, W_h and b in jaxrnn's order of gates, uniform within 1 / sqrt(H) as PyTorch draws."""
    blocks = {"vanilla": 1, "lstm": 4, "gru": 3}[cell]
    limit = hidden**-0.5
    shapes = {"W_x": (hidden, blocks * hidden), "W_h": (hidden, blocks * hidden), "b": (blocks * hidden,)}
    return {name: rng.uniform(-limit, limit, shape) for name, shape in shapes.items()}


class Layer:
    """A competitor: `forward` and `both` are called, `done` waits for the device."""

    def __init__(self, forward: Callable[[], Any], both: Callable[[], Any], done: Callable[[Any], Any]):
        self.forward, self.both, self.done = forward, both, done
        self._calls = {"forward": 1, "both": 1}

    def seconds(self, what: str) -> float:
        """Seconds of one call, over enough of them; how many, it remembers from round to round."""
        call = getattr(self, what)
        while True:
            calls = self._calls[what]
            started = time.perf_counter()
            for _ in range(calls):
                result = call()
            self.done(result)
            elapsed = time.perf_counter() - started
            if elapsed > SECONDS / 2:
                return elapsed / calls
            self._calls[what] = max(calls + 1, min(10 * calls, round(calls * SECONDS / max(elapsed, 1e-5))))


def of_jaxrnn(
    cell_name: str, engine: str, weights: dict[str, np.ndarray], xs: np.ndarray, d_ys: np.ndarray, precision: str
) -> tuple[Layer, Callable[[], list[np.ndarray]]]:
    """The layer in JAX, and its gradients by W_h and by the input."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from jaxrnn import GRUCell, LSTMCell, VanillaCell, unroll

    hidden = xs.shape[2]
    made: Any = {"vanilla": VanillaCell, "lstm": LSTMCell, "gru": GRUCell}[cell_name]
    cell = made(hidden, hidden, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(cell)
    state = nnx.State({**state, **{name: nnx.Param(jnp.asarray(w, jnp.float32)) for name, w in weights.items()}})
    inputs, cotangent = jnp.asarray(xs, jnp.float32), jnp.asarray(d_ys, jnp.float32)
    carry = cell.initial_carry(xs.shape[1])

    def outputs(state: Any, xs: Any, carry: Any) -> Any:
        return unroll(nnx.merge(graphdef, state), xs, carry, engine=engine)[1]

    def loss(state: Any, xs: Any, carry: Any) -> Any:
        return jnp.sum(outputs(state, xs, carry) * cotangent)

    with jax.default_matmul_precision(PRECISIONS[precision]):
        forward = jax.jit(outputs).lower(state, inputs, carry).compile()
        both = jax.jit(jax.value_and_grad(loss, (0, 1, 2))).lower(state, inputs, carry).compile()

    def gradients() -> list[np.ndarray]:
        d_state, d_xs, _ = both(state, inputs, carry)[1]
        return [np.asarray(d_state["W_h"][...], np.float64), np.asarray(d_xs, np.float64)]

    layer = Layer(lambda: forward(state, inputs, carry), lambda: both(state, inputs, carry), jax.block_until_ready)
    return layer, gradients


def of_torch(
    cell: str, weights: dict[str, np.ndarray], xs: np.ndarray, d_ys: np.ndarray, precision: str
) -> tuple[Layer, Callable[[], list[np.ndarray]]]:
    """The layer in PyTorch, on the GPU if there is one; in "float64" on the CPU, which is what others are judged by."""
    import torch

    exact = precision == "float64"
    device = torch.device("cuda" if torch.cuda.is_available() and not exact else "cpu")
    dtype = {"float64": torch.float64, "bf16": torch.bfloat16}.get(precision, torch.float32)
    hidden = xs.shape[2]
    made: Any = {"vanilla": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell]
    rnn = made(hidden, hidden).to(device, dtype)
    names = {"weight_ih_l0": weights["W_x"].T, "weight_hh_l0": weights["W_h"].T, "bias_ih_l0": weights["b"]}
    with torch.no_grad():
        parameters = dict(rnn.named_parameters())
        parameters["bias_hh_l0"].zero_()
        for name, value in names.items():
            parameters[name].copy_(torch.from_numpy(np.ascontiguousarray(value)))
    inputs = torch.tensor(xs, device=device, dtype=dtype, requires_grad=True)
    cotangent = torch.tensor(d_ys, device=device, dtype=dtype)

    def outputs() -> Any:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
        return rnn(inputs)[0]

    def forward() -> Any:
        with torch.no_grad():
            return outputs()

    def both() -> Any:
        return torch.autograd.grad(outputs(), [*rnn.parameters(), inputs], cotangent)

    def gradients() -> list[np.ndarray]:
        found = both()
        return [found[1].double().cpu().numpy().T, found[-1].double().cpu().numpy()]

    def done(result: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    return Layer(forward, both, done), gradients


def measured(
    name: str, precision: str, batch_size: int, steps: int, engines: list[str]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each competitor, and why the others were left out."""
    cell, hidden = name.rsplit("-", 1)
    rng = np.random.default_rng(0)
    weights = weights_for(cell, int(hidden), rng)
    xs, d_ys = (rng.normal(size=(steps, batch_size, int(hidden))) for _ in range(2))
    made, left_out = dict[str, tuple[Layer, Callable[[], list[np.ndarray]]]](), dict[str, str]()
    for engine in ["torch", *engines]:
        given = (weights, xs, d_ys, precision)
        try:
            made[engine] = of_torch(cell, *given) if engine == "torch" else of_jaxrnn(cell, engine, *given)
        except Exception as error:  # what one of them cannot do must not end the table
            left_out[engine] = (str(error).splitlines() or [type(error).__name__])[0][:90]

    def seconds(what: str) -> dict[str, list[float]]:
        return in_rounds(
            {engine: functools.partial(layer.seconds, what) for engine, (layer, _) in made.items()}, ROUNDS
        )

    both, forward = seconds("both"), seconds("forward")
    exact = of_torch(cell, weights, xs, d_ys, "float64")[1]() if "torch" in made else None
    rows = []
    for engine, (_, gradients) in made.items():
        row: dict[str, Any] = {"layer": name, "precision": precision, "engine": engine}
        row["forward_ms"], row["both_ms"] = (1e3 * statistics.median(of[engine]) for of in (forward, both))
        if exact is not None:
            row["torch_over_ours"] = median_ratio(both["torch"], both[engine])
            pairs = zip(gradients(), exact, strict=True)
            row["gradient_error"] = max(float(np.linalg.norm(a - e) / np.linalg.norm(e)) for a, e in pairs)
        rows.append(row)
    return rows, left_out


def time_layers(
    *,
    only: str | None = None,
    batch_size: int = 64,
    steps: int = 512,
    precisions: Annotated[list[str], cyclopts.Parameter(consume_multiple=True)] = ["tf32"],  # noqa: B006
    engines: Annotated[list[str], cyclopts.Parameter(consume_multiple=True)] = [*ENGINES],  # noqa: B006
    json_file: Annotated[Path | None, cyclopts.Parameter("--json")] = None,
) -> None:
    """One recurrent layer, forward and with its gradients, every engine against PyTorch on the same device.

    Args:
      only: rows such as lstm-64,gru-512 (cell, H); all if not given.
      batch_size: B.
      steps: T.
      precisions: of the products, float32, tf32 or bf16; with bf16 all arrays of PyTorch's layer are bfloat16.
      engines: those of `jaxrnn.unroll`.
      json_file: where to write all numbers.
    """
    import jax

    from jaxrnn.devices import fingerprint

    for name in precisions:
        check_choice("precisions", name, tuple(PRECISIONS))
    rows: list[dict[str, Any]] = []
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}; batch {batch_size}, {steps} steps; milliseconds")
    print(f"{'layer':10} {'precision':9} {'':12} {'forward':>9} {'both':>9}  torch/ours  error of gradients")
    for name in only.split(",") if only else ROWS:
        for precision in precisions:
            found, left_out = measured(name, precision, batch_size, steps, engines)
            for engine, why in left_out.items():
                print(f"{name:10} {precision:9} {engine:12} left out: {why}")
            for row in found:
                against = [
                    format(row[key], form)
                    for key, form in (("torch_over_ours", "10.2f"), ("gradient_error", ".1e"))
                    if key in row
                ]
                times = f"{row['forward_ms']:9.3f} {row['both_ms']:9.3f}"
                print(f"{name:10} {precision:9} {row['engine']:12} {times}  {'  '.join(against)}", flush=True)
            rows += found
    if json_file is not None:
        about = {"batch_size": batch_size, "steps": steps, "machine": fingerprint()}
        json_file.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
