"""The environment changes no bit of a run: each result against that under JAX's own defaults."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.decode.sampling import sample_ids
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.dropout import Dropout, DropoutRates
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.structure import params_of
from jaxrnn.random_streams import run_key
from jaxrnn.training.job import make_job
from jaxrnn.training.run_devices import layout_of, prepare_devices
from jaxrnn.training.trainer import Trainer

OTHERS: dict[str, Any] = {
    "threefry": (jax.threefry_partitionable, False),
    "nan": (jax.debug_nans, True),
    "inf": (jax.debug_infs, True),
    "jit": (jax.disable_jit, True),
}


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
    names = ("jax_enable_x64", "jax_threefry_partitionable", "jax_debug_nans", "jax_debug_infs", "jax_disable_jit")
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


@pytest.mark.parametrize("precision", ["auto", "float32", "tf32", "bf16"])
@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_each_precision_can_be_had_on_each_platform(monkeypatch, platform: str, precision: str) -> None:
    """JAX's default, None, is float32 on a CPU only."""
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    auto = "tensorfloat32" if platform == "gpu" else None
    names = {"float32": "highest", "tf32": "tensorfloat32", "bf16": "bfloat16", "auto": auto}
    expected = None if platform == "cpu" and precision != "bf16" else names[precision]
    with jax.default_matmul_precision("high"), numerics("float32", precision):  # whatever the environment asks
        assert jax.config.values["jax_default_matmul_precision"] == expected
    with jax.default_matmul_precision("high"), numerics("float32", None):
        assert jax.config.values["jax_default_matmul_precision"] is None


def test_a_run_trains_and_validates_in_its_precision() -> None:
    """Of a model whose output layer alone multiplies so: its loss is another, near the one of float32."""
    losses = {}
    for precision in ("float32", "bf16"):
        config = TrainConfig(hidden=6, bptt_length=4, precision=precision, init_scale=1.0, validation_fraction=0.3)
        trainer = Trainer.of([make_job(config, corpus_from_text("abcabd" * 10))])
        trained = trainer.advance(3)[0].loss
        losses[precision] = [*trained, trainer.score([0])[0].loss]
        assert {leaf.dtype.name for leaf in jax.tree.leaves(trainer.params())} == {"float32"}
    assert not np.isclose(losses["bf16"], losses["float32"], rtol=1e-6).any()
    np.testing.assert_allclose(losses["bf16"], losses["float32"], rtol=0.05)


def test_a_deterministic_gpu_is_asked_for_before_jax_starts(monkeypatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=x")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    config = TrainConfig(deterministic=True)
    with pytest.raises(ConfigurationError, match="use_deterministic_ops"):
        layout_of([config])
    prepare_devices(config)
    prepare_devices(config)
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=x --xla_gpu_deterministic_ops=true"
    assert layout_of([config]).devices == 1
