"""What skip connections do to three LSTM layers: the loss, and the gradient that reaches the lowest layer.

    python -m experiments.skip_connections [--csv FILE]

Three layers of 64 LSTM units with and without skip connections (the input to every layer, every layer to the output),
on the Python language reference, from the same seeds; the norm of the mean gradient at layer 1 after so many updates.
Graves (2013) reports no table for this; there is nothing published to compare with.

Obtained on one core of an AMD EPYC (Zen 4), no GPU, jax 0.10.2, 2026-11-26, means of three seeds; spreads and numbers
of each seed in experiments/README.md and experiments/results/skip_connections.csv:
    updates                          0          100        300        600
    smoothed loss, without           -        4.513      4.282      3.884
    smoothed loss, with              -        4.509      4.161      3.639
    gradient norm, without    1.72e-01     3.11e-04   4.00e-02   2.29e-01
    gradient norm, with       1.78e-01     1.98e-01   3.13e-01   3.22e-01
After 100 updates 600 times as much of the gradient reaches the lowest layer with the skips as without.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from cyclopts import Parameter
from flax import nnx

from experiments.csv_file import write_table
from jaxrnn import Corpus, LanguageModel, Text, Trainer, load_corpus, named_optimizer
from jaxrnn.checks import check_count
from jaxrnn.data import window_at
from jaxrnn.errors import ConfigurationError
from jaxrnn.models import loss_nats
from jaxrnn.terminal import run_app
from jaxrnn.training import initial_train_state

LAYERS, HIDDEN, STEPS, BATCH = 3, 64, 50, 32
INIT = jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")


def rows(corpus: Corpus, skip_connections: bool, updates: list[int], seeds: int) -> np.ndarray:
    """(updates, smoothed loss in nats a character, norm of the gradient at layer 1) at each of the totals of each seed.

    Returns:
      An array (seeds, totals, 3).
    """

    def make_model(rngs: nnx.Rngs) -> LanguageModel:
        options: dict[str, Any] = {"cell": "lstm", "layers": LAYERS, "skip_connections": skip_connections}
        return LanguageModel(len(corpus.vocabulary), HIDDEN, kernel_init=INIT, rngs=rngs, **options)

    task = Text(corpus, bptt_length=STEPS, batch_size=BATCH)
    adam = named_optimizer("adam", 2e-3, clip_global_norm=5.0)
    # Nothing is chosen here; judging the best by fresh starts, the default, would want more of a state.
    trainer = Trainer(make_model, task, adam, updates=updates[-1], devices="1", best_by="smoothed")
    streams = jnp.asarray(task.streams())

    @jax.jit
    def gradient_norm(params, carry, window):
        def loss(params):
            return loss_nats(nnx.merge(trainer.graphdef, nnx.State(params))(window[:-1], carry)[0], window[1:]).mean()

        return optax.global_norm(jax.grad(loss)(params)["stack"]["layers"][0])

    found = []
    for seed in range(seeds):
        start = initial_train_state(make_model(nnx.Rngs(seed)), adam, trainer.jobs[0].values, BATCH, seed)
        if seed == 0:
            trainer.begin([start])  # compiles; the other seeds run as the same program
        else:
            trainer.put(0, start)
        for total in updates:
            trainer.advance(total - int(trainer.updates[0]))
            state = trainer.state()
            norm = gradient_norm(state.params, state.carry, window_at(streams, state.window, STEPS))
            found.append((total, float(state.smooth_loss) if total else float("nan"), float(norm)))
    return np.array(found).reshape(seeds, len(updates), 3)


def main(
    *,
    updates: Annotated[list[int], Parameter(consume_multiple=True, negative="")] = [0, 100, 300, 600],  # noqa: B006
    seeds: int = 3,
    csv_file: Annotated[Path | None, Parameter("--csv")] = None,
) -> int:
    """What skip connections do to three LSTM layers: the loss, and the gradient that reaches the lowest layer.

    Takes two minutes of one core.

    Args:
      updates: after how many the loss and the gradient are looked at.
      seeds: how many, from 0.
      csv_file: where the numbers of every seed go.
    """
    for total in updates:
        check_count("updates", total, 0)
    if not any(updates):
        raise ConfigurationError("--updates expects at least one number above 0, got none")
    totals = sorted(set(updates))
    check_count("seeds", seeds, 1)
    table: list[tuple] = [("skip_connections", "seed", "update", "smooth_loss_nats", "gradient_norm")]
    corpus = load_corpus("python-reference")
    print("| skip connections | updates | smoothed loss, nats | gradient norm at layer 1 |\n|---|---|---|---|")
    for skip_connections in (False, True):
        by_seed = rows(corpus, skip_connections, totals, seeds)
        for seed, found in enumerate(by_seed.tolist()):
            table += [(skip_connections, seed, int(total), loss, norm) for total, loss, norm in found]
        for total, loss, norm in by_seed.mean(axis=0):
            print(f"| {'yes' if skip_connections else 'no'} | {total:.0f} | {loss:.3f} | {norm:.2e} |", flush=True)
    if csv_file:
        write_table(csv_file, table)
    return 0


if __name__ == "__main__":
    run_app(main)
