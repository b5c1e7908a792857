"""Boxes and arrows as pictures, by Graphviz: what the drawings of graphs, models and steps share.

Needs pygraphviz, whose wheel brings Graphviz, from the extra `notebooks`; it is imported when a picture is made.
"""

from __future__ import annotations

import functools
import html
import importlib.util
import os
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.printable import printable

FONT, FONT_POINTS = "DejaVu Sans Mono,Menlo,Consolas,monospace", 9
LETTER, LINE = 0.602 * FONT_POINTS, 1.3 * FONT_POINTS  # points that a letter and a line take, the same in every font
MOST_BOXES, MOST_LETTERS = 1000, 40
MOST_ROUTED = 120  # boxes; arrows round more of them take minutes (105: 3 s, 485: 5 min), so they are straight
COLUMN_GAP, ROW_GAP = 60, 14  # points
# Fill, outline and form of each kind of box: told apart by form as well as by colour (Okabe and Ito's, and tints).
BOXES = {
    "parameter": {"fillcolor": "#FFF3D6", "color": "#B97800", "shape": "box", "penwidth": "1.6"},
    "static": {"fillcolor": "#EEEEEE", "color": "#333333", "shape": "box"},
    "operator": {"fillcolor": "#FFFFFF", "color": "#0072B2", "shape": "box", "style": "rounded,filled"},
    "named": {"fillcolor": "#DDEFFA", "color": "#0072B2", "shape": "box", "style": "rounded,filled", "penwidth": "1.6"},
    "cost": {"fillcolor": "#FBE3D6", "color": "#D55E00", "shape": "box", "penwidth": "1.6", "peripheries": "2"},
}
ARROWS = {
    "flow": {"color": "#333333"},
    "parameter": {"color": "#C9A66B", "style": "dashed", "arrowsize": "0.5", "penwidth": "0.8"},
    "time": {"color": "#0072B2", "penwidth": "2"},
    "time back": {"color": "#56B4E9", "penwidth": "2"},
    "skip input": {"color": "#CC79A7", "style": "dashed", "penwidth": "1.6"},
    "skip output": {"color": "#D55E00", "style": "dashed", "penwidth": "1.6"},
    "feedback": {"color": "#009E73", "style": "dotted", "penwidth": "2.4"},
}


@dataclass(frozen=True)
class Box:
    """One box of a drawing.

    Args:
      lines: its text, from anywhere: it is shown as it is, never obeyed.
      kind: a key of `BOXES`.
      column: the column that it stands in, such as a time step.
    """

    lines: Sequence[str]
    kind: str
    column: float = 0


class Drawing:
    """A picture, which shows itself in a notebook.

    Columns stand side by side from left to right; in each the arrows go up, as in the thesis. The same boxes give the
    same bytes of SVG: sizes are reckoned for a font of fixed width, whichever there is.

    Args:
      boxes: by a key of one's own.
      arrows: (from, to, kind), a key of `ARROWS`.
      heads: the text above each column.
      direction: of the arrows in a column, "BT" for up or "LR" for to the right.
    """

    def __init__(
        self,
        boxes: Mapping[Any, Box],
        arrows: Sequence[tuple[Any, Any, str]],
        *,
        heads: Mapping[float, str] | None = None,
        direction: str = "BT",
    ):
        if len(boxes) > MOST_BOXES:
            raise ConfigurationError(
                f"a drawing holds at most {MOST_BOXES} boxes, got {len(boxes)}; draw fewer steps of time"
            )
        self.boxes, self.arrows, self.heads, self.direction = dict(boxes), list(arrows), dict(heads or {}), direction
        self.names = {key: f"box{number}" for number, key in enumerate(self.boxes)}

    def svg(self) -> str:
        """The picture as text of SVG."""
        return self._rendered("svg").decode("utf-8")

    def png(self) -> bytes:
        """The picture as bytes of PNG."""
        return self._rendered("png")

    def __repr__(self) -> str:
        return f"Drawing({len(self.boxes)} boxes, {len(self.arrows)} arrows)"

    _repr_png_ = png

    def save(self, path: str | Path) -> None:
        """Writes a file, SVG or PNG by its ending.

        Raises:
          ConfigurationError: if the ending is another, or pygraphviz is missing.
        """
        path = Path(path)
        if path.suffix not in (".svg", ".png"):
            raise ConfigurationError(f"a drawing is saved as .svg or .png, got {path.name!r}")
        path.write_bytes(self._rendered(path.suffix[1:]))

    def _rendered(self, form: str) -> bytes:
        places = self._places()
        splines = "true" if len(self.boxes) <= MOST_ROUTED else "line"
        graph = _empty_graph(splines=splines, outputorder="edgesfirst", dpi=96 if form == "png" else 72)
        for key, box in self.boxes.items():
            _add(graph, self.names[key], box, places[key], **({"style": "filled"} | BOXES[box.kind]))
        top = max(places[key][1] + _size(box)[1] / 2 for key, box in self.boxes.items()) + 24
        for number, (column, text) in enumerate(self.heads.items()):
            xs = [places[key][0] for key in self.boxes if self.boxes[key].column == column]
            _add(graph, f"head{number}", Box([text], ""), ((min(xs) + max(xs)) / 2, top), shape="plaintext")
        for number, (tail, head, kind) in enumerate(self.arrows):
            graph.add_edge(self.names[tail], self.names[head], key=number, **ARROWS[kind])
        return graph.draw(format=form, prog="nop")

    def _places(self) -> dict[Any, tuple[float, float]]:
        """The middle of each box, in points."""
        columns: dict[float, list[Any]] = {}
        for key, box in self.boxes.items():
            columns.setdefault(box.column, []).append(key)
        places: dict[Any, tuple[float, float]] = {}
        loose: dict[float, list[Any]] = {}
        for column, keys in columns.items():
            if any(self.boxes[tail].column == self.boxes[head].column == column for tail, head, _ in self.arrows):
                places |= self._by_dot(keys)
            else:
                loose[column] = keys
        for keys in columns.values():  # one that only takes results stands as high as they are
            entering = [arrow for arrow in self.arrows if arrow[1] in keys and arrow[0] not in keys]
            if (
                entering
                and all(one in places for arrow in entering for one in arrow[:2])
                and all(kind == "flow" for *_, kind in entering)
            ):
                up = sum(places[tail][1] - places[head][1] for tail, head, _ in entering) / len(entering)
                places |= {key: (places[key][0], places[key][1] + up) for key in keys}
        for column in sorted(loose, reverse=True):
            places |= self._stacked(loose[column], places)
        left = 0.0
        for column in sorted(columns):
            ends = [(places[key][0], _size(self.boxes[key])[0] / 2) for key in columns[column]]
            start = min(x - half for x, half in ends)
            places |= {key: (places[key][0] - start + left, places[key][1]) for key in columns[column]}
            left += max(x + half for x, half in ends) - start + COLUMN_GAP
        return places

    def _by_dot(self, keys: Sequence[Any]) -> dict[Any, tuple[float, float]]:
        """A column by itself."""
        graph = _empty_graph(rankdir=self.direction, nodesep=0.18, ranksep=0.3)
        for key in keys:
            _add(graph, self.names[key], self.boxes[key])
        known = set(keys)
        inside = [
            (tail, head) for tail, head, kind in self.arrows if kind == "flow" and tail in known and head in known
        ]
        graph.add_edges_from((self.names[tail], self.names[head]) for tail, head in inside)
        graph.layout(prog="dot")
        found = {key: graph.get_node(self.names[key]).attr["pos"].split(",") for key in keys}
        return {key: (float(x), float(y)) for key, (x, y) in found.items()}

    def _stacked(
        self, keys: Sequence[Any], places: Mapping[Any, tuple[float, float]]
    ) -> dict[Any, tuple[float, float]]:
        """A column without arrows inside: one box above the other, each about as high as what it is joined to."""
        heights = {}
        for key in keys:
            joined = [head if tail == key else tail for tail, head, _ in self.arrows if key in (tail, head)]
            ys = [places[other][1] for other in joined if other in places]
            heights[key] = sum(ys) / len(ys) if ys else 0.0
        found: dict[Any, tuple[float, float]] = {}
        lowest = -float("inf")
        for key in sorted(keys, key=heights.__getitem__):
            half = _size(self.boxes[key])[1] / 2
            found[key] = (0.0, max(heights[key], lowest + half))
            lowest = found[key][1] + half + ROW_GAP
        down = sum(found[key][1] - heights[key] for key in keys) / len(keys)
        return {key: (x, y - down) for key, (x, y) in found.items()}


