"""A grid trained by two processes that find each other: the results of one process with as many devices."""

import csv
import os
import signal
import socket
import subprocess
import sys

import pytest

from experiments.benchmark.timing import ROOT
from experiments.language_model_grid.__main__ import app
from jaxrnn.devices.joining import join_hosts
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal.command import EXIT_STOPPED, exit_code_of

OPTIONS = (
    "--text python-reference --characters 3000 --cells lstm --sizes 8 --learning-rates 0.01 0.03 --seeds 0 1 "
    "--batch-size 4 --bptt-length 5 --sample-length 20 --devices 2"
).split()


def start(run, epochs, *more):
    command = [sys.executable, "-m", "experiments.language_model_grid", *OPTIONS]
    command += ["--epochs", str(epochs), "--run", str(run), *more]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def start_two(run, epochs):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    together = ["--coordinator", f"localhost:{port}", "--processes", "2", "--process"]
    return [start(run, epochs, *together, str(number)) for number in range(2)]


def wait(processes):
    """Exit codes and outputs; none is left behind."""
    try:
        outputs = [process.communicate(timeout=180)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], outputs


def results(run):
    with open(run / "results.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


@pytest.mark.slow  # in each change tests/devices/test_hosts.py trains a run so
def test_two_processes_give_the_results_of_one(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "true")  # this process keeps its own settings
    assert exit_code_of(app, [*OPTIONS, "--epochs", "2", "--run", str(tmp_path / "one")]) == 0
    codes, outputs = wait(start_two(tmp_path / "two", 2))
    assert codes == [0, 0], outputs
    assert len(results(tmp_path / "two")) == 4
    assert results(tmp_path / "two") == results(tmp_path / "one")
    assert "4 done" in outputs[0] and "done" not in outputs[1]  # one writes and tells


@pytest.mark.slow
def test_a_stop_of_one_process_stops_both_and_they_go_on(tmp_path):
    codes, outputs = wait([start(tmp_path / "one", 40)])
    assert codes == [0], outputs
    processes = start_two(tmp_path / "two", 40)
    for line in processes[0].stdout:
        if "epoch 2," in line:
            os.kill(processes[1].pid, signal.SIGTERM)
            break
    codes, outputs = wait(processes)
    assert codes == [EXIT_STOPPED, EXIT_STOPPED], outputs
    assert not (tmp_path / "two" / "results.csv").exists() or not results(tmp_path / "two")
    codes, outputs = wait(start_two(tmp_path / "two", 40))
    assert codes == [0, 0], outputs
    assert results(tmp_path / "two") == results(tmp_path / "one")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("h:1", 2, 2), "a number from 0 to 1; got 2"),
        (("nowhere", 2, 0), "HOST:PORT of process 0, or auto; got 'nowhere'"),
        ((None, 2, 0), "need a --coordinator"),
    ],
)
def test_what_cannot_be_joined_is_refused_before_anything_starts(options, expected):
    with pytest.raises(ConfigurationError, match=expected):
        join_hosts(*options)


@pytest.mark.parametrize("wrong", [["--processes", "0"], ["--processes", "2", "--devices", "3"]])
def test_numbers_of_processes_that_do_not_fit_are_refused(wrong, tmp_path, capsys):
    assert exit_code_of(app, [*OPTIONS[:-2], *wrong, "--run", str(tmp_path / "grid")]) == 2
    assert "processes" in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()
