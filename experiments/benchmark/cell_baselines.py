"""LSTM and GRU language models of characters as users of PyTorch and of Flax write them, for `cells.py`.

Recipe: B streams of the text side by side, windows of T characters in order, carry passed on, mean loss, gradient
entries clipped to [-5, 5], RMSprop 2e-3 with decay 0.95 and eps outside the root, weights U(-0.08, 0.08). Every
baseline has `advance(updates) -> mean loss of the last window in nats` and `sample(length) -> ids`. Products are full
float32, or TF32 on a GPU where that is asked for.
"""

import functools
import math
from typing import Any, NamedTuple, Protocol

import numpy as np

from experiments.benchmark.baselines import Windows
from jaxrnn.errors import ConfigurationError

LEARNING_RATE, DECAY, EPS, CLIP_VALUE, INIT_SCALE = 2e-3, 0.95, 1e-8, 5.0, 0.08
TORCH_THREADS = 2
GATES = {"vanilla": 1, "lstm": 4, "gru": 3}


class CellSetting(NamedTuple):
    """The size of a model and of what it is fed.

    Attributes:
      kind: "vanilla", "lstm" or "gru".
      hidden: H of every layer.
      layers: how many.
      batch_size: B, streams side by side.
      bptt_length: T, characters of a window.
    """

    kind: str
    hidden: int
    layers: int
    batch_size: int = 100
    bptt_length: int = 100

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.hidden}-{self.layers}"

    @classmethod
    def from_name(cls, name: str) -> "CellSetting":
        """The setting of a name such as lstm-128-1."""
        parts = name.split("-")
        if len(parts) != 3 or parts[0] not in GATES or not (parts[1].isdecimal() and parts[2].isdecimal()):
            expected = f"a row expects a cell ({', '.join(GATES)}), H and layers, as in lstm-128-1"
            raise ConfigurationError(f"{expected}; got {name!r}")
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def product_parameters(self, vocabulary_size: int) -> int:
        """Parameters that a character is multiplied with; the lowest W_x is looked up, so it does not count."""
        block = GATES[self.kind] * self.hidden**2
        return (2 * self.layers - 1) * block + self.hidden * vocabulary_size


class CellBaseline(Protocol):
    """Trains on and writes; both return once the numbers are on the host."""

    def advance(self, updates: int) -> float: ...

    def sample(self, length: int) -> np.ndarray: ...


def streams_of(ids: np.ndarray, batch_size: int) -> np.ndarray:
    """The text cut into B columns of S + 1 ids, S = (N - 1) // B; each column's last is the next one's first."""
    length = (len(ids) - 1) // batch_size
    return np.stack([ids[start : start + length + 1] for start in range(0, length * batch_size, length)], axis=1)


