"""What a notebook shows: numbers, vocabularies, samples, runs and models, in which hostile text stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import treescope
from flax import nnx

import jaxrnn
from jaxrnn.decode.sampling import Sample
from jaxrnn.models import parameter_table
from jaxrnn.scoring.evaluation import Evaluation
from jaxrnn.terminal.progress import Progress
from jaxrnn.terminal.table import Shown, html_table
from jaxrnn.training.start import train

HOSTILE = "<img src=x onerror='alert(1)'>&\"\x1b[2J\u202e"
ALLOWED = {"table", "tr", "th", "td", "pre"}


def assert_only_text(shown: str) -> None:
    """No tag but those of a table or a text, no attribute but its style, nothing that a reader would not see."""
    tags = re.findall(r"<\s*/?\s*([^\s>]*)([^>]*)>", shown)
    assert tags and {name for name, _ in tags} <= ALLOWED
    assert {rest.strip() for _, rest in tags} <= {"", 'style="white-space: pre-wrap"'}
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "value",
    [
        jaxrnn.Vocabulary.from_text(HOSTILE),
        Sample(HOSTILE),
        Shown({HOSTILE: 1.5, "b": HOSTILE, "c": np.array([HOSTILE, "x"])}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_hostile_text_stays_text(value: Any) -> None:
    assert_only_text(value._repr_html_())
    assert "&lt;" in value._repr_html_() and r"\x1b" in value._repr_html_() and "<pre" not in repr(value)


def test_numbers_and_columns_are_tables_and_stay_dicts() -> None:
    scores = Evaluation(0.5, 0.25, 1000)
    assert "<tr><th>loss_nats</th><td>0.5</td></tr>" in scores._repr_html_()
    assert json.loads(json.dumps(scores.numbers()))["characters"] == 1000 and isinstance(scores.numbers(), dict)
    shown = Shown({"update": np.arange(1, 31), "loss": np.full(30, 1 / 3)})._repr_html_()
    cells = [f"<td>{n}</td>" for n in (1, 2, 3, 4, 5, "…", 26, 27, 28, 29, 30)]
    assert f"<tr><th>update</th>{''.join(cells)}</tr>" in shown and "<td>0.333333</td>" in shown
    assert html_table([["a", True, None]]) == "<table><tr><th>a</th><td>True</td><td>None</td></tr></table>"


def test_a_sample_is_the_text_itself() -> None:
    text = Sample("a\n<b>")
    assert text == "a\n<b>" and repr(text) == repr("a\n<b>") and json.dumps(text) == json.dumps("a\n<b>")
    assert text._repr_html_() == '<pre style="white-space: pre-wrap">a\n&lt;b&gt;</pre>'


def test_a_run_its_numbers_and_its_model_show_themselves(tmp_path: Path) -> None:
    (tmp_path / "a & <b>.txt").write_text("the cat <i>sat</i> & ran. " * 20)
    config = jaxrnn.TrainConfig(text=str(tmp_path / "a & <b>.txt"), hidden=3, bptt_length=4, updates=3, sample_every=0)
    train(config, tmp_path / "<b>run", Progress(quiet=True))
    run = jaxrnn.open_run(tmp_path / "<b>run")
    displayed: list[Any] = [run, run.metrics, run.evaluate(config.text), run.vocabulary, run.sample(20)]
    for value in displayed:
        assert_only_text(value._repr_html_())
    assert "vanilla 3 x 1" in run._repr_html_() and "<td>a &amp; &lt;b&gt;.txt</td>" in run._repr_html_()
    assert "<th>Run</th><td>&lt;b&gt;run</td>" in run._repr_html_()  # no folder of this machine
    for value in (run.model(), run.state):
        assert "W_x" in treescope.render_to_text(value) and "<" in treescope.render_to_html(value)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_table_of_a_model_counts_all_its_parameters(monkeypatch, bidirectional: bool) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # a line for each row
    model = jaxrnn.SequenceClassifier(3, 4, 6, cell="lstm", layers=2, bidirectional=bidirectional, rngs=nnx.Rngs(0))
    *lines, last = parameter_table(model).splitlines()
    sizes = [leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]
    assert last.split() == ["in", "all", f"{sum(sizes):,}"]
    assert sum(int(line.split()[-1].replace(",", "")) for line in lines[1:]) == sum(sizes)
    assert sum(line.split()[1] == "LSTMCell" for line in lines[1:] if line[0] != " ") == (4 if bidirectional else 2)
    assert sum(line.count("W_x (") for line in lines) == (4 if bidirectional else 2)
    shown = treescope.render_to_text(model)
    assert "SequenceClassifier" in shown and "LSTMCell" in shown
