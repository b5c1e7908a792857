"""What is counted in the text of a compiled program, and what is said where there is no compiler."""

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmark import compiled as benchmark_compiled
from experiments.benchmark.__main__ import app
from experiments.benchmark.compiled import COLUMNS, COUNTS, merged, read_counts
from experiments.benchmark.compiled_floor import floor_ms
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


# Milliseconds that another estimate, from public figures, gave an update of one LSTM layer, batch and window of 100: on
# an H100 in TF32, on a v5e in bfloat16.
ESTIMATES = {
    "h100": {64: 0.070, 128: 0.093, 256: 0.147, 512: 0.288, 1024: 0.695},
    "v5e": {64: 0.150, 128: 0.150, 256: 0.230, 512: 0.450, 1024: 1.600},
}


@pytest.mark.parametrize("target", ESTIMATES)
def test_the_floor_is_near_that_of_another_estimate(target):
    for hidden, estimate in ESTIMATES[target].items():
        floor = floor_ms(target, lstm_params(hidden, layers=1), batch_size=100, steps=100)
        assert floor == pytest.approx(estimate, rel=0.15), hidden


def test_upper_layers_wait_too_and_multiply_their_inputs():
    one, two, three = (floor_ms("h100", lstm_params(512, layers), 100, 100) for layers in (1, 2, 3))
    # Three products with W_x, of 512 x 2,048 numbers, for 10,000 characters.
    of_inputs = 1e3 * 3 * 2 * 512 * 2048 * 10_000 / (0.75 * 495e12)
    output_layer = 1e3 * 3 * 2 * 512 * 83 * 10_000 / (0.75 * 495e12)
    assert two - one == pytest.approx(one - output_layer + of_inputs, rel=1e-3)
    assert three - two == pytest.approx(two - one, rel=1e-3)


def lstm_params(hidden: int, layers: int) -> dict:
    def of(*shape):
        return jax.ShapeDtypeStruct(shape, "float32")

    widths = [83, *[hidden] * (layers - 1)]
    stack = {k: {"W_x": of(width, 4 * hidden), "W_h": of(hidden, 4 * hidden)} for k, width in enumerate(widths)}
    return {"stack": {"layers": stack}, "W_y": of(hidden, 83)}


# What is committed in experiments/results/compiled.csv, of few sizes: a change that launches more is to say so there.
HELD = [("h100", name) for name in ("lstm-256-1", "lstm-512-1", "lstm-1024-3", "gru-512-1", "vanilla-100-1")]
HELD += [("h100", name) for name in ("lstm-layer-norm-512-1", "gru-reset-before-512-1")]  # norms and products inside
HELD += [(target, name) for target in ("v5e", "v6e") for name in ("lstm-512-1", "lstm-1024-3", "gru-128-1")]
SECONDS_TO_COMPILE = 30
# Products or norms inside their updates: what a turn of 25 steps launches besides comes on top, as a part of a step.
INNER = ("gru-reset-before", "lstm-peephole-full", "lstm-multiplicative", "lstm-layer-norm")
OF_A_TURN = 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("target", "name"), HELD)
def test_an_update_launches_no_more_than_is_committed_and_compiles_in_time(target, name):
    if not any(all(map(benchmark_compiled.is_installed, names)) for names in TARGETS[target].compilers):
        pytest.skip(f"no compiler for {target}: pip install {TARGETS[target].install}")
    (size,) = [size for size in benchmark_compiled.SIZES if benchmark_compiled.name_of(size) == name]
    found = benchmark_compiled.in_a_process(target, size)
    assert "error" not in found, found
    committed = committed_row(target, name)
    steps = [float(count) for count in committed["kernels_a_step"].split()]
    assert all(count <= limit for count, limit in zip(found["kernels_a_step"], steps, strict=True)), found
    # Other releases of a compiler make some kernels more or fewer of an update's own.
    assert found["own_kernels"] <= 1.1 * int(committed["own_kernels"]), found
    assert found["seconds"] < SECONDS_TO_COMPILE


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "hidden", "own"), [("lstm", 64, 19), ("gru", 128, 23)])
def test_an_update_with_the_kernel_of_the_output_layer_launches_so_few(cell, hidden, own):
    if not any(all(map(benchmark_compiled.is_installed, names)) for names in TARGETS["h100"].compilers):
        pytest.skip(f"no compiler for h100: pip install {TARGETS['h100'].install}")
    found = benchmark_compiled.in_a_process("h100", (cell, hidden, 1, 100, 100), "resident-output")
    assert "error" not in found, found
    assert found["own_kernels"] <= 1.1 * own, found


