"""The page of a model's inside has every picture and its numbers, of whatever text it is given."""

import json

import pytest

from experiments.inside_warpeace import MODEL, main
from jaxrnn import open_run


@pytest.mark.slow  # half a minute of compiling
def test_every_picture_is_made_and_the_losses_are_those_of_evaluate(tmp_path):
    page = MODEL.parent.parent / "texts/the_ferry.txt"
    text = (page.read_text() * 4)[:16_000]
    (tmp_path / "text.txt").write_text(text)
    assert main(str(tmp_path / "text.txt"), figures=tmp_path, results=tmp_path) == 0
    names = ("loss", "calibration", "saturation", "unit", "effects", "ngrams", "errors")
    assert all((tmp_path / f"inside_{name}.png").stat().st_size > 5000 for name in names)
    numbers = json.loads((tmp_path / "inside_warpeace.json").read_text())
    assert set(numbers) == set(names)
    (tmp_path / "test.txt").write_text(text[-1600:])
    expected = open_run(MODEL).evaluate(str(tmp_path / "test.txt"))["loss_nats"]
    assert (
        abs(numbers["loss"]["test, cold"] - expected) < 1e-4
        and abs(numbers["calibration"]["loss_nats"] - expected) < 1e-4
    )
    best = numbers["unit"][0]
    assert (best["property"], best["unit"], best["confirmed"]) == ("inside quotes", 144, True)
