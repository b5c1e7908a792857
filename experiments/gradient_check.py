"""Gradient tables of reports A (m = 100), B (m = 5, relative) and C (m = 5, four windows), in float64.

Command: python experiments/gradient_check.py [--text NAME_OR_PATH] [--json FILE]

The table of all of it, published and ours by kind of differences, is in experiments/README.md, its numbers in
results/gradient_tables.csv there. The hand-derived backward pass and jax.grad differ by at most 1.3e-15 (A, C) and
3.8e-14 of the value (B). B's error depends on the seed but for c, where it is the formula's: step / 4 (1 - 1 / K).

What the reports leave open, and what is taken here: A's "difference method" and C's "difference" are central
differences; the seeds of A and B are 0; C's "25 random characters" are drawn one by one from the text. C's Tables 1
to 4 are seed 40 and seed 8 on the first characters, then seed 40 and seed 8 on random ones, as its captions say. Its
U of 5.0e-10 (Table 1) repeats the C of the line above and is probably a misprint. The literal window is
read with A's K = 78, of which 14 symbols occur. U, W and V are printed, as the reports name them: our W_x, W_h and
W_y transposed. Differences are taken of each character's loss and then summed, which loses less to rounding than the
difference of two sums. C's U (6e-12) is below what second-order differences resolve in float64 (the loss is about
109, its last digit 1.4e-14, divided by twice the step), so C is also taken with the five-point formula.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.benchmark.baselines import initial_parameters
from jaxrnn import LanguageModel, load_corpus
from jaxrnn.inspect import Method, compare_gradients, gradient_errors, vanilla_loss_and_gradients
from jaxrnn.models import loss_nats
from jaxrnn.terminal import run_app

LITERAL = "HARRY POTTER AND THE GOBLE"
LITERAL_VOCABULARY_SIZE = 78  # A's first loss is 108.92 = 25 ln 78
WINDOW = 25
OURS = {"b": "b", "c": "b_y", "U": "W_x", "W": "W_h", "V": "W_y"}
PUBLISHED = {
    "A": {"b": 6.6e-10, "c": 7.3e-10, "U": 3.7e-10, "W": 4.2e-10, "V": 4.4e-10},
    "B": {"b": 1.3e-5, "c": 2.5e-5, "U": 7.1e-5, "W": 5.0e-4, "V": 5.0e-6},
    "C seed 40, first": {"b": 9.1e-11, "c": 5.0e-10, "U": 5.0e-10, "W": 4.8e-11, "V": 4.4e-11},
    "C seed 8, first": {"b": 6.3e-11, "c": 5.0e-10, "U": 7.0e-12, "W": 4.7e-11, "V": 4.6e-11},
    "C seed 40, random": {"b": 7.0e-11, "c": 5.0e-10, "U": 5.8e-12, "W": 4.1e-11, "V": 4.4e-11},
    "C seed 8, random": {"b": 1.1e-10, "c": 5.2e-10, "U": 7.1e-12, "W": 4.8e-11, "V": 4.3e-11},
}


@dataclass(frozen=True)
class Table:
    """One published table: its name in PUBLISHED, model size, seed, differences taken, error measure and window."""

    name: str
    hidden: int
    seed: int
    methods: tuple[Method, ...]
    measure: str = "max_absolute"
    random_window: bool = False


TABLES = (
    Table("A", 100, 0, ("central",)),
    Table("B", 5, 0, ("forward",), "max_relative"),
    Table("C seed 40, first", 5, 40, ("central", "five-point")),
    Table("C seed 8, first", 5, 8, ("central", "five-point")),
    Table("C seed 40, random", 5, 40, ("central", "five-point"), random_window=True),
    Table("C seed 8, random", 5, 8, ("central", "five-point"), random_window=True),
)


@dataclass(frozen=True)
class Row:
    """One line of a table: jax.grad against each kind of differences and against the hand-derived pass."""

    text: str
    table: str
    group: str
    published: float
    differences: dict[Method, float]
    share_below_1e6: float
    hand_derived: float

    @property
    def misses(self) -> dict[Method, float]:
        """The differences that do not meet the published maximum, with how many times theirs is larger."""
        return {method: error / self.published for method, error in self.differences.items() if error > self.published}

    def told(self) -> str:
        """Which kind of differences misses the published maximum, and by how much; nothing if all meet it."""
        return "; ".join(f"{method} misses by {factor:.3g}" for method, factor in self.misses.items())


def compute_table(table: Table, text_name: str, ids: np.ndarray, vocabulary_size: int) -> list[Row]:
    """Both comparisons for one table, on the first 25 characters of `ids` or on 25 drawn from it, carry zero."""
    window = ids[: WINDOW + 1].astype(np.int32)
    if table.random_window:
        window = np.random.default_rng(table.seed).choice(ids, WINDOW + 1).astype(np.int32)
    start = initial_parameters(vocabulary_size, table.hidden, table.seed)
    _, hand, _ = vanilla_loss_and_gradients(start, window[:-1], window[1:], np.zeros(table.hidden))
    with jax.enable_x64(True):
        model = LanguageModel(vocabulary_size, table.hidden, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        graphdef, state = nnx.split(model)
        paths = {path[-1]: path for path, _ in nnx.to_flat_state(state)}
        parameters = nnx.from_flat_state([(paths[name], jnp.asarray(start[name])) for name in start])
        inputs, targets = jnp.asarray(window[:-1, None]), jnp.asarray(window[1:, None])

        def losses(parameters: nnx.State) -> jax.Array:
            model = nnx.merge(graphdef, parameters)
            logits, _ = model(inputs, model.initial_carry(1))
            return loss_nats(logits, targets)

        by_differences = {method: compare_gradients(losses, parameters, method=method) for method in table.methods}
        analytic = jax.grad(lambda p: losses(p).sum())(parameters)
        by_hand = gradient_errors({path[-1]: np.asarray(leaf) for path, leaf in nnx.to_flat_state(analytic)}, hand)
    hand_rows = {row.group: row for row in by_hand}
    method_rows = {m: {row.group.split("/")[-1]: row for row in rows} for m, rows in by_differences.items()}
    return [
        Row(
            text=text_name,
            table=table.name,
            group=group,
            published=published,
            differences={method: getattr(rows[OURS[group]], table.measure) for method, rows in method_rows.items()},
            share_below_1e6=min(rows[OURS[group]].share_below_1e6 for rows in method_rows.values()),
            hand_derived=getattr(hand_rows[OURS[group]], table.measure),
        )
        for group, published in PUBLISHED[table.name].items()
    ]


def main(
    *, text: str = "python-reference", json_file: Annotated[Path | None, cyclopts.Parameter("--json")] = None
) -> int:
    """Prints the tables for the reports' literal window and for a text.

    Args:
      text: a known text or a file.
      json_file: where to write the rows.
    """
    corpus = load_corpus(text)
    literal = np.unique(list(LITERAL), return_inverse=True)[1]
    rows = []
    for name, ids, size in (("literal", literal, LITERAL_VOCABULARY_SIZE), (text, corpus.ids, len(corpus.vocabulary))):
        for table in TABLES:
            measure = table.measure.replace("max_", "largest ")
            print(f"\nTable {table.name}: {name}, m = {table.hidden}, K = {size}, {measure} error of jax.grad against")
            print("  group  published" + "".join(f"{m:>12}" for m in table.methods) + "  hand-derived  share < 1e-6")
            for row in compute_table(table, name, ids, size):
                obtained = "".join(f"{error:12.1e}" for error in row.differences.values())
                numbers = f"{row.published:9.1e}{obtained}{row.hand_derived:14.1e}{row.share_below_1e6:14.1%}"
                print(f"  {row.group:5}  {numbers}  {row.told()}".rstrip(), flush=True)
                rows.append(row)
    if json_file is not None:
        json_file.write_text(json.dumps([{**asdict(row), "misses": row.misses} for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    run_app(main)
