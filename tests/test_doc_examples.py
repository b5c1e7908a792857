"""The examples of the documentation run as they stand, in an empty folder, and come to what the pages say."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import jaxrnn

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "docs" / "examples"
MOST_LINES = 40


class Ran:
    """What an example has printed, and its variables."""

    def __init__(self, names: dict[str, Any], printed: str):
        self.names, self.printed = names, printed

    def number(self, before: str) -> float:
        """The last number behind these words."""
        return float(re.findall(re.escape(before) + r" ?([-+.e\d]+)", self.printed)[-1])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs an example by its name, with arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run_example(name: str, *arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return Ran(names, capsys.readouterr().out)

    return run_example


@pytest.fixture(scope="module")
def known() -> dict[str, float]:
    """The accuracies of examples that other tests have run."""
    return {}


def test_an_own_cell_learns_an_own_text(run: Any) -> None:
    Path("book.txt").write_text("the rain in spain stays mainly in the plain. " * 600, encoding="utf-8")
    ran = run("own_cell", "book.txt")
    assert 'more: jaxrnn.open_run("runs/own-cell", model).sample()    learning' in ran.printed  # not `jaxrnn sample`
    more = jaxrnn.open_run("runs/own-cell", ran.names["model"]).sample(length=20, temperature=0.5)
    assert len(more) == 20
    written = ran.printed.splitlines()[-1]
    assert sum(word in written for word in ("the", "rain", "in", "spain", "stays", "mainly", "plain.")) >= 5


def test_a_gru_classifies_sequences_of_different_lengths_and_goes_on_where_it_was(
    run: Any, known: dict[str, float]
) -> None:
    known["classify"] = run("classify").number("accuracy")
    assert known["classify"] > 0.9
    assert "already finished at update 250" in run("classify").printed
    assert Path("runs/classify/metrics.jsonl").is_file()


def test_a_regression_says_numbers(run: Any) -> None:
    ran = run("regress")
    assert ran.number("squared_error") < 0.005 and ran.number("absolute_error") < 0.06
    assert ran.printed.endswith("(1, 30)\n")


def test_a_cell_of_flax_is_trained(run: Any) -> None:
    assert run("flax_cell").number("squared error") < 0.02  # 1/6 for a model that knows nothing


def test_any_optimizer_of_optax(run: Any) -> None:
    assert run("any_optimizer").number("held out:") < 2.6


def test_a_sweep_of_six(run: Any) -> None:
    ran = run("sweep")
    scores = [float(number) for number in re.findall(r"^([\d.]+) nats", ran.printed, re.MULTILINE)]
    assert len(scores) == 6 and scores == sorted(scores) and scores[0] < 2.9 < scores[-1]
    assert {path.name for path in Path("runs/sweep/members").iterdir()} == set("012345")


def test_a_model_is_read_step_by_step_and_its_weights_are_arrays(run: Any) -> None:
    path = ROOT / "notebooks" / "models" / "warpeace_lstm_128x2.safetensors"
    ran = run("use_model", str(path))
    assert "logits (9, 1, 83) states (9, 1, 128) carry ('c', 'h')" in ran.printed
    np.testing.assert_allclose(ran.names["probabilities"], jax.nn.softmax(ran.names["logits"][-1, 0]), rtol=1e-5)
    weights, params = np.load("weights.npz"), jaxrnn.open_run(path).params()
    np.testing.assert_array_equal(weights["stack.layers.1.W_h"], params["stack"]["layers"][1]["W_h"])


def test_frozen_layers_stay_and_weights_come_back_from_a_file(run: Any) -> None:
    ran = run("frozen")
    assert "layers untouched: True" in ran.printed
    assert ran.number("\naccuracy") > 0.9 and abs(ran.number("from the file") - ran.number("\naccuracy")) < 1e-4


def test_a_forecast_goes_on_with_what_it_said(run: Any) -> None:
    assert run("forecast").number("mean error") < 0.05  # 0.64 for the mean of the series


def test_losses_of_ones_own(run: Any) -> None:
    ran = run("own_loss")
    assert ran.number("'accuracy':") > 0.9 and ran.number("'right':") > 0.9


def test_each_row_reaches_a_writer_of_scalars_once(run: Any) -> None:
    class Fake:
        def __init__(self) -> None:
            self.given: list[tuple[int, str, float]] = []

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            self.given.append((step, tag, value))

    ran, log, fake = run("tensorboard"), Path("runs/logged/metrics.jsonl"), Fake()
    told = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    expected = [(row["update"], *of) for row in told for of in row.items() if of[0] != "update" and of[1] is not None]
    again = ran.names["Rows"]("runs/logged", fake)
    for update in (20, 40):
        again(update, None)
    assert fake.given == expected and {step for step, *_ in expected} == {1, *range(4, 101, 4)}
    lines = [line for line in ran.printed.splitlines() if re.match(r" *\d+ \S+ \S+$", line)]
    assert lines == [f"{step:>4} {tag} {value:.4g}" for step, tag, value in expected]


def test_attention_finds_the_marked_step(run: Any) -> None:
    ran = run("attention")
    assert ran.number("\naccuracy") > 0.95
    model, task = ran.names["result"].trainer.model(), ran.names["task"]
    h, _ = model.stack(jax.numpy.asarray(task.inputs).swapaxes(0, 1), model.initial_carry(1000), lengths=task.lengths)
    looked_at = np.asarray(model.weights(h, task.lengths))[:, :, 0].argmax(axis=0)
    assert (abs(looked_at - task.inputs[:, :, 2].argmax(axis=1)) <= 1).mean() > 0.9


def test_pytorch_comes_to_the_same_accuracy(run: Any, known: dict[str, float]) -> None:
    pytest.importorskip("torch").set_num_threads(1)  # beside the other workers of the tests
    ours = known.get("classify") or run("classify").number("accuracy")
    assert abs(run("torch_classify").number("accuracy") - ours) < 0.05


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_shown(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < MOST_LINES
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert f"literalinclude}} examples/{path.name}" in pages
