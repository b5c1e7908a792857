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
from experiments.old_populations import import_old_population
from jaxrnn.devices.environment import changes, fingerprint
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.progress import Progress
from jaxrnn.training.job import make_job
from jaxrnn.training.member_runs import MemberResult, train_members
from tests.fixtures import ends

pytestmark = pytest.mark.usefixtures("with_optimizations")
FIXTURES = Path(__file__).parent / "fixtures"
STORED = json.loads((FIXTURES / "ends.json").read_text())
MEMBERS = json.loads((FIXTURES / "members.json").read_text())
RUNS = ["text_one_device", "text_two_devices", "documents", "palindromes", "text_float64"]
POPULATIONS = ["text_population", "sequence_population"]
UPDATES, HALF, LOG_EVERY = 20, 10, 2
QUIET = Progress(quiet=True)


@functools.cache
def stored_arrays() -> dict[str, np.ndarray]:
    with np.load(FIXTURES / "ends.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def copy_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Copies a fixture, in the folder from which its text is found."""
    monkeypatch.chdir(FIXTURES.parents[1])
    return lambda name: Path(shutil.copytree(FIXTURES / name, tmp_path / name))


def assert_leaves_as_then(name: str, leaves: dict[str, np.ndarray]) -> list[str]:
    """Compares bits where they can be the same, else numbers to 1e-6; what has changed that decides the bits."""
    then = {path: digest for path, digest in STORED["ends"][name]["leaves"].items() if "curve_" not in path}
    assert set(leaves) == set(then)
    changed = changes(STORED["fingerprint"], fingerprint())
    if not changed:
        assert [path for path in leaves if ends.leaf_digest(leaves[path]) != then[path]] == []
    for path, array in leaves.items():
        expected = stored_arrays()[f"{name}/{path}"]
        assert (array.dtype, array.shape) == (expected.dtype, expected.shape), path
        np.testing.assert_allclose(array, expected, rtol=0, atol=1e-6, err_msg=f"{path}; changed: {changed}")
    return changed


def assert_members_ended_as_then(name: str, directory: Path) -> None:
    assert_leaves_as_then(name, leaves_of_members(directory))


def assert_ended_as_then(name: str, directory: Path) -> None:
    """The parameters of a run, the losses that it logged, and on the same machine their bits and the samples' bytes.

    A row of then knew the latest validation before it, and a validation had none of its own. The samples of then began
    after a random symbol; the digests are those of samples that begin after a line end (the parameters are the same).
    """
    changed = assert_leaves_as_then(name, ends.leaves_of_run(directory))
    if not changed:
        digests, then = ends.file_digests(directory), STORED["ends"][name]["files"]
        assert digests.get("samples.txt") == then.get("samples.txt")
    columns = jaxrnn.open_run(directory).metrics
    of_then = np.isin(columns["update"], [1, *range(LOG_EVERY, UPDATES + 1, LOG_EVERY)])
    for column in ("train/loss_nats", "train/smooth_loss_nats"):
        losses, expected = columns[column][of_then], stored_arrays()[f"{name}/{column}"]
        np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-6 if changed else 0, err_msg=column)
    if f"{name}/valid/loss_nats" in stored_arrays():
        known = stored_arrays()[f"{name}/valid/loss_nats"]
        found = columns["valid/loss_nats"][np.isfinite(columns["valid/loss_nats"])]
        assert all(np.abs(found - loss).min() < 1e-6 for loss in known[np.isfinite(known)])


@pytest.mark.parametrize("name", RUNS)
def test_a_run_begun_before_ends_as_it_would_have(name: str, copy_of: Any) -> None:
    run = copy_of(name)
    result = jaxrnn.resume(run, {"updates": UPDATES}, Progress(quiet=True))
    assert (result.update, result.stopped, STORED["ends"][name]["update"]) == (UPDATES, None, UPDATES)
    for log in ("metrics.jsonl", "samples.txt"):  # gone on with, not begun anew: the first part has its old clock
        if (FIXTURES / name / log).exists():
            assert (run / log).read_bytes().startswith((FIXTURES / name / log).read_bytes())
    assert_ended_as_then(name, run)


