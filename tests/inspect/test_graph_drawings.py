"""Pictures of graphs, models and steps: every box and its text is there, nothing of the text is obeyed."""

import math
import sys
from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest
from flax import nnx

from jaxrnn.cells import CELLS
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.graph import (
    Concatenate,
    Drawing,
    Node,
    Static,
    Tanh,
    draw_graph,
    draw_model,
    draw_step,
    drawing,
    unrolled,
)
from jaxrnn.inspect.graph.drawing import Box
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.sequence_classifier import SequenceClassifier

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module", autouse=True)
def graphviz():
    pytest.importorskip("pygraphviz")


def parsed(svg):
    """The lines of text and the middle of each node, and the number of arrows."""
    root = ElementTree.fromstring(svg)
    groups = [group for group in root.iter(f"{SVG}g") if group.get("class") == "node"]
    lines = [tuple(text.text for text in group.iter(f"{SVG}text")) for group in groups]
    lefts = [float(next(group.iter(f"{SVG}text")).attrib["x"]) for group in groups]
    arrows = [group for group in root.iter(f"{SVG}g") if group.get("class") == "edge"]
    return lines, dict(zip(lines, lefts, strict=True)), len(arrows)


def test_a_graph_shows_every_node_with_value_and_gradient():
    model = LanguageModel(3, 2, rngs=nnx.Rngs(0))
    graph = unrolled(model, [0, 1, 2], symbols=("a", "<", "\n"))
    graph.gradients()
    lines, left, arrows = parsed(draw_graph(graph.cost).svg())
    nodes = graph.cost.order()
    heads = ["parameters", "before", "t = 1", "t = 2", "end"]
    assert len(lines) == len(nodes) + len(heads) and arrows == sum(len(node.inputs) for node in nodes)
    titles = Counter(text[0] for text in lines)
    assert titles["@"] == 6 and titles["h_2 = tanh"] == titles["W_h"] == titles["x_1 = 'a'"] == titles["x_2 = '<'"] == 1
    (loss,) = (text for text in lines if text[0] == "loss = cross-entropy")
    assert loss[1:] == (f"value {graph.cost.value:.3g}", "gradient 1")
    (h,) = (text for text in lines if text[0] == "h_1 = tanh")
    assert h[2] == "gradient " + " ".join(f"{number:.3g}" for number in graph.hidden[1][0].gradient[0])
    matrix = graph.parameters["stack/layers/0/W_x"]
    (W_x,) = (text for text in lines if text[0] == "W_x")
    assert W_x[1:] == (
        f"3×2, norm {(matrix.value**2).sum() ** 0.5:.3g}",
        f"gradient, norm {(matrix.gradient**2).sum() ** 0.5:.3g}",
    )
    assert [left[(head,)] for head in heads] == sorted(left[(head,)] for head in heads)  # time goes to the right
    assert left[W_x] < left[h] < left[loss]


def test_the_same_graph_gives_the_same_picture():
    model = LanguageModel(3, 2, cell="lstm", rngs=nnx.Rngs(0))
    first, second = (draw_graph(unrolled(model, [0, 1, 2]).cost).svg() for _ in range(2))
    assert first == second


HOSTILE = [
    "<script>alert(1)</script>",
    "<b>bold</b>",
    "&lt;b&gt; &amp;amp; &#65;",
    r"\N \G \l \n \\",
    '"]; evil [label="x"]; "',
    "]]> --> <!--",
    "λ × → 字",
]


def test_text_from_outside_is_shown_as_it_is():
    boxes = {text: Box([text], "static") for text in HOSTILE}
    lines, *_ = parsed(Drawing(boxes, [(HOSTILE[0], HOSTILE[1], "flow")], heads={0: HOSTILE[1]}).svg())
    assert sorted(lines) == sorted([(text,) for text in [*HOSTILE, HOSTILE[1]]])


def test_what_cannot_be_seen_is_escaped_and_what_is_long_is_cut():
    lines, *_ = parsed(Drawing({0: Box(["\x1b[31mred\x00\u202e", "\n", "x" * 99, ""], "named")}, []).svg())
    assert lines == [(r"\x1b[31mred\x00\u202e", r"\n", "x" * 39 + "…")]


def test_a_model_is_drawn_with_sizes_skip_connections_and_feedback():
    options: dict[str, Any] = dict(cell="lstm", layers=2, skip_connections=True, embedding=4)
    model = nnx.eval_shape(lambda: LanguageModel(65, 8, rngs=nnx.Rngs(0), **options))  # its shapes are enough
    picture = draw_model(model, steps=3, feedback=True)
    kinds = Counter(kind for *_, kind in picture.arrows)
    assert kinds == {
        "flow": 3 * 4,  # x to embedding to layer 0 to layer 1 to output
        "parameter": 3 * 4,
        "time": 2 * 2,
        "skip input": 3,
        "skip output": 3,
        "feedback": 2,
    }
    lines, left, arrows = parsed(picture.svg())
    titles = Counter(text[0] for text in lines)
    assert (
        titles["LSTMCell"] == 6 and titles["output"] == titles["embedding"] - 1 == 3 and arrows == sum(kinds.values())
    )
    assert ("layer 1: LSTMCell", "W_h 8×32", "W_x 12×32", "b 32", "672 numbers") in lines
    assert left[("t = 1",)] < left[("t = 2",)] < left[("t = 3",)]


