"""The book recipe as a user of each stack would write it: what `book.py` measures jaxrnn against.

Recipe: vanilla RNN, 100 hidden, windows of 25 characters in order, batch 1, carry passed on, gradient of the sum over
the window, entries clipped to [-5, 5], AdaGrad 0.1 with the accumulator from 0. Every baseline has
`advance(updates) -> loss of the last window, summed, in nats` and goes on where it stopped; the first call compiles.

A process that trains one update in Flax, for time to first update: python experiments/benchmark/baselines.py TEXT_FILE
"""

import sys
from typing import Any, Protocol

import numpy as np

HIDDEN, BPTT_LENGTH, LEARNING_RATE, CLIP_VALUE, ADAGRAD_EPS, INIT_STD = 100, 25, 0.1, 5.0, 1e-8, 0.01


class Baseline(Protocol):
    """Trains on; `advance` returns once the numbers are on the host."""

    def advance(self, updates: int) -> float: ...


def initial_parameters(vocabulary_size: int, hidden: int = HIDDEN, seed: int = 0) -> dict[str, np.ndarray]:
    """N(0, 0.01^2) weights and zero biases in float64, under the library's names and shapes."""
    draw = np.random.default_rng(seed)
    return {
        "W_x": INIT_STD * draw.standard_normal((vocabulary_size, hidden)),
        "W_h": INIT_STD * draw.standard_normal((hidden, hidden)),
        "b": np.zeros(hidden),
        "W_y": INIT_STD * draw.standard_normal((hidden, vocabulary_size)),
        "b_y": np.zeros(vocabulary_size),
    }


class Windows:
    """The windows of an epoch in order, again and again: `starts_epoch` says when the carry must be zero."""

    def __init__(self, ids: Any, length: int = BPTT_LENGTH):
        self.ids, self.length, self.count, self.position = ids, length, (len(ids) - 1) // length, 0

    def next(self) -> tuple[Any, Any, bool]:
        window = self.position % self.count
        start = window * self.length
        self.position += 1
        inputs, targets = self.ids[start : start + self.length], self.ids[start + 1 : start + self.length + 1]
        return inputs, targets, window == 0


class NumpyBook:
    """Loops over the steps with one-hot column vectors, as course assignments do. AdaGrad eps inside the root."""

    def __init__(
        self,
        ids: np.ndarray,
        vocabulary_size: int,
        *,
        dtype: Any = np.float64,
        parameters: dict[str, np.ndarray] | None = None,
        learning_rate: float = LEARNING_RATE,
    ):
        start = parameters or initial_parameters(vocabulary_size)
        self.U = start["W_x"].T.astype(dtype).copy()
        self.W = start["W_h"].T.astype(dtype).copy()
        self.V = start["W_y"].T.astype(dtype).copy()
        self.b = start["b"][:, None].astype(dtype)
        self.c = start["b_y"][:, None].astype(dtype)
        self.memory = [np.zeros_like(p) for p in (self.U, self.W, self.V, self.b, self.c)]
        self.h = np.zeros_like(self.b)
        self.windows, self.vocabulary_size, self.learning_rate = Windows(ids), vocabulary_size, learning_rate

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Copies under the library's names and shapes."""
        named = {"W_x": self.U.T, "W_h": self.W.T, "b": self.b[:, 0], "W_y": self.V.T, "b_y": self.c[:, 0]}
        return {name: value.copy() for name, value in named.items()}

    def loss_and_gradients(self, inputs: np.ndarray, targets: np.ndarray) -> tuple[float, list[np.ndarray]]:
        xs, ps = [], []
        hs = [self.h]
        loss = 0.0
        for symbol, target in zip(inputs, targets, strict=True):
            x = np.zeros((self.vocabulary_size, 1), self.U.dtype)
            x[symbol] = 1
            xs.append(x)
            hs.append(np.tanh(np.dot(self.U, x) + np.dot(self.W, hs[-1]) + self.b))
            o = np.dot(self.V, hs[-1]) + self.c
            exp_o = np.exp(o - o.max())
            ps.append(exp_o / exp_o.sum())
            loss -= np.log(ps[-1][target, 0])
        dU, dW, dV, db, dc = (np.zeros_like(p) for p in (self.U, self.W, self.V, self.b, self.c))
        da_W = np.zeros_like(self.h)
        for t in range(len(xs) - 1, -1, -1):
            do = ps[t].copy()
            do[targets[t]] -= 1
            dV += np.dot(do, hs[t + 1].T)
            dc += do
            da = (np.dot(self.V.T, do) + da_W) * (1 - hs[t + 1] ** 2)
            dU += np.dot(da, xs[t].T)
            dW += np.dot(da, hs[t].T)
            db += da
            da_W = np.dot(self.W.T, da)
        self.h = hs[-1]
        return float(loss), [dU, dW, dV, db, dc]

    def advance(self, updates: int) -> float:
        loss = float("nan")
        for _ in range(updates):
            inputs, targets, starts_epoch = self.windows.next()
            if starts_epoch:
                self.h = np.zeros_like(self.h)
            loss, gradients = self.loss_and_gradients(inputs, targets)
            parameters = (self.U, self.W, self.V, self.b, self.c)
            for parameter, gradient, memory in zip(parameters, gradients, self.memory, strict=True):
                np.clip(gradient, -CLIP_VALUE, CLIP_VALUE, out=gradient)
                memory += gradient * gradient
                parameter -= self.learning_rate * gradient / np.sqrt(memory + ADAGRAD_EPS)
        return loss


