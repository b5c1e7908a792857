"""What the devices tell each other in the compiled training program, as one JSON list, in a process of its own.

    python -m tests.devices.collectives cpu | v5e | weighted     four virtual CPU devices, or a v5e 2x2 described

`weighted` is a classifier of sequences of different lengths, on CPU devices; the others train a text.
"""

import json
import os
import re
import sys
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.devices.mesh import BATCH_AXIS, MEMBER_AXIS
from jaxrnn.engines.platforms import tracing_for
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.tasks.arrays import Arrays
from jaxrnn.training.chunk import train_chunk_of
from jaxrnn.training.job import make_job, model_structure, settings_of, template_of
from jaxrnn.training.members import Alone, _state_specs, stream_specs
from jaxrnn.training.trainer import Trainer

DEVICES = 4
COLLECTIVE = re.compile(r"= .*? (all-reduce|reduce-scatter|all-gather|collective-permute|all-to-all)(?:-start)?\(")


def collectives(target: str) -> list[str]:
    """Of an LSTM of two layers that clips in its backward loop and drops out, its batch shared by four devices."""
    devices = jax.devices()
    if target != "cpu":
        devices = topologies.get_topology_desc(topology_name=f"{target}:2x2", platform="tpu").devices
    mesh = Mesh(np.array(devices).reshape(1, DEVICES), (MEMBER_AXIS, BATCH_AXIS))
    sizes: dict[str, Any] = {"hidden": 32, "layers": 2, "batch_size": 16, "bptt_length": 10}
    clipped: dict[str, Any] = {"clip_backward": 1.0, "clip_global_norm": 5.0, "dropout_between": 0.2}
    config = TrainConfig(text="x", cell="lstm", optimizer="rmsprop", **sizes, **clipped)
    job = make_job(config, corpus_from_text("a few characters. " * 100))
    chunk = train_chunk_of(model_structure(job.make_model, "float32")[0], settings_of(job, DEVICES))
    state, streams = template_of(job), job.task.streams()
    specs = (_state_specs(state), stream_specs(True), PartitionSpec())
    spread = jax.shard_map(chunk, mesh=mesh, in_specs=specs, out_specs=(specs[0], PartitionSpec()), check_vma=False)
    put = jax.tree.map(lambda s: NamedSharding(mesh, s), specs, is_leaf=lambda node: isinstance(node, PartitionSpec))
    with tracing_for("cpu" if target == "cpu" else "tpu"):
        lowered = jax.jit(spread, in_shardings=put).lower(state, streams, np.int32(1))
    return COLLECTIVE.findall(lowered.compile().as_text() or "")


def collectives_of_weighted() -> list[str]:
    """Of a classifier, whose loss and accuracy are means over the steps that there are."""
    rng = np.random.default_rng(0)
    arrays = Arrays(rng.normal(size=(64, 5, 3)), rng.integers(0, 2, 64), lengths=rng.integers(1, 6, 64), batch_size=8)
    model = SequenceClassifier(3, 2, 4, rngs=nnx.Rngs(0))
    trainer = Trainer(model, arrays, optax.adam(1e-3), updates=1, devices=str(DEVICES))
    trainer.begin()
    assert isinstance(trainer._states, Alone)
    return COLLECTIVE.findall(trainer._states._chunk.as_text())  # type: ignore[attr-defined]


if __name__ == "__main__":
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_disable_most_optimizations", False)
    jax.config.update("jax_num_cpu_devices", DEVICES)
    print(json.dumps(collectives_of_weighted() if sys.argv[1] == "weighted" else collectives(sys.argv[1])))
