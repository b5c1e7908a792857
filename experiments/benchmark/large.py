"""A text larger than the device's memory, streamed from disk, against the same text whole on the device.

Command: python -m experiments.benchmark large [--mebibytes 2048] [--cell vanilla] [--hidden 32]

The text is the lines of War and Peace in new orders until it is large enough, in a temporary directory, with the ids;
both are deleted afterwards. Each way trains in a process of its own, so that its peak memory is its own. They take
turns; a turn is as many updates as one block of the streams has windows, so each holds one change of blocks. Blocks are
smaller here than jaxrnn's 32 MiB, and the network is small, so that what the blocks cost counts for more than it does.
The losses of both must be equal to the last bit.

Obtained on two cores of an AMD EPYC (Zen 4), no GPU, jax 0.10.2, 2026-11-26, machine quiet, --mebibytes 64
--block-mebibytes 4: disk 1.026 times as fast as memory, 930 and 918 thousand characters a second; losses equal to the
last bit; peak memory 434 MiB against 531. Encoding 509 MiB took 45 s beside other work and 0.05 GiB.
The same machine and day, the 2,048 MiB in blocks of 32, of which two are on the device, 3 rounds of 2,048 updates: disk
1.016 times as fast as memory, 837 and 838 thousand characters a second (medians of the ways; 1.016 is that of the
rounds' ratios); losses equal to the last bit; peak memory 558 MiB against 8,471. In all 6.5 minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark.timing import ROOT, in_rounds, median_ratio
from jaxrnn import TrainConfig, Trainer, load_corpus
from jaxrnn.errors import ConfigurationError

WAYS = ("memory", "disk")
AT_LEAST = 0.95  # of the speed of the text in memory
LONGEST = 1_000_000_000  # never reached


def time_large(
    *,
    text: str = "warpeace",
    mebibytes: int = 2048,
    cell: str = "vanilla",
    hidden: int = 32,
    batch_size: int = 256,
    bptt_length: int = 64,
    rounds: int = 7,
    block_mebibytes: int = 4,
    directory: Path | None = None,
) -> None:
    """Measure a text streamed from disk against the same text in memory.

    Args:
      text: a file or a known text, of whose lines the large one is made.
      mebibytes: size of the large one.
      cell: of the network.
      hidden: H.
      batch_size: B.
      bptt_length: T.
      rounds: how many; medians are printed.
      block_mebibytes: of a block; two are on the device.
      directory: where the temporary directory is made, with three times the size to spare.
    """
    if mebibytes < 1 or rounds < 1:
        raise ConfigurationError(f"--mebibytes and --rounds expect at least 1; got {mebibytes} and {rounds}")
    with tempfile.TemporaryDirectory(prefix="jaxrnn-large-", dir=directory) as folder, contextlib.ExitStack() as stack:
        path = Path(folder) / "large.txt"
        write_text(load_corpus(text), path, mebibytes << 20)
        options: dict[str, Any] = {"cell": cell, "hidden": hidden, "batch_size": batch_size, "bptt_length": bptt_length}
        options["block_bytes"] = block_mebibytes << 20
        workers = {way: stack.enter_context(_worker(path, way, options)) for way in WAYS}
        begun = {way: json.loads(worker.tell(None)) for way, worker in workers.items()}  # one after the other
        turn = begun["disk"]["block"]
        losses: dict[str, list[str]] = {way: [] for way in WAYS}

        def seconds(way: str) -> float:
            told = json.loads(workers[way].tell(turn))
            losses[way].append(told["losses"])
            return told["seconds"]

        found = in_rounds({way: (lambda way=way: seconds(way)) for way in WAYS}, rounds)  # type: ignore[misc]
        ended = {way: json.loads(worker.tell(0)) for way, worker in workers.items()}
    print(
        f"{mebibytes} MiB, {cell} {hidden}, B {batch_size}, T {bptt_length}, {rounds} rounds of {turn} updates, those "
        f"of a block of {block_mebibytes} MiB"
    )
    for way in WAYS:
        rate = turn * batch_size * bptt_length / statistics.median(found[way])
        first, last = begun[way], ended[way]
        print(
            f"{way:8} {rate:14,.0f} chars/s   peak memory {last['peak'] / 2**20:8,.0f} MiB, before the turns "
            f"{first['peak'] / 2**20:8,.0f}   read in {first['read']:.1f} s, ready in {first['ready']:.1f} s"
        )
    print(
        f"disk is {median_ratio(found['memory'], found['disk']):.3f} times as fast as memory (asked: {AT_LEAST:g}); "
        f"losses {'equal to the last bit' if losses['memory'] == losses['disk'] else 'DIFFER'}"
    )


def write_text(corpus: Any, path: Path, size: int) -> None:
    """Writes the lines of a text in new orders, a fixed sequence of them, until there are so many bytes."""
    lines, rng = corpus.vocabulary.decode(corpus.ids).splitlines(keepends=True), np.random.default_rng(0)
    lines = [line.encode() for line in lines]
    with open(path, "wb") as file:
        while (left := size - file.tell()) > 0:
            file.write(b"".join(lines[i] for i in rng.permutation(len(lines)))[:left].decode(errors="ignore").encode())


class _Worker:
    def __init__(self, process: subprocess.Popen):
        self.process = process

    def tell(self, updates: int | None) -> str:
        """Asks for so many updates, or for nothing; what it answers."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if updates is not None:
            self.process.stdin.write(f"{updates}\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker ended with {self.process.wait()}; see what it said above")
        return line


@contextlib.contextmanager
def _worker(path: Path, way: str, options: dict[str, Any]) -> Iterator[_Worker]:
    command = [sys.executable, "-m", "experiments.benchmark.large", str(path), way, json.dumps(options)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(path.parent / "cache")}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield _Worker(process)
        finally:
            process.kill()


def peak() -> int:
    """The largest resident memory that this process has had, in bytes."""
    of = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return of if sys.platform == "darwin" else 1024 * of


def work(path: str, way: str, options: dict[str, Any]) -> None:
    """Trains as many updates as each line asks for, and answers each with the seconds and the losses."""
    from jaxrnn.tasks import text
    from jaxrnn.training import make_job

    text.BLOCK_BYTES = options.pop("block_bytes")
    started = time.perf_counter()
    corpus = load_corpus(path, stream_from=way)
    read = time.perf_counter() - started
    job = make_job(TrainConfig(text=path, updates=LONGEST, loss_reduction="mean", stream_from=way, **options), corpus)
    trainer = Trainer.of([job], 1)
    trainer.advance(1)
    ready = time.perf_counter() - started
    print(json.dumps({"block": job.task.block, "read": read, "ready": ready, "peak": peak()}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        losses = trainer.advance(int(line))[0].loss if int(line) else np.zeros(0, np.float32)
        elapsed = time.perf_counter() - started
        print(json.dumps({"seconds": elapsed, "losses": losses.tobytes().hex()[-4000:], "peak": peak()}), flush=True)


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
