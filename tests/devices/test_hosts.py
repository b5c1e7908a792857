"""Two processes on one machine train one run: its bits, who tells and writes, a stop, a kill, other numbers of them."""

import json
import os
import signal
import socket
import time
from pathlib import Path

import jax
import pytest

from jaxrnn.devices import joining
from jaxrnn.devices.joining import Hosts, join_hosts
from jaxrnn.errors import ConfigurationError
from jaxrnn.storage.checkpoint import checkpoint_updates
from jaxrnn.terminal.command import EXIT_STOPPED, EXIT_UNEXPECTED, SECONDS_UNTIL_LOST
from tests.faults.support import MAIN, assert_refused, assert_same_run, command, finish, start, tiny_options, tiny_text

# Settings of the machine must not choose for a process what the options choose.
OF_THIS_PROCESS = "JAX_NUM_CPU_DEVICES", "TF_CPP_MIN_LOG_LEVEL"  # JAX sets the other for those that we start
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OF_THIS_PROCESS}
UPDATES = 400
# Of process 1: it is killed as it takes part in a save.
KILLED = """
import os, signal
from jaxrnn.storage import checkpoint
take_part = checkpoint.take_part_in_save
def killed(directory, state, update, may_be_nan):
    if update == 40:
        os.kill(os.getpid(), signal.SIGKILL)
    take_part(directory, state, update, may_be_nan)
checkpoint.take_part_in_save = killed
"""
KILLED_AT_ITS_END = """
import os, signal
from jaxrnn.terminal import command
def killed(*arguments):
    exit_code_of(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
exit_code_of, command.exit_code_of = command.exit_code_of, killed
"""
MISSED_SOON = "from jaxrnn.terminal import command; command.SECONDS_UNTIL_LOST = 4\n"
pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(tiny_text())
    return path


def options(run: Path, **changed: object) -> list[str]:
    return tiny_options(run, batch_size=4, **changed)


def begin(number, processes, port, *arguments, code=MAIN):
    together = ["--coordinator", f"localhost:{port}", "--processes", str(processes), "--process", str(number)]
    return start([*map(str, arguments), *together], code=code, env=ENVIRONMENT)


def begin_two(*arguments: object, codes: tuple[str, str] = (MAIN, MAIN)):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [begin(number, 2, port, *arguments, code=codes[number]) for number in range(2)]


def finish_all(processes):
    """Answers; none is left behind."""
    try:
        return [finish(process, timeout=150) for process in processes]
    finally:
        for process in processes:
            process.kill()


def wait_until_trains(process, run: Path) -> None:
    """Returns when it has compiled, a checkpoint is there, and some updates later."""
    for line in process.stdout:
        if line.startswith("compiled"):
            break
    while not checkpoint_updates(run / "checkpoints") and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)


def ended_by_loss(number: int, seconds: int, update: int) -> str:
    """All that a process says on stderr when another is lost."""
    return (
        f"jaxrnn: error: process {number} ended, or was not heard from for {seconds} seconds; start all processes "
        f"again with the same command, which goes on from update {update}\n"
    )


def test_two_processes_of_which_one_was_killed_train_the_run_of_one_with_two_devices_and_one_tells(
    text, tmp_path, capsys
):
    of_run = dict(updates=40, validation_fraction=0, best_by="smoothed", sample_every=0, checkpoint_every=20)
    command_of_two = "train", text, *options(tmp_path / "two", **of_run)
    survivor, killed = finish_all(begin_two(*command_of_two, codes=(MISSED_SOON + MAIN, KILLED + MISSED_SOON + MAIN)))
    assert killed.code == -signal.SIGKILL
    assert (survivor.code, survivor.err) == (EXIT_STOPPED, ended_by_loss(1, seconds=4, update=20))
    two = finish_all(begin_two(*command_of_two))
    assert [answer.code for answer in two] == [0, 0], two
    one = command(capsys, "train", text, *options(tmp_path / "one", devices=2, **of_run))
    assert one.code == 0, one.err
    assert_same_run(tmp_path / "two", tmp_path / "one")
    assert "finished at update 40" in two[0].out
    assert [line for line in two[1].out.splitlines() if "Gloo" not in line] == [] and two[1].err == ""


