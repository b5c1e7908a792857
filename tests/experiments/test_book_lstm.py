"""The book of report D on a tiny text: stages, what is written at each, and going on after a stop."""

import csv
import json

import numpy as np
import pytest

from experiments import book_lstm, collect
from experiments.book_lstm import accuracy_rows, main, mean_accuracy, newline_shares, recipe
from jaxrnn.errors import ConfigurationError, DataError
from jaxrnn.storage import read_samples
from jaxrnn.terminal.command import exit_code_of
from jaxrnn.trained.run import open_run

pytest.importorskip("matplotlib")

TEXT = "In America the people rule.\nThe people of the United States are free.\n" * 60
MILESTONES = (100, 200, 300)


@pytest.fixture(scope="module")
def call(tmp_path_factory, shared_programs):
    text = tmp_path_factory.mktemp("text") / "book.txt"
    text.write_text(TEXT)

    def run(directory, updates, prime="The people ", **replaced):
        def tiny(name, total, seed):
            values = vars(recipe(name, total, seed)) | {
                "hidden": 8,
                "layers": 2,
                "batch_size": 8,
                "bptt_length": 10,
                "log_every": 100,
                "sample_every": 50,
                "devices": "1",
            }
            return book_lstm.TrainConfig(**values)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(book_lstm, "recipe", tiny)
            patch.setattr(book_lstm, "MILESTONES", MILESTONES)
            patch.setattr(book_lstm, "use_compile_cache", lambda: None)
            for name, value in replaced.items():
                patch.setattr(book_lstm, name, value)
            return main(str(text), updates=updates, prime=prime, run=directory)

    return run


@pytest.fixture(scope="module")
def finished(call, tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "whole"
    assert call(directory, 300) == 0
    return directory


def test_each_milestone_has_its_continuations_and_the_curves_are_drawn(finished):
    table = json.loads((finished / "continuations.json").read_text())
    assert list(table) == ["100", "200", "300"]
    for texts in table.values():
        assert list(texts) == ["0", "0.5", "1", "2"] and all(len(text) == 30 for text in texts.values())
    assert (finished / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((finished / "book_lstm.json").read_text())["newline_share_of_book"] == 120 / len(TEXT)
    opened = open_run(finished)
    sampled = [opened.sample(30, t, "The people ", seed=300, checkpoint="latest") for t in (0.0, 0.5, 1.0, 2.0)]
    assert list(table["300"].values()) == sampled


def test_stopped_between_two_milestones_it_goes_on_as_if_it_never_was(finished, call, tmp_path):
    class Stopped(Exception):
        pass

    def stops_once(*_):
        raise Stopped

    calls, train = [], book_lstm.train

    def counted(*arguments, **options):
        calls.append(sorted(options["callbacks"][0][0]))
        return train(*arguments, **options)

    with pytest.raises(Stopped):  # trained to the first milestone, nothing written yet
        call(tmp_path / "run", 300, continuations=stops_once)
    assert call(tmp_path / "run", 200, train=counted) == 0
    assert call(tmp_path / "run", 300, train=counted) == 0
    assert calls == [[100, 200], [300]]  # one training each, and what is written is not written again
    for name in ("continuations.json", "samples.txt"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()
    columns, expected = open_run(tmp_path / "run").metrics, open_run(finished).metrics
    np.testing.assert_array_equal(columns["train/accuracy"], expected["train/accuracy"])


def test_another_seed_text_is_refused_before_anything_is_trained(finished, call, tmp_path):
    with pytest.raises(DataError, match="got 'é'"):
        call(tmp_path / "run", 300, prime="é", train=None)
    with pytest.raises(ConfigurationError, match="is 'The people '; give that, or another --run"):
        call(finished, 300, prime="In America ", train=None)


def test_its_curves_and_words_are_collected(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(collect, "RESULTS", tmp_path)
    monkeypatch.setattr(collect, "MILESTONES", MILESTONES)
    assert collect.book_lstm(finished) == 0
    files = (tmp_path / f"{name}.csv" for name in ("book_lstm", "book_lstm_words"))
    curves, words = (list(csv.DictReader(file.read_text().splitlines())) for file in files)
    columns = open_run(finished).metrics
    assert [int(row["update"]) for row in curves] == columns["update"].tolist()
    scored = [row["valid/update"] for row in curves if row["valid/accuracy"]]
    assert scored and scored == [row["update"] for row in curves if row["valid/loss_nats"]]
    assert [row["until"] for row in words] == ["book", "100", "200", "300"]
    assert (int(words[0]["characters"]), int(words[0]["newlines"])) == (len(TEXT), 120)
    samples = [text for update, _, text in read_samples(finished / "samples.txt") if 100 < update <= 200]
    assert int(words[2]["characters"]) == sum(map(len, samples)) == 2 * 200


def test_the_first_updates_are_drawn_more_often():
    updates = np.arange(10, 4001, 10)
    names = ("train/recent_accuracy", "train/smooth_loss_nats", "train/loss_nats", "valid/accuracy", "valid/loss_nats")
    columns = {"update": updates, "valid/update": np.full(400, 1), **{name: updates / 4000 for name in names}}
    left, right = (panel.lines[0].get_xdata() for panel in book_lstm.curves(columns).axes[:2])
    np.testing.assert_array_equal(left, np.arange(10, 2001, 10))
    np.testing.assert_array_equal(right, [*range(10, 2001, 10), *range(2100, 4001, 100)])


def test_the_accuracy_is_the_mean_over_the_latest_thousand_updates():
    updates = np.array([1, *range(50, 2001, 50)])
    recent = np.where(updates % 100 == 0, updates / 100, 77.0)  # a row between the hundreds repeats some updates
    columns = {"update": updates, "train/recent_accuracy": recent}
    assert mean_accuracy(columns, 2000) == np.arange(11, 21).mean()
    assert mean_accuracy(columns, 500) == np.arange(1, 6).mean()


def test_rows_stand_at_the_milestones_with_the_published_accuracy(monkeypatch):
    updates = np.arange(100, 50_001, 100)
    columns = {
        name: updates / 1e5
        for name in ("train/recent_accuracy", "train/smooth_loss_nats", "valid/accuracy", "valid/loss_nats")
    }
    rows = accuracy_rows({"update": updates, **columns})
    assert [row["update"] for row in rows] == [1_000, 2_000, 5_000, 10_000, 20_000, 50_000]
    assert rows[-1]["published"] == 0.57 and np.isnan(rows[0]["published"])
    assert rows[-1]["valid_loss_nats"] == 0.5
    assert rows[-1]["train_accuracy"] == pytest.approx(np.arange(49_100, 50_001, 100).mean() / 1e5)


def test_the_share_of_newlines_is_counted_between_milestones():
    samples = [(0, 1.0, "\n\n\n\n"), (400, 1.0, "ab\n\n"), (500, 1.0, "abcd"), (1000, 1.0, "abc\n")]
    assert newline_shares(samples) == [(1, 500, 0.25), (501, 1000, 0.25)]


def test_wrong_options_are_one_line(capsys, tmp_path):
    import cyclopts

    app = cyclopts.App()
    app.default(main)
    assert exit_code_of(app, ["no-such-book", "--run", str(tmp_path / "run")]) != 0
    error = capsys.readouterr().err
    assert "no-such-book" in error and error.count("\n") <= 20
