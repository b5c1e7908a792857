"""Recurrent networks in JAX: fast, exact to the last bit across a restart, and clear enough to learn from.

The public names are loaded when they are first used, so `import jaxrnn` costs nothing by itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Arrays": "jaxrnn.tasks.arrays",
    "CELLS": "jaxrnn.cells",
    "Cell": "jaxrnn.cells",
    "Corpus": "jaxrnn.data.corpus",
    "FitResult": "jaxrnn.training.start",
    "FullPeepholeLSTMCell": "jaxrnn.cells",
    "GRUCarry": "jaxrnn.cells",
    "GRUCell": "jaxrnn.cells",
    "JaxrnnError": "jaxrnn.errors",
    "LSTMCarry": "jaxrnn.cells",
    "LSTMCell": "jaxrnn.cells",
    "LanguageModel": "jaxrnn.models.language_model",
    "LayerNormLSTMCell": "jaxrnn.cells",
    "MultiplicativeLSTMCell": "jaxrnn.cells",
    "PeepholeLSTMCell": "jaxrnn.cells",
    "ResetBeforeGRUCell": "jaxrnn.cells",
    "Run": "jaxrnn.run",
    "SequenceClassifier": "jaxrnn.models.sequence_classifier",
    "Sequences": "jaxrnn.tasks.sequences",
    "Stack": "jaxrnn.models.stack",
    "Stream": "jaxrnn.tasks.stream",
    "TemporalGateCarry": "jaxrnn.cells",
    "TemporalGateLSTMCell": "jaxrnn.cells",
    "Text": "jaxrnn.tasks.text",
    "TrainConfig": "jaxrnn.config",
    "Trainer": "jaxrnn.training.trainer",
    "VanillaCarry": "jaxrnn.cells",
    "VanillaCell": "jaxrnn.cells",
    "Vocabulary": "jaxrnn.data.vocabulary",
    "choose_engine": "jaxrnn.engines",
    "fit": "jaxrnn.training.fit",
    "load_corpus": "jaxrnn.data.corpus",
    "open_run": "jaxrnn.run",
    "optimizer": "jaxrnn.training.parts",
    "resume": "jaxrnn.training.start",
    "train": "jaxrnn.training.start",
    "unroll": "jaxrnn.engines",
    "use_cpu_devices": "jaxrnn.devices.mesh",
}

if TYPE_CHECKING:
    from jaxrnn.cells import (
        CELLS,
        Cell,
        FullPeepholeLSTMCell,
        GRUCarry,
        GRUCell,
        LayerNormLSTMCell,
        LSTMCarry,
        LSTMCell,
        MultiplicativeLSTMCell,
        PeepholeLSTMCell,
        ResetBeforeGRUCell,
        TemporalGateCarry,
        TemporalGateLSTMCell,
        VanillaCarry,
        VanillaCell,
    )
    from jaxrnn.config import TrainConfig
    from jaxrnn.data.corpus import Corpus, load_corpus
    from jaxrnn.data.vocabulary import Vocabulary
    from jaxrnn.devices.mesh import use_cpu_devices
    from jaxrnn.engines import choose_engine, unroll
    from jaxrnn.errors import JaxrnnError
    from jaxrnn.models.language_model import LanguageModel
    from jaxrnn.models.sequence_classifier import SequenceClassifier
    from jaxrnn.models.stack import Stack
    from jaxrnn.run import Run, open_run
    from jaxrnn.tasks.arrays import Arrays
    from jaxrnn.tasks.sequences import Sequences
    from jaxrnn.tasks.stream import Stream
    from jaxrnn.tasks.text import Text
    from jaxrnn.training.fit import fit
    from jaxrnn.training.parts import optimizer
    from jaxrnn.training.start import FitResult, resume, train
    from jaxrnn.training.trainer import Trainer

__all__ = [
    "Arrays",
    "CELLS",
    "Cell",
    "Corpus",
    "FitResult",
    "FullPeepholeLSTMCell",
    "GRUCarry",
    "GRUCell",
    "JaxrnnError",
    "LSTMCarry",
    "LSTMCell",
    "LanguageModel",
    "LayerNormLSTMCell",
    "MultiplicativeLSTMCell",
    "PeepholeLSTMCell",
    "ResetBeforeGRUCell",
    "Run",
    "SequenceClassifier",
    "Sequences",
    "Stack",
    "Stream",
    "TemporalGateCarry",
    "TemporalGateLSTMCell",
    "Text",
    "TrainConfig",
    "Trainer",
    "VanillaCarry",
    "VanillaCell",
    "Vocabulary",
    "choose_engine",
    "fit",
    "load_corpus",
    "open_run",
    "optimizer",
    "resume",
    "train",
    "unroll",
    "use_cpu_devices",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'jaxrnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
