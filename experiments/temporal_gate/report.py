"""What the commands of the temporal gate print and write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.spread import spread
from jaxrnn.devices import fingerprint
from jaxrnn.storage import write_atomically


def report_accuracies(final: Mapping[str, np.ndarray], gated: str) -> None:
    """Prints mean and standard deviation over seeds, and the gated network's advantage, seed by seed."""
    for name, of in final.items():
        print(f"  {name}: accuracy {spread(of)} ({of.min():.3f} to {of.max():.3f})")
        if name != gated:
            ahead = final[gated] - of
            won = f"in {int((ahead > 0).sum())} of {len(of)}"
            print(f"    {gated} ahead by {spread(ahead)}, {won}")


def print_gates(gates: Mapping[str, Any], bursts: Any) -> None:
    """Prints the gates of the networks, weighted by use, beside the one that shuts the noise out."""
    print(
        f"  true: period {bursts.period:g}, opens at {gates['true_shift']:g}, open ratio {gates['true_open_ratio']:g}"
    )
    for when in ("before", "after"):
        for seed, of in enumerate(gates[when]):
            best = of["most_used_quiet_unit"]
            unit = "none" if best is None else "{:.2f}, {:.2f}, {:.2f}".format(*best)
            print(
                f"  {when}, seed {seed}: {of['openness_in_noise']:.2f} of the openness in noise; quiet units have "
                f"{of['use_of_quiet_units']:.2f} of the use, the most used is {unit}"
            )
    shares = " ".join(f"{share:.2f}" for share in gates["sensitivity_in_noise"])
    print(
        f"  noise covers {gates['noisy_share_of_steps']:.2f} of the steps; share of the answer's sensitivity: {shares}"
    )


def save(run: Path, name: str, figure: Any, numbers: Mapping[str, Any]) -> None:
    """Writes NAME.json, with the versions and the device, and NAME.png."""
    run.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**numbers, "environment": fingerprint()}, indent=1)
    write_atomically(run / f"{name}.json", text + "\n")
    if figure is not None:
        figure.savefig(run / f"{name}.png", dpi=110)
    print(f"numbers{'' if figure is None else ' and picture'} in {run / name}.*")
