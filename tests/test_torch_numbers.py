"""PyTorch still gives the numbers that are stored."""

import numpy as np
import pytest

from tests.golden import make_torch
from tests.reference.torch_numbers import stored
from tests.trees import assert_trees_close, assert_trees_equal

# Of the largest entry: of one window in float32 and float64, and of a curve, whose rounding grows with 200 updates.
TOLERANCES = {"torch_vanilla_float64": 1e-12} | {f"torch_curve_{name}": 1e-3 for name in make_torch.CURVES}


@pytest.mark.slow
@pytest.mark.parametrize("name", make_torch.FILES)
def test_pytorch_gives_the_stored_numbers(name):
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    made, kept = make_torch.FILES[name](), stored(name)
    torch.set_num_threads(threads)
    kept.pop("torch")
    results = {key for key in made if key.startswith("results/")}
    assert set(made) == set(kept) and results
    assert_trees_equal(
        {key: made[key] for key in made if key not in results}, {k: kept[k] for k in kept if k not in results}
    )
    for key in results:
        assert_trees_close(made[key], kept[key], rtol=TOLERANCES.get(name, 1e-5))


def test_the_files_are_small_and_hold_numbers():
    files = sorted(make_torch.FOLDER.glob("torch_*.npz"))
    assert [file.stem for file in files] == sorted(make_torch.FILES)
    assert sum(file.stat().st_size for file in files) < 300_000
    for file in files:
        arrays = stored(file.stem)
        assert str(arrays.pop("torch")).startswith("2.")
        assert all(np.isfinite(value).all() and value.dtype.kind in "fiu" for value in arrays.values())
