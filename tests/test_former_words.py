"""Words of settings that were called otherwise: accepted wherever they may stand, shown and stored as those of now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.language_model_grid.members import Recipe
from jaxrnn.config import CHOICES, TrainConfig
from jaxrnn.errors import CheckpointError, ConfigurationError
from jaxrnn.storage.run_directory import RunDirectory
from jaxrnn.tasks.presets import read_settings, settings_of
from jaxrnn.training.record import identity, refuse_other_run
from jaxrnn.training.sweep_file import read_sweep
from jaxrnn.training.sweeps import Sweep, member_id

THEN, NOW = "thesis", "relative-decrease"
OF_NOW = TrainConfig(seed=3, validation_fraction=0.1, early_stopping=NOW)
OF_THEN: dict[str, Any] = OF_NOW.to_json() | {"early_stopping": THEN}


def test_the_word_of_then_is_that_of_now_in_settings_and_files(tmp_path: Path) -> None:
    assert THEN not in CHOICES["early_stopping"]
    assert TrainConfig(**OF_THEN) == TrainConfig.from_json(OF_THEN) == OF_NOW
    assert OF_NOW.to_json()["early_stopping"] == NOW
    with pytest.raises(ConfigurationError, match=f"--early-stopping {NOW} needs a --validation-fraction"):
        TrainConfig(early_stopping=THEN)
    with pytest.raises(ConfigurationError, match=f"one of none, patience, {NOW}; got 'hope'"):
        TrainConfig(early_stopping="hope")
    file = tmp_path / "mine.toml"
    file.write_text(f'early_stopping = "{THEN}"\nvalidation_fraction = 0.1\n')
    read = settings_of("minute", read_settings(file, TrainConfig.__dataclass_fields__), {})
    assert TrainConfig(**read).early_stopping == NOW
    file.write_text(f'[base]\nvalidation_fraction = 0.1\n[grid]\nearly_stopping = ["patience", "{THEN}"]\n')
    assert [config.early_stopping for config in read_sweep(file)] == ["patience", NOW]
    assert Recipe(early_stopping=THEN) == Recipe(early_stopping=NOW)


def test_a_run_of_then_has_the_same_settings(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    directory.write_config({"config": OF_THEN, "data": {}, "environment": {}, "parameters": 1, "devices": 1})
    directory.read_config = lambda: json.loads(directory.config_path.read_text())  # type: ignore[method-assign]
    directory.refuse_other_settings(OF_NOW)
    with pytest.raises(ConfigurationError, match=r"\(1 differ\)"):
        directory.refuse_other_settings(TrainConfig(seed=3, validation_fraction=0.1))


def test_a_checkpoint_of_then_is_of_the_same_run() -> None:
    mine = identity(OF_NOW, {"sha256": "a"}, None)
    metadata = mine | {"update": 7, "config": mine["config"] | {"early_stopping": THEN}}
    refuse_other_run(metadata, mine)
    with pytest.raises(CheckpointError, match="other settings"):
        refuse_other_run(metadata | {"config": mine["config"] | {"early_stopping": "patience"}}, mine)


def test_a_sweep_of_then_is_finished(tmp_path: Path) -> None:
    name = "576fae9c2c3b3494"  # of the version that knew the word of then
    assert member_id(OF_NOW) == name != member_id(TrainConfig(seed=3, validation_fraction=0.1))
    row = {"member": name, "early_stopping": THEN, "end": "finished", "valid_loss": 1.0}
    (tmp_path / "results.jsonl").write_text(json.dumps(row) + "\n")
    recipe = {"devices": 1, "recipe": {"early_stopping": THEN, "split": [0.8, 0.2]}}
    (tmp_path / "sweep.json").write_text(json.dumps(recipe))
    recipe["recipe"] = {"early_stopping": NOW, "split": [0.8, 0.2]}
    sweep = Sweep(tmp_path, record=recipe)
    assert sweep.train([OF_NOW]) is None  # nothing is left to train
    assert sweep.rows() == [row | {"early_stopping": NOW}]
    with pytest.raises(ConfigurationError, match="the same early_stopping"):
        Sweep(tmp_path, record={"devices": 1, "recipe": {"early_stopping": "none", "split": [0.8, 0.2]}}).train([])
