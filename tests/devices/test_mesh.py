"""A batch split over two devices is the batch on one; what may be split, and how a run keeps to it."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.config import TrainConfig
from jaxrnn.devices.mesh import automatic_devices, batch_mesh
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.dropout import DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.training.job import choose_devices
from tests.faults.support import assert_refused, call, finish, five_parts, rows_of, start, tiny_text
from tests.reference.stack_loop import random_values
from tests.reference.training import Trainer
from tests.trees import assert_trees_close, assert_trees_equal

SYMBOLS, BATCH, UPDATES = 7, 4, 20


@functools.cache
def trainer(dtype, devices, dropped):
    """Drops out, or clips in the backward loop with the limit that is in the state."""
    rng = np.random.default_rng(2)
    with jax.enable_x64(dtype == "float64"):
        options = {"cell": "lstm", "layers": 2, "learned_initial_carry": True, "param_dtype": jnp.dtype(dtype)}
        model = random_values(LanguageModel(SYMBOLS, 6, rngs=nnx.Rngs(0), **options), rng)
        rates = DropoutRates(between=jnp.asarray(0.3, dtype), recurrent=jnp.asarray(0.2, dtype)) if dropped else None
        # Six windows an epoch: carries go back to the start while it trains.
        ids = rng.integers(0, SYMBOLS, 5 * BATCH * 6 + BATCH)
        settings = {"bptt_length": 5, "document_end": 3, "learned_initial_carry": True, "drops_out": dropped}
        settings["clips_backward"] = not dropped
        return Trainer(model, ids, BATCH, dropout_rates=rates, devices=devices, **settings)


def fresh_state(trainer, **changes):
    """The first state, with rates of its own: the chunk takes its arguments over."""
    rates = jax.tree.map(jnp.copy, trainer.sites["dropout_rates"] or DropoutRates())
    return trainer.state(dropout_rates=rates, **changes)


def after(state):
    """Of a state all that training changes."""
    return {name: getattr(state, name) for name in ("params", "optimizer_state", "carry", "update", "epoch", "window")}


@pytest.mark.parametrize(
    ("dtype", "dropped", "rtol"), [("float64", False, 1e-12), ("float64", True, 1e-12), ("float32", True, 1e-6)]
)
def test_two_devices_train_as_one_does(dtype, dropped, rtol):
    with jax.enable_x64(dtype == "float64"):
        one, two = (trainer(dtype, devices, dropped) for devices in (1, 2))
        # float32 is held for as long as rounding stays rounding: each update doubles what came before.
        updates = UPDATES if dtype == "float64" else 3
        expected, losses, _ = one.advance(fresh_state(one), updates)
        actual, split_losses, _ = two.advance(fresh_state(two), updates)
        np.testing.assert_allclose(split_losses, losses, rtol=rtol)
        assert_trees_close(after(actual), after(expected), rtol=rtol if dtype == "float64" else 5e-6)
        assert int(actual.epoch) == updates // 6 and len(set(losses.tolist())) == updates


def test_the_limit_of_the_backward_loop_does_not_depend_on_the_devices():
    with jax.enable_x64(True):
        one, two = (trainer("float64", devices, False) for devices in (1, 2))

        def run(trainer, limit):
            return trainer.advance(fresh_state(trainer, clip_backward=jnp.asarray(limit)), 5)[:2]

        plain, tighter, expected = (run(one, limit) for limit in (np.inf, 0.02, 0.04))
        # The limit acts on some entries and not on all: half of it is another run, and so is none.
        assert (np.abs(plain[1][1:] - expected[1][1:]) > 1e-6).all()
        assert (np.abs(tighter[1][1:] - expected[1][1:]) > 1e-6).all()
        actual = run(two, 0.04)
        np.testing.assert_allclose(actual[1], expected[1], rtol=1e-10)
        assert_trees_close(after(actual[0]), after(expected[0]), rtol=1e-10)


def test_a_split_run_repeats_bit_for_bit_in_any_chunks_without_a_second_compilation():
    two = trainer("float32", 2, True)
    whole = two.advance(fresh_state(two), UPDATES)
    assert_trees_equal(two.advance(fresh_state(two), UPDATES), whole)
    first, losses, _ = two.advance(fresh_state(two), 7)
    two.advance(first, 1)
    first = two.advance(fresh_state(two), 7)[0]
    compiled = two.chunk._cache_size()  # beside the one from the start, one from a chunk's own result
    second, more, _ = two.advance(first, 13)
    assert_trees_equal((second, np.concatenate([losses, more])), (whole[0], whole[1]))
    assert two.chunk._cache_size() == compiled


def test_each_device_holds_the_carry_of_its_own_streams():
    one, two = trainer("float32", 1, True), trainer("float32", 2, True)
    whole, split = one.advance(fresh_state(one), 2)[0], two.advance(fresh_state(two), 2)[0]
    for layer, expected in zip(split.carry, whole.carry, strict=True):
        shards = sorted(layer.h.addressable_shards, key=lambda shard: shard.device.id)
        assert [shard.index[0] for shard in shards] == [slice(0, 2), slice(2, 4)]
        for shard in shards:
            np.testing.assert_allclose(shard.data, expected.h[shard.index], atol=1e-5)
        assert (np.abs(np.asarray(expected.h[:2] - expected.h[2:])) > 1e-3).any()
    for leaf in jax.tree.leaves(split.params):
        assert len({np.asarray(shard.data).tobytes() for shard in leaf.addressable_shards}) == 1
        assert leaf.sharding.is_fully_replicated


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ConfigurationError, match="--devices 2 cannot share --batch-size 5 evenly; give a divisor"):
        choose_devices(TrainConfig(batch_size=5, devices="2"))
    assert choose_devices(TrainConfig(batch_size=6, devices="2")) == 2


def test_more_devices_than_there_are_is_refused_with_the_remedy():
    with pytest.raises(ConfigurationError, match=r"over 3 devices, JAX has 2; .*jaxrnn.use_cpu_devices\(3\)"):
        batch_mesh(3)


@pytest.mark.parametrize(
    ("hidden", "batch_size", "available", "devices"),
    [(128, 100, 2, 2), (128, 100, 1, 1), (128, 100, 8, 5), (512, 32, 2, 2), (513, 100, 2, 1), (64, 31, 2, 1)]
    + [(64, 30, 2, 1), (64, 1, 2, 1), (64, 33, 3, 1), (64, 48, 3, 3)],
)
def test_the_rule_gives_each_device_sixteen_rows_and_divides_the_batch(hidden, batch_size, available, devices):
    assert automatic_devices(hidden, batch_size, available) == devices


# ---- in processes of their own, where JAX has not started ----

BEFORE_JAX_STARTS = """
import jaxrnn
from jax._src import xla_bridge
jaxrnn.Stack, jaxrnn.train, jaxrnn.use_cpu_devices
assert not xla_bridge.backends_are_initialized(), "import jaxrnn started JAX"
jaxrnn.use_cpu_devices(3)
import jax
assert jax.device_count() == 3
jaxrnn.use_cpu_devices(3)
try:
    jaxrnn.use_cpu_devices(2)
