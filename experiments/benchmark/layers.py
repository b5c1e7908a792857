"""One recurrent layer alone, forward and with all gradients: every engine against `torch.nn` on the same device.

Command: python -m experiments.benchmark layers [--only lstm-64,gru-128] [--batch-size B] [--steps T]
         [--precisions float32 tf32 bf16] [--engines scan recompute cudnn] [--json FILE]

Inputs are (T, B, H) features drawn once, the loss is the sum of the outputs times fixed numbers, and gradients are of
the inputs, the first state and all weights. All competitors of a row are made first, then measured in turn in rounds,
every other one in reverse order; a number is the median of the rounds. Times are of the host, from the call to the end
of the device's work, over as many calls as fill a tenth of a second. Beside each engine stands how far its gradients
are from those in float64 on the CPU, || ours - theirs || / || theirs ||. On a GPU PyTorch is cuDNN.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np

from experiments.benchmark.timing import in_rounds
from jaxrnn.checks import check_choice

PRECISIONS = {"float32": "highest", "tf32": "default", "bf16": "default"}
ROWS = [f"{cell}-{hidden}" for cell in ("lstm", "gru") for hidden in (64, 128, 256, 512, 1024)]
SECONDS, ROUNDS = 0.1, 5
LARGEST_CHECKED = 256  # hidden features: the host's float64 takes long beyond


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

    from jaxrnn import unroll
    from jaxrnn.cells.by_name import CELLS

    dtype = jnp.bfloat16 if precision == "bf16" else jnp.float32
    hidden = xs.shape[2]
    cell = CELLS[cell_name](hidden, hidden, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(cell)
    state = nnx.State({**state, **{name: nnx.Param(jnp.asarray(w, dtype)) for name, w in weights.items()}})
    state = jax.tree.map(lambda a: a.astype(dtype), state)
    inputs, cotangent = jnp.asarray(xs, dtype), jnp.asarray(d_ys, dtype)
    carry = jax.tree.map(lambda c: c.astype(dtype), cell.initial_carry(xs.shape[1]))

    def outputs(state: Any, xs: Any, carry: Any) -> Any:
        return unroll(nnx.merge(graphdef, state), xs, carry, engine=engine)[1]

    def loss(state: Any, xs: Any, carry: Any) -> Any:
        return jnp.sum(outputs(state, xs, carry).astype(jnp.float32) * cotangent.astype(jnp.float32))

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
    """The layer in PyTorch, on the GPU if there is one. The GRU's order of gates is that of its own."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
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

    def forward() -> Any:
        with torch.no_grad():
            return rnn(inputs)[0]

    def both() -> Any:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
        return torch.autograd.grad(rnn(inputs)[0], [*rnn.parameters(), inputs], cotangent)

    def gradients() -> list[np.ndarray]:
        found = both()
        return [found[1].double().cpu().numpy().T, found[-1].double().cpu().numpy()]

    def done(result: Any) -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    return Layer(forward, both, done), gradients


def exact_gradients(cell: str, weights: dict[str, np.ndarray], xs: np.ndarray, d_ys: np.ndarray) -> list[np.ndarray]:
    """By W_h and by the input, of an LSTM or a vanilla RNN, in float64 on the host, by the chain rule in NumPy."""
    W_x, W_h, b = (weights[name] for name in ("W_x", "W_h", "b"))
    T, B, H = xs.shape
    h, c = np.zeros((B, H)), np.zeros((B, H))
    kept = []
    for t in range(T):
        a = xs[t] @ W_x + h @ W_h + b
        if cell == "vanilla":
            kept.append((h, c, np.tanh(a)))
            h = kept[-1][2]
            continue
        i, f, o = (1 / (1 + np.exp(-a[:, k * H : (k + 1) * H])) for k in (0, 1, 3))
        g = np.tanh(a[:, 2 * H : 3 * H])
        new = f * c + i * g
        kept.append((h, c, i, f, g, o, np.tanh(new)))
        h, c = o * kept[-1][6], new
    d_W_h, d_xs = np.zeros_like(W_h), np.zeros_like(xs)
    d_h, d_c = np.zeros((B, H)), np.zeros((B, H))
    for t in reversed(range(T)):
        d_h = d_h + d_ys[t]
        if cell == "vanilla":
            before, _, y = kept[t]
            d_a = d_h * (1 - y * y)
        else:
            before, c, i, f, g, o, tanh_c = kept[t]
            d_c = d_c + d_h * o * (1 - tanh_c**2)
            parts = (d_c * g * i * (1 - i), d_c * c * f * (1 - f), d_c * i * (1 - g * g), d_h * tanh_c * o * (1 - o))
            d_a, d_c = np.concatenate(parts, 1), d_c * f
        d_W_h += before.T @ d_a
        d_xs[t] = d_a @ W_x.T
        d_h = d_a @ W_h.T
    return [d_W_h, d_xs]


