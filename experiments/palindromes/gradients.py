"""Vanishing gradients, seen on palindromes (report D): |dL/dh_t| of a vanilla RNN and an LSTM, and the law behind it.

    python -m experiments.palindromes gradients --length 100 --updates 1000 --output DIR

Trains a vanilla RNN, an LSTM with forget bias 1 and one with forget bias 5 ("lstm-open", rate 4e-3), and a vanilla
RNN at T = 5, which it solves; the same command goes on after a kill, a larger --updates goes on from the end.
DIR/hidden_gradients.png: the norm of dL/dh_t at every step, before and after training.
DIR/jacobian_law.png: |dx_t/dx_k| against t - k for a random matrix of spectral radius 0.9, 1 and 1.1, with and without
tanh, and the eigenvalues of the trained matrices. DIR/gradients.json: all numbers.
Published: the report shows no such numbers; the picture belongs to a later edition of its course.

Obtained on one core of an AMD EPYC (Zen 4), no GPU, jax 0.10.2, 2026-11-26, the defaults: experiments/README.md, of
experiments/results/palindromes_gradients.csv (3 min alone, 2026-11-21). The vanilla RNN at T = 5: accuracy 0.975,
spectral radius of W_h 2.61; at T = 100 2.70, of which tanh leaves nothing. The norms of random matrices lie above
radius^(t-k) by a factor, since they are not normal; the slope is the radius. With tanh even radius 1.1 keeps the norm
level.

Recipe of D: digits as numbers, 128 units, batch 128, RMSprop 1e-3, the norm of the whole gradient at most 10. Chosen
here: weights normal with standard deviation 0.1, decay 0.95 of the mean square. The gradients are
those of 128 sequences that training does not see, each row's norm of its own loss, the mean over the rows.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cyclopts
import jax.numpy as jnp
import numpy as np

from jaxrnn import Run, TrainConfig, Trainer, train
from jaxrnn.devices import use_compile_cache
from jaxrnn.inspect import (
    ACTIVATIONS,
    eigenvalues,
    hidden_gradient_norms,
    jacobian_norms,
    spectral_radius,
    with_spectral_radius,
)
from jaxrnn.models import model_with
from jaxrnn.random_streams import STREAM_VALIDATION, run_key, stream_key
from jaxrnn.storage import json_number, write_atomically
from jaxrnn.terminal import EXIT_OF_STOP, Progress, write_output
from jaxrnn.training import make_job

app = cyclopts.App(name="gradients", help="Vanishing gradients on palindromes.", version_flags=[])

BATCH = 128
SHORT_LENGTH = 5  # a vanilla RNN is near-perfect there after about 400 updates
# With forget bias 5 an LSTM remembers 100 steps from its start on, and learns the task in about 1,000 updates.
NETWORKS: dict[str, dict[str, Any]] = {
    "vanilla": {"cell": "vanilla"},
    "lstm": {"cell": "lstm"},
    "lstm-open": {"cell": "lstm", "forget_bias": 5.0, "learning_rate": 4e-3},
}
COLORS = {"vanilla": "tab:blue", "lstm": "tab:orange", "lstm-open": "tab:green"}
RADII = {0.9: "tab:blue", 1.0: "0.4", 1.1: "tab:red"}
INPUT_STD = 0.1  # of the inputs of the network that shows the law
TABLE_STEPS_BEFORE_END = (0, 10, 50)


def recipe(network: str, length: int, hidden: int, updates: int, seed: int) -> TrainConfig:
    """The settings of D's palindromes for one of `NETWORKS`."""
    settings: dict[str, Any] = {
        "task": "palindromes",
        "sequence_length": length,
        "hidden": hidden,
        "init_scale": 0.1,
        "batch_size": BATCH,
        "optimizer": "rmsprop",
        "learning_rate": 1e-3,
        "clip_value": 0.0,
        "clip_global_norm": 10.0,
        "updates": updates,
        "seed": seed,
        "devices": "1",
    }
    return TrainConfig(**settings | NETWORKS[network])


