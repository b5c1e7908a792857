"""Drawings of a graph of nodes, of a model over some steps of time, and of one step of any cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.extend.core import Literal

from jaxrnn.cells.base import Cell
from jaxrnn.errors import ConfigurationError
from jaxrnn.inspect.graph.drawing import Box, Drawing
from jaxrnn.inspect.graph.nodes import Cost, Node, Static
from jaxrnn.models.foreign_cells import fresh_carry

FEW = 3  # numbers that are shown one by one
SHARED = -1  # the column of what all steps share


def draw_graph(cost: Node) -> Drawing:
    """Draws a graph with the values of the latest `forward` and the gradients of the latest `backward` on each node.

    A step of time is a column, from left to right; in it values flow up. What all steps share, such as the parameters,
    is drawn once, on the left. An array of more than 3 numbers is shown as its shape and its norm, the root of the sum
    of squares.

    Args:
      cost: the last node.

    Raises:
      ConfigurationError: if there are more nodes than can be drawn; and from the drawing, where pygraphviz is missing.
    """
    nodes = cost.order()
    columns: dict[Node, float] = {node: SHARED if node.step is None else node.step for node in nodes}
    is_unrolled = len(set(columns.values())) > 1
    boxes, arrows = {}, []
    for node in nodes:
        title = " = ".join(part for part in (node.name, node.sign) if part) or type(node).__name__
        lines = [title, _summary("value", node.value)]
        lines += [] if node.gradient is None else [_summary("gradient", node.gradient)]
        boxes[node] = Box(lines, _kind(node, is_unrolled), columns[node])
        for one in node.inputs:
            shared, same = columns[one] == SHARED != columns[node], columns[one] == columns[node]
            kind = "parameter" if shared else "flow" if same or columns[node] == math.inf else "time"
            arrows.append((one, node, kind))
    return Drawing(boxes, arrows, heads=_heads(columns.values()))


def draw_model(model: Any, *, steps: int = 3, feedback: bool = False) -> Drawing:
    """Draws a model over some steps of time: its layers with their sizes, skip connections, and the carries.

    The parameters stand on the left, once, as all steps share them. Blue arrows go from step to step, light blue ones
    back in time; dashed are skip connections, purple from the input, orange to the output; dotted and green, feedback.

    Args:
      model: with a `stack`: a `LanguageModel`, a `SequenceClassifier`, or your own, with an output layer W_y, b_y.
      steps: T, the columns.
      feedback: draws each output as the next input too, as when a language model writes.

    Raises:
      ConfigurationError: if the model has no stack, or there is no step.
    """
    if not hasattr(model, "stack") or steps < 1:
        raise ConfigurationError(
            f"draw_model expects a model with a stack and at least 1 step; got a {type(model).__name__} and {steps}"
        )
    stack, times = model.stack, range(1, steps + 1)
    boxes: dict[Any, Box] = {}  # by (name, column)
    arrows: list[tuple[Any, Any, str]] = []

    def box(name: str, column: float, kind: str, *lines: str, below: Sequence[Any] = (), shared: str = "") -> Any:
        boxes[name, column] = Box(lines, kind, column)
        arrows.extend((one, (name, column), "flow") for one in below)
        if shared:
            arrows.append(((shared, SHARED), (name, column), "parameter"))
        return name, column

    def parameters(name: str, title: str, module: nnx.Module | None, **params: Any) -> None:
        state = nnx.state(nnx.Dict(params) if module is None else module, nnx.Param)
        flat = {"/".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(state)}
        sizes = [f"{path} {_shape(shape)}" for path, shape in flat.items()]
        box(name, SHARED, "parameter", title, *sizes, f"{sum(map(math.prod, flat.values())):,} numbers")

    embedding, W_y, b_y = (getattr(model, name, None) for name in ("embedding", "W_y", "b_y"))
    if embedding is not None:
        parameters("embedding", "embedding", None, E=embedding)
    for number, layer in enumerate(stack.layers):
        parameters(f"layer {number}", f"layer {number}: {type(layer).__name__}", layer)
    if b_y is not None:
        title = "output layer, W_y = E'" if W_y is None else "output layer"
        parameters("output", title, None, **({} if W_y is None else {"W_y": W_y}), b_y=b_y)
    has_mean, answers = getattr(model, "pooling", "") == "mean", getattr(model, "answers", steps)
    for t in times:
        features = stack.in_features if embedding is None else embedding.shape[0]
        x = box("x", t, "static", f"x_{t}", f"{features} in")
        if embedding is not None:
            x = box("E", t, "operator", "embedding", f"→ {stack.in_features}", below=[x], shared="embedding")
        below = [x]
        seen: list[tuple[Any, str]] = []
        for number, layer in enumerate(stack.layers):
            seen = [(one, "skip output") for one, _ in seen] if stack.skip_connections else []
            cells = (
                {" forward": layer.forward, " backward": layer.backward} if hasattr(layer, "backward") else {"": layer}
            )
            for way, cell in cells.items():
                title, name = type(cell).__name__ + way, f"layer {number}{way}"
                sizes = f"{cell.in_features} → {cell.hidden_features}"
                here = box(name, t, "named", title, sizes, below=below, shared=f"layer {number}")
                if number and stack.skip_connections:
                    arrows.append((x, here, "skip input"))
                if t > 1:
                    before = (name, t - 1)
                    arrows.append((here, before, "time back") if way == " backward" else (before, here, "time"))
                seen.append((here, "flow"))
            below = [one for one, kind in seen if kind == "flow"]
        if b_y is None or (t <= steps - answers and not has_mean):
            continue
        end = math.inf if has_mean else t
        if ("output", end) not in boxes:
            title = "mean over t, output" if has_mean else "output"
            box("output", end, "operator", title, f"{stack.out_features} → {b_y.shape[0]}", shared="output")
        arrows += [(one, ("output", end), kind) for one, kind in seen]
    if feedback:
        arrows += [(("output", t), ("x", t + 1), "feedback") for t in times[:-1] if ("output", t) in boxes]
    return Drawing(boxes, arrows, heads=_heads(column for _, column in boxes))


def draw_step(cell: Any) -> Drawing:
    """Draws one step of any cell as JAX sees it, the jaxpr: a box for each operation, with the type of its result.

    Of a `Cell` it is `update`, from the products p_t = x_t W_x + b and r_t = h_{t-1} W_h to the new carry and the
    output; of another cell, such as Flax's, the whole call with its parameters. A call of a named function inside it is
    one box.

    Args:
      cell: a `Cell`, or another that is called as `cell(carry, x)`.

    Raises:
      ConfigurationError: if it is no cell.

    Example:
      >>> from jaxrnn.cells import GRUCell
      >>> drawing = draw_step(GRUCell(3, 4, rngs=nnx.Rngs(0)))
      >>> [box.lines[0] for box in drawing.boxes.values()].count("logistic")  # the reset and the update gate
      2
    """
    if not callable(cell) or not hasattr(cell, "in_features"):
        raise ConfigurationError(f"draw_step expects a cell, called as cell(carry, x); got a {type(cell).__name__}")
    carry = jax.eval_shape(lambda: fresh_carry(cell, 1))
    x = jax.ShapeDtypeStruct((1, cell.in_features), jax.tree.leaves(carry)[0].dtype)
    graphdef, state = nnx.split(cell)
    arguments: dict[str, Any] = {"carry": carry}
    if isinstance(cell, Cell):
        p, r = jax.eval_shape(cell.products, carry, x)
        arguments |= {"p": p, "r": r, "pointwise": cell.pointwise(), "t": jax.ShapeDtypeStruct((), np.int32)}
    else:
        arguments |= {"": state, "x": x}

    def step(arguments: dict[str, Any]) -> Any:
        if isinstance(cell, Cell):
            new, y = cell.update(*(arguments[name] for name in ("p", "r", "carry", "pointwise", "t")))
        else:
            new, y = nnx.merge(graphdef, arguments[""])(arguments["carry"], arguments["x"])
        return {"carry": new, "y": y}

    closed, shapes = jax.make_jaxpr(step, return_shape=True)(arguments)
    jaxpr = closed.jaxpr
    boxes: dict[Any, Box] = {}
    arrows: list[tuple[Any, Any, str]] = []
    made: dict[Any, Any] = {}  # the box that a variable comes from
    names = [*("constant" for _ in jaxpr.constvars), *_leaf_names(arguments)]
    for name, variable in zip(names, [*jaxpr.constvars, *jaxpr.invars], strict=True):
        made[variable] = f"in {len(made)}"
        boxes[made[variable]] = Box([name, variable.aval.str_short()], "static")
    for number, equation in enumerate(jaxpr.eqns):
        called = getattr(equation.params.get("call_jaxpr"), "jaxpr", None)
        title = equation.params.get("name") or (called.debug_info.func_name if called else equation.primitive.name)
        if any(isinstance(one, Literal) for one in equation.invars):
            title += f"({', '.join(str(one.val) if isinstance(one, Literal) else '·' for one in equation.invars)})"
        outs = equation.outvars
        boxes[number] = Box([title, outs[0].aval.str_short() if len(outs) == 1 else f"{len(outs)} parts"], "operator")
        arrows += [(made[one], number, "flow") for one in equation.invars if not isinstance(one, Literal)]
        for part, variable in enumerate(outs):
            made[variable] = number
            if len(outs) > 1:
                made[variable] = (number, part)
                boxes[number, part] = Box([f"part {part}", variable.aval.str_short()], "operator")
                arrows.append((number, (number, part), "flow"))
    for number, (name, one) in enumerate(zip(_leaf_names(shapes), jaxpr.outvars, strict=True)):
        boxes["out", number] = Box([f"new {name}" if name != "y" else name, one.aval.str_short()], "named")
        if not isinstance(one, Literal):
            arrows.append((made[one], ("out", number), "flow"))
    read = {tail for tail, *_ in arrows}  # t is of no use to most cells
    shown = {key: box for key, box in boxes.items() if key in read or box.kind != "static"}
    return Drawing(shown, arrows, direction="LR")


def _leaf_names(tree: Any) -> list[str]:
    paths = [
        jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]
    return [path.removeprefix("carry/").removeprefix("pointwise/").strip("/").removesuffix("/value") for path in paths]


def _kind(node: Node, is_unrolled: bool) -> str:
    if isinstance(node, Static):
        return "parameter" if is_unrolled and node.step is None else "static"
    return "cost" if isinstance(node, Cost) else "named" if node.name else "operator"


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))


def _summary(name: str, array: np.ndarray) -> str:
    if array.size > FEW and array.dtype.kind == "f":
        return f"{_shape(array.shape) if name == 'value' else name}, norm {np.linalg.norm(array):.3g}"
    numbers = " ".join(f"{number:.3g}" for number in array.reshape(-1)[:FEW])
    return f"{name} {numbers}" + (" ..." if array.size > FEW else "")


def _heads(columns: Iterable[float]) -> dict[float, str]:
    steps = sorted(set(columns))
    names = {SHARED: "parameters", 0: "before", math.inf: "end"}
    return {step: names.get(step, f"t = {step}") for step in steps} if len(steps) > 1 else {}
