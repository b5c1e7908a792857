"""A temporal gate is not trained on streams that are longer than it can count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flax import nnx

import jaxrnn
from jaxrnn.cells.temporal_gate_lstm import TemporalGateLSTMCell
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.progress import Progress
from jaxrnn.training import long_streams
from jaxrnn.training.job import make_job, template_of
from jaxrnn.training.long_streams import largest_count, refuse_streams_that_are_not_counted


def test_the_largest_count_is_the_one_that_one_more_leaves_as_it_is() -> None:
    for dtype in (np.float32, np.float64):
        most = dtype(largest_count(dtype))
        assert most + dtype(1) == most and most - dtype(1) != most


def job_of(**settings: Any) -> Any:
    options: dict[str, Any] = {
        "cell": "temporal-gate-lstm",
        "hidden": 2,
        "bptt_length": 5,
        "batch_size": 2,
        "epochs": 2,
    }
    config = jaxrnn.TrainConfig(text="given", **options | settings)
    return make_job(config, corpus_from_text("abcd dcba " * 20))  # 19 windows an epoch


@pytest.mark.parametrize(
    ("most", "settings", "refused"),
    [
        (94, {}, True),
        (95, {}, False),
        (94, {"cell": "lstm"}, False),
        (90, {"epochs": None, "updates": 18}, False),
        (50, {"batch_size": 4}, False),
        (94, {"dtype": "float64"}, False),
    ],
)
def test_streams_with_more_steps_are_refused(
    monkeypatch: pytest.MonkeyPatch, most: int, settings: dict[str, Any], refused: bool
) -> None:
    monkeypatch.setattr(long_streams, "largest_count", lambda dtype: most if dtype == np.float32 else 2**53)
    job = job_of(**settings)
    if refused:
        with pytest.raises(ConfigurationError, match="counts 94 steps .* has 95, .* larger --batch-size"):
            refuse_streams_that_are_not_counted([job], template_of(job))
    else:
        refuse_streams_that_are_not_counted([job], template_of(job))


def test_nothing_is_written_where_they_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(long_streams, "largest_count", lambda dtype: 94)

    def model(rngs: nnx.Rngs) -> jaxrnn.LanguageModel:
        return jaxrnn.LanguageModel(5, jaxrnn.Stack([TemporalGateLSTMCell(5, 2, rngs=rngs)]), rngs=rngs)

    text = jaxrnn.Text(corpus_from_text("abcd dcba " * 20), bptt_length=5, batch_size=2)
    optimizer = jaxrnn.named_optimizer("sgd", 0.1)
    with pytest.raises(ConfigurationError, match="the gate would stand still"):
        jaxrnn.fit(model, text, optimizer, epochs=1, run=tmp_path / "run", progress=Progress(quiet=True))
    assert not (tmp_path / "run").exists()