class TorchCells:
    """`nn.LSTM` or `nn.GRU`, `nn.Linear`, `optim.RMSprop`; on the GPU if there is one.

    One-hot rows come from `embedding(ids, eye)`, a quarter of the time of `one_hot(ids).float()` or `eye[ids]`.
    """

    def __init__(self, ids: np.ndarray, vocabulary_size: int, setting: CellSetting, tf32: bool = False):
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(TORCH_THREADS)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
        self.torch, self.device = torch, torch.device("cuda" if torch.cuda.is_available() else "cpu")
        layer: Any = {"vanilla": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[setting.kind]
        self.rnn = layer(vocabulary_size, setting.hidden, setting.layers).to(self.device)
        self.output = torch.nn.Linear(setting.hidden, vocabulary_size).to(self.device)
        self.parameters = [*self.rnn.parameters(), *self.output.parameters()]
        for parameter in self.parameters:
            torch.nn.init.uniform_(parameter, -INIT_SCALE, INIT_SCALE)
        self.optimizer = torch.optim.RMSprop(self.parameters, lr=LEARNING_RATE, alpha=DECAY, eps=EPS)
        self.eye = torch.eye(vocabulary_size, device=self.device)
        streams = torch.from_numpy(streams_of(ids, setting.batch_size).astype(np.int64)).to(self.device)
        self.windows = Windows(streams, setting.bptt_length)
        self.carry: Any = None

    def one_hot(self, ids: Any) -> Any:
        return self.torch.nn.functional.embedding(ids, self.eye)

    def advance(self, updates: int) -> float:
        loss = None
        for _ in range(updates):
            inputs, targets, starts_epoch = self.windows.next()
            outputs, carry = self.rnn(self.one_hot(inputs), None if starts_epoch else self.carry)
            logits = self.output(outputs).flatten(0, 1)
            loss = self.torch.nn.functional.cross_entropy(logits, targets.flatten())
            self.optimizer.zero_grad()
            loss.backward()
            self.torch.nn.utils.clip_grad_value_(self.parameters, CLIP_VALUE)
            self.optimizer.step()
            self.carry = tuple(c.detach() for c in carry) if isinstance(carry, tuple) else carry.detach()
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
        return float("nan") if loss is None else float(loss.detach())

    def sample(self, length: int) -> np.ndarray:
        ids, carry = [], None
        last = self.torch.zeros(1, dtype=self.torch.int64, device=self.device)
        with self.torch.no_grad():
            for _ in range(length):
                outputs, carry = self.rnn(self.one_hot(last)[None], carry)
                probabilities = self.torch.softmax(self.output(outputs[0, 0]), dim=-1)
                last = self.torch.multinomial(probabilities, 1)
                ids.append(last.item())
        return np.array(ids)


class FlaxCells:
    """`nnx.RNN` over Flax's own cells, `nnx.jit` and `nnx.Optimizer` in a Python loop, as Flax's docs show."""

    def __init__(self, ids: np.ndarray, vocabulary_size: int, setting: CellSetting):
        import jax
        import jax.numpy as jnp
        import optax
        from flax import nnx

        kind, hidden = setting.kind, setting.hidden
        cell: Any = {"vanilla": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}[kind]

        def uniform(key: Any, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Any:
            return jax.random.uniform(key, shape, dtype, -INIT_SCALE, INIT_SCALE)

        class Model(nnx.Module):
            def __init__(self, rngs: nnx.Rngs):
                sizes = [vocabulary_size, *[hidden] * (setting.layers - 1)]
                cells = [cell(n, hidden, kernel_init=uniform, recurrent_kernel_init=uniform, rngs=rngs) for n in sizes]
                self.layers = nnx.List([nnx.RNN(one, return_carry=True) for one in cells])
                self.output = nnx.Linear(hidden, vocabulary_size, kernel_init=uniform, rngs=rngs)

            def __call__(self, ids: Any, carries: Any) -> tuple[Any, Any]:
                x, after = jax.nn.one_hot(ids, vocabulary_size), []
                for layer, carry in zip(self.layers, carries, strict=True):
                    carry, x = layer(x, initial_carry=carry)
                    after.append(carry)
                return self.output(x), after

        @nnx.jit
        def train_step(model: Any, optimizer: Any, carries: Any, inputs: Any, targets: Any) -> tuple[Any, Any]:
            def loss_fn(model: Any) -> tuple[Any, Any]:
                logits, after = model(inputs, carries)
                return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean(), after

            (loss, after), gradients = nnx.value_and_grad(loss_fn, has_aux=True)(model)
            optimizer.update(model, gradients)
            return loss, after

        @nnx.jit
        def next_id(model: Any, last: Any, carries: Any, key: Any) -> tuple[Any, Any]:
            logits, carries = model(last[None, None], carries)
            return jax.random.categorical(key, logits[0, 0]), carries

        def zero_carries(batch_size: int) -> list[Any]:
            zeros = jnp.zeros((batch_size, hidden))
            return [(zeros, zeros) if kind == "lstm" else zeros] * setting.layers

        rmsprop = optax.rmsprop(LEARNING_RATE, decay=DECAY, eps=EPS, eps_in_sqrt=False)
        self.model = Model(nnx.Rngs(0))
        self.optimizer = nnx.Optimizer(self.model, optax.chain(optax.clip(CLIP_VALUE), rmsprop), wrt=nnx.Param)
        self.train_step, self.next_id, self.zero_carries = train_step, next_id, zero_carries
        self.windows = Windows(streams_of(ids, setting.batch_size).astype(np.int32), setting.bptt_length)
        self.carries = self.zero_carry = zero_carries(setting.batch_size)

    def advance(self, updates: int) -> float:
        loss = float("nan")
        for _ in range(updates):
            inputs, targets, starts_epoch = self.windows.next()
            carries = self.zero_carry if starts_epoch else self.carries
            loss, self.carries = self.train_step(self.model, self.optimizer, carries, inputs.T, targets.T)
        return float(loss)

    def sample(self, length: int) -> np.ndarray:
        import jax

        ids, last, carries = [], np.int32(0), self.zero_carries(1)
        for key in jax.random.split(jax.random.key(0), length):
            drawn, carries = self.next_id(self.model, last, carries, key)
            last = np.int32(drawn)
            ids.append(int(last))
        return np.array(ids)


class Products:
    """No model: T recurrent products of a layer in a scan, for the float32 speed that a program of this form can reach.

    The batch is split over the devices that jaxrnn would use. The blocks of a product are added to be the next one's
    input, so that none can be left out.
    """

    def __init__(self, setting: CellSetting):
        import jax
        import jax.numpy as jnp

        gates, hidden = GATES[setting.kind], setting.hidden
        draw = np.random.default_rng(0)
        blocks = [np.linalg.qr(draw.standard_normal((hidden, hidden)))[0] for _ in range(gates)]
        self.W = jnp.asarray(np.concatenate(blocks, axis=1) / np.sqrt(gates), jnp.float32)
        self.h = jnp.asarray(draw.standard_normal((setting.batch_size, hidden)), jnp.float32)

        def window(h: Any, W: Any) -> Any:
            def step(h: Any, _: None) -> tuple[Any, None]:
                return functools.reduce(jnp.add, jnp.split(h @ W, gates, axis=1)), None

            return jax.lax.scan(step, h, None, setting.bptt_length)[0]

        mesh = jax.sharding.Mesh(
            np.array(jax.devices()[: math.gcd(setting.batch_size, jax.device_count())]), ("batch",)
        )
        rows, whole = jax.sharding.PartitionSpec("batch"), jax.sharding.PartitionSpec()
        split = jax.shard_map(window, mesh=mesh, in_specs=(rows, whole), out_specs=rows, check_vma=False)
        self.window = jax.jit(lambda h, W: split(h, W).mean())

    def advance(self, updates: int) -> float:
        return [float(self.window(self.h, self.W)) for _ in range(updates)][-1]

    def sample(self, length: int) -> np.ndarray:
        raise ValueError("products write no text")
