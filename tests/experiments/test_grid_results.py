"""Rows on disk, the published numbers beside them, and what a kill leaves of a file."""

import numpy as np

from experiments.language_model_grid.members import Recipe, member_rows, with_hidden_size
from experiments.language_model_grid.published import PUBLISHED, VALIDATION, of_thesis, published, rate_name
from experiments.language_model_grid.results import COLUMNS, best_by_validation, thesis_table
from jaxrnn.storage.lock import run_lock
from jaxrnn.storage.small_files import remove_temporary_files
from jaxrnn.training import Sweep, read_rows


def test_the_table_puts_published_numbers_beside_ours(tmp_path):
    row = with_hidden_size(member_rows(Recipe(), ["lstm"], [1], [64], [2 * 10**-2.5], [0.0], ["between"], [0])[0], 83)
    came_out = {
        "status": "finished",
        "epochs": 50,
        "best_epoch": 49,
        "train_loss_nats": 1.3,
        "skipped": 0,
        "seconds": 1,
    }
    worse = row | came_out | {"valid_loss_nats": 1.45, "test_loss_nats": 1.40}
    better = row | came_out | {"seed": 1, "valid_loss_nats": 1.43, "test_loss_nats": 1.436}
    diverged = row | came_out | {"seed": 2, "status": "diverged", "valid_loss_nats": 1.0, "test_loss_nats": np.nan}
    Sweep(tmp_path, COLUMNS, {}, "grid.json").add([worse, better, diverged])
    rows = read_rows(tmp_path)
    assert best_by_validation(rows)["warpeace", "lstm", 1, 64]["seed"] == 1  # by validation, not by test data
    assert "| 1.430 | 1.436 | +0.006 | 1.531 | -0.095 | 1.449 | -0.013 |" in thesis_table(rows)
    assert rate_name(2 * 10**-2.2) == "2e-2.2" and rate_name(0.005) is None
    assert published("warpeace", "gru-reset-before", 2, 512) == {
        "KJL": 1.201, "2e-2.2": 1.332, "2e-2.5": 1.219, "2e-3": 1.225,
    }  # fmt: skip
    assert len(PUBLISHED) == 4 * (4 + 4) and all(len(losses) == 6 for losses in PUBLISHED.values())


def one_row(**settings):
    row = {"cell": "gru", "layers": 2, "hidden": 9, "dropout_rate": 0.1, "retrained": False, "learning_rate": 0.01}
    row |= {"status": "finished", "best_epoch": 7, "valid_loss_nats": 1.2, "test_loss_nats": 1.5}
    return row | settings


def test_the_thesis_has_the_number_of_the_same_rate_or_its_best_which_is_named():
    known = published("linux", "lstm-peephole", 3, 64)
    assert known == {"KJL": 1.366, "2e-2.2": 1.641, "2e-2.5": 1.657, "2e-3": 1.861}
    assert of_thesis(known, 2 * 10**-2.5) == ("2e-2.5", 1.657) and of_thesis(known, 0.002) == ("2e-3", 1.861)
    assert of_thesis(known, 0.01) == of_thesis(known) == ("2e-2.2", 1.641)
    assert published("linux", "vanilla", 1, 64) == published("linux", "gru", 4, 64) == {}
    assert of_thesis(published("grimm", "gru", 1, 64), 0.002) is None
    ours = "| linux | 512 | gru | 2 | 9 | 0.01 | 0.1 | 7 | 1.200 | 1.500 | +0.300 "
    told = thesis_table([one_row(text="linux", size=512)]).splitlines()[2]
    assert told == f"{ours}| 1.330 (its best rate, 2e-2.5) | +0.170 | 0.861 | +0.639 |"


def test_a_probable_misprint_is_marked_and_an_excerpt_stands_alone():
    row = one_row(text="warpeace", size=128, cell="lstm", layers=1, learning_rate=0.002)
    assert thesis_table([row]).endswith("| 1.544 | -0.044 | 1.227 (?) | +0.273 (?) |\n")
    assert thesis_table([row], whole=False).endswith("| +0.300 |  |  |  |  |\n")


def test_the_validation_losses_are_within_what_the_thesis_says_of_them():
    """It finds test and validation all but equal on War and Peace, and validation far lower on the Linux source."""
    gaps: dict[str, list[float]] = {text: [] for text, _, _ in VALIDATION}
    for key, losses in VALIDATION.items():
        gaps[key[0]] += [test - valid for test, valid in zip(PUBLISHED[key], losses, strict=True)]
    assert len(gaps["warpeace"]) == len(gaps["linux"]) == 48 and max(map(abs, gaps["warpeace"])) < 0.015
    assert 0.12 < min(gaps["linux"]) and max(gaps["linux"]) < 0.22


def test_leftovers_of_a_kill_are_swept(tmp_path):
    names = [".results.jsonl.123", ".results.csv.123", ".table.md.4", ".grid.json.99999"]
    for name in [*names, ".results.jsonl.old", "results.jsonl.1"]:
        (tmp_path / name).write_text("half")
    with run_lock(tmp_path):
        left = {path.name for path in tmp_path.iterdir()} - {"lock", "owner.json"}
    assert left == {".results.jsonl.old", "results.jsonl.1"}
    for name in (".members.json.5", ".seconds.json.5"):
        (tmp_path / name).write_text("half")
    remove_temporary_files(tmp_path)
    assert not list(tmp_path.glob(".*.5"))