@app.default
def main(
    *,
    length: int = 100,
    hidden: int = 128,
    updates: int = 1000,
    short_updates: int = 1000,
    seed: int = 0,
    output: Path | None = None,
) -> int:
    """Train on palindromes, and show how much of the gradient reaches each step.

    Args:
      length: T, the digits that the network reads.
      hidden: H.
      updates: updates of the vanilla RNN and of the LSTMs.
      short_updates: updates of the vanilla RNN at T = 5.
      seed: seed of everything random.
      output: directory of the runs, pictures and numbers; runs/gradients-LENGTH-HIDDEN-SEED if not given.
    """
    wanted = {f"{name}-{length}": recipe(name, length, hidden, updates, seed) for name in NETWORKS}
    wanted[f"solved-vanilla-{SHORT_LENGTH}"] = recipe("vanilla", SHORT_LENGTH, hidden, short_updates, seed)
    use_compile_cache()
    output = output or Path("runs") / f"gradients-{length}-{hidden}-{seed}"
    started = time.monotonic()
    for name, config in wanted.items():
        result = train(config, output / name)
        if result.stopped:
            return EXIT_OF_STOP[result.stopped]
    runs = {name: Run(output / name) for name in wanted}
    report(runs, output, law(hidden, length, seed))
    print(f"this call took {time.monotonic() - started:.0f} s")
    return 0


def gradient_norms(run: Run) -> dict[str, list[float]]:
    """|dL/dh_t| for t = 1 .. T before and after training, and |dL/dc_t| where there is a c."""
    trainer, task = Trainer.of([make_job(run.config)]), run.objective
    key = stream_key(run_key(run.config.seed), STREAM_VALIDATION)
    inputs, targets = task.draw(key, jnp.arange(BATCH))
    models = {"untrained": model_with(trainer.graphdef, trainer.initial_state().params), "trained": run.model("latest")}
    norms = {}
    for name, model in models.items():
        for part in model.initial_carry(1)[0]._fields:
            found = hidden_gradient_norms(model, inputs, targets, task, part=part)
            norms[name if part == "h" else f"{name}, {part}"] = found.tolist()
    return norms


def law(hidden: int, length: int, seed: int) -> dict[str, dict[str, list[float]]]:
    """|dx_t/dx_k| against t - k by activation and spectral radius, of one random matrix and one random sequence."""
    draw = np.random.default_rng(seed)
    W, inputs = draw.normal(size=(hidden, hidden)), INPUT_STD * draw.normal(size=(length, hidden))
    return {
        activation: {
            f"{radius:g}": jacobian_norms(with_spectral_radius(W, radius), inputs, activation=activation).tolist()
            for radius in RADII
        }
        for activation in ACTIVATIONS
    }


def report(runs: dict[str, Run], output: Path, law_norms: dict[str, dict[str, list[float]]]) -> None:
    """Prints the tables, draws both pictures and writes the numbers."""
    progress = Progress()
    norms = {}
    for name, run in runs.items():
        progress.message(f"gradients of {name}, untrained and after {run.config.updates:,} updates")
        norms[name] = gradient_norms(run)
    vanilla = {name: run for name, run in runs.items() if run.config.cell == "vanilla"}
    spectra = {name: eigenvalues(run.model("latest").stack.layers[0]) for name, run in vanilla.items()}
    radii = {name: spectral_radius(run.model("latest").stack.layers[0]) for name, run in vanilla.items()}
    accuracy = {name: float(run.metrics["train/recent_accuracy"][-1]) for name, run in runs.items()}
    numbers = {
        "settings": {name: run.config.to_json() for name, run in runs.items()},
        "hidden_gradient_norms": {
            name: {model: [json_number(norm) for norm in values] for model, values in by_model.items()}
            for name, by_model in norms.items()
        },
        "recent_accuracy": accuracy,
        "spectral_radius": radii,
        "eigenvalues": {name: [[z.real, z.imag] for z in values.tolist()] for name, values in spectra.items()},
        "jacobian_norms": law_norms,
    }
    write_atomically(output / "gradients.json", json.dumps(numbers, indent=1, allow_nan=False) + "\n")
    pictures = {
        "hidden_gradients.png": hidden_gradients_figure({name: norms[name] for name in runs if "solved" not in name}),
        "jacobian_law.png": law_figure(law_norms, spectra),
    }
    for file, figure in pictures.items():
        figure.savefig(output / file, dpi=120)
    print("\n" + norm_table(norms))
    print("\n| run | accuracy, mean of the latest 100 updates | spectral radius of W_h |\n|---|---|---|")
    for name, value in accuracy.items():
        print(f"| {name} | {value:.4f} | {f'{radii[name]:.3f}' if name in radii else ''} |")
    write_output(f"\npictures: {', '.join(str(output / file) for file in pictures)}\n")


