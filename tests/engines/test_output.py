"""The engine `resident-output`: its kernel for the output layer, interpreted, and what it is refused for."""

import functools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxrnn.engines.choose import choose_engine, unable
from jaxrnn.engines.output import WITH_OUTPUT, output_loss, why_not_output
from jaxrnn.engines.platforms import tracing_for, tracing_members
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.language_model import LanguageModel
from jaxrnn.models.loss import loss_nats
from jaxrnn.tasks.protocol import Batch
from jaxrnn.training import batch_loss as training_loss
from tests.trees import assert_trees_close

needs_mosaic = pytest.mark.skipif(jax.__version_info__ < (0, 11), reason="the kernels were made for JAX 0.11")


def interpreted():
    params = pytest.importorskip("jax._src.pallas.mosaic_gpu.interpret.params", reason="no interpreter of Mosaic GPU")
    return params.InterpretGPUParams()


@needs_mosaic
@pytest.mark.parametrize("rows, features, symbols", [(150, 24, 13), (64, 64, 33), (7, 70, 96)])
def test_its_loss_and_gradients_are_those_of_the_formula(rows, features, symbols, rng):
    """Large logits too; rows and widths that fill no program, and such that do."""
    h, W, b = (
        jnp.asarray(scale * rng.normal(size=shape), jnp.float32)
        for scale, shape in ((1.0, (rows, features)), (2.0, (features, symbols)), (20.0, (symbols,)))
    )
    targets = jnp.asarray(rng.integers(0, symbols, rows), jnp.uint8)

    def plain(h, W, b):
        return 0.25 * loss_nats(jnp.dot(h, W, precision="highest") + b[None, :], targets).sum()

    def ours(h, W, b):
        return output_loss(h, W, b, targets, 0.25, interpreted())

    assert_trees_close(
        jax.value_and_grad(ours, (0, 1, 2))(h, W, b), jax.value_and_grad(plain, (0, 1, 2))(h, W, b), rtol=1e-5
    )


class OnTheCPU(LanguageModel):
    """Unrolls by the engine of a CPU whatever it is told."""

    def hidden(self, ids, carries, **options):
        return super().hidden(ids, carries, **options | {"engine": "scan"})


class Task:
    loss_name = "loss_nats"

    def losses(self, outputs, targets):
        return loss_nats(outputs, targets)


@needs_mosaic
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("options", [{}, {"embedding": 8, "tie_embedding": True}])
def test_a_batch_has_the_loss_and_gradients_that_it_has_without(reduction, options, rng, monkeypatch):
    monkeypatch.setattr(training_loss, "output_loss", functools.partial(output_loss, interpret=interpreted()))
    model = OnTheCPU(11, 8, cell="lstm", **options, rngs=nnx.Rngs(1))
    ids = jnp.asarray(rng.integers(0, 11, (6, 5)), jnp.uint8)
    graphdef, params = nnx.split(model)

    def found(engine):
        def loss(params):
            model, batch = nnx.merge(graphdef, params), Batch(ids[:-1], ids[1:])
            given = (Task(), model, model.initial_carry(5), batch, reduction, False, False)
            total, (mean, carry, *_) = training_loss.batch_loss(*given, engine=engine)
            return total, (mean, carry)

        return jax.value_and_grad(loss, has_aux=True)(params)

    with tracing_for("gpu"):
        ours = found(WITH_OUTPUT)
    assert_trees_close(ours, found("scan"), rtol=1e-5, atol=1e-7)


@needs_mosaic
def test_what_it_is_not_for_is_refused_by_name():
    model, ids = LanguageModel(11, 8, rngs=nnx.Rngs(1)), jnp.zeros((6, 5), jnp.uint8)

    def refused(message, model=model, weights=None, accuracy=False):
        with pytest.raises(ConfigurationError, match=message):
            given = (Task(), model, None, Batch(ids[:-1], ids[1:], weights), "mean", accuracy, False)
            training_loss.batch_loss(*given, engine=WITH_OUTPUT)

    with tracing_for("gpu"):
        refused("'resident-output' cannot train this: .* no accuracy is measured; use 'resident'", accuracy=True)
        refused("mean loss of a language model", weights=jnp.ones((5, 5)))
        refused("mean loss of a language model", model=object())
        refused("300 features and 11 symbols do not fit", model=LanguageModel(11, 300, rngs=nnx.Rngs(1)))
        with tracing_members():
            refused("several members")
        with jax.default_matmul_precision("bfloat16"):
            assert why_not_output(jnp.zeros((8, 11))) == "its products are of TF32"


def test_it_is_never_chosen_and_says_why():
    model = LanguageModel(11, 8, cell="lstm", rngs=nnx.Rngs(1))
    cell = model.stack.layers[0]
    for platform in ("cpu", "gpu", "tpu"):
        with tracing_for(platform):
            choice = choose_engine(cell, 16)
            assert choice.engine != WITH_OUTPUT and choice.rejected[WITH_OUTPUT]
    with tracing_for("cpu"):
        assert "it needs" in unable(cell)[WITH_OUTPUT]
    if jax.__version_info__ >= (0, 11):
        with tracing_for("gpu"):
            assert "off until it was run on a GPU" in choose_engine(cell, 16).rejected[WITH_OUTPUT]
