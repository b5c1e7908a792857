"""The numbers drawn are the numbers of the grid, and what cannot be drawn says why."""

import json
from typing import Any

import numpy as np
import pytest

from experiments.language_model_grid.members import Recipe, member_rows
from experiments.language_model_grid.results import COLUMNS, IDENTITY
from jaxrnn.errors import ConfigurationError
from jaxrnn.training import Sweep

pytest.importorskip("matplotlib")

from experiments.language_model_grid import drawings  # noqa: E402
from experiments.language_model_grid.figures import draw_all, figures_of, read_grids  # noqa: E402

RECIPE = Recipe(text="$x_1$ and $", epochs=4)
RATES = [0.002, 0.006]


def made_up(row):
    """A result like the thesis's: it depends on each setting, so that a number out of place shows."""
    lstm, seed = row["cell"] == "lstm", row["seed"]
    wanted_rate = 0.002 if row["size"] == 32 else 0.006
    wanted_dropout = {(2, 16): 0.0, (2, 32): 0.2, (3, 16): 0.0, (3, 32): 0.1}.get((row["layers"], row["size"]), 0.0)
    valid = 1.5 + 0.1 * lstm - 0.03 * row["layers"] - 0.004 * row["size"] + 0.007 * seed
    valid += 0.3 * abs(row["dropout_rate"] - wanted_dropout) + 0.05 * (row["learning_rate"] != wanted_rate)
    came_out = {"status": "finished", "epochs": 4, "train_loss_nats": valid - 0.1, "skipped": 0, "seconds": 1.0}
    best_epoch = (3 if lstm else 2) + row["layers"]
    losses = {"valid_loss_nats": valid, "test_loss_nats": valid + 0.01 * row["layers"] + 0.02 * seed}
    return row | {"hidden": row["size"], "parameters": 100, "best_epoch": best_epoch} | came_out | losses


def rows_of(
    cells=("lstm", "gru"), layers=(1, 2, 3), sizes=(16, 32), rates=RATES, dropout=(0.0, 0.1, 0.2), seeds=(0, 1)
):
    rows = member_rows(
        RECIPE, list(cells), list(layers), list(sizes), list(rates), list(dropout), ["between"], list(seeds)
    )
    return [made_up(row) for row in rows]


def write_grid(directory, rows, epochs=4):
    (directory / "populations" / "one").mkdir(parents=True)
    (directory / "grid.json").write_text("{}")
    Sweep(directory, COLUMNS, {}, "grid.json").add(rows)
    members = [{name: row[name] for name in (*IDENTITY, "parameters")} for row in rows]
    (directory / "populations" / "one" / "members.json").write_text(json.dumps(members))
    log = [
        {"member": n, "epoch": e, "train/loss_nats": 3 / e + 0.1 * n, "valid/loss_nats": 3.1 / e + 0.1 * n}
        for e in range(1, epochs + 1)
        for n in range(len(rows))
    ]
    (directory / "populations" / "one" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    return directory


def lines_of(axes):
    """Each line with a label that is shown: label to (x, y)."""
    return {
        line.get_label(): ([float(x) for x in line.get_xdata()], [float(y) for y in line.get_ydata()])
        for line in axes.get_lines()
        if not line.get_label().startswith("_")
    }


def rows_like(rows, **key):
    return [row for row in rows if all(row[name] == value for name, value in key.items())]


def test_losses_by_epoch_are_those_of_metrics_jsonl_mean_over_seeds(tmp_path):
    data = read_grids([write_grid(tmp_path, rows_of(("gru",), (2,), (16,), [0.002]))])
    key = {"text": RECIPE.text, "cell": "gru", "layers": 2, "size": 16, "learning_rate": 0.002}
    (axes,) = drawings.loss_by_epoch(data, **key).axes
    drawn: list[Any] = [line for line in axes.get_lines() if np.size(line.get_xdata())]
    solid, dotted = ([line for line in drawn if line.get_linestyle() == style] for style in "-:")
    assert [line.get_label() for line in solid] == ["dropout 0", "dropout 0.1 (between)", "dropout 0.2 (between)"]
    for lines, start in ((solid, 3.1), (dotted, 3.0)):
        for place, line in enumerate(lines):  # members lie in the order of dropout rates, two seeds each
            assert list(line.get_xdata()) == [1, 2, 3, 4]
            expected = [start / e + 0.1 * (2 * place + 0.5) for e in (1, 2, 3, 4)]
            np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-12)
    assert [a.get_color() for a in solid] == [b.get_color() for b in dotted]
    assert axes.get_xlabel() == "epoch" and axes.get_ylabel() == "loss (nats per character)"
    assert axes.figure.get_suptitle() == r"\$x_1\$ and \$, gru, 2 layers, size 16, rate 0.002"


