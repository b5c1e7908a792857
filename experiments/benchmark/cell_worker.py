"""One competitor of `cells.py` in its own process: allocator settings and CPU devices belong to a process.

Command: python -m experiments.benchmark.cell_worker STACK KIND HIDDEN LAYERS [--text TEXT] [--batch-size B]
         [--bptt-length T] [--precision float32|tf32|bf16]

STACK is torch, flax, jaxrnn, jaxrnn-1-device or product. It prints "first update" after one update and "ready" after
some more; then it answers each line that it reads with one line of JSON:
    go SECONDS    trains about that long: characters per second and the loss after it
    sample N      writes N characters: characters per second
    peak          the process's largest resident memory so far, in bytes
    quit          nothing: it ends
It runs unchanged on a GPU, in float32 with full products, or with those of TF32; ours in bfloat16 too.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import IO, Any

import numpy as np

from experiments.benchmark.cell_baselines import (
    CLIP_VALUE,
    GATES,
    INIT_SCALE,
    LEARNING_RATE,
    CellBaseline,
    CellSetting,
    FlaxCells,
    Products,
    TorchCells,
)
from experiments.benchmark.timing import seconds_and_loss
from jaxrnn import Corpus, load_corpus
from jaxrnn.data import corpus_from_text

OURS = ("jaxrnn", "jaxrnn-1-device")
STACKS = ("torch", "flax", *OURS, "product")
PRECISIONS = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16"}
SYMBOLS = 83  # of War and Peace, so of the text that stands in for it
WARM_SECONDS = 0.5
WARM_CHARACTERS = 20


class JaxrnnCells:
    """The library's own training program and sampler, without log and checkpoints."""

    def __init__(self, corpus: Corpus, setting: CellSetting, devices: str, precision: str = "float32"):
        from jaxrnn import TrainConfig, Trainer
        from jaxrnn.training import make_job, prepare_devices

        settings: dict[str, Any] = {
            "text": corpus.name,
            "cell": setting.kind,
            "hidden": setting.hidden,
            "layers": setting.layers,
            "batch_size": setting.batch_size,
            "bptt_length": setting.bptt_length,
            "optimizer": "rmsprop",
            "learning_rate": LEARNING_RATE,
            "clip_value": CLIP_VALUE,
            "loss_reduction": "mean",
            "init": "uniform",
            "init_scale": INIT_SCALE,
            "devices": devices,
            "precision": precision,
        }
        config = TrainConfig(**settings)
        prepare_devices(config)
        self.trainer = Trainer.of([make_job(config, corpus)])
        self.trainer.begin()

    def advance(self, updates: int) -> float:
        return float(self.trainer.advance(updates)[0].loss[-1])

    def sample(self, length: int) -> np.ndarray:
        import jax

        from jaxrnn.decode import sample_ids

        graphdef, params = self.trainer.graphdef, self.trainer.params()
        chunks = sample_ids(graphdef, params, length=length, key=jax.random.key(0))
        return np.concatenate(list(chunks))


def load_text(text: str | None) -> Corpus:
    """The text asked for; else War and Peace if JAXRNN_DATA has it; else as many symbols, drawn at random."""
    data = os.environ.get("JAXRNN_DATA")
    if text is None and data and (Path(data) / "warpeace.txt").exists():
        text = "warpeace"
    if text is not None:
        return load_corpus(text)
    drawn = np.random.default_rng(0).integers(0, SYMBOLS, 300_000)
    return corpus_from_text("".join(map(chr, drawn + ord("0"))), "random symbols")


def make_competitor(stack: str, corpus: Corpus, setting: CellSetting, precision: str = "float32") -> CellBaseline:
    """What trains in this process.

    Raises:
      ValueError: if others than ours are to multiply in bfloat16, which they would not.
    """
    if precision == "bf16" and stack not in OURS:
        raise ValueError(f"bf16 is measured of {' and '.join(OURS)} only, not of {stack}")
    if stack == "torch":
        return TorchCells(corpus.ids, len(corpus.vocabulary), setting, tf32=precision == "tf32")
    import jax

    # A CPU's code is the same.
    jax.config.update("jax_default_matmul_precision", PRECISIONS[precision])
    if stack == "flax":
        return FlaxCells(corpus.ids, len(corpus.vocabulary), setting)
    if stack == "product":
        from jaxrnn import use_cpu_devices
        from jaxrnn.devices import cores
        from jaxrnn.devices.mesh import automatic_devices

        use_cpu_devices(automatic_devices(setting.hidden, setting.batch_size, cores()))
        return Products(setting)
    return JaxrnnCells(corpus, setting, "1" if stack == "jaxrnn-1-device" else "auto", precision)


def peak_bytes() -> int:
    """The largest resident memory so far. Linux's `ru_maxrss` would count what the parent held when it forked."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def serve(competitor: CellBaseline, setting: CellSetting, commands: IO[str], answers: IO[str]) -> None:
    """Warms up, then answers commands until "quit" or the end of the input."""

    def say(line: str) -> None:
        answers.write(line + "\n")
        answers.flush()

    competitor.advance(1)
    say("first update")
    characters = setting.batch_size * setting.bptt_length
    trial, elapsed = 1, seconds_and_loss(competitor, 1)[0]
    while elapsed < WARM_SECONDS:
        trial *= 2
        elapsed, _ = seconds_and_loss(competitor, trial)
    seconds = elapsed / trial  # of an update
    sampled = False
    say("ready")
    for line in commands:
        command, *values = line.split()
        if command == "quit":
            return
        if command == "go":
            updates = max(1, round(float(values[0]) / seconds))
            elapsed, loss = seconds_and_loss(competitor, updates)
            seconds = elapsed / updates
            say(json.dumps({"chars_per_second": characters / seconds, "loss": loss}))
        elif command == "sample":
            if not sampled:
                competitor.sample(WARM_CHARACTERS)  # compiles
                sampled = True
            started = time.perf_counter()
            written = len(competitor.sample(int(values[0])))
            say(json.dumps({"chars_per_second": written / (time.perf_counter() - started)}))
        elif command == "peak":
            say(json.dumps({"peak_bytes": peak_bytes()}))
        else:
            raise ValueError(f"expected go, sample, peak or quit; got {line!r}")


def main() -> None:
    parser = argparse.ArgumentParser(description="One competitor of the benchmark of cells.")
    parser.add_argument("stack", choices=STACKS)
    parser.add_argument("kind", choices=tuple(GATES))
    parser.add_argument("hidden", type=int)
    parser.add_argument("layers", type=int)
    parser.add_argument("--text")
    parser.add_argument("--precision", choices=tuple(PRECISIONS), default="float32")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--bptt-length", type=int, default=100)
    given = parser.parse_args()
    setting = CellSetting(given.kind, given.hidden, given.layers, given.batch_size, given.bptt_length)
    serve(make_competitor(given.stack, load_text(given.text), setting, given.precision), setting, sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
