"""A batch split over two devices is the batch on one; what may be split, and how a run keeps to it."""

import functools
import importlib.util
import json
import logging
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import Corpus
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.devices import mesh
from jaxrnn.devices.mesh import Layout, automatic_devices, mesh_of, use_cpu_devices
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.dropout import DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier
from jaxrnn.optim.optimizer import make_hyperparameters
from jaxrnn.tasks.arrays import Arrays
from jaxrnn.training.job import make_job
from jaxrnn.training.run_devices import layout_of
from jaxrnn.training.trainer import Trainer
from jaxrnn.training.values import TracedValues
from tests.faults.support import assert_refused, call, command, finish, five_parts, rows_of, start, tiny_text
from tests.reference.stack_loop import random_values
from tests.thinned import thinned
from tests.trees import assert_trees_close, assert_trees_equal

pytestmark = pytest.mark.optimized
SYMBOLS, BATCH, UPDATES = 7, 4, 20


def values_of(dtype, dropped, limit=np.inf):
    """Learning rate, dropout rates, and the limit of the backward loop."""
    rates = DropoutRates(between=jnp.asarray(0.3, dtype), recurrent=jnp.asarray(0.2, dtype))
    hyperparameters = make_hyperparameters(0.1, clip_value=5.0, decay_after_epochs=10, dtype=dtype)
    return TracedValues(hyperparameters, rates if dropped else DropoutRates(), jnp.asarray(limit, dtype))


@functools.cache
def trainer(dtype, devices, dropped):
    """Drops out, or clips in the backward loop with the limit that is in the state."""

    def make_model(rngs):
        options = {"cell": "lstm", "layers": 2, "learned_initial_carry": True, "param_dtype": jnp.dtype(dtype)}
        return random_values(LanguageModel(SYMBOLS, 6, rngs=rngs, **options), np.random.default_rng(2))

    with jax.enable_x64(dtype == "float64"):
        # Six windows an epoch: carries go back to the start while it trains.
        ids = np.random.default_rng(3).integers(0, SYMBOLS, 5 * BATCH * 6 + BATCH)
        config = TrainConfig(
            bptt_length=5,
            batch_size=BATCH,
            learned_initial_carry=True,
            dropout_between=0.3 if dropped else 0.0,
            dropout_recurrent=0.2 if dropped else 0.0,
            clip_backward=0.0 if dropped else 1e9,
            layers=2,
            dtype=dtype,
        )
        vocabulary = Vocabulary(tuple("abcdefg"))
        corpus = Corpus("ids", ids.astype(np.uint8), vocabulary, "", ReadingOptions(), document_end=3)
        return Trainer.of([make_job(config, corpus)._replace(make_model=make_model)], devices)


def begin(trainer, **changes):
    """Puts the first state in place, with changes of its own."""
    if trainer._states is None:
        trainer.begin()
    trainer.put(0, trainer.initial_state()._replace(**changes))


def train(trainer, updates, **changes):
    """All that training changes in the state after so many updates from the start, and their losses."""
    begin(trainer, **changes)
    losses = trainer.advance(updates)[0].loss
    return after(trainer), losses


def limited(trainer, limit):
    """Five updates with a limit in the backward loop."""
    with jax.enable_x64(True):
        return train(trainer, 5, values=values_of("float64", False, limit))


def after(trainer):
    """Of the state all that training changes, copied."""
    state = trainer.state()
    names = ("params", "optimizer_state", "carry", "update", "epoch", "window", "epoch_loss_sum", "epoch_loss")
    return {name: jax.tree.map(np.array, getattr(state, name)) for name in names}


@pytest.mark.parametrize(
    ("dtype", "dropped", "rtol"),
    thinned(
        [("float64", False, 1e-12), ("float64", True, 1e-12), ("float32", True, 1e-6)],
        {("float64", False, 1e-12), ("float32", True, 1e-6)},
    ),
)
def test_two_devices_train_as_one_does(dtype, dropped, rtol):
    one, two = (trainer(dtype, devices, dropped) for devices in (1, 2))
    # float32 is held for as long as rounding stays rounding: each update doubles what came before.
    updates = UPDATES if dtype == "float64" else 3
    expected, losses = train(one, updates)
    actual, split_losses = train(two, updates)
    np.testing.assert_allclose(split_losses, losses, rtol=rtol)
    assert_trees_close(actual, expected, rtol=rtol if dtype == "float64" else 5e-6)
    assert int(actual["epoch"]) == updates // 6 and len(set(losses.tolist())) == updates
    assert losses.dtype == dtype


def test_the_limit_of_the_backward_loop_does_not_depend_on_the_devices():
    one, two = (trainer("float64", devices, False) for devices in (1, 2))

    plain, tighter, expected = (limited(one, limit) for limit in (np.inf, 0.02, 0.04))
    # The limit acts on some entries and not on all: half of it is another run, and so is none.
    assert (np.abs(plain[1][1:] - expected[1][1:]) > 1e-6).all()
    assert (np.abs(tighter[1][1:] - expected[1][1:]) > 1e-6).all()
    actual = limited(two, 0.04)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-10)
    assert_trees_close(actual[0], expected[0], rtol=1e-10)


