"""The key of a run against JAX's own, and seeds that would be another's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrnn.config import TrainConfig
from jaxrnn.data.corpus import corpus_from_text
from jaxrnn.errors import ConfigurationError
from jaxrnn.random_streams import KIND, run_key
from jaxrnn.training.job import make_job
from jaxrnn.training.trainer import Trainer

SEEDS = (0, 1, 2**31 - 1, 2**31 + 5, 2**32 - 1)


def words(key: jax.Array) -> list[int]:
    return np.asarray(jax.random.key_data(key)).tolist()


@pytest.mark.parametrize("x64", [False, True])
def test_a_run_has_the_key_that_jax_makes_of_its_seed(x64: bool) -> None:
    with jax.enable_x64(x64):
        for seed in SEEDS:
            expected = words(jax.random.key(seed, impl=KIND))
            array = jnp.asarray(seed, jnp.uint32)
            assert [words(run_key(s)) for s in (seed, np.int64(seed), array)] == [expected] * 3
            assert words(run_key(seed)) == [0, seed]
        assert words(jax.jit(run_key)(array)) == [0, SEEDS[-1]]
        assert words(jax.vmap(run_key)(jnp.asarray(SEEDS, jnp.uint32))) == [[0, seed] for seed in SEEDS]


def test_an_offset_of_all_seeds_in_jax_does_not_move_a_run() -> None:
    jax.config.update("jax_random_seed_offset", 3)
    try:
        assert words(run_key(5)) == words(jax.jit(run_key)(jnp.asarray(5))) == [0, 5]
    finally:
        jax.config.update("jax_random_seed_offset", 0)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**63, -(2**63), 10**30, np.int64(2**32)])
def test_a_seed_that_no_key_holds_is_refused(seed: int) -> None:
    """2^32 was seed 0 without a word, and 2^63 an OverflowError."""
    expected = f"^--seed expects a whole number from 0 to 4294967295; got {int(seed)}$"
    with pytest.raises(ConfigurationError, match=expected):
        run_key(seed)
    with pytest.raises(ConfigurationError, match=expected):
        TrainConfig(seed=int(seed))


@pytest.mark.parametrize("seed", [1.5, "7", None, True])
def test_a_seed_that_is_no_whole_number_is_refused(seed) -> None:
    with pytest.raises(ConfigurationError, match=f"^--seed expects a whole number .*; got {seed!r}$"):
        run_key(seed)


def test_a_member_with_a_large_seed_has_the_key_of_the_run_alone() -> None:
    configs = [TrainConfig(hidden=2, seed=seed) for seed in (2**31 + 5, 7)]
    corpus = corpus_from_text("abc" * 30)
    trainer = Trainer.of([make_job(config, corpus) for config in configs])
    assert [words(trainer.state(member).seed) for member in (0, 1)] == [[0, 2**31 + 5], [0, 7]]
