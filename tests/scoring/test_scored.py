"""`jaxrnn evaluate` on a model in one file: unknown characters, models together, parameters that follow the text."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.data import several
from jaxrnn.data.corpus import load_corpus
from jaxrnn.data.splits import split_text
from jaxrnn.errors import ConfigurationError
from jaxrnn.scoring.adaptation import Adaptation
from jaxrnn.scoring.evaluation import Evaluation
from jaxrnn.trained.run import open_run
from tests.faults.support import assert_refused, command

MODEL = Path(__file__).parent.parent / "golden" / "model_text.safetensors"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Characters that the model knows."""
    symbols = open_run(MODEL).vocabulary.symbols
    path = tmp_path / "known.txt"
    path.write_text("".join(symbols[i * i % len(symbols)] for i in range(90)), encoding="utf-8")
    return path


def told(capsys: Any, *arguments: object) -> dict[str, Any]:
    answer = command(capsys, "evaluate", MODEL, *arguments)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def test_unknown_characters_are_skipped_and_counted_or_refused(text: Path, capsys: Any) -> None:
    strange = text.with_name("strange.txt")
    strange.write_text("\u2603".join(["", *text.read_text("utf-8"), ""]), encoding="utf-8")
    assert told(capsys, strange, "--unknown", "skip") == told(capsys, text) | {"skipped": 91}
    assert told(capsys, text, "--unknown", "skip")["skipped"] == 0
    assert_refused(command(capsys, "evaluate", MODEL, strange), 3, "U+2603", "--unknown skip")
    assert_refused(command(capsys, "evaluate", MODEL, text, "--unknown", "guess"), 2, "--unknown")
    strange.write_bytes("\u2603".encode("utf-16"))
    assert_refused(command(capsys, "evaluate", MODEL, strange), 3, "convert it to utf-8, or train with")


def test_a_model_beside_itself_scores_as_alone(text: Path, capsys: Any) -> None:
    together = told(capsys, text, "--ensemble", MODEL, "--ensemble", MODEL)
    assert together == pytest.approx(told(capsys, text), rel=1e-5)


def test_a_model_of_another_kind_is_refused(text: Path, capsys: Any) -> None:
    other = MODEL.with_name("model_palindromes.safetensors")
    assert_refused(command(capsys, "evaluate", MODEL, text, "--ensemble", other), 2, "not on a text")


def test_parameters_follow_a_text_that_is_no_other(text: Path, capsys: Any) -> None:
    still = told(capsys, text, "--adapt", "--adapt-text", text, "--adapt-rate", 0)
    assert still == pytest.approx(told(capsys, text), rel=1e-5)
    assert told(capsys, text, "--adapt", "--adapt-text", text)["loss_nats"] < still["loss_nats"]
    assert_refused(command(capsys, "evaluate", MODEL, text, "--adapt"), 3, "--adapt-text")
    assert_refused(command(capsys, "evaluate", MODEL, text, "--adapt", "--adapt-rate", -1), 2, "--adapt-rate")


def test_the_text_of_the_run_is_its_training_part_and_never_standard_input(text: Path, monkeypatch: Any) -> None:
    trained, adaptation = open_run(MODEL), Adaptation(rate=0.1, segment=5)
    corpus = load_corpus(text, trained.reading, trained.vocabulary)
    trained.record["data"]["sha256"] = corpus.digest
    folded: dict[str, Any] = {"text": str(text), "validation_fraction": 0.25, "fold": 1, "folds": 4}
    trained.config = dataclasses.replace(trained.config, **folded)
    part = text.with_name("part.txt")
    part.write_text(trained.vocabulary.decode(split_text(corpus.ids, 0.25, fold=1, folds=4).train), "utf-8")
    assert trained.evaluate(str(text), adaptation=adaptation) == pytest.approx(
        trained.evaluate(str(text), adaptation=adaptation, trained_on=str(part)), rel=1e-6
    )
    trained.config = dataclasses.replace(trained.config, text="-")
    monkeypatch.setattr(several, "read_stdin", lambda: pytest.fail("standard input was read"))
    with pytest.raises(ConfigurationError, match="does not say where its text is; give that as --adapt-text"):
        trained.evaluate(str(text), adaptation=adaptation)


@pytest.mark.parametrize(
    "option", [("--adapt-rate", 1), ("--adapt-decay", 0), ("--adapt-segment", 3), ("--adapt-text", "a")]
)
def test_how_to_follow_is_refused_where_nothing_follows(text: Path, capsys: Any, option: tuple[str, object]) -> None:
    answer = command(capsys, "evaluate", MODEL, text, *option)
    assert_refused(answer, 2, f"{option[0]} belongs to --adapt; give that too")


def test_a_loss_that_is_not_finite_is_an_error_and_no_json(text: Path, capsys: Any, monkeypatch: Any) -> None:
    adapting = ("evaluate", MODEL, text, "--adapt", "--adapt-text", text, "--adapt-rate")
    assert_refused(command(capsys, *adapting, 1e37), 5, "not finite; lower --adapt-rate")
    assert_refused(command(capsys, *adapting, 1e39), 2, "--adapt-rate expects a number below 3.4e+38")
    monkeypatch.setattr(Evaluation, "perplexity", math.inf)  # overflows where the loss does not
    assert told(capsys, text)["perplexity"] == "inf"
