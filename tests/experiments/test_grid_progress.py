"""What a person sees of a grid: counts that add up, the time left, and a row for each member that ended."""

import io
import re

from experiments.language_model_grid.progress import EpochReport, GridProgress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def member(seed, parameters=100):
    return {"cell": "lstm", "layers": 1, "hidden": 8, "learning_rate": 0.0063246, "dropout_rate": 0.1, "seed": seed} | {
        "parameters": parameters,
        "dropout_sites": "output",
    }


def result(row, status="finished", valid=1.25, test=1.5):
    return row | {"status": status, "best_epoch": 3, "valid_loss_nats": valid, "test_loss_nats": test}


def epoch_rows(*losses):
    return [{"member": n, "valid/loss_nats": loss} for n, loss in enumerate(losses)]


def told(stream):
    """Two populations of two and one members; the second model is five times as large."""
    first, second = [member(0), member(1)], [member(0, parameters=500)]
    with GridProgress([*first, *second], done=3, epochs=lambda row: 4, stream=stream) as progress:
        progress.begin("small", first)
        progress.epoch("small", first, EpochReport(1, epoch_rows(2.5, 2.25), 60.0, 2))
        progress.epoch("small", first, EpochReport(2, epoch_rows(2.0), 30.0, 1))
        progress.epoch("small", first, EpochReport(3, [], 30.0, 0))
        progress.finished(first, [result(first[0]), result(first[1], "diverged", float("inf"), float("nan"))])
        progress.begin("large", second)
        progress.epoch("large", second, EpochReport(1, epoch_rows("nan"), 100.0, 1))
        progress.finished(second, [result(second[0])])


def test_lines_say_what_is_done_running_and_left_and_for_how_long():
    stream = io.StringIO()
    told(stream)
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    said = [line[9:] for line in lines]
    assert said[0] == "small: 2 members of 100 parameters; 3 done, 2 running, 1 left"
    # An epoch of 200 parameters took 60 s; left are 3 epochs of 200 and 4 of 500 parameters: 2,600 x 0.3 s.
    assert said[1] == "small: epoch 1, 2 members, best validation 2.2500 nats, 60.0 s an epoch, about 13:00 left"
    # 2 epochs of 100 and 4 of 500 parameters: 2,200 x 0.3 s.
    assert said[2] == "small: epoch 2, 1 members, best validation 2.0000 nats, 30.0 s an epoch, about 11:00 left"
    assert said[3].startswith("small: epoch 3, 0 members, none left, 30.0 s an epoch, about 10:00 left")
    assert said[4] == "lstm  1 x 8  0.006325  0.1 output  0  finished  3  1.2500  1.5000"
    assert said[5] == "lstm  1 x 8  0.006325  0.1 output  1  diverged  3  inf  nan"
    assert said[6] == "5 done, 0 running, 1 left"
    assert said[7] == "large: 1 members of 500 parameters; 5 done, 1 running, 0 left"
    assert "about 5:00 left" in said[8]  # 3 epochs
    assert said[-1] == "6 done, 0 running, 0 left"


def test_a_terminal_shows_a_live_table(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    told(stream)
    shown = stream.getvalue()
    assert "\x1b[" in shown  # it is drawn over
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")
    last = text[text.rindex("6 done, 0 running, 0 left", 0, text.rindex("6 done")) :]
    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in last.splitlines() if line.startswith("│")]
    assert [row[:9] for row in rows] == [
        ["lstm", "1 x 8", "0.006325", "0.1 output", "0", "finished", "3", "1.2500", "1.5000"],
        ["lstm", "1 x 8", "0.006325", "0.1 output", "1", "diverged", "3", "inf", "nan"],
        ["lstm", "1 x 8", "0.006325", "0.1 output", "0", "finished", "3", "1.2500", "1.5000"],
    ]
    for name in ("cell", "layers", "rate", "dropout", "seed", "state", "best epoch", "valid", "test"):
        assert name in last
    assert "best validation 2.2500 nats" in text.replace("\n", " ")


def test_nothing_is_drawn_over_in_a_file():
    stream = io.StringIO()
    told(stream)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().isascii()


def test_the_time_left_knows_that_members_have_their_own_epochs():
    stream = io.StringIO()
    group = [member(0), member(1)]
    with GridProgress(group, done=0, epochs=lambda row: 5 - 2 * row["seed"], stream=stream) as progress:
        progress.begin("again", group)
        progress.epoch("again", group, EpochReport(1, epoch_rows(2.5, 2.25), 60.0, 2))
        progress.epoch("again", group, EpochReport(3, epoch_rows(2.5, 2.25), 60.0, 1))
    assert "about 3:00 left" in stream.getvalue()  # 4 and 2 epochs at 30 s
    assert "about 1:00 left" in stream.getvalue()  # 2 of one


def test_the_table_shows_what_runs(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    group = [member(0), member(1)]
    with GridProgress(group, done=0, epochs=lambda row: 5, stream=stream) as progress:
        progress.begin("small", group)
        progress.epoch("small", group, EpochReport(2, epoch_rows(2.5, 2.25), 60.0, 2))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    last = text[text.rindex("0 done, 2 running, 0 left") :]
    rows = [re.split(r"\s*│\s*", line.strip("│ \r")) for line in last.splitlines() if "2 of 5" in line]
    assert [(row[4], row[5], row[7]) for row in rows] == [("0", "2 of 5", "2.5000"), ("1", "2 of 5", "2.2500")]