def test_a_run_goes_on_with_other_devices_where_that_is_asked_for_and_says_so(text, tmp_path, capsys):
    of_run = dict(updates=10, validation_fraction=0, best_by="smoothed", sample_every=0)
    run = tmp_path / "run"
    assert command(capsys, "train", text, *options(run, devices=2, **of_run)).code == 0
    assert_refused(command(capsys, "train", text, *options(run, devices=1, **of_run)), 2, "--devices")
    other = command(capsys, "resume", run, "--updates", 20, "--devices", 1)
    assert other.code == 0 and "bit-exactness ends at update 10: devices 2 -> 1" in other.err, other.err
    same = command(capsys, "resume", run, "--updates", 30)
    assert same.code == 0 and same.err == ""
    record = json.loads((run / "config.json").read_text())
    assert record["devices"] == 1
    assert record["environment_changes"] == [{"update": 10, "changes": ["devices 2 -> 1"]}]


def run_alone(text: Path, run: Path, updates: int) -> None:
    """A run of one process with two devices."""
    (answer,) = finish_all([start(["train", str(text), *options(run, updates=updates, devices=2)])])
    assert answer.code == 0, answer.err


@pytest.mark.slow
def test_a_killed_process_ends_the_other_and_both_go_on_to_the_last_bit(text, tmp_path):
    run_alone(text, tmp_path / "whole", UPDATES)
    arguments = "train", text, *options(tmp_path / "killed", updates=UPDATES)
    for killed in (1, 0):
        processes = begin_two(*arguments)
        wait_until_trains(processes[0], tmp_path / "killed")
        processes[killed].send_signal(signal.SIGKILL)
        began = time.monotonic()
        answers = finish_all(processes)
        assert time.monotonic() - began < 30
        assert answers[killed].code == -signal.SIGKILL
        saved = checkpoint_updates(tmp_path / "killed" / "checkpoints")[-1]
        told = ended_by_loss(killed, seconds=SECONDS_UNTIL_LOST, update=saved)
        assert (answers[1 - killed].code, answers[1 - killed].err) == (EXIT_STOPPED, told)
    answers = finish_all(begin_two(*arguments))
    assert [answer.code for answer in answers] == [0, 0], answers
    assert "resumed at update" in answers[0].out
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
def test_a_notice_to_one_process_stops_both_at_one_update_and_saves(text, tmp_path):
    run_alone(text, tmp_path / "whole", UPDATES)
    run = tmp_path / "stopped"
    processes = begin_two("train", text, *options(run, updates=UPDATES))
    wait_until_trains(processes[0], run)
    processes[1].send_signal(signal.SIGTERM)
    answers = finish_all(processes)
    assert [answer.code for answer in answers] == [EXIT_STOPPED, EXIT_STOPPED], answers
    saved = checkpoint_updates(run / "checkpoints")[-1]
    assert saved < UPDATES and f"stopped: saved at update {saved}" in answers[0].out
    answers = finish_all(begin_two("resume", run))
    assert [answer.code for answer in answers] == [0, 0], answers
    assert f"resumed at update {saved}" in answers[0].out
    assert_same_run(run, tmp_path / "whole")


def test_processes_that_bring_other_settings_or_texts_are_refused_by_each(text, tmp_path):
    other = tmp_path / "there" / "text.txt"
    other.parent.mkdir()
    other.write_text(tiny_text().replace("a", "e", 1))
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    run, texts = tmp_path / "run", (text, other)
    answers = finish_all(
        [
            begin(number, 2, port, "train", texts[number], *options(run, learning_rate=0.1 + number / 10))
            for number in range(2)
        ]
    )
    for answer in answers:
        assert_refused(answer, 2, "process 1 differs from process 0 in learning_rate, the data; start all of them")
        assert "process 0: 0.1  there: 0.2" in answer.err
    assert not run.exists()


