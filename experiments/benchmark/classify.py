"""A GRU that classifies sequences of different lengths, from NumPy arrays, against the same in PyTorch.

Command: python -m experiments.benchmark classify [--hidden 32] [--longest 20] [--batch-size 64] [--json FILE]

What `docs/examples/classify.py` and `torch_classify.py` do. First each trains so many epochs and is scored on the
held-out sequences; then both train in turn, some seconds each, every other round in reverse order. A rate is the median
of the rounds, a ratio the median of the rounds' ratios, in epochs. PyTorch reads padded arrays that it was given once,
and has one thread or all, ours one device or one a core; of each the faster counts.

Obtained (two CPU cores, AMD EPYC, jax 0.10.2, PyTorch 2.13.0, 2026-11-26; milliseconds an epoch, accuracy after ten):

    --hidden 32 --longest 20      ours 28.8 (0.968)    PyTorch 181.7 (0.973, 0.978)     6.3 times as fast
    --hidden 128 --longest 100    ours 908 (0.932)     PyTorch 1,966 (0.947)            2.2 times as fast

Of 400 held-out sequences one accuracy has a standard error of about 0.01: the two are the same within it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import cyclopts
import jax
import numpy as np
import optax

import jaxrnn
from experiments.benchmark.timing import interleaved_rates, median_ratio
from jaxrnn.checks import check_count
from jaxrnn.devices import cores, fingerprint

FEATURES, CLASSES, LEARNING_RATE, SHORTEST, HELD_OUT = 2, 2, 1e-2, 5, 400


class Setting(NamedTuple):
    """Both stacks' network and data: N sequences of `SHORTEST` to `longest` steps, of which `HELD_OUT` are held out."""

    hidden: int = 32
    longest: int = 20
    batch_size: int = 64
    sequences: int = 2000

    @property
    def trained(self) -> int:
        return self.sequences - HELD_OUT

    @property
    def updates_per_epoch(self) -> int:
        return -(-self.trained // self.batch_size)


class Data(NamedTuple):
    """Inputs (N, T, F), filled up with zeros; lengths (N,); classes (N,): is the sum of the first feature above 0?"""

    inputs: np.ndarray
    lengths: np.ndarray
    classes: np.ndarray


def make_data(setting: Setting) -> Data:
    rng = np.random.default_rng(0)
    lengths = rng.integers(SHORTEST, setting.longest + 1, setting.sequences)
    inputs = rng.normal(size=(setting.sequences, setting.longest, FEATURES)).astype(np.float32)
    inputs *= np.arange(setting.longest)[None, :, None] < lengths[:, None, None]
    return Data(inputs, lengths, (inputs[:, :, 0].sum(axis=1) > 0).astype(int))


class JaxrnnClassifier:
    """The program of `jaxrnn.fit`, without files."""

    def __init__(self, setting: Setting, data: Data, devices: int):
        def task(part: slice) -> jaxrnn.Arrays:
            of = Data(*(array[part] for array in data))
            return jaxrnn.Arrays(of.inputs, of.classes, lengths=of.lengths, batch_size=setting.batch_size)

        def model(rngs: Any) -> jaxrnn.SequenceClassifier:
            init = jax.nn.initializers.glorot_uniform()
            options = {"cell": "gru", "kernel_init": init, "rngs": rngs}
            return jaxrnn.SequenceClassifier(FEATURES, CLASSES, setting.hidden, **options)

        self.held_out = task(slice(setting.trained, None))
        adam, train = optax.adam(LEARNING_RATE), task(slice(setting.trained))
        self.trainer = jaxrnn.Trainer(model, train, adam, epochs=1, devices=str(devices))

    def advance(self, updates: int) -> float:
        return float(self.trainer.advance(updates)[0].loss[-1])

    def accuracy(self) -> float:
        return float(self.trainer.evaluate(self.held_out, checkpoint="latest")["accuracy"])


class TorchClassifier:
    """As `torch_classify.py`."""

    def __init__(self, setting: Setting, data: Data, threads: int):
        import torch

        torch.manual_seed(0)
        self.torch, self.setting, self.threads = torch, setting, threads
        self.inputs = torch.from_numpy(data.inputs).transpose(0, 1).contiguous()  # (T, N, F)
        self.lengths, self.classes = torch.from_numpy(data.lengths), torch.from_numpy(data.classes)
        self.gru, self.out = torch.nn.GRU(FEATURES, setting.hidden), torch.nn.Linear(setting.hidden, CLASSES)
        self.adam = torch.optim.Adam([*self.gru.parameters(), *self.out.parameters()], lr=LEARNING_RATE)
        self.waiting: list[Any] = []

    def logits(self, rows: Any) -> Any:
        hs, _ = self.gru(self.inputs[:, rows])
        return self.out(hs[self.lengths[rows] - 1, self.torch.arange(len(rows))])

    def advance(self, updates: int) -> float:
        self.torch.set_num_threads(self.threads)
        for _ in range(updates):
            if not self.waiting:
                self.waiting = list(self.torch.randperm(self.setting.trained).split(self.setting.batch_size))
            rows = self.waiting.pop()
            loss = self.torch.nn.functional.cross_entropy(self.logits(rows), self.classes[rows])
            self.adam.zero_grad()
            loss.backward()
            self.adam.step()
        return loss.item()

    def accuracy(self) -> float:
        rows = self.torch.arange(self.setting.trained, self.setting.sequences)
        with self.torch.no_grad():
            return (self.logits(rows).argmax(1) == self.classes[rows]).float().mean().item()


def time_classify(
    *,
    hidden: int = 32,
    longest: int = 20,
    batch_size: int = 64,
    epochs: int = 10,
    rounds: int = 5,
    seconds: float = 1.0,
    json_file: Annotated[Path | None, cyclopts.Parameter("--json")] = None,
) -> None:
    """A classifier of sequences: seconds an epoch, and accuracy, against PyTorch.

    Args:
      hidden: units of the GRU.
      longest: steps of the longest sequence; the shortest has 5.
      batch_size: sequences an update.
      epochs: after which the accuracy is measured.
      rounds: how many.
      seconds: of each competitor in a round.
      json_file: where the rates of every round go.
    """
    for name, value in (("hidden", hidden), ("batch_size", batch_size), ("epochs", epochs), ("rounds", rounds)):
        check_count(name, value, 1)
    check_count("longest", longest, SHORTEST)
    jaxrnn.use_cpu_devices(cores())
    setting = Setting(hidden, longest, batch_size)
    data, counts = make_data(setting), sorted({1, cores()})
    competitors: dict[str, JaxrnnClassifier | TorchClassifier] = {
        f"ours, devices {n}": JaxrnnClassifier(setting, data, n) for n in counts if batch_size % n == 0
    }
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: left out")
    else:
        competitors |= {f"PyTorch, threads {n}": TorchClassifier(setting, data, n) for n in counts}
    accuracies = {}
    for name, competitor in competitors.items():
        competitor.advance(epochs * setting.updates_per_epoch)
        accuracies[name] = competitor.accuracy()
    rates = interleaved_rates(competitors, rounds, seconds)
    for name, values in rates.items():
        epoch = setting.updates_per_epoch / statistics.median(values)
        print(f"{name:20} {epoch * 1e3:8.1f} ms an epoch, accuracy {accuracies[name]:.3f} after {epochs} epochs")
    best = {
        stack: max((rates[name] for name in rates if name.startswith(stack)), key=statistics.median, default=[])
        for stack in ("ours", "PyTorch")
    }
    if best["PyTorch"]:
        print(f"ours is faster by {median_ratio(best['ours'], best['PyTorch']):.2f}")
    if json_file is not None:
        about = {"setting": setting._asdict(), "machine": fingerprint(), "cores": os.cpu_count()}
        found = {"updates_per_second": rates, "accuracy": accuracies}
        json_file.write_text(json.dumps({**about, **found}, indent=1) + "\n", encoding="utf-8")
