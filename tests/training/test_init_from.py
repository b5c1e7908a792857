"""Training begins with a trained model: letters stay what they were, and a larger model writes as before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxrnn
from jaxrnn.cells import CELLS
from jaxrnn.cli import app
from jaxrnn.data.reading import ReadingOptions
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.models.carrying_over import carried_over, symbols_axis
from jaxrnn.models.structure import model_with, params_of
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.terminal.progress import Progress
from jaxrnn.training import make_job
from tests.reference.lstm import lstm_step
from tests.reference.random_cell import quick_jit
from tests.reference.steps import unroll_steps
from tests.training.populations import assert_same_run
from tests.trees import assert_trees_equal

pytestmark = pytest.mark.usefixtures("shared_programs")

QUIET = Progress(quiet=True)
OLD, NEW = "abcdefg!", "\nacdeg?z"  # b, f and ! go; line feed, ? and z are new
KEPT = [c for c in NEW if c in OLD]
TEXTS = {"old.txt": "abc fed bag! cab. fade, " * 40, "new.txt": "zac? dec\nbade zeb, " * 40}
SMALL: dict[str, Any] = {"cell": "lstm", "hidden": 6, "init": "uniform", "init_scale": 0.5, "devices": "1"}
SMALL |= {"bptt_length": 5, "batch_size": 3, "updates": 30, "sample_every": 0, "optimizer": "adam"}
SMALL |= {"learning_rate": 0.01, "checkpoint_every": "20"}


def model_of(symbols: str, seed: int, hidden: int = 3, cell: str = "lstm", **options: Any) -> jaxrnn.LanguageModel:
    """All parameters, also biases and the learned carry, are drawn."""
    options |= {"kernel_init": jax.nn.initializers.normal(0.7), "param_dtype": jnp.zeros(()).dtype}
    model = jaxrnn.LanguageModel(len(symbols), hidden, cell=cell, rngs=nnx.Rngs(seed), **options)
    rng = np.random.default_rng(seed)
    graphdef, params = nnx.split(model)[0], params_of(model)
    noisy = jax.tree.map(lambda leaf: leaf + jnp.asarray(0.3 * rng.normal(size=leaf.shape), leaf.dtype), params)
    return model_with(graphdef, noisy)


def logits_of(model: jaxrnn.LanguageModel, symbols: str, text: str) -> np.ndarray:
    """(T, kept symbols), of the kept symbols in the order of `KEPT`."""
    ids = jnp.asarray([[symbols.index(c)] for c in text])
    logits = quick_jit(lambda: model(ids, model.initial_carry(1), engine="scan")[0])()
    return np.asarray(logits[:, 0])[:, [symbols.index(c) for c in KEPT]]


def begun(old: jaxrnn.LanguageModel, new: jaxrnn.LanguageModel, source: str = OLD, here: str = NEW) -> Any:
    begin = carried_over(old, new, symbols_axis(source, here), "mine")
    return model_with(nnx.split(new)[0], quick_jit(begin)(params_of(new)))


def test_kept_letters_are_read_and_foretold_as_before(float64: None) -> None:
    """Against the LSTM in NumPy that looks up each symbol of the source by itself; the restricted softmax is equal."""
    old: Any = model_of(OLD, 1)
    text = "".join(np.random.default_rng(0).choice(KEPT, 12))
    cell, weights = old.stack.layers[0], {}
    for name in ("W_x", "W_h", "b"):
        weights[name] = np.asarray(getattr(cell, name)[...])
    ids, zeros = np.array([[OLD.index(c)] for c in text]), np.zeros((1, 3))
    hs = np.stack([h[0] for _, h in unroll_steps(lstm_step, weights, ids, (zeros, zeros))])
    assert old.W_y is not None
    expected = hs @ np.asarray(old.W_y[...]) + np.asarray(old.b_y[...])
    expected = expected[:, [OLD.index(c) for c in KEPT]]
    new = begun(old, model_of(NEW, 2))
    logits = logits_of(new, NEW, text)
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-12)
    shares = [np.exp(of) / np.exp(of).sum(axis=1, keepdims=True) for of in (logits, expected)]
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-12)
    # A new symbol is the mean of the kept, where it is read and where it is foretold.
    ids_kept, ids_new = ([NEW.index(c) for c in NEW if (c in KEPT) == kept] for kept in (True, False))
    for value, axis in ((new.stack.layers[0].W_x, 0), (new.W_y, 1), (new.b_y, 0)):
        value = np.moveaxis(np.asarray(value[...]), axis, 0)
        for symbol in ids_new:
            np.testing.assert_allclose(value[symbol], value[ids_kept].mean(axis=0), rtol=1e-12)


LARGER: list[Any] = [
    ("lstm", {"layers": 2}, {"hidden": 5}),
    ("gru", {"layers": 2, "skip_connections": True, "learned_initial_carry": True}, {"hidden": 5, "layers": 3}),
    ("vanilla", {"embedding": 3, "tie_embedding": True}, {}),
]
LARGER += [
    pytest.param(*of, marks=pytest.mark.slow)
    for of in (
        *((cell, {}, {"hidden": 5}) for cell in CELLS if cell not in ("lstm", "gru", "lstm-layer-norm")),
        ("lstm", {"skip_connections": True, "embedding": 4}, {"hidden": 5, "layers": 2}),
        ("lstm-layer-norm", {"skip_connections": True}, {"layers": 2}),
    )
]


@pytest.mark.parametrize(("cell", "structure", "larger"), LARGER)
def test_a_larger_model_writes_as_before_and_has_a_use_for_what_is_new(
    cell: str, structure: dict[str, Any], larger: dict[str, Any], float64: None
) -> None:
    old = model_of(OLD, 1, cell=cell, **structure)
    new = begun(old, model_of(NEW, 2, cell=cell, **(structure | larger)))
    text = KEPT[0] + KEPT[3] + KEPT[1]
    np.testing.assert_allclose(logits_of(new, NEW, text), logits_of(old, OLD, text), rtol=0, atol=1e-13)
    # What is new is not dead: its outputs, by which the gradient of its zero weights is multiplied, are there.
    ids = jnp.asarray([[NEW.index(c)] for c in text])
    read = ids if new.embedding is None else new.embedding[...][ids]
    outputs = np.asarray(quick_jit(lambda: new.stack(read, new.initial_carry(1))[0])())
    assert outputs[-1].all() or cell == "temporal-gate-lstm"  # whose units are closed most of the time


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"hidden": 3}, {"hidden": 2}, "none can be taken away; give --hidden 3"),
    ({"layers": 2}, {"layers": 1}, "none can be taken away; give --layers 2"),
    ({"layers": 1}, {"layers": 2}, "without --skip-connections"),
    ({"cell": "lstm"}, {"cell": "gru"}, "of a LSTMCell in mine, and is to be of a GRUCell"),
    ({"cell": "lstm-layer-norm"}, {"cell": "lstm-layer-norm", "hidden": 6}, "give --hidden 3"),
    ({"embedding": 4}, {}, "embedding is of shape .* in mine, not there in the new model"),
    ({}, {"learned_initial_carry": True}, "not there in mine"),
    ({"cell": "gru"}, {"cell": "gru", "cell_options": {"use_bias": False}}, "b is of shape"),
]


@pytest.mark.parametrize(("old", "new", "said"), REFUSED)
def test_what_would_be_lost_is_refused_by_name(old: dict[str, Any], new: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        begun(model_of(OLD, 1, **old), model_of(NEW, 2, **new))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """runs/mine, trained on old.txt, with new.txt beside it and the same model in one file."""
    root = tmp_path_factory.mktemp("init_from")
    for name, text in TEXTS.items():
        (root / name).write_text(text)
    jaxrnn.train(jaxrnn.TrainConfig(text=str(root / "old.txt"), **SMALL), root / "mine", QUIET)
    jaxrnn.open_run(root / "mine").export(root / "model.safetensors")
    return root


def config_of(root: Path, **changed: Any) -> jaxrnn.TrainConfig:
    return jaxrnn.TrainConfig(**{"text": str(root / "new.txt"), **SMALL, **changed})


class Killed(Exception):
    """In the place of SIGKILL: nothing is saved."""


@pytest.mark.parametrize("killed", [1, pytest.param(25, marks=pytest.mark.slow)])
def test_a_killed_run_goes_on_exactly_when_its_source_is_gone(source: Path, tmp_path: Path, killed: int) -> None:
    """At update 1 nothing but the start was saved. The best parameters are judged from fresh starts."""
    mine, config, run = (
        shutil.copytree(source / "mine", tmp_path / "mine"),
        config_of(source, hidden=8),
        tmp_path / "run",
    )

    def kill(update: int, trainer: Any) -> None:
        raise Killed

    jaxrnn.train(config, tmp_path / "whole", QUIET, init_from=jaxrnn.open_run(mine))
    with pytest.raises(Killed):
        jaxrnn.train(config, run, QUIET, callbacks=[([killed], kill)], init_from=jaxrnn.open_run(mine))
    shutil.rmtree(mine)
    assert jaxrnn.resume(run, progress=QUIET).update == 30
    assert_same_run(run, tmp_path / "whole")
    record = json.loads((run / "config.json").read_text())["init_from"]
    assert record["name"] == "mine" and str(tmp_path) not in json.dumps(record) and len(record["sha256"]) == 64
    assert {name: record[name] for name in ("kept", "new", "gone")} == {"kept": 7, "new": 3, "gone": 4}
    # The same command goes on, also where the same parameters lie elsewhere; with others, or none, it is refused.
    assert jaxrnn.train(config, run, QUIET, init_from=jaxrnn.open_run(source / "model.safetensors")).update == 30
    for init_from, said in (
        (None, r"begun from mine \(update 30.*now it is to begin from drawn parameters"),
        (jaxrnn.open_run(run), r"begun from mine \(.*now it is to begin from run \("),
    ):
        with pytest.raises(CheckpointError, match=said):
            jaxrnn.train(config, run, QUIET, init_from=init_from)


def test_what_does_not_fit_the_source_is_refused_by_name(source: Path, tmp_path: Path) -> None:
    mine = jaxrnn.open_run(source / "mine")
    before = config_of(source, text=str(source / "old.txt"))
    with pytest.raises(CheckpointError, match="begun from drawn parameters, now it is to begin from mine"):
        jaxrnn.train(before, source / "mine", QUIET, init_from=mine)
    with pytest.raises(ConfigurationError, match="--cell, --bytes cannot be another than in"):
        make_job(config_of(source, cell="gru", bytes=True), init_from=mine)
    (tmp_path / "other.txt").write_text("0123456789" * 50)
    with pytest.raises(ConfigurationError, match="no symbol of"):
        make_job(config_of(source, text=str(tmp_path / "other.txt")), init_from=mine)


def test_members_of_fit_begin_with_the_same_whatever_their_seeds(source: Path) -> None:
    text = jaxrnn.Text(source / "new.txt", bptt_length=5, batch_size=3)

    def make(rngs: nnx.Rngs) -> jaxrnn.LanguageModel:
        return jaxrnn.LanguageModel(len(text.vocabulary), 6, cell="lstm", rngs=rngs)

    mine = jaxrnn.open_run(source / "mine")
    options: dict[str, Any] = {"updates": 2, "init_from": mine, "members": [{"seed": 1}, {"seed": 2}]}
    trainer = jaxrnn.Trainer(make, text, jaxrnn.named_optimizer("adam", 0.01), **options)
    first, second = (trainer.initial_state(member).params for member in (0, 1))
    assert_trees_equal(first, second)
    b_y, before = np.asarray(first["b_y"]), np.asarray(mine.params()["b_y"])
    of = [text.vocabulary.symbols.index(" "), mine.vocabulary.symbols.index(" ")]
    assert of[0] != of[1] and b_y[of[0]] == before[of[1]] != 0
    in_bytes = jaxrnn.Text(source / "new.txt", bptt_length=5, reading=ReadingOptions(bytes_mode=True))
    with pytest.raises(ConfigurationError, match="reads characters, the new text is read as bytes"):
        jaxrnn.Trainer(make, in_bytes, jaxrnn.named_optimizer("adam", 0.01), updates=1, init_from=mine)
    # A trainer knows its symbols too; a tree of parameters knows none and is taken as it is.
    trainer.advance(2)
    back = jaxrnn.Text(source / "old.txt", bptt_length=5, batch_size=3)
    again = jaxrnn.Trainer(
        lambda rngs: jaxrnn.LanguageModel(len(back.vocabulary), 6, cell="lstm", rngs=rngs),
        back,
        jaxrnn.named_optimizer("adam", 0.01),
        updates=1,
        init_from=trainer,
    )
    assert np.asarray(again.initial_state().params["b_y"])[of[1]] == np.asarray(trainer.params()["b_y"])[of[0]]


def test_the_command_takes_cell_and_sizes_from_the_source(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = ["train", str(source / "new.txt"), "--updates", "3", "--sample-every", "0", "--devices", "1"]
    model = source / "model.safetensors"
    assert exit_code_of(app, [*line, "--init-from", str(model)]) == 0
    expected = f"{model} (update 30): 7 symbols kept, 3 new: '\\n', '?', 'z'; 4 gone: '!', '.', 'f', 'g'"
    assert expected in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["new-lstm-6-from-model"]
    for options, said in (
        (["--cell", "gru"], "--cell cannot be another than in"),
        (["--hidden", "4"], "has 6 units"),
        (["--init-from", "nothing"], "holds no run"),
    ):
        begin = [] if "--init-from" in options else ["--init-from", str(source / "mine")]
        assert exit_code_of(app, [*line, *begin, *options]) == 2
        assert said in capsys.readouterr().err