def committed_row(target: str, name: str) -> dict[str, str]:
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in read_counts(benchmark_compiled.TABLE)]
    (row,) = [
        row for row in rows if (row["target"], f"{row['cell']}-{row['hidden']}-{row['layers']}") == (target, name)
    ]
    return row


def test_the_committed_table_has_a_row_of_each_target_and_size():
    rows = [tuple(row[:4]) for row in read_counts(benchmark_compiled.TABLE)]
    sizes = [(cell.split(":")[-1], str(hidden), str(layers)) for cell, hidden, layers, *_ in benchmark_compiled.SIZES]
    assert rows == [(target, *size) for target in TARGETS for size in sizes]
    for row in read_counts(benchmark_compiled.TABLE):
        of = dict(zip(COLUMNS, row, strict=True))
        if of["cell"] in ("lstm", "gru", "vanilla", "MinimalGatedCell"):
            assert float(of["seconds"]) < SECONDS_TO_COMPILE, row
        if of["target"] == "h100":  # kernels a step: at most 4 forward and 5 backward
            steps = [float(count) for count in of["kernels_a_step"].split()]
            more = OF_A_TURN if of["cell"] in INNER else 0
            assert all(count <= 4 + more for count in steps[: len(steps) // 2]), row
            assert all(count <= 5 + more for count in steps[len(steps) // 2 :]), row


def test_the_table_of_before_has_the_rows_of_now_and_the_same_floors():
    now, before = (
        {tuple(row[:4]): dict(zip(COLUMNS, row, strict=True)) for row in read_counts(table)}
        for table in (benchmark_compiled.TABLE, benchmark_compiled.TABLE_BEFORE)
    )
    assert list(before) == [key for key in now if key[0] != "v6e"]
    assert all(row["floor_ms"] == now[key]["floor_ms"] for key, row in before.items())


def test_what_was_counted_takes_the_place_of_what_stood_in_the_table():
    counts = dict.fromkeys(COUNTS, 1.5) | {"kernels_a_step": [2.0, None]}
    rows = [{"target": "v5e", "size": ("pack.age:Cell", 8, 1, 2, 3)} | counts]
    rows += [{"target": "h100", "size": ("gru", 128, 1, 2, 3)} | counts]
    before = [
        ["v5e", "Cell", "8", "1", "old"],
        ["h100", "lstm", "64", "1", "stays"],
        ["h100", "gru", "128", "1", "old"],
    ]
    found = merged(before, rows)
    assert [row[:4] for row in found] == [
        ["h100", "lstm", "64", "1"],
        ["h100", "gru", "128", "1"],
        ["v5e", "Cell", "8", "1"],
    ]
    assert found[0][4] == "stays" and found[1][4:] == ["1.5", "1.5", "2.0 ?", *["1.5"] * 6] == found[2][4:]


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


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (["--only", "lstm-64-9"], 2, "--only expects one of lstm-64-1, "),
        (["--only", ""], 2, "--only expects one of lstm-64-1, "),
        (["--targets"], 2, "--targets expects "),
        (["--json", "/nowhere/there.json"], 6, "cannot use /nowhere/there.json"),
        (["--csv", "/nowhere/there.csv"], 6, "cannot use /nowhere/there.csv"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_compiled(wrong, code, said, monkeypatch, capsys):
    monkeypatch.setattr(benchmark_compiled, "in_a_process", lambda *of: pytest.fail("compiles"))
    assert exit_code_of(app, ["compiled", *wrong]) == code
    assert said in capsys.readouterr().err
