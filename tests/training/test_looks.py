"""Which parameters are one vector in the loop of a GPU; that it changes no result is in `test_step.py`."""

import jax.numpy as jnp
import pytest

from jaxrnn.engines.platforms import platform, tracing_for
from jaxrnn.training.looks import FEW_ARRAYS, pays_as_vector


@pytest.mark.parametrize("name", ["cpu", "gpu", "tpu"])
def test_few_small_arrays_of_one_dtype_are_one_vector_on_a_gpu(name):
    few = [jnp.zeros((3, 2))] * FEW_ARRAYS
    with tracing_for(name):
        assert pays_as_vector(few) == (name == "gpu")
        assert not pays_as_vector([*few, jnp.zeros(1)])
        assert not pays_as_vector([*few[1:], jnp.zeros(1, jnp.float16)])
        assert not pays_as_vector([jnp.zeros(platform().largest_vector + 1)])
