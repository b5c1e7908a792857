"""Runs that an earlier version left half done, against how that version ended them.

`tests/fixtures/make.py` says how they were made. Where everything that decides the bits is as it was then, the bits
must be those of then, else the numbers. A test that fails here says that users cannot go on with the runs they have:
mend the code, not the fixtures.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import jaxrnn
from jaxrnn.devices.environment import changes, fingerprint
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.population_run import EpochReport, PopulationOptions, PopulationRun
from jaxrnn.training.sequence_population_run import SequencePopulationRun, SequenceReport
from tests.fixtures import ends

FIXTURES = Path(__file__).parent / "fixtures"
STORED = json.loads((FIXTURES / "ends.json").read_text())
MEMBERS = json.loads((FIXTURES / "members.json").read_text())
RUNS = ["text_one_device", "text_two_devices", "documents", "palindromes", "text_float64"]
POPULATIONS = ["text_population", "sequence_population"]
UPDATES, HALF = 20, 10


@functools.cache
def stored_arrays() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "ends.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def copy_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Copies a fixture, in the folder from which its text is found."""
    monkeypatch.chdir(FIXTURES.parents[1])
    return lambda name: Path(shutil.copytree(FIXTURES / name, tmp_path / name))


def assert_ended_as_then(name: str, directory: Path, leaves: dict[str, np.ndarray]) -> None:
    """Compares bits where they can be the same, else numbers to 1e-6."""
    end, losses = STORED["ends"][name], ends.loss_columns(directory)
    assert list(leaves) == list(end["leaves"])
    changed = changes(STORED["fingerprint"], fingerprint())
    if not changed:
        found = {path: ends.leaf_digest(leaf) for path, leaf in leaves.items()}
        assert [path for path in found if found[path] != end["leaves"][path]] == []
        assert ends.file_digests(directory) == end["files"]
    arrays = leaves | losses
    expected = {key.removeprefix(f"{name}/"): array for key, array in stored_arrays().items() if key.startswith(name)}
    assert set(arrays) == set(expected)
    for path, array in arrays.items():
        assert (array.dtype, array.shape) == (expected[path].dtype, expected[path].shape), path
        np.testing.assert_allclose(array, expected[path], rtol=0, atol=1e-6, err_msg=f"{path}; changed: {changed}")


@pytest.mark.parametrize("name", RUNS)
def test_a_run_begun_before_ends_as_it_would_have(name: str, copy_of: Any) -> None:
    run = copy_of(name)
    result = jaxrnn.resume(run, {"updates": UPDATES}, Progress(quiet=True))
    assert (result.update, result.stopped, STORED["ends"][name]["update"]) == (UPDATES, None, UPDATES)
    for log in ("metrics.jsonl", "samples.txt"):  # gone on with, not begun anew: the first part has its old clock
        if (FIXTURES / name / log).exists():
            assert (run / log).read_bytes().startswith((FIXTURES / name / log).read_bytes())
    assert_ended_as_then(name, run, ends.leaves_of_run(run))


def test_a_text_population_begun_before_ends_as_it_would_have(copy_of: Any) -> None:
    directory, reports = copy_of("text_population"), list[EpochReport]()
    configs = [jaxrnn.TrainConfig(**settings) for settings in MEMBERS["text_population"]]
    corpus, options = jaxrnn.load_corpus(configs[0].text), PopulationOptions(sample_length=40)
    results = PopulationRun(directory, configs, corpus, options, report=reports.append).run()
    assert results is not None and [report.epoch for report in reports] == [2]  # the first is not done again
    for result, expected in zip(results, STORED["ends"]["text_population"]["results"], strict=True):
        assert (result.status, result.epochs, result.best_epoch) == (expected["status"], 2, expected["best_epoch"])
        assert result.test_loss_nats == pytest.approx(expected["test_loss_nats"], rel=0, abs=1e-6)
    assert_ended_as_then("text_population", directory, ends.leaves_of_population(directory))


def test_a_sequence_population_begun_before_ends_as_it_would_have(copy_of: Any) -> None:
    directory, reports = copy_of("sequence_population"), list[SequenceReport]()
    configs = [jaxrnn.TrainConfig(**settings) for settings in MEMBERS["sequence_population"]]
    results = SequencePopulationRun(directory, configs, validation_sequences=64, report=reports.append).run()
    assert results is not None and reports[0].update > HALF  # the first half is not done again
    for result, expected in zip(results, STORED["ends"]["sequence_population"]["results"], strict=True):
        assert (result.status, result.updates) == (expected["status"], UPDATES)
        assert result.valid_loss == pytest.approx(expected["valid_loss"], rel=0, abs=1e-6)
    assert_ended_as_then("sequence_population", directory, ends.leaves_of_population(directory))


def test_the_stored_arrays_are_those_of_the_stored_digests() -> None:
    """So that other machines compare with the ends that this one reaches."""
    for name in (*RUNS, *POPULATIONS):
        for path, digest in STORED["ends"][name]["leaves"].items():
            assert ends.leaf_digest(stored_arrays()[f"{name}/{path}"]) == digest, f"{name} {path}"


@pytest.mark.parametrize("name", [*RUNS, *POPULATIONS])
def test_a_fixture_names_no_machine_and_no_place_on_it(name: str) -> None:
    files = [path for path in (FIXTURES / name).rglob("*") if path.is_file()]
    assert len(list((FIXTURES / name / "checkpoints").iterdir())) == 1
    assert {path.name for path in files}.isdisjoint({"lock", "owner.json"})
    place = re.compile(rb"/(?:home|root|tmp|usr|var|opt|mnt|srv|Users)/")
    assert [path.name for path in files if place.search(path.read_bytes())] == []
    readable = [path for path in files if path.suffix in (".json", ".jsonl", ".txt") or path.name.startswith("_")]
    assert len(readable) >= 3
    assert [path.name for path in readable if re.search(r"[\"' ]/\w|[A-Z]:\\", path.read_text())] == []
    if name in RUNS:
        record = json.loads((FIXTURES / name / "config.json").read_text())
        assert set(record) == {"format", "config", "parameters", "devices", "data", "environment"}
        assert set(record["environment"]) == set(STORED["fingerprint"])
        assert record["data"].get("path") is None
        assert not Path(record["config"]["text"]).is_absolute()
