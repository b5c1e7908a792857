"""What is counted in the text of a compiled program, and what is said where there is no compiler."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import compiled as benchmark_compiled
from experiments.benchmark.__main__ import app
from experiments.benchmark.compiled_program import Loop, kernels_an_update, loops_of
from jaxrnn.terminal.command import exit_code_of


def test_loops_are_found_with_their_turns_and_what_a_turn_runs():
    """Seven turns of five, in a text that XLA's compiler of this machine wrote."""

    def outer(x):
        def inner(_, y):
            return jnp.sin(y @ y)

        return jax.lax.fori_loop(0, 7, lambda _, y: jax.lax.fori_loop(0, 5, inner, y) + 1, x)

    loops = loops_of(jax.jit(outer).lower(jnp.zeros((64, 64))).compile().as_text() or "")
    assert [(loop.depth, loop.turns) for loop in loops] == [(0, 7), (1, 5)]
    assert all(loop.kernels >= 1 for loop in loops)


def test_kernels_of_an_update_are_those_of_its_loops_times_their_turns():
    # An update of 50 own kernels: 100 turns of 10; 10 turns of 3, each with 10 turns of 2.
    loops = [Loop(0, None, 50), Loop(1, 100, 10), Loop(1, 10, 3), Loop(2, 10, 2)]
    assert kernels_an_update(loops) == 50 + 100 * 10 + 10 * 3 + 10 * 10 * 2
    assert kernels_an_update([Loop(0, None, 50), Loop(1, None, 10)]) is None


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        loops_of("nothing")


def test_a_compiler_that_is_not_installed_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark_compiled, "is_installed", lambda module: False)
    assert exit_code_of(app, ["compiled", "--targets", "h100", "v5e", "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert "h100: skipped, jax_cuda12_plugin, nvidia.cuda_nvcc is not installed; pip install jax-cuda12-plugin" in said
    assert "v5e: skipped, libtpu is not installed; pip install libtpu" in said
    assert (tmp_path / "found.json").read_text() == "[]\n"
    assert exit_code_of(app, ["compiled", "--targets", "h200"]) == 2
    assert "did you mean h100" in capsys.readouterr().err
