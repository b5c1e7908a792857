"""The curves of two precisions in a small version."""

import csv

import pytest

from experiments.precision import app
from jaxrnn.terminal.command import exit_code_of


@pytest.mark.slow
def test_the_table_has_a_curve_for_each_precision_and_seed(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 300)
    output = tmp_path / "results" / "curves.csv"
    options = ["--text", str(tmp_path / "text.txt"), "--updates", "20", "--output", str(output)]
    assert exit_code_of(app, options) == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["update"] for row in rows] == ["10", "20"]
    assert list(rows[0])[1:] == [f"{of}_seed_{seed}_loss_nats" for of in ("float32", "bf16") for seed in (0, 1)]
    for seed in "01":
        both = [float(rows[1][f"{of}_seed_{seed}_loss_nats"]) for of in ("float32", "bf16")]
        assert both[0] != both[1] and both[1] == pytest.approx(both[0], abs=0.02)
    assert capsys.readouterr().out.count("validation") == 4