class TorchBook:
    """`nn.RNN`, `nn.Linear` and `optim.Adagrad`. Torch adds eps outside the root; its second bias is held at 0."""

    def __init__(
        self,
        ids: np.ndarray,
        vocabulary_size: int,
        *,
        threads: int = 1,
        dtype: Any = None,
        parameters: dict[str, np.ndarray] | None = None,
    ):
        import torch

        start = parameters or initial_parameters(vocabulary_size)
        dtype = dtype or torch.float32
        self.rnn = torch.nn.RNN(vocabulary_size, HIDDEN, dtype=dtype)
        self.output = torch.nn.Linear(HIDDEN, vocabulary_size, dtype=dtype)
        with torch.no_grad():
            rnn = dict(self.rnn.named_parameters())
            rnn["weight_ih_l0"].copy_(torch.from_numpy(start["W_x"].T))
            rnn["weight_hh_l0"].copy_(torch.from_numpy(start["W_h"].T))
            rnn["bias_ih_l0"].copy_(torch.from_numpy(start["b"]))
            rnn["bias_hh_l0"].zero_().requires_grad_(False)
            self.output.weight.copy_(torch.from_numpy(start["W_y"].T))
            self.output.bias.copy_(torch.from_numpy(start["b_y"]))
        both = [*self.rnn.parameters(), *self.output.parameters()]
        self.trained = [parameter for parameter in both if parameter.requires_grad]
        self.optimizer = torch.optim.Adagrad(self.trained, lr=LEARNING_RATE, eps=ADAGRAD_EPS)
        self.h = torch.zeros(1, HIDDEN, dtype=dtype)
        self.torch, self.threads, self.vocabulary_size, self.dtype = torch, threads, vocabulary_size, dtype
        self.windows = Windows(torch.from_numpy(ids.astype(np.int64)))

    def loss_and_gradients(self, inputs: Any, targets: Any) -> Any:
        functional = self.torch.nn.functional
        outputs, h = self.rnn(functional.one_hot(inputs, self.vocabulary_size).to(self.dtype), self.h)
        loss = functional.cross_entropy(self.output(outputs), targets, reduction="sum")
        self.optimizer.zero_grad()
        loss.backward()
        self.h = h.detach()
        return loss

    def advance(self, updates: int) -> float:
        self.torch.set_num_threads(self.threads)
        loss = None
        for _ in range(updates):
            inputs, targets, starts_epoch = self.windows.next()
            if starts_epoch:
                self.h = self.torch.zeros_like(self.h)
            loss = self.loss_and_gradients(inputs, targets)
            self.torch.nn.utils.clip_grad_value_(self.trained, CLIP_VALUE)
            self.optimizer.step()
        return float("nan") if loss is None else float(loss.detach())