def test_a_classifier_reads_both_ways_and_answers_at_its_last_steps():
    def count(**options):
        model = nnx.eval_shape(lambda: SequenceClassifier(10, 3, 4, cell="gru", rngs=nnx.Rngs(0), **options))
        picture = draw_model(model, steps=4)
        answers = [column for name, column in picture.boxes if name == "output" and column > 0]
        return Counter(kind for *_, kind in picture.arrows), answers

    kinds, answers = count(bidirectional=True)
    assert kinds["time"] == kinds["time back"] == 3 and answers == [4]
    assert count(answers=2)[1] == [3, 4]
    assert count(pooling="mean")[1] == [float("inf")]


@pytest.mark.parametrize(
    ("name", "logistics", "tanhs"), [("vanilla", 0, 1), ("lstm", 3, 2), ("gru", 2, 1), ("temporal-gate-lstm", 3, 2)]
)
def test_a_step_of_any_cell_shows_its_operations(name, logistics, tanhs):
    picture = draw_step(CELLS[name](3, 4, rngs=nnx.Rngs(0)))
    titles = Counter(box.lines[0] for box in picture.boxes.values())
    assert titles["logistic"] == logistics and titles["tanh"] == tanhs and titles["new h"] == titles["y"] == 1
    assert titles["p"] == titles["r"] == 1 and titles["t"] == 0  # what no operation reads is left out
    if name == "lstm":
        lines, *_ = parsed(picture.svg())
        assert Counter(text[0] for text in lines) == titles and ("p", "float32[1,16]") in lines


def test_a_step_of_a_foreign_cell_is_its_whole_call():
    titles = Counter(box.lines[0] for box in draw_step(nnx.GRUCell(3, 4, rngs=nnx.Rngs(0))).boxes.values())
    assert titles["dot_general"] == 2 and titles["logistic"] == 2 and titles["dense_h/kernel"] == titles["x"] == 1


def test_a_drawing_is_saved_by_its_ending(tmp_path):
    picture = draw_graph(Tanh(Static(0.5, "x")))
    picture.save(tmp_path / "a.svg")
    picture.save(tmp_path / "a.png")
    assert (tmp_path / "a.svg").read_text("utf-8") == picture.svg()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG") and picture._repr_png_().startswith(b"\x89PNG")
    with pytest.raises(ConfigurationError, match="saved as .svg or .png, got 'a.pdf'"):
        picture.save(tmp_path / "a.pdf")


def test_too_large_a_graph_is_refused_before_it_takes_minutes():
    node: Node = Static(0.5)
    for _ in range(1000):
        node = Tanh(node)
    with pytest.raises(ConfigurationError, match="at most 1000 boxes, got 1001; draw fewer steps"):
        draw_graph(node)


def test_what_has_no_layers_is_refused():
    with pytest.raises(ConfigurationError, match="a model with a stack and at least 1 step; got a GRUCell and 3"):
        draw_model(CELLS["gru"](3, 4, rngs=nnx.Rngs(0)))
    with pytest.raises(ConfigurationError, match="draw_step expects a cell, .* got a Static"):
        draw_step(Static(1.0))


def test_any_columns_can_be_drawn():
    """Columns of one node each, of which one enters another, and one that reads from all."""
    x = Static([0.5], "x", step=1)
    h = Tanh(x, step=3)
    lines, left, _ = parsed(draw_graph(Tanh(Concatenate(x, h, step=math.inf), step=math.inf)).svg())
    assert len(lines) == 4 + 3 and left[("t = 1",)] < left[("t = 3",)] < left[("end",)]


def test_without_pygraphviz_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    drawing._pygraphviz.cache_clear()
    with pytest.raises(ConfigurationError, match=r"pygraphviz, which is not installed; pip install '\.\[notebooks\]'"):
        draw_graph(Static(0.5)).svg()


def test_nodes_of_several_layers_are_told_apart():
    model = LanguageModel(3, 2, cell="lstm", layers=2, rngs=nnx.Rngs(0))
    names = Counter(node.name for node in unrolled(model, [0, 1, 2]).cost.order() if node.name)
    assert {"W_h of layer 1", "c_0 of layer 0", "h_2 of layer 0", "h_2 of layer 1", "i_1 of layer 1", "W_y"} <= set(
        names
    )
    assert max(names.values()) == 1