def test_best_dropout_is_that_of_the_lowest_mean_validation_loss():
    two, three = drawings.best_dropout(rows_of(("lstm",))).axes
    for rate in RATES:
        assert lines_of(two)[f"rate {rate:.4g}"] == ([16, 32], [0.0, 0.2])
        assert lines_of(three)[f"rate {rate:.4g}"] == ([16, 32], [0.0, 0.1])
    one_seed = rows_of(("lstm",), (2,), (16,), [0.002])
    lucky = next(row for row in one_seed if row["dropout_rate"] == 0.1 and row["seed"] == 0)
    lucky["valid_loss_nats"] -= 0.031  # the lowest of all, but not in the mean over seeds
    assert lucky is min(one_seed, key=lambda row: row["valid_loss_nats"])
    (panel,) = drawings.best_dropout(one_seed).axes
    assert lines_of(panel)["rate 0.002"] == ([16], [0.0])
    without_choice = rows_of(("lstm",), (3,), (16,), [0.002])[:1]
    (panel,) = drawings.best_dropout([*one_seed, *without_choice]).axes
    assert panel.get_title() == "2 layers"


def test_seeds_show_each_mean_and_spread():
    rows = rows_of(("gru",), (2,), (16, 32))
    (axes,) = drawings.seeds(rows).axes
    expected = [
        [row["test_loss_nats"] for row in rows_like(rows, size=size, dropout_rate=drop, learning_rate=rate)]
        for size, drop, rate in ((16, 0.0, 0.006), (32, 0.2, 0.002))
    ]
    lines: list[Any] = [line for line in axes.get_lines() if line.get_color() == "0.65"]
    points = [line.get_ydata() for line in lines]
    np.testing.assert_allclose(points, expected)
    containers: list[Any] = list(axes.containers)
    for bars, tests in zip(containers, expected, strict=True):
        mean, _, (spread,) = bars.lines
        np.testing.assert_allclose(mean.get_ydata().astype(float), [np.mean(tests)])
        ends = spread.get_segments()[0][:, 1]
        np.testing.assert_allclose(ends, np.mean(tests) + np.std(tests, ddof=1) * np.array([-1, 1]))
    assert [t.get_text() for t in axes.get_xticklabels()][0] == "gru\n2 x size 16\n2 seeds"


def test_lines_by_size_are_those_of_the_best():
    rows = rows_of()
    (axes,) = drawings.validation_gap(rows).axes
    for layers, name in ((1, "lstm, 1 layer"), (3, "lstm, 3 layers")):
        sizes, gaps = lines_of(axes)[name]
        assert sizes == [16, 32]
        np.testing.assert_allclose(gaps, [0.01 * layers] * 2)  # seed 0 has the lower validation loss
    (axes,) = drawings.best_rate(rows).axes
    assert len(lines_of(axes)) == 6
    assert all(line == ([16, 32], [0.006, 0.002]) for line in lines_of(axes).values())


def test_epochs_to_the_best_pair_a_gru_with_the_lstm_of_its_settings():
    rows = [*rows_of(seeds=(0,)), *rows_of(("gru",), seeds=(7,))]  # seed 7 has no LSTM
    (axes,) = drawings.epochs_to_the_best(rows).axes
    lines = lines_of(axes)
    assert set(lines["1 layer"][0]) == {4} and set(lines["1 layer"][1]) == {3} and len(lines["1 layer"][0]) == 4
    assert set(lines["3 layers"][0]) == {6} and set(lines["3 layers"][1]) == {5} and len(lines["3 layers"][0]) == 12
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("LSTM (epochs)", "GRU (epochs)")


