"""The benchmark of the resident kernels where there is no GPU, and its processes that hang, fail or answer."""

import sys

import pytest

from experiments.benchmark.__main__ import app
from experiments.benchmark.resident import described, in_a_process
from jaxrnn.terminal.command import exit_code_of


def test_without_a_gpu_it_says_what_it_needs(capsys):
    assert exit_code_of(app, ["resident"]) == 2
    assert "expects a GPU of compute capability 9.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    "program, found",
    [
        ("import time; time.sleep(60)", {"error": "more than 1.5 s to compile"}),
        ("import time; print('compiled\\nturn', flush=True); time.sleep(60)", {"error": "more than 1 s with the GPU"}),
        ("import time; print('compiled', flush=True); time.sleep(1.7); print('turn\\n{}')", {}),
        ("raise SystemExit('no such kernel')", {"error": "no such kernel"}),
    ],
)
def test_a_process_is_killed_at_its_limits_and_its_end_is_told(program, found):
    answer = in_a_process([sys.executable, "-S", "-c", program], seconds=1.5, turn_seconds=1)
    assert answer == found or found["error"] == answer["error"].strip(" |")


def test_a_wrong_result_is_named():
    row = {
        "setting": ("lstm", 64, "float32", {}),
        "programs": 1,
        "held": 4,
        "same": True,
        "error_of": ("ys", float("nan")),
    }
    times = dict.fromkeys(("forward_us", "backward_us", "forward_ms", "both_ms"), 1.0)
    assert described(row | times).endswith("ys nan  differs")
