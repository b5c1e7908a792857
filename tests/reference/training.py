"""Training states for tests: small or in the size of the book recipe, from given parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import PartitionSpec

from jaxrnn.data.windows import to_streams
from jaxrnn.devices.mesh import BATCH_AXIS, Layout, jit_on, place
from jaxrnn.models.dropout import DropoutRates
from jaxrnn.optim.optimizer import NamedOptimizer, make_hyperparameters
from jaxrnn.optim.settings import OptimizerSettings
from jaxrnn.tasks.text import NextSymbol
from jaxrnn.training.chunk import train_chunk_of
from jaxrnn.training.state import TrainState, initial_train_state
from jaxrnn.training.step import StepSettings
from jaxrnn.training.values import TracedValues

STATE = TrainState(**{**dict.fromkeys(TrainState._fields, PartitionSpec()), "carry": PartitionSpec(BATCH_AXIS)})  # type: ignore[arg-type]
STREAMS = PartitionSpec(None, BATCH_AXIS)


@functools.cache
def shared_chunk(graphdef, settings):
    """The compiled chunk; tests of one structure and size compile it once. It takes the state over."""
    in_specs, out_specs = (STATE, STREAMS, PartitionSpec()), (STATE, PartitionSpec())
    chunk = train_chunk_of(graphdef, settings)
    return jit_on(chunk, Layout(share=settings.devices), in_specs, out_specs)


def advance_chunk(graphdef, settings, state, streams, updates):
    """The state after so many updates, fewer where it ends on the way, and the chunk's metrics on the host."""
    layout = Layout(share=settings.devices)
    state, streams = place(layout, STATE, state), place(layout, STREAMS, streams)
    state, metrics = shared_chunk(graphdef, settings)(state, streams, np.int32(updates))
    return state, jax.tree.map(np.array, metrics)


class Trainer:
    """A model of text, its compiled chunk, and as many fresh states of it as a test wants."""

    def __init__(
        self,
        model,
        ids,
        batch_size=1,
        learning_rate=0.1,
        dropout_rates=None,
        clip_backward=np.inf,
        *,
        bptt_length,
        document_end=None,
        **settings,
    ):
        self.model, self.batch_size = model, batch_size
        self.dtype = model.b_y[...].dtype
        self.values = (learning_rate, 5.0)
        self.sites = {"dropout_rates": dropout_rates or DropoutRates(), "clip_backward": clip_backward}
        objective = NextSymbol(len(model.b_y[...]), bptt_length, document_end)
        optimizer = NamedOptimizer(settings.pop("optimizer", OptimizerSettings()))
        self.settings = StepSettings(objective, optimizer, **settings)
        self.graphdef = nnx.split(model)[0]
        self.chunk = shared_chunk(self.graphdef, self.settings)
        self.streams = to_streams(np.asarray(ids), batch_size)

    def traced(self, **changes):
        """The values that members of a population may differ in, as arrays of their own."""
        rate, clip_value = self.values
        hyperparameters = make_hyperparameters(rate, clip_value=clip_value, decay_after_epochs=10, dtype=self.dtype)
        limit = jnp.asarray(self.sites["clip_backward"], self.dtype)
        return TracedValues(hyperparameters, self.sites["dropout_rates"], limit)._replace(**changes)

    def state(self, **changes):
        """A state of its own arrays, since the chunk takes them over."""
        model = jax.tree.map(jnp.copy, self.model)
        return initial_train_state(model, self.settings.optimizer, self.traced(), self.batch_size, 0)._replace(
            **changes
        )

    def advance(self, state, updates):
        """The state after `updates` updates, their losses and the smoothed losses."""
        state, metrics = advance_chunk(self.graphdef, self.settings, state, self.streams, updates)
        return state, metrics.loss[:updates], metrics.smooth_loss[:updates]
