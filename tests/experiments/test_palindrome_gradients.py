"""The pictures of vanishing gradients: one tiny run of everything, its numbers, and what is refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.palindromes import gradients
from experiments.palindromes.gradients import app, law, norm_table
from jaxrnn.tasks.sequences import Sequences
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.trained.run import open_run

pytest.importorskip("matplotlib")

OPTIONS = {"--length": 7, "--hidden": 4, "--updates": 3, "--short-updates": 2, "--seed": 1}


def call(output, **changed):
    options = OPTIONS | {f"--{name}": value for name, value in changed.items()} | {"--output": output}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradients, "use_compile_cache", lambda: None)
        return exit_code_of(app, [str(part) for option in options.items() for part in option])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    output = tmp_path_factory.mktemp("gradients")
    assert call(output) == 0
    return output


@pytest.mark.slow
def test_everything_is_written(finished):
    for picture in ("hidden_gradients.png", "jacobian_law.png"):
        assert (finished / picture).read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((finished / "gradients.json").read_text())
    assert set(numbers["hidden_gradient_norms"]) == {"vanilla-7", "lstm-7", "lstm-open-7", "solved-vanilla-5"}
    assert {name: len(rows["trained"]) for name, rows in numbers["hidden_gradient_norms"].items()} == {
        "vanilla-7": 7,
        "lstm-7": 7,
        "lstm-open-7": 7,
        "solved-vanilla-5": 5,
    }
    assert set(numbers["hidden_gradient_norms"]["lstm-7"]) == {"untrained", "untrained, c", "trained", "trained, c"}
    assert {name: len(values) for name, values in numbers["eigenvalues"].items()} == {
        "vanilla-7": 4,
        "solved-vanilla-5": 4,
    }


@pytest.mark.slow
def test_the_norms_are_those_of_the_trained_model_on_unseen_sequences(finished):
    """dL/dh_T = (softmax - one-hot) W_y^T; after 3 updates it is no longer that of the untrained model."""
    norms = json.loads((finished / "gradients.json").read_text())["hidden_gradient_norms"]["vanilla-7"]
    model = open_run(finished / "vanilla-7").model("latest")
    key = jax.random.fold_in(jax.random.key(1, impl="threefry2x32"), 4)  # the stream of validation
    inputs, targets = Sequences("palindromes", 7).draw(key, jnp.arange(128))
    logits = np.asarray(model(inputs, model.initial_carry(128))[0][0], np.float64)
    error = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error[np.arange(128), np.asarray(targets[0])] -= 1
    expected = np.linalg.norm(error @ np.asarray(model.W_y[...], np.float64).T, axis=1).mean()
    assert norms["trained"][-1] == pytest.approx(expected, rel=1e-5)
    assert norms["untrained"][-1] != pytest.approx(expected, rel=1e-5)


def test_the_linear_law_has_the_slope_of_its_radius():
    norms = law(hidden=6, length=400, seed=0)["linear"]
    for radius, values in norms.items():
        assert (values[400] / values[200]) ** (1 / 200) == pytest.approx(float(radius), rel=0.01)


def test_the_tanh_law_stays_below_the_linear_one():
    norms = law(hidden=6, length=400, seed=0)
    assert all(norms["tanh"][radius][-1] < norms["linear"][radius][-1] for radius in ("0.9", "1", "1.1"))


def test_the_table_leaves_out_steps_that_are_not_there():
    rows = norm_table({"vanilla-12": {"trained": [float(t) for t in range(1, 13)]}}).splitlines()
    assert rows[0] == "| gradient norm | t = T | t = T - 10 | t = T - 50 | t = 1 |"
    assert rows[2] == "| vanilla-12, trained | 1.20e+01 | 2.00e+00 |  | 1.00e+00 |"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"length": 0}, "--sequence-length expects"),
        ({"updates": 0}, "--updates expects"),
        ({"hidden": "many"}, "--hidden expects a whole number"),
        ({"short-updates": -1}, "--updates expects"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(changed, message, tmp_path, capsys):
    assert call(tmp_path / "none", **changed) == 2
    stderr = capsys.readouterr().err
    assert message in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_another_seed_in_the_same_directory_is_refused(finished, capsys):
    assert call(finished, seed=2) == 2
    assert "seed" in capsys.readouterr().err
