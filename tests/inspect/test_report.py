"""The report of a trained model: its numbers are those of `guess`, and its page holds nothing but itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import jaxrnn
from jaxrnn.cli import app
from jaxrnn.data.reading_options import ReadingOptions
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.inspect.errors_by_kind import kinds_of_errors
from jaxrnn.inspect.look import Look
from jaxrnn.inspect.ngrams import ngram_log_p, train_ngrams
from jaxrnn.inspect.reading import Guesses, guess
from jaxrnn.inspect.report import Inside, calibration_of_guesses, look_inside
from jaxrnn.inspect.report_of_run import find_text, look_inside_run
from jaxrnn.inspect.report_page import page
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.terminal.printable import printable
from tests.inspect.test_coloured_text import NASTY, Page

MODEL = Path(__file__).parent.parent / "golden" / "model_text.safetensors"
TEXT = "the cat sat on the mat; the dög ran far away. 道は遠い。\n"


@pytest.fixture(scope="module")
def inside(tmp_path_factory: Any) -> Inside:
    path = tmp_path_factory.mktemp("text") / "te<x>t.txt"
    path.write_text(TEXT * 100, encoding="utf-8")
    return look_inside_run(jaxrnn.open_run(MODEL), Look(str(path), 4000), for_page=True)


def test_the_numbers_are_those_of_guess(inside: Inside) -> None:
    model = jaxrnn.open_run(MODEL)
    ids = model.vocabulary.encode(TEXT * 100)
    warm = guess(model.model(), ids[1000:], before=ids[:1000])
    assert inside.read_before == 1000 and np.array_equal(inside.ids, ids[1000:])
    assert inside.loss_nats == pytest.approx(-warm.log_p.mean(), rel=1e-6)
    shown = page(inside)
    assert f"<b>{-warm.log_p.mean():.4f}</b> nats" in shown
    assert f"{(warm.best[:, 0] == ids[1001:]).mean():.1%} of the" in shown
    assert f"loss  {-warm.log_p.mean():.4f} nats" in "\n".join(inside.in_words())
    forget = inside.layers[0].gates["forget"]
    assert f"<td>layer 1 forget<td>{forget.low.mean():.1%}<td>{forget.high.mean():.1%}" in shown
    assert inside.other is not None and not np.allclose(inside.other.log_p[:50], warm.log_p[:50])
    assert max(map(len, inside.in_words())) <= 80


def test_of_a_model_of_bytes_the_numbers_are_those_of_a_byte() -> None:
    text = (TEXT * 3).encode()
    vocabulary = Vocabulary(tuple(sorted({chr(byte) for byte in text})), bytes_mode=True)
    model = jaxrnn.LanguageModel(len(vocabulary), 3, rngs=nnx.Rngs(0))
    inside = look_inside(model, vocabulary, vocabulary.encode(text.decode("latin-1")))
    told = "\n".join(inside.in_words())
    assert " bits a byte" in told and f"of {len(text) - 1:,} bytes" in told
    assert "each byte is a character" in page(inside)


def test_the_page_loads_nothing_and_is_small(inside: Inside) -> None:
    shown = page(inside, "model <of> mine", beneath=True)
    read = Page(shown)
    assert not {"script", "link", "img", "iframe", "object", "use", "image"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name in ("src", "xlink:href") or name.startswith("on")]
    assert all(value and value.startswith("#part") for name, value in read.attributes if name == "href")
    assert not re.search(r"https?:|url\(|@import|javascript:", shown)
    assert "model <of> mine" in read.text and "te<x>t.txt" in read.text
    assert TEXT * 70 in read.text  # the coloured text, whole
    assert len(shown.encode()) < 100 * 4000
    assert read.tags.count("details") == len(inside.units) > 0 and read.tags.count("polyline") == 4 + 4 * len(
        inside.units
    )
    for heading in (
        "started cold",
        "Loss along the text",
        "Gates",
        "Units that track",
        "Calibration",
        "What it writes",
    ):
        assert heading in read.text
    assert "nats a character" in shown and "characters)" in shown


def test_n_gram_models_and_kinds_of_errors_are_those_of_the_training_text_on_the_same_characters() -> None:
    opened = jaxrnn.open_run(MODEL)
    ids = opened.vocabulary.encode(TEXT * 60)
    parts = {"training": ids[:1500], "validation": ids[1500:2000], "test": ids[2000:]}
    made = look_inside(
        opened.model(), opened.vocabulary, parts["validation"], before=ids[:1500], parts=parts, orders=2, cold=50
    )
    expected = -ngram_log_p(train_ngrams(ids[:1500], len(opened.vocabulary), 2), ids[500:2000])[:, -499:].mean(1)
    assert made.by_order is not None and np.allclose(made.by_order, expected, rtol=1e-12)
    kinds = kinds_of_errors(made.guesses.log_p, ids[500:2000], ids[:1500], opened.vocabulary)
    assert made.errors is not None and made.errors.kinds == kinds.kinds
    assert {name: of.places[0] for name, of in made.along.items()} == {"training": 0, "validation": 1500, "test": 2000}
    assert made.other is not None and made.other.log_p.shape == (50,)
    shown, told = page(made), made.in_words()
    for order, loss in enumerate(expected, 1):
        assert f"<td>{order}<td>{loss:.4f}" in shown and f"{order:4} {loss:.4f}" in "\n".join(told)
    for name, *shares in kinds.kinds:
        assert f"<td>{name}" + "".join(f"<td>{share:.1%}" for share in shares) in shown
    assert max(map(len, told)) <= 80
    assert [f">{name}</text>" in shown for name in parts] == [True] * 3  # where the parts of the whole text begin
    assert look_inside(opened.model(), opened.vocabulary, ids, parts=parts).errors is None


def test_a_vocabulary_of_markup_and_escape_sequences_is_text_on_the_page() -> None:
    vocabulary = Vocabulary.from_text(NASTY)
    ids, n = vocabulary.encode(NASTY * 15), len(NASTY) * 15
    generator = np.random.default_rng(0)
    best = generator.integers(0, len(vocabulary), (n - 1, 2))
    guesses = Guesses(np.log(generator.random(n - 1)), best, np.full((n - 1, 2), 0.5), np.ones(n - 1))
    calibration = calibration_of_guesses(guesses, ids[1:])
    made = Inside(
        vocabulary, ids, n, 0, guesses, None, [], np.zeros((n - 1, 0)), {}, [], calibration, NASTY, (NASTY, None)
    )
    shown = page(made, NASTY, beneath=True)
    assert "<script" not in shown and "\x1b" not in shown and "\x00" not in shown
    assert printable(NASTY * 15) in Page(shown).text


def test_the_command_prints_plain_text_where_there_is_no_terminal(tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "text.txt"
    path.write_text(TEXT * 4, encoding="utf-8")
    assert exit_code_of(app, ["inspect", str(MODEL), "--text", str(path), "--start", "cold"]) == 0
    out = capsys.readouterr().out
    assert TEXT * 3 in out and "\x1b" not in out and "layer 1 forget" in out and "not searched" in out
    assert exit_code_of(app, ["inspect", str(MODEL), "--text", str(path), "--orders", "2"]) == 2
    assert "own text" in capsys.readouterr().err
    report = tmp_path / "report.html"
    assert exit_code_of(app, ["inspect", str(MODEL), "--text", str(path), "--html", str(report)]) == 0
    assert report.read_text("utf-8").endswith("</html>\n") and str(report) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--text"),
        (["--start", "tepid"], "cold or warm"),
        (["--characters", "1"], "at least 2"),
        (["--characters", "1.5"], "whole number"),
        (["--orders", "99"], "0 to 50"),
        (["--text", "no/such.txt"], "no/such.txt"),
    ],
)
def test_wrong_arguments_are_one_line(capsys: Any, arguments: list[str], said: str) -> None:
    assert exit_code_of(app, ["inspect", str(MODEL), *arguments]) in (2, 3)
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_runs_own_text_is_its_validation_part_and_what_stood_before(tmp_path: Path) -> None:
    class Opened:
        vocabulary, path = Vocabulary.from_text(TEXT), "run"
        config: Any
        record: Any
        reading = ReadingOptions()

    path = tmp_path / "own.txt"
    path.write_text(TEXT * 20, encoding="utf-8")
    corpus = jaxrnn.load_corpus(path)
    Opened.config = jaxrnn.TrainConfig(text=str(path), validation_fraction=0.25, test_fraction=0.25)
    Opened.record = {"data": {"name": "own", "sha256": corpus.digest}}
    n = len(corpus)
    found = find_text(Opened())
    assert np.array_equal(found.ids, corpus.ids[n // 2 : n * 3 // 4]) and found.source == "own, validation part"
    assert np.array_equal(found.before, corpus.ids[: n // 2][-1000:])
    assert np.array_equal(found.parts["training"], corpus.ids[: n // 2]) and len(found.parts["test"]) == n - n * 3 // 4
    assert len(find_text(Opened(), start="cold").before) == 0
    Opened.record["data"]["sha256"] = "0" * 64
    with pytest.raises(jaxrnn.errors.ConfigurationError, match="not the one"):
        find_text(Opened())
