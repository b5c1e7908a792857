"""Exported programs answer as the model that they were made of, without jaxrnn."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxrnn.decode.sampling import FREE
from jaxrnn.errors import ConfigurationError
from jaxrnn.exchange import export_programs
from jaxrnn.trained.run import open_run
from tests.faults.support import assert_refused, command
from tests.test_exported import FIXTURES, GOLDEN

pytest.importorskip("flatbuffers")  # without it jax.export serializes nothing


def opened(directory: Path, streams: int) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What another program has: both programs, the tensors, and the state of a fresh start."""
    files = {name: bytearray((directory / f"{name}.stablehlo").read_bytes()) for name in ("score", "sample")}
    programs = {name: jax.export.deserialize(data) for name, data in files.items()}
    tensors = load_file(directory / "model.safetensors")
    carry = {n.removeprefix("initial_carry."): v for n, v in tensors.items() if n.startswith("initial_carry.")}
    return programs, tensors, {name: np.repeat(value, streams, axis=0) for name, value in carry.items()}


@pytest.mark.parametrize(
    ("path", "batch"),
    [(FIXTURES / "documents", None), pytest.param(GOLDEN / "model_text.safetensors", 2, marks=pytest.mark.slow)],
    ids=["documents, any batch", "a learned start, two streams"],
)
def test_programs_score_and_write_as_the_model(path: Path, batch: int | None, tmp_path: Path) -> None:
    model = open_run(path)
    export_programs(model, tmp_path / "out", batch=batch, platforms=["cpu", "cuda", "tpu"])
    programs, tensors, state = opened(tmp_path / "out", 2)
    assert all(program.platforms == ("cpu", "cuda", "tpu") for program in programs.values())

    end, first = model.document_end, int(model.vocabulary.encode_prompt("", model.document_end)[0])
    given = np.full((41, 2), FREE, np.int32)
    given[:3] = np.array([first, 2, 1])[:, None]
    prime = model.vocabulary.decode(given[:3, 0])
    _, written = programs["sample"].call(
        tensors, state, given, np.float32(0.7), np.array([4, 9], np.uint32), np.int32(0)
    )
    for stream, seed in enumerate((4, 9)):
        expected = model.sample(38, temperature=0.7, prime=prime, seed=seed)
        assert model.vocabulary.decode(written[3:, stream]) == expected

    ids = np.random.default_rng(5).integers(len(model.vocabulary), size=(30, 2)).astype(np.int32)
    ids[[7, 19]] = first if end is None else end  # 19 is the last that the first window reads
    middle, log_p = programs["score"].call(tensors, state, ids[:21])
    _, rest = programs["score"].call(tensors, middle, ids[20:])
    whole = np.concatenate([log_p, rest])
    from jaxrnn.scoring import evaluate_ids

    for stream in range(2):
        loss = evaluate_ids(*model.split(), ids[:, stream], document_end=end).loss_nats
        np.testing.assert_allclose(-whole[:, stream].mean(), loss, rtol=1e-5)
    one = {name: value[:1] for name, value in state.items()}
    if batch is None:
        alone = programs["score"].call(tensors, one, ids[:, :1])[1]
        np.testing.assert_allclose(alone, whole[:, :1], rtol=1e-4, atol=1e-5)
    else:
        with pytest.raises(ValueError, match="shape"):
            programs["score"].call(tensors, one, ids[:, :1])


def test_what_cannot_be_a_program_is_refused(tmp_path: Path, capsys: Any) -> None:
    model, out = GOLDEN / "model_text.safetensors", tmp_path / "out"
    programs = ["export", model, out, "--format", "stablehlo"]
    assert_refused(command(capsys, *programs, "--platforms", "cpu,gpu"), 2, "cpu, cuda, rocm, tpu", "'gpu'")
    assert_refused(command(capsys, *programs, "--batch", 0), 2, "--batch", "0")
    with pytest.raises(ConfigurationError, match="not on a text"):
        export_programs(open_run(GOLDEN / "model_palindromes.safetensors"), out)
    assert not os.path.exists(out)
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert_refused(command(capsys, *programs), 2, "holds notes.txt", "new directory")
    assert os.listdir(out) == ["notes.txt"]
