"""The devices that a program asks JAX for are those that a run's record names, once the record is known to be good."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.devices import mesh
from jaxrnn.engines.platforms import tracing_for
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.training import run_devices
from jaxrnn.training.job import make_job

CONFIG = TrainConfig(task="xor", sequence_length=10, batch_size=64, hidden=4, devices="4")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of devices that were asked for."""
    numbers: list[int] = []
    monkeypatch.setattr(mesh, "use_cpu_devices", numbers.append)
    monkeypatch.setattr(run_devices, "cores", lambda: 2)
    return numbers


def run_with(path: Path, **record: Any) -> Path:
    """A run directory that holds nothing but its record."""
    data = {"name": "xor", "sha256": "0"}
    content = {"config": CONFIG.to_json(), "parameters": 9, "data": data, "environment": {"versions": {}}}
    RunDirectory(path).write_config(content | record)
    return path


@pytest.mark.parametrize("config", [None, CONFIG])
def test_the_record_decides_where_there_is_one(tmp_path: Path, asked: list[int], config: TrainConfig | None) -> None:
    for devices in (2, 1, 8):
        run_devices.prepare_devices(config, run_with(tmp_path, devices=devices))
    assert asked == [2, 8]  # of one there is no need to ask


@pytest.mark.parametrize("devices", ["2", 3, 0, -1, True, 2.0, 10**9])
def test_a_record_that_cannot_be_starts_nothing(tmp_path: Path, asked: list[int], devices: Any) -> None:
    with pytest.raises(CheckpointError, match="devices is"):
        run_devices.prepare_devices(None, run_with(tmp_path, devices=devices))
    assert asked == []


def test_without_a_number_in_the_record_the_settings_decide(tmp_path: Path, asked: list[int]) -> None:
    run_devices.prepare_devices(CONFIG, tmp_path / "new")
    run_devices.prepare_devices(TrainConfig(batch_size=64, hidden=4), tmp_path / "new")  # by the cores
    for config in (None, CONFIG):
        run_devices.prepare_devices(config, run_with(tmp_path))
    assert asked == [4, 2, 4, 4]


LSTM: dict[str, Any] = {"cell": "lstm", "hidden": 4, "bptt_length": 6}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"engine": "cudnn", "clip_backward": 1.0}, "it takes no clip_backward"),
        ({"engine": "cudnn", "learned_initial_carry": True, "dropout_recurrent": 0.1}, "resets and no recurrent_mask"),
        ({"engine": "resident"}, "a window of 6 steps does not pay"),
        ({"engine": "cudnn"}, None),
    ],
)
def test_an_engine_that_cannot_run_the_windows_is_refused(settings: dict[str, Any], why: str | None) -> None:
    job = make_job(TrainConfig(**LSTM, **settings), corpus_from_text("abcabd" * 9))
    refused = contextlib.nullcontext() if why is None else pytest.raises(ConfigurationError, match=why)
    with tracing_for("gpu"), refused:
        run_devices.refuse_engine_that_cannot_run(job)