@pytest.mark.slow
def test_two_of_which_one_is_lost_at_the_end_then_one_then_two_processes_are_one_run(text, tmp_path):
    run_alone(text, tmp_path / "whole", 120)
    run = tmp_path / "parts"
    two = finish_all(begin_two("train", text, *options(run, updates=40), codes=(MAIN, KILLED_AT_ITS_END + MAIN)))
    assert "finished at update 40" in two[0].out  # and waited for the other
    assert_refused(two[0], EXIT_STOPPED, "process 1 ended")
    one = finish_all([start(["resume", str(run), "--updates", "80"])])
    again = finish_all(begin_two("resume", run, "--updates", 120))
    assert [answer.code for answer in (*one, *again)] == [0] * 3
    assert not any("bit-exactness" in answer.err for answer in (*one, *again))
    assert_same_run(run, tmp_path / "whole")


@pytest.mark.slow
def test_what_the_writer_refuses_ends_the_others_at_once(text, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "mine.txt").write_text("not a run")
    began = time.monotonic()
    answers = finish_all(begin_two("train", text, *options(run)))
    assert_refused(answers[0], 2, "holds mine.txt but no run")
    assert_refused(answers[1], EXIT_UNEXPECTED, "process 0 ended", "mend what it may have said, and start all")
    assert time.monotonic() - began < 60


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What JAX was told of the other processes."""
    calls: list[tuple] = []

    def initialize(address, *, num_processes, process_id, **_):
        calls.append((address, num_processes, process_id))

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    return calls


def test_a_cluster_is_asked_for_what_is_not_given(asked):
    Hosts("auto").join()
    Hosts("auto", 8).join()
    join_hosts("host:1", 4, 3)
    join_hosts(None)
    assert asked == [(None, None, None), (None, 8, None), ("host:1", 4, 3)]


def test_where_there_is_no_cluster_that_is_said(monkeypatch):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(ConfigurationError, match="auto found no cluster .*; give HOST:PORT of process 0, --processes"):
        join_hosts("auto")


def test_processes_that_do_not_come_are_waited_for_and_then_told_of(monkeypatch):
    monkeypatch.setattr(joining, "SECONDS_UNTIL_ALL_ARE_THERE", 0.05)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *_, **__: time.sleep(2))
    with pytest.raises(ConfigurationError, match="process 1 of 2 could not join at host:1: not all were there within"):
        join_hosts("host:1", 2, 1)


def test_a_port_in_use_is_refused_before_jax_would_crash(asked):
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"process 0 cannot listen at port {port}: .*; give all"):
            join_hosts(f"localhost:{port}", 2, 0)
    assert asked == []


@pytest.mark.parametrize("wrong", [(5, 2, 0), ("h:1", 2, 0.5), ("h:1", 2, True), ("h:1", 2.0, 0), ("auto", 2, -1)])
def test_what_is_no_number_of_a_process_is_refused_in_python_too(wrong, asked):
    with pytest.raises(ConfigurationError, match="expects "):
        join_hosts(*wrong)
    assert asked == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--processes", "2"], "need a --coordinator"),
        (["--process", "0"], "need a --coordinator"),
        (["--coordinator", "h:0", "--process", "0"], "--coordinator expects HOST:PORT"),
        (["--coordinator", "h:65536", "--process", "0"], "--coordinator expects HOST:PORT"),
        (["--coordinator", "h:1", "--processes", "2"], "--process expects a number from 0 to 1; got None"),
        (["--coordinator", "h:1", "--processes", "3", "--process", "0", "--devices", "4"], "over --processes 3 evenly"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_by_the_command(wrong, said, text, tmp_path, capsys, asked):
    assert_refused(command(capsys, "train", text, *options(tmp_path / "run"), *wrong), 2, said)
    assert asked == [] and not (tmp_path / "run").exists()