def relative_error(found: list[np.ndarray], exact: list[np.ndarray]) -> float:
    """The larger of the relative distances; not a number stays one."""
    return max(float(np.linalg.norm(a - e) / np.linalg.norm(e)) for a, e in zip(found, exact, strict=True))


def time_layers(
    *,
    only: str | None = None,
    batch_size: int = 64,
    steps: int = 512,
    precisions: Annotated[list[str], cyclopts.Parameter(consume_multiple=True)] = ["tf32"],  # noqa: B006
    engines: Annotated[list[str], cyclopts.Parameter(consume_multiple=True)] = ["scan", "recompute", "cudnn"],  # noqa: B006
    json_file: Annotated[Path | None, cyclopts.Parameter("--json")] = None,
) -> None:
    """One recurrent layer, forward and with its gradients, every engine against PyTorch on the same device.

    Args:
      only: rows such as lstm-64,gru-512 (cell, H); all if not given.
      batch_size: B.
      steps: T.
      precisions: of the products, float32, tf32 or bf16 (bf16: all arrays of the layer).
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
        cell, hidden = name.rsplit("-", 1)
        rng = np.random.default_rng(0)
        weights = weights_for(cell, int(hidden), rng)
        xs, d_ys = (rng.normal(size=(steps, batch_size, int(hidden))) for _ in range(2))
        exact = None if cell == "gru" or int(hidden) > LARGEST_CHECKED else exact_gradients(cell, weights, xs, d_ys)
        for precision in precisions:
            made: dict[str, tuple[Layer, Callable[[], list[np.ndarray]]]] = {}
            for engine in ["torch", *engines]:
                given = (weights, xs, d_ys, precision)
                try:
                    made[engine] = of_torch(cell, *given) if engine == "torch" else of_jaxrnn(cell, engine, *given)
                except Exception as error:  # what one engine cannot do must not end the table
                    print(
                        f"{name:10} {precision:9} {engine:12} left out: {str(error).splitlines()[0][:90]}", flush=True
                    )
            both = in_rounds({n: lambda c=c: c.seconds("both") for n, (c, _) in made.items()}, ROUNDS)
            forward = in_rounds({n: lambda c=c: c.seconds("forward") for n, (c, _) in made.items()}, ROUNDS)
            for engine, (_, gradients) in made.items():
                row = {"layer": name, "precision": precision, "engine": engine}
                row |= {"forward_ms": 1e3 * statistics.median(forward[engine])}
                row |= {"both_ms": 1e3 * statistics.median(both[engine])}
                if "torch" in both:
                    pairs = zip(both["torch"], both[engine], strict=True)
                    row["torch_over_ours"] = statistics.median(a / b for a, b in pairs)
                row["gradient_error"] = None if exact is None else relative_error(gradients(), exact)
                rows.append(row)
                ratio = f"{row['torch_over_ours']:10.2f}" if "torch_over_ours" in row else f"{'-':>10}"
                error = "-" if row["gradient_error"] is None else f"{row['gradient_error']:.1e}"
                numbers = f"{row['forward_ms']:9.3f} {row['both_ms']:9.3f}  {ratio}  {error}"
                print(f"{name:10} {precision:9} {engine:12} {numbers}", flush=True)
    if json_file is not None:
        about = {"batch_size": batch_size, "steps": steps, "machine": fingerprint()}
        json_file.write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