def test_losses_by_depth_stand_beside_the_published_ones():
    rows = [row | {"text": "warpeace", "size": 64} for row in rows_of(sizes=(16,), dropout=(0.0,))]
    gru, lstm = drawings.loss_by_depth(rows).axes
    assert lines_of(lstm)["KJL as quoted by the thesis"] == ([1, 2, 3], [1.449, 1.442, 1.540])
    assert lines_of(lstm)["thesis, its best rate"] == ([1, 2, 3], [1.492, 1.459, 1.484])
    assert lines_of(gru)["thesis, its best rate"] == ([1, 2, 3], [1.448, 1.403, 1.429])
    best = [min(rows_like(rows, cell="lstm", layers=d), key=lambda r: r["valid_loss_nats"]) for d in (1, 2, 3)]
    ours = "ours, best by validation, of up to 2 seeds"
    assert lines_of(lstm)[ours] == ([1, 2, 3], [row["test_loss_nats"] for row in best])
    seeds = [rows_like(rows, cell="lstm", layers=d, learning_rate=best[d - 1]["learning_rate"]) for d in (1, 2, 3)]
    expected = {(row["layers"], row["test_loss_nats"]) for of in seeds for row in of}
    assert set(zip(*lines_of(lstm)["each of these seeds"], strict=True)) == expected and len(expected) == 6
    assert [text.get_text() for text in lstm.texts] == [""]
    of_128 = [row | {"size": 128} for row in rows]
    assert [[text.get_text() for text in axes.texts] for axes in drawings.loss_by_depth(of_128).axes] == [
        [""],
        ["?", ""],
    ]
    of_an_unknown_text = lines_of(drawings.loss_by_depth(rows_of(sizes=(16,))).axes[0])
    assert set(of_an_unknown_text) == {ours, "each of these seeds"}


def test_a_figure_of_one_seed_says_so_and_names_the_depths_that_are_missing():
    rows = [row | {"text": "warpeace", "size": 64} for row in rows_of(("lstm",), (1, 2), (16,), RATES, (0.0,), (0,))]
    figure = drawings.loss_by_depth(rows)
    (axes,) = figure.axes
    assert list(lines_of(axes))[-1] == "ours, best by validation, one seed each"
    assert [text.get_text() for text in axes.texts] == ["ours: 3 layers not trained"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(lines_of(axes))
    styles = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes.get_lines()}
    assert all(len({style[part] for style in styles}) == 3 for part in range(3))  # each tells the lines apart


def test_all_that_has_its_data_is_drawn_and_the_rest_says_why(tmp_path):
    diverged = rows_of(("lstm",), (1,), (16,), [10.0])[0] | {"status": "diverged", "valid_loss_nats": np.inf}
    run = write_grid(tmp_path / "run", [*rows_of(("lstm",), (1,), (16,), [0.002]), diverged])
    lines = draw_all(read_grids([run]), tmp_path / "figures")
    assert [line.partition(":")[2] for line in lines if line.startswith("left out")] == [
        " needs two dropout rates of a network of 2 or 3 layers",
        " needs two learning rates of the same cell, depth and size",
        " needs an LSTM and a GRU of the same depth, size, rates and seed",
    ]
    drawn = [line for line in lines if line.startswith("drew")]
    pictures = sorted((tmp_path / "figures").iterdir())
    assert len(pictures) == len(drawn) == 5  # losses of two rates, seeds, by depth, gap
    assert all(path.read_bytes().startswith(b"\x89PNG") and "$" not in path.name for path in pictures)
    assert draw_all(read_grids([write_grid(tmp_path / "empty", [])]), tmp_path / "none") == [
        "left out loss-by-epoch: no metrics.jsonl has an epoch",
        "left out figures-of-results: no member has a result",
    ]


def test_an_excerpt_is_drawn_under_its_own_name(tmp_path):
    run = write_grid(tmp_path, [row | {"text": "warpeace"} for row in rows_of(("lstm",), (1,), (16,), [0.002])])
    (run / "grid.json").write_text('{"recipe": {"characters": 60000}}')
    data = read_grids([run])
    named = {row["text"] for row in [*data.rows, *(row for row, _ in data.histories.values())]}
    assert named == {"warpeace[:60000]"}


def test_several_grids_are_drawn_together_and_a_member_of_both_counts_once(tmp_path):
    first = write_grid(tmp_path / "a", rows_of(("lstm",), (1,), (16,), [0.002], seeds=(0,)), epochs=2)
    second = write_grid(tmp_path / "b", rows_of(("lstm",), (1,), (16,), seeds=(0,)))
    data = read_grids([first, second])
    assert len(data.rows) == 2 and sorted(len(log) for _, log in data.histories.values()) == [4, 4]
    assert "best-rate-x_1-and" in [name.replace("--", "-") for name, _ in figures_of(data)]
    with pytest.raises(ConfigurationError, match="holds no grid"):
        read_grids([tmp_path])
