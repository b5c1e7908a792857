"""`jaxrnn doctor`: devices, releases and choices in plain words."""

from pathlib import Path

import jax
import pytest

from jaxrnn.cells.by_name import CELLS
from jaxrnn.cells.table import CELL_TABLE
from jaxrnn.cli import app
from jaxrnn.devices.doctor import advice, diagnosis, precision_of
from jaxrnn.terminal.command import exit_code_of

MODEL = Path(__file__).parents[1] / "golden" / "model_text.safetensors"


def test_it_names_devices_releases_the_engine_and_why_no_other(capsys):
    assert exit_code_of(app, ["doctor", "--cell", "lstm"]) == 0
    text = capsys.readouterr().out
    for beginning in (
        "devices    ",
        "releases   Python 3.",
        "precision  auto: float32",
        "XLA_FLAGS  ",
        "platform   cpu: measured",
    ):
        assert beginning in text
    assert "lstm, 128 hidden features, batch 100: hoisted" in text and "not cudnn: it needs an NVIDIA GPU" in text


def test_another_platforms_choice_can_be_seen_without_having_it():
    assert "gru, 128 hidden features, batch 64: recompute" in diagnosis(["gru"], 128, 64, "gpu")


def test_without_an_accelerator_it_says_what_to_install(monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setattr("jaxrnn.devices.doctor.NVIDIA", "/")
    assert 'JAX cannot use it: pip install "jax[cuda12]"' in " ".join(advice("cpu"))
    monkeypatch.setattr("jaxrnn.devices.doctor.NVIDIA", "/nothing/here")
    monkeypatch.setattr("jaxrnn.devices.doctor.TPU", ())
    assert "no accelerator" in advice("cpu")[0] and advice("gpu") == []
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert "JAX_PLATFORMS=cpu keeps JAX from" in advice("cpu")[0]


def test_the_precision_is_that_of_a_run_on_the_platform_asked_for(monkeypatch):
    """Neither the devices that are here nor JAX's own setting have a part in it."""
    monkeypatch.setattr("jax.__version_info__", (0, 11, 2))
    for precision, why in (("float32", "the precision asked for is float32"), ("bf16", "bf16")):
        told = diagnosis(["lstm"], 128, 100, "gpu", precision)
        assert f"precision  {precision}: " in told and why in told
    with jax.default_matmul_precision("highest"):
        assert "asked for is float32" not in diagnosis(["lstm"], 1024, 100, "gpu")
    assert "precision  auto: TF32" in diagnosis([], 8, 1, "gpu")
    assert "precision  auto: one bfloat16 pass" in diagnosis([], 8, 1, "tpu")
    assert [precision_of("tpu", name) for name in ("tf32", "float32")] == [
        "three bfloat16 passes",
        "float32, in several bfloat16 passes",
    ]
    assert precision_of("cpu", "tf32") == "float32"


def test_a_cell_of_the_users_own_and_sizes_of_any_machine_are_asked_for(monkeypatch, capsys):
    """Nothing is drawn: a cell of so many units would take the memory of thousands of machines."""
    cell = "experiments.benchmark.own_cell:MinimalGatedCell"
    for table in (CELLS, CELL_TABLE):  # to be as they were
        monkeypatch.setitem(table, cell, None)
        del table[cell]
    assert exit_code_of(app, ["doctor", "--cell", cell, "--hidden", "1000000000"]) == 0
    assert f"{cell}, 1000000000 hidden features, batch 100: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value"),
    [("--platform", "npu"), ("--cell", "lstn"), ("--hidden", "0"), ("--precision", "fp8"), ("--cell", "m:1")],
)
def test_what_cannot_be_is_refused_in_one_line(option, value, capsys):
    assert exit_code_of(app, ["doctor", option, value]) == 2
    assert "expects" in capsys.readouterr().err


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'cuda': none\nhere"), AssertionError()])
def test_jax_that_finds_no_device_is_a_line_that_says_what_to_unset(monkeypatch, capsys, error):
    def fails():
        raise error

    monkeypatch.setenv("JAX_PLATFORMS", "cu\x07da")
    monkeypatch.setattr("jax.default_backend", fails)
    for arguments in (["doctor"], ["sample", str(MODEL)]):
        assert exit_code_of(app, arguments) == 2
        lines = capsys.readouterr().err.splitlines()
        assert "found none; mend or unset JAX_PLATFORMS=cu\\x07da, XLA_FLAGS=" in lines[0]
        assert lines[1:] == [f"  {line}" for line in str(error).splitlines()]
