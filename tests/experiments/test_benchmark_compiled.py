"""What is counted in the text of a compiled program, and what is said where there is no compiler."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import compiled as benchmark_compiled
from experiments.benchmark.__main__ import app
from experiments.benchmark.compiled_program import TARGETS, Loop, kernels_a_step, kernels_an_update, loops_of, roofline
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


def test_kernels_of_a_step_are_those_of_a_loop_and_all_inside_it_over_the_steps():
    # 100 steps: ten turns of 23; 100 of 4; ten turns of 13, each with ten of 6.
    loops = [Loop(0, None, 50), Loop(1, 10, 23), Loop(1, 100, 4), Loop(1, 10, 13), Loop(2, 10, 6)]
    assert kernels_a_step(loops, 100) == [2.3, 4.0, 7.3]
    assert kernels_a_step([Loop(0, None, 50), Loop(1, None, 23)], 100) == [None]


def test_the_roofline_is_operations_bytes_and_launches():
    found = roofline(TARGETS["h100"], parameters=1_000_000, symbols=100, batch_size=100, steps=100, kernels=1000)
    assert found["operations_ms"] == pytest.approx(6e10 / 495e12 * 1e3, abs=1e-4)
    assert found["bytes_ms"] == pytest.approx((24e6 + 16e6) / 3.35e12 * 1e3, abs=1e-4)
    assert found["launches_ms"] == 1.3


# Kernels a step, forward and backward, of what is committed in experiments/results/compiled.csv.
HELD: list[tuple[str, tuple[str, int, int, int, int], tuple[float, ...]]] = [
    ("h100", ("lstm", 512, 1, 100, 100), (2.5, 3.5)),
    ("h100", ("gru", 512, 1, 100, 100), (2.5, 4.5)),
]
HELD += [("h100", ("lstm", 256, 1, 100, 100), ()), ("v5e", ("lstm", 512, 1, 100, 100), (4, 7))]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "size", "most"), HELD)
def test_a_step_launches_no_more_than_it_did(target, size, most):
    if not any(all(map(benchmark_compiled.is_installed, names)) for names in TARGETS[target].compilers):
        pytest.skip(f"no compiler for {target}: pip install {TARGETS[target].install}")
    found = benchmark_compiled.in_a_process(target, size)
    assert "error" not in found, found
    assert all(count <= limit for count, limit in zip(found["kernels_a_step"], most, strict=True)), found
    assert found["own_kernels"] <= 45


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