def trained_on(name: str, directory: Path, **added: Any) -> list[MemberResult]:
    """A population of the old form, made into runs of their own and trained to its end."""
    configs = [jaxrnn.TrainConfig(**settings, **added) for settings in MEMBERS[name]]
    corpus = jaxrnn.load_corpus(configs[0].text) if configs[0].task == "text" else None
    members = [directory / "members" / str(number) for number in range(len(configs))]
    assert import_old_population(directory, [make_job(config, corpus) for config in configs], members) == []
    begun = [int(jaxrnn.open_run(member).state.update) for member in members]
    assert len(set(begun)) == 1 and begun[0] >= HALF  # the first part is not done again
    results = train_members(configs, members, directory / "rounds.json", corpus=corpus, devices=1, progress=QUIET)
    assert results is not None
    return results


def leaves_of_members(directory: Path) -> dict[str, np.ndarray]:
    """Latest and best parameters of each member: `member 0 params.b_y`."""
    members = sorted((directory / "members").iterdir())
    return {
        f"member {number} {path}": leaf
        for number, member in enumerate(members)
        for path, leaf in ends.leaves_of_run(member).items()
    }


@pytest.mark.slow  # that of sequences, below, is read by the same code
def test_a_text_population_begun_before_ends_as_it_would_have(copy_of: Any) -> None:
    directory = copy_of("text_population")
    results = trained_on("text_population", directory, validation_fraction=0.1, test_fraction=0.1)
    for result, expected in zip(results, STORED["ends"]["text_population"]["results"], strict=True):
        assert (result.end, result.epochs, result.best_update) == (expected["status"], 2, result.updates)
        assert result.train_loss == pytest.approx(expected["train_loss_nats"], rel=0, abs=1e-6)
        # Scored in other streams than then, which begin with other symbols: 1e-4 of a long text, more of a short one.
        assert result.test is not None and result.test.loss == pytest.approx(expected["test_loss_nats"], abs=0.02)
    assert_members_ended_as_then("text_population", directory)


def test_a_sequence_population_begun_before_ends_as_it_would_have(copy_of: Any) -> None:
    directory = copy_of("sequence_population")
    results = trained_on("sequence_population", directory)
    for result, expected in zip(results, STORED["ends"]["sequence_population"]["results"], strict=True):
        assert (result.end, result.updates) == (expected["status"], UPDATES)
        assert result.recent_accuracy == pytest.approx(expected["recent_accuracy"], rel=0, abs=1e-6)
    assert_members_ended_as_then("sequence_population", directory)
    for number in range(len(results)):
        columns, of_then = jaxrnn.open_run(directory / "members" / str(number)).metrics, stored_arrays()
        assert columns["update"].tolist() == [*range(1, HALF + 1), UPDATES]  # all that it kept, then at its intervals
        for name, curve in (("loss_nats", "loss"), ("accuracy", "accuracy")):
            expected = of_then[f"sequence_population/member {number} curve_{curve}"]
            np.testing.assert_array_equal(columns[f"train/{name}"][:HALF].astype(np.float32), expected[:HALF])
        losses, smooth = columns["train/loss_nats"][:HALF], columns["train/smooth_loss_nats"]
        weights = 0.001 * 0.999 ** np.arange(HALF - 1, -1, -1) + np.eye(HALF)[0] * 0.999**HALF
        assert smooth[HALF - 1] == pytest.approx(weights @ losses, rel=1e-6)
        assert columns["train/recent_accuracy"][HALF - 1] == pytest.approx(columns["train/accuracy"][:HALF].mean())


@pytest.mark.parametrize("name", POPULATIONS)
def test_a_population_of_other_settings_is_not_gone_on_with(name: str, copy_of: Any) -> None:
    directory = copy_of(name)
    others = [settings | {"learning_rate": 5.0} for settings in MEMBERS[name]]
    jobs = [make_job(jaxrnn.TrainConfig(**settings)) for settings in others]
    with pytest.raises(ConfigurationError, match="holds a population of other settings"):
        import_old_population(directory, jobs, [directory / "members" / str(k) for k in range(len(jobs))])


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