class FlaxBook:
    """`nnx.RNN` over `nnx.SimpleCell`, `nnx.jit` and `nnx.Optimizer` in a Python loop, as Flax's docs show.

    By default `nnx.RNN` holds a random stream that this recipe does not need; `holds_rng=False` is a little faster.
    """

    def __init__(
        self,
        ids: np.ndarray,
        vocabulary_size: int,
        *,
        dtype: Any = np.float32,
        holds_rng: bool = True,
        parameters: dict[str, np.ndarray] | None = None,
    ):
        import jax
        import jax.numpy as jnp
        import optax
        from flax import nnx

        class Model(nnx.Module):
            def __init__(self, rngs: nnx.Rngs):
                normal = nnx.initializers.normal(INIT_STD)
                cell = nnx.SimpleCell(
                    vocabulary_size,
                    HIDDEN,
                    dtype=dtype,
                    param_dtype=dtype,
                    kernel_init=normal,
                    recurrent_kernel_init=normal,
                    rngs=rngs,
                )
                self.rnn = nnx.RNN(cell, return_carry=True, rngs=holds_rng)
                self.output = nnx.Linear(
                    HIDDEN, vocabulary_size, dtype=dtype, param_dtype=dtype, kernel_init=normal, rngs=rngs
                )

            def __call__(self, ids: Any, carry: Any) -> tuple[Any, Any]:
                carry, h = self.rnn(jax.nn.one_hot(ids, vocabulary_size, dtype=dtype), initial_carry=carry)
                return self.output(h), carry

        @nnx.jit
        def train_step(model: Any, optimizer: Any, carry: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
            def loss_fn(model: Any) -> tuple[Any, Any]:
                logits, new_carry = model(inputs, carry)
                return optax.softmax_cross_entropy_with_integer_labels(logits, targets).sum(), new_carry

            (loss, new_carry), gradients = nnx.value_and_grad(loss_fn, has_aux=True)(model)
            optimizer.update(model, gradients)
            return loss, new_carry

        self.model = Model(nnx.Rngs(0))
        if parameters is not None:
            cell: Any = self.model.rnn.cell
            output: Any = self.model.output
            for variable, name in (
                (cell.dense_i.kernel, "W_x"),
                (cell.dense_h.kernel, "W_h"),
                (cell.dense_i.bias, "b"),
                (output.kernel, "W_y"),
                (output.bias, "b_y"),
            ):
                variable.set_value(jnp.asarray(parameters[name], dtype))
        adagrad = optax.adagrad(LEARNING_RATE, initial_accumulator_value=0.0, eps=ADAGRAD_EPS)
        self.optimizer = nnx.Optimizer(self.model, optax.chain(optax.clip(CLIP_VALUE), adagrad), wrt=nnx.Param)
        self.train_step, self.windows = train_step, Windows(ids.astype(np.int32))
        self.zero_carry = jnp.zeros((1, HIDDEN), dtype)
        self.carry = self.zero_carry

    def advance(self, updates: int) -> float:
        loss = float("nan")
        for _ in range(updates):
            inputs, targets, starts_epoch = self.windows.next()
            carry = self.zero_carry if starts_epoch else self.carry
            loss, self.carry = self.train_step(self.model, self.optimizer, carry, inputs[None], targets[None])
        return float(loss)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8", newline="") as file:
        TEXT = file.read()
    SYMBOLS = sorted(set(TEXT))
    NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    IDS = np.array([NUMBERS[symbol] for symbol in TEXT], np.uint8)
    print(f"update 1  loss {FlaxBook(IDS, len(SYMBOLS)).advance(1) / BPTT_LENGTH:.4f} nats per character", flush=True)
