"""Makes the model_*.safetensors beside it, as `jaxrnn export` wrote them, and model_*.npz with what they answered.

Command: python -m tests.golden.make_models [FOLDER]

Made with format 1 of the one-file model (jax 0.10.2, CPU), 2026-11-26. They are of use because later code did not write
them: a later version must open them and answer the same. Mend the code, not the files; a new format gets new ones.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jaxrnn
from jaxrnn.config import TrainConfig
from jaxrnn.terminal.progress import Progress
from jaxrnn.trained.run import Run, open_run
from jaxrnn.training.start import train

FOLDER = Path(__file__).parent
TEXT = "the cat sat on the mat; the dög ran far away. 道は遠い。\n" * 12
SETTINGS: dict[str, dict[str, Any]] = {
    "model_text": {"learned_initial_carry": True, "bptt_length": 20, "batch_size": 4, "validation_fraction": 0.1},
    "model_palindromes": {"task": "palindromes", "sequence_length": 5, "input": "one-hot", "batch_size": 8},
}
SHARED: dict[str, Any] = {"cell": "lstm", "hidden": 8, "optimizer": "adam", "learning_rate": 0.03, "updates": 120}


def answers(model: Any, run: Any) -> dict[str, np.ndarray]:
    """Logits from a fresh start for given ids, and a sample where there is a text."""
    steps, symbols = (40, len(run.vocabulary)) if run.config.task == "text" else (5, 10)
    ids = np.random.default_rng(8).integers(symbols, size=(steps, 2)).astype(np.int32)
    logits, _ = model(jnp.asarray(ids), model.initial_carry(2))
    told = {"ids": ids, "logits": np.asarray(logits)}
    return told | ({"sample": np.array(run.sample(60, 0.5, "the "))} if run.config.task == "text" else {})


def main(folder: Path = FOLDER) -> None:
    """Writes the files."""
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch, "text.txt")
        text.write_text(TEXT, encoding="utf-8")
        for name, settings in SETTINGS.items():
            given = SHARED | settings | ({} if "task" in settings else {"text": str(text), "sample_every": 0})
            train(TrainConfig(**given), Path(scratch, name), Progress(quiet=True))
            run = open_run(Path(scratch, name))
            assert isinstance(run, Run)
            (folder / f"{name}.safetensors").unlink(missing_ok=True)
            run.export(folder / f"{name}.safetensors")
            arrays: dict[str, Any] = {"jaxrnn": np.array(jaxrnn.__version__), **answers(run.model(), run)}
            np.savez_compressed(folder / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
