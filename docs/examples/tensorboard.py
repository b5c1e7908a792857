"""Each row of the log, as it is written, to TensorBoard or to anything else that has `add_scalar(tag, value, step)`."""

import json
from pathlib import Path

import numpy as np
import optax

import jaxrnn


class Rows:
    """A callback: hands on the rows of metrics.jsonl that it has not read yet; after a restart all once more."""

    def __init__(self, run, writer):
        self.log, self.writer, self.position = Path(run, "metrics.jsonl"), writer, 0

    def __call__(self, update, trainer):
        with open(self.log, encoding="utf-8") as log:
            log.seek(self.position)
            while line := log.readline():
                row = json.loads(line)
                for tag, value in row.items():
                    if value is not None and tag != "update":  # null where nothing was measured
                        self.writer.add_scalar(tag, value, row["update"])
            self.position = log.tell()


class Writer:  # in its place torch.utils.tensorboard.SummaryWriter(folder), or that of tensorboardX
    def add_scalar(self, tag, value, step):  # of Weights & Biases: wandb.log({tag: value}, step=step)
        print(f"{step:>4} {tag} {value:.4g}")


inputs = np.random.default_rng(0).normal(size=(200, 10, 2))
task = jaxrnn.Arrays(inputs, (inputs[:, :, 0].sum(axis=1) > 0).astype(int), batch_size=50)
make, rows = lambda rngs: jaxrnn.SequenceClassifier(2, 2, 8, rngs=rngs), Rows("runs/logged", Writer())
options = {"updates": 100, "log_every": 20, "callbacks": [(20, rows)], "validation": task, "run": "runs/logged"}
jaxrnn.fit(make, task, optax.adam(1e-2), **options)
