"""Pictures say what they show, and show what they were given: titles, units, numbers, nothing cut off."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect import figures, plots
from jaxrnn.inspect.calibration import Calibration
from jaxrnn.inspect.errors_by_kind import ErrorKind, ErrorKinds
from jaxrnn.inspect.reading import GateShares, LayerSummary

NOISE = np.random.default_rng(0)
TEXT = 'a "b$c"\n\td \x1b[2J'
CALIBRATION = Calibration(
    np.array([0, 1, 3]), np.array([np.nan, 0.5, 1.0]), np.array([np.nan, 0.0, 1.0]), 0.125, 0.9, 0.75, 1.0, 1.1
)
LAYERS = [
    LayerSummary({"input": GateShares(NOISE.random(5) / 2, NOISE.random(5) / 2, NOISE.random(5))}, {}, {})
    for _ in range(2)
]
KINDS = ErrorKinds(9, 4, (ErrorKind("n-gram", 0.75, 0.75), ErrorKind("the rest", 0.25, 1.0)), np.zeros(9))
NORMS = {"update": np.array([1, 100, 200])} | {
    f"{what}/{layer}": np.array(values)
    for what, values in (("gradient", [3.0, 1.0, np.inf]), ("parameters", [2.0, 4.0, 0.0]), ("step", [0.0, 1.0, 2.0]))
    for layer in ("stack.layers.0", "$W_y")
}
MADE = {
    "loss": lambda: figures.draw_loss_along_text(np.log(NOISE.random(95)), {"test": 80}, window=10, running=3),
    "saturation": lambda: figures.draw_saturation(LAYERS),
    "unit": lambda: figures.draw_unit(TEXT, np.linspace(-2, 1, len(TEXT)), columns=5),
    "calibration": lambda: figures.draw_calibration({"cold $x": CALIBRATION, "warm": CALIBRATION}),
    "dependence": lambda: figures.draw_dependence(
        TEXT, {"gradient": NOISE.random(len(TEXT) - 1), "replaced": NOISE.random(len(TEXT) - 1)}
    ),
    "effects": lambda: figures.draw_effects({"layer 0": NOISE.random(6), "layer 1": NOISE.random(6)}, ("layer 1", 3)),
    "order": lambda: figures.draw_loss_by_order(np.array([3.0, 1.5, 1.6]), {"network": 1.25}),
    "words": lambda: plots.draw_distinct_words({"a$": np.array([4, 5, 9])}, 10, {"a$": {"test": 20}}),
    "norms": lambda: figures.draw_norms(NORMS),
    "kinds": lambda: figures.draw_error_kinds(KINDS),
}


@pytest.mark.parametrize("name", MADE)
def test_a_picture_has_title_and_labels_and_nothing_lies_outside(name: str) -> None:
    figure: Any = MADE[name]()
    assert figure._repr_png_().startswith(b"\x89PNG")  # drawn, with every warning an error
    assert figure.get_suptitle() or figure.axes[0].get_title()
    assert all(axes.get_xlabel() or axes.get_ylabel() for axes in figure.axes)
    for axes in figure.axes:
        for line in axes.get_lines():
            points = line.get_transform().transform(line.get_xydata())  # pixels
            known = points[np.isfinite(points).all(1)]
            assert np.all((known >= axes.bbox.min - 0.01) & (known <= axes.bbox.max + 0.01))
        for text in axes.texts:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height


def test_a_band_over_seeds_goes_from_the_lowest_to_the_highest_and_counts_them() -> None:
    axes: Any = plots.Figure().add_subplot()
    values = np.array([[0.5, 1.0, 0.2], [0.7, 1.0, 0.9], [0.9, 0.1, 1.0]])
    plots.draw_seeds(axes, np.array([1, 2, 4]), values, "$a", plots.STYLES[1])
    plots.draw_seeds(axes, np.array([1, 2, 4]), values[:1], "b", plots.STYLES[2])
    first, second = axes.get_lines()
    assert (first.get_label(), second.get_label()) == (r"\$a, 3 seeds", "b, one seed")
    np.testing.assert_allclose(first.get_ydata(), [0.7, 0.7, 0.7])
    corners = axes.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in corners} == {(1, 0.5), (2, 0.1), (4, 0.2), (1, 0.9), (2, 1.0), (4, 1.0)}
    for a, b in itertools.combinations(plots.STYLES, 2):
        assert all(of_a != of_b for of_a, of_b in zip(a, b, strict=True))  # colour, line and mark tell them apart


def test_norms_are_drawn_by_layer_and_steps_as_a_share_of_the_parameters() -> None:
    gradient, parameters, share = figures.draw_norms(NORMS).axes
    for axes, expected in ((gradient, [3, 1, np.nan]), (parameters, [2, 4, np.nan]), (share, [np.nan, 0.25, np.nan])):
        assert [line.get_label() for line in axes.get_lines()] == ["stack.layers.0", r"\$W_y"]
        for line in axes.get_lines():
            np.testing.assert_array_equal(line.get_ydata(), expected)
    with pytest.raises(ConfigurationError, match="train with --log-norms"):
        figures.draw_norms({})


def test_windows_running_mean_and_borders_are_those_of_a_loop() -> None:
    log_p = np.log(NOISE.random(95))
    axes: Any = figures.draw_loss_along_text(log_p, {"test": 80}, window=10, running=3).axes[0]
    windows, mean, border = axes.get_lines()
    expected = [-log_p[start : start + 10].mean() for start in range(0, 95, 10)]
    np.testing.assert_allclose(windows.get_ydata(), expected, rtol=1e-12)
    np.testing.assert_allclose(
        mean.get_ydata()[[0, 4, 9]], [-log_p[:20].mean(), -log_p[30:60].mean(), -log_p[80:].mean()]
    )
    assert border.get_xdata()[0] == 80


def test_every_unit_of_every_layer_has_its_mark_within_shares() -> None:
    axes: Any = figures.draw_saturation(LAYERS).axes[0]
    for layer, marks in zip(LAYERS, axes.collections, strict=True):
        expected = np.stack([layer.gates["input"].low, layer.gates["input"].high], axis=1)
        np.testing.assert_array_equal(marks.get_offsets(), expected)
    assert axes.get_xlim() == axes.get_ylim() == (0, 1)


def test_a_unit_is_drawn_character_by_character_and_control_characters_do_nothing() -> None:
    values = np.linspace(-1, 1, len(TEXT))
    axes: Any = figures.draw_unit(TEXT, values, columns=5).axes[0]
    cells = axes.images[0].get_array().ravel()
    np.testing.assert_array_equal(cells[: len(TEXT)], values)
    assert [t.get_text() for t in axes.texts[:9]] == ["a", " ", '"', "b", "$", "c", '"', "⏎", "⇥"]
    assert not any("\x1b" in t.get_text() for t in axes.texts)


def test_bars_stand_over_their_characters() -> None:
    changes = NOISE.random(len(TEXT) - 1)
    axes: Any = figures.draw_dependence(TEXT, {"gradient": changes}).axes[0]
    np.testing.assert_allclose([bar.get_height() for bar in axes.patches], changes)
    np.testing.assert_allclose(
        [bar.get_x() + bar.get_width() / 2 for bar in axes.patches], range(len(changes)), atol=1e-9
    )


def test_effects_are_sorted_and_the_marked_unit_is_named_with_its_rank() -> None:
    axes: Any = figures.draw_effects({"layer 1": np.array([0.1, 0.4, 0.2])}, ("layer 1", 2)).axes[0]
    np.testing.assert_array_equal(axes.get_lines()[1].get_ydata(), [0.4, 0.2, 0.1])
    assert axes.texts[0].get_text() == "unit 2 of layer 1: rank 2 of 3"


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a value a character"):
        figures.draw_unit("abc", np.zeros(2))
    with pytest.raises(ConfigurationError, match="expect 2 numbers"):
        figures.draw_dependence("abc", {"gradient": np.zeros(3)})
    with pytest.raises(ConfigurationError, match="vanilla"):
        figures.draw_saturation([LayerSummary({}, {}, {})])
