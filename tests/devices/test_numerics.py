"""The environment changes no bit of a run: each result against that under JAX's own defaults."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.devices.numerics import numerics
from jaxrnn.models.dropout import Dropout, DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.structure import params_of
from jaxrnn.random_streams import run_key
from jaxrnn.sample import sample_ids
from jaxrnn.training.job import make_job
from jaxrnn.training.trainer import Trainer

OTHERS = {"threefry": (jax.threefry_partitionable, False), "nan": (jax.debug_nans, True), "inf": (jax.debug_infs, True)}


def mask() -> np.ndarray:
    dropout = Dropout(DropoutRates(input=jnp.asarray(0.5)), run_key(3), jnp.arange(2))
    drawn = dropout.mask("input", 0, 4, 8, jnp.float32)
    assert drawn is not None
    return np.asarray(drawn)


@pytest.fixture(scope="module")
def sample() -> Callable[[], list[int]]:
    model = LanguageModel(5, 2, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(model)[0], params_of(model)
    return lambda: np.concatenate(list(sample_ids(graphdef, params, length=40, key=run_key(3)))).tolist()


def test_masks_and_samples_do_not_depend_on_the_environment(sample: Callable[[], list[int]]) -> None:
    with numerics("float32"):
        expected_mask, expected_sample = mask(), sample()
    with jax.threefry_partitionable(False):
        other_mask, other_sample = mask(), sample()
        with numerics("float32"):
            np.testing.assert_array_equal(mask(), expected_mask)
            assert sample() == expected_sample
        assert (mask() == other_mask).all() and sample() == other_sample  # as before
    assert (other_mask != expected_mask).any() and other_sample != expected_sample
    with jax.threefry_partitionable(True):
        np.testing.assert_array_equal(mask(), expected_mask)  # today's bits


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_starts_the_same_whatever_the_environment_asks(name: str) -> None:
    """The state holds a NaN and infinities; its parameters are drawn."""
    job = make_job(TrainConfig(hidden=4, bptt_length=2), corpus_from_text("abcabc"))
    expected = Trainer.of([job]).initial_state().params
    switch, value = OTHERS[name]
    with switch(value):
        state = Trainer.of([job]).initial_state()
    jax.tree.map(np.testing.assert_array_equal, state.params, expected)
    assert np.isnan(state.valid_loss) and np.isinf(state.best_smooth_loss)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_compiled_again_inside_and_all_is_restored(dtype: str) -> None:
    double = jax.jit(lambda x: 2 * x)
    names = ("jax_enable_x64", "jax_threefry_partitionable", "jax_debug_nans", "jax_debug_infs")
    before = [getattr(jax.config, name) for name in names]
    for other in (False, True):
        with jax.debug_nans(other):
            for _ in range(2):
                with numerics(dtype):
                    assert double(jnp.zeros(2)).dtype == dtype
    assert double._cache_size() == 1  # type: ignore[attr-defined]
    assert [getattr(jax.config, name) for name in names] == before
    with pytest.raises(ZeroDivisionError), numerics("float64"):
        _ = 1 / 0
    assert jnp.zeros(1).dtype == jnp.float32
