"""The examples of the documentation run as they stand, in an empty folder, and come to what the pages say."""

import re
import runpy
import sys
from pathlib import Path
from typing import Any

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


def test_an_own_cell_learns_an_own_text(run: Any) -> None:
    Path("book.txt").write_text("the rain in spain stays mainly in the plain. " * 600, encoding="utf-8")
    ran = run("own_cell", "book.txt")
    assert 'more: jaxrnn.open_run("runs/own-cell", model).sample()    learning' in ran.printed  # not `jaxrnn sample`
    more = jaxrnn.open_run("runs/own-cell", ran.names["model"]).sample(length=20, temperature=0.5)
    assert len(more) == 20
    written = ran.printed.splitlines()[-1]
    assert sum(word in written for word in ("the", "rain", "in", "spain", "stays", "mainly", "plain.")) >= 5


def test_a_gru_classifies_sequences_of_different_lengths_and_goes_on_where_it_was(run: Any) -> None:
    assert run("classify").number("accuracy") > 0.9
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


@pytest.mark.slow
def test_pytorch_comes_to_the_same_accuracy(run: Any) -> None:
    pytest.importorskip("torch")
    assert abs(run("torch_classify").number("accuracy") - run("classify").number("accuracy")) < 0.05


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_is_short_and_shown(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < MOST_LINES
    pages = "".join(page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md"))
    assert f"literalinclude}} examples/{path.name}" in pages