def norm_table(norms: dict[str, dict[str, list[float]]]) -> str:
    """|dL/dh_t| at the last step, some steps before it and the first, a Markdown table."""
    heading = [f"t = T - {before}" if before else "t = T" for before in TABLE_STEPS_BEFORE_END]
    lines = [f"| gradient norm | {' | '.join(heading)} | t = 1 |", "|---" * (len(heading) + 2) + "|"]
    for run, by_model in norms.items():
        for model, values in by_model.items():
            at = [len(values) - 1 - before for before in TABLE_STEPS_BEFORE_END]
            cells = [f"{values[i]:.2e}" if i >= 0 else "" for i in [*at, 0]]
            lines.append(f"| {run}, {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def hidden_gradients_figure(norms: dict[str, dict[str, list[float]]]) -> Any:
    """|dL/dh_t| at every step on a logarithmic axis, every network, before and after training."""
    from jaxrnn.inspect import STYLES, Figure

    figure = Figure(figsize=(9.5, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for (name, by_model), (_, _, mark) in zip(norms.items(), STYLES, strict=False):
        network, _, length = name.rpartition("-")
        marks: dict[str, Any] = {"marker": mark, "markersize": 4, "markevery": 9}
        for model, style in (("untrained", "--"), ("trained", "-")):
            steps, label = np.arange(1, len(by_model[model]) + 1), f"{network}, {model}"
            axes.plot(steps, by_model[model], style, color=COLORS[network], linewidth=1.4, label=label, **marks)
    axes.set_yscale("log")
    axes.set_xlabel("step t")
    axes.set_ylabel(r"$|\partial L / \partial h_t|$, mean over the batch")
    axes.set_title(f"palindromes, T = {length}: the gradient on its way back from the last step")
    axes.grid(color="0.9")
    axes.margins(x=0.01)
    figure.legend(frameon=False, loc="outside right center")
    return figure


def law_figure(law_norms: dict[str, dict[str, list[float]]], spectra: dict[str, np.ndarray]) -> Any:
    """The norms of the products of Jacobians with the powers of the radius, and trained eigenvalues in the plane."""
    from jaxrnn.inspect import STYLES, Figure

    figure = Figure(figsize=(12.0, 5.0), layout="constrained")
    axes, plane = figure.subplots(1, 2, width_ratios=(1.35, 1.0))
    for (radius, color), (_, _, mark) in zip(RADII.items(), STYLES, strict=False):
        marks: dict[str, Any] = {"marker": mark, "markersize": 4, "markevery": 10}
        for activation, style in (("linear", "-"), ("tanh", "--")):
            values, label = law_norms[activation][f"{radius:g}"], f"radius {radius:g}, {activation}"
            axes.plot(values, style, color=color, linewidth=1.4, label=label, **marks)
        powers = radius ** np.arange(len(values))
        axes.plot(powers, ":", color=color, linewidth=1.0, label=r"radius$^{\,t-k}$" if radius == 1.1 else None)
    axes.set_yscale("log")
    axes.set_xlabel("$t - k$")
    axes.set_ylabel(r"$\|\partial x_t / \partial x_k\|_2$")
    axes.set_title("products of Jacobians, a random matrix")
    axes.grid(color="0.9")
    axes.margins(x=0.01)
    axes.legend(frameon=False, fontsize="small")
    angle = np.linspace(0, 2 * np.pi, 400)
    plane.plot(np.cos(angle), np.sin(angle), color="0.6", linewidth=1.0)
    for (name, found), marker, color in zip(spectra.items(), ("o", "x"), ("tab:blue", "tab:green"), strict=True):
        label = f"T = {name.rpartition('-')[2]}: radius {np.abs(found).max():.2f}"
        plane.scatter(found.real, found.imag, s=18, marker=marker, linewidths=0.9, label=label, **_paint(marker, color))
    plane.set_aspect("equal")
    plane.set_xlabel("real part")
    plane.set_ylabel("imaginary part")
    plane.set_title("eigenvalues of the trained vanilla $W_h$")
    plane.grid(color="0.9")
    plane.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return figure


def _paint(marker: str, color: str) -> dict[str, str]:
    return {"color": color} if marker == "x" else {"facecolors": "none", "edgecolors": color}
