"""The picture of `cells.py`: how many times as fast as PyTorch, a bar a row."""

from pathlib import Path
from typing import Any


def save_figure(results: list[dict[str, Any]], path: Path) -> None:
    """Bars of ours / torch malloc, a row each, colour and hatching by cell, and a line at 1."""
    from jaxrnn.inspect import STYLES, Figure

    shown = [result for result in results if "torch malloc" in result["ours_over"]]
    figure = Figure(figsize=(max(5.0, 1.5 + 0.7 * len(shown)), 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (kind, hatch), (colour, *_) in zip((("vanilla", ".."), ("lstm", ""), ("gru", "//")), STYLES, strict=False):
        at = [i for i, result in enumerate(shown) if result["row"].startswith(kind)]
        ratios = [shown[i]["ours_over"]["torch malloc"] for i in at]
        bars = axes.bar(at, ratios, 0.75, color=colour, hatch=hatch, edgecolor="white", label=kind)
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    axes.axhline(1.0, color="black", linewidth=1.0, linestyle="--", label="as fast as PyTorch")
    names = [result["row"].rpartition("-") for result in shown]
    axes.set_xticks(range(len(shown)), [f"{before} x {layers}" for before, _, layers in names], rotation=30, ha="right")
    axes.set(xlabel="cell, hidden features x layers", ylabel="ours / PyTorch")
    title = "Characters a second in training: batch 100, windows of 100, each with its allocator's best settings"
    axes.set_title(title, fontsize="small")
    axes.margins(x=0.02, y=0.1)
    figure.legend(frameon=False, loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)