def test_sequences_of_different_lengths_weigh_the_same_on_two_devices():
    rng = np.random.default_rng(4)
    inputs, classes = rng.normal(size=(32, 5, 3)), rng.integers(0, 2, 32)
    arrays = Arrays(inputs, classes, lengths=rng.integers(1, 6, 32), batch_size=8)
    found = []
    for devices in ("1", "2"):
        model = SequenceClassifier(3, 2, 4, rngs=nnx.Rngs(0))
        trained = Trainer(model, arrays, optax.sgd(0.5), updates=5, devices=devices)
        found.append((trained.advance(5)[0], trained.params()))
    assert_trees_close(found[1], found[0], rtol=1e-5)


AS_ONE = """
import jax, numpy as np
import tests.devices.test_mesh as of
from tests.trees import assert_trees_close
assert jax.device_count() == 4
plain, one, two, four = (of.limited(of.trainer("float64", devices, False), limit)
                         for devices, limit in ((1, np.inf), (1, 0.04), (2, 0.04), (4, 0.04)))
assert (np.abs(plain[1][1:] - one[1][1:]) > 1e-6).all()
for split in (two, four):
    assert_trees_close(split, one, rtol=1e-10)
"""


def test_four_devices_train_as_one_does_also_clipped_in_the_backward_loop():
    answer = call(code=AS_ONE, env={**os.environ, "JAX_NUM_CPU_DEVICES": "4"})
    assert answer.code == 0, answer.err


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cpu", "weighted", "v5e"])
def test_an_update_of_four_devices_exchanges_once(target):
    if target == "v5e" and importlib.util.find_spec("libtpu") is None:
        pytest.skip("no compiler for a TPU: pip install libtpu")
    answer = call(target, code="import runpy; runpy.run_module('tests.devices.collectives', run_name='__main__')")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == ["all-reduce"]


def test_a_split_run_repeats_bit_for_bit_in_any_chunks_without_a_second_compilation(caplog):
    two = trainer("float32", 2, True)
    whole = train(two, UPDATES)
    assert_trees_equal(train(two, UPDATES), whole)
    begin(two)
    parts = []
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        for updates in (7, 13):
            parts.append(two.advance(updates)[0].loss)
        assert "compil" not in caplog.text
        jax.jit(lambda x: x + 3)(np.zeros(5))  # the log does tell of a compilation
        assert "compil" in caplog.text
    assert_trees_equal((after(two), np.concatenate(parts)), whole)


def test_each_device_holds_the_carry_of_its_own_streams():
    one, two = trainer("float32", 1, True), trainer("float32", 2, True)
    for trained in (one, two):
        begin(trained)
        trained.advance(2)
    whole, split = one.state(), two.state()
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
        layout_of([TrainConfig(batch_size=5, devices="2")])
    assert layout_of([TrainConfig(batch_size=6, devices="2")]) == Layout(spread=1, share=2)


def test_more_devices_than_there_are_is_refused_with_the_remedy():
    with pytest.raises(ConfigurationError, match=r"uses 3 devices, JAX has 2; .*jaxrnn.use_cpu_devices\(3\)"):
        mesh_of(Layout(share=3))


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


@pytest.mark.parametrize("devices", [0, -1, 2.5, True, None, "2", 100_000])
def test_a_number_of_cpu_devices_that_cannot_be_is_refused(devices, monkeypatch):
    monkeypatch.setattr(mesh.jax.config, "update", lambda *of: pytest.fail(f"JAX was told {of}"))
    with pytest.raises(ConfigurationError, match="--devices expects a whole number from 1 to "):
        use_cpu_devices(devices)


# A command on one core of the machine, where `auto` finds nothing to split over.
ON_ONE_CORE = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
MAIN = "from jaxrnn.cli import main; main()"
OPTIONS = ["--cell", "lstm", "--layers", "2", "--hidden", "6", "--bptt-length", "5", "--batch-size", "32"]
OPTIONS += ["--dropout-between", "0.2", "--log-every", "5", "--sample-every", "20", "--sample-length", "20"]


def devices_of(run):
    return json.loads((run / "config.json").read_text())["devices"]


@pytest.mark.slow
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


def test_a_split_that_does_not_divide_is_refused_by_the_command(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text(tiny_text())
    answer = command(capsys, "train", text, "--batch-size", "3", "--devices", "2", "--run", tmp_path / "run")
    assert_refused(answer, 2, "--devices 2 cannot share --batch-size 3")
    answer = command(capsys, "train", text, "--batch-size", "3", "--devices", "999999", "--run", tmp_path / "run")
    assert_refused(answer, 2, "--devices expects a whole number from 1 to ")
