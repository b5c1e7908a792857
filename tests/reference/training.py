"""Training states for tests: small or in the size of the book recipe, from given parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrnn.data.windows import to_streams
from jaxrnn.optim.optimizer import make_hyperparameters
from jaxrnn.training.state import initial_train_state
from jaxrnn.training.step import StepSettings, make_train_chunk, place

shared_chunk = functools.cache(make_train_chunk)  # tests of one structure and size compile it once


class Trainer:
    """A model, its compiled chunk, and as many fresh states of it as a test wants."""

    def __init__(
        self, model, ids, batch_size=1, learning_rate=0.1, dropout_rates=None, clip_backward=np.inf, **settings
    ):
        self.model, self.batch_size = model, batch_size
        self.dtype = model.W_y[...].dtype
        self.values = (learning_rate, 5.0)
        self.sites = {"dropout_rates": dropout_rates, "clip_backward": clip_backward}
        self.settings = StepSettings(**settings)
        self.graphdef = nnx.split(model)[0]
        self.chunk = shared_chunk(self.graphdef, self.settings)
        self.streams = to_streams(np.asarray(ids), batch_size)

    def state(self, **changes):
        """A state of its own arrays, since the chunk takes them over."""
        rate, clip_value = self.values
        hyperparameters = make_hyperparameters(rate, clip_value=clip_value, decay_after_epochs=10, dtype=self.dtype)
        model = jax.tree.map(jnp.copy, self.model)
        state = initial_train_state(model, self.settings.optimizer, hyperparameters, self.batch_size, 0, **self.sites)
        return state._replace(**changes)

    def advance(self, state, updates):
        """The state after `updates` updates, their losses and the smoothed losses."""
        state, streams = place(state, self.streams, self.settings.devices)
        state, metrics = self.chunk(state, streams, np.int32(updates))
        return state, np.array(metrics.loss_nats[:updates]), np.array(metrics.smooth_loss_nats[:updates])