@functools.cache
def _pygraphviz() -> Any:
    """The module, once its fonts are known: matplotlib's, which the extra has, as a machine may have none."""
    try:
        import pygraphviz
    except ImportError as error:
        raise ConfigurationError(
            "drawings need pygraphviz, which is not installed; pip install '.[notebooks]'"
        ) from error
    matplotlib = importlib.util.find_spec("matplotlib")
    if "FONTCONFIG_FILE" in os.environ or matplotlib is None or matplotlib.origin is None:
        return pygraphviz
    folders = [Path(matplotlib.origin).parent / "mpl-data/fonts/ttf", "/usr/share/fonts"]
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        lines = [f"<dir>{html.escape(str(path))}</dir>" for path in folders]
        settings = Path(folder, "fonts.conf")
        settings.write_text(f"<fontconfig>{''.join(lines)}<cachedir>{html.escape(folder)}</cachedir></fontconfig>")
        os.environ["FONTCONFIG_FILE"] = str(settings)
        errors = os.dup(2)
        os.dup2(nowhere.fileno(), 2)  # fontconfig complains of the machine's own settings, which do not matter here
        try:  # ours are read when something is first drawn
            pygraphviz.AGraph("graph { a }").draw(format="svg", prog="dot")
        finally:
            os.dup2(errors, 2)
            os.close(errors)
            del os.environ["FONTCONFIG_FILE"]
    return pygraphviz


def _empty_graph(**attributes: Any) -> Any:
    pygraphviz = _pygraphviz()
    graph = pygraphviz.AGraph(directed=True, strict=False, **attributes)
    graph.node_attr.update(fontname=FONT, fontsize=FONT_POINTS, fixedsize="true", shape="box")
    graph.edge_attr.update(arrowsize="0.7")
    return graph


def _add(graph: Any, name: str, box: Box, place: Sequence[float] = (), **style: Any) -> None:
    if place:
        style["pos"] = ",".join(f"{number:.2f}" for number in place)
    width, height = _size(box)
    graph.add_node(name, label=_label(box.lines), width=f"{width / 72:.4f}", height=f"{height / 72:.4f}", **style)


def _shown(lines: Sequence[str]) -> list[str]:
    shown = [printable(str(line), keep="") for line in lines]
    return [line if len(line) <= MOST_LETTERS else line[: MOST_LETTERS - 1] + "…" for line in shown]


def _label(lines: Sequence[str]) -> str:
    r"""Text for Graphviz, which reads entities, escapes such as \N, and as HTML what stands between < and >."""
    return "\n".join(html.escape(line, quote=False).replace("\\", "\\\\") for line in _shown(lines))


def _size(box: Box) -> tuple[float, float]:
    """Width and height in points; letters of Chinese and the like are as wide as two."""
    lines = _shown(box.lines)
    widest = max(sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in line) for line in lines)
    return widest * LETTER + 14, len(lines) * LINE + 10