except jaxrnn.JaxrnnError as error:
    print(error)
"""


def test_cpu_devices_are_chosen_before_jax_starts_and_after_it_the_remedy_is_named():
    answer = call(code=BEFORE_JAX_STARTS)
    assert answer.code == 0, answer.err
    assert "JAX has started with 3 CPU device(s)" in answer.out
    assert "jaxrnn.use_cpu_devices(2) in the first cell, after a restart of the kernel" in answer.out


# A command on one core of the machine, where `auto` finds nothing to split over.
ON_ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
MAIN = "from jaxrnn.cli import main; main()"
OPTIONS = ["--cell", "lstm", "--layers", "2", "--hidden", "6", "--bptt-length", "5", "--batch-size", "32"]
OPTIONS += ["--dropout-between", "0.2", "--log-every", "5", "--sample-every", "20", "--sample-length", "20"]


def devices_of(run):
    return json.loads((run / "config.json").read_text())["devices"]


def test_a_run_keeps_the_devices_it_was_begun_with(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(tiny_text(600))

    def train(run, updates, *more, code=MAIN):
        arguments = ["train", str(text), *OPTIONS, "--updates", updates, "--run", str(tmp_path / run), *more]
        return start(arguments, code=code)

    def together(*processes):
        for process in processes:
            answer = finish(process)
            assert answer.code == 0, answer.err

    def resume(run, code):
        return start(["resume", str(tmp_path / run), "--updates", "40"], code=code)

    together(train("two", "40", "--devices", "2"), train("one", "40", "--devices", "1"))
    together(train("two-halves", "20", "--devices", "2"), train("one-halves", "20", code=ON_ONE_CORE + MAIN))
    assert {run: devices_of(tmp_path / run) for run in ("two", "two-halves", "one-halves")} == {
        "two": 2,
        "two-halves": 2,
        "one-halves": 1,
    }
    together(resume("two-halves", ON_ONE_CORE + MAIN), resume("one-halves", MAIN))
    for run, devices in (("two", 2), ("one", 1)):
        assert devices_of(tmp_path / f"{run}-halves") == devices
        actual, expected = five_parts(tmp_path / f"{run}-halves"), five_parts(tmp_path / run)
        for part in ("update", "state", "best", "samples"):
            assert actual[part] == expected[part], (run, part)
        losses = [[row["train/loss_nats"] for row in rows_of(tmp_path / name)] for name in (run, f"{run}-halves")]
        # The halves' own last update, 20, is a multiple of --log-every: both have the same rows.
        assert losses[0] == losses[1] and len(losses[0]) == 9
    assert five_parts(tmp_path / "one")["state"] != five_parts(tmp_path / "two")["state"]


def test_a_split_that_does_not_divide_is_refused_by_the_command(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(tiny_text())
    answer = call("train", text, "--batch-size", "3", "--devices", "2", "--run", tmp_path / "run")
    assert_refused(answer, 2, "--devices 2 cannot share --batch-size 3")
