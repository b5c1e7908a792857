"""Begin with a trained classifier, train its output layer alone, and carry the weights over by a file."""

import jax
import numpy as np
import optax
from flax import nnx

import jaxrnn
from jaxrnn.storage import from_leaves, to_leaves

rng = np.random.default_rng(0)
inputs = rng.normal(size=(800, 12, 2))
old, new = (jaxrnn.Arrays(inputs, (inputs[:, :, 0].sum(1) > limit).astype(int), batch_size=50) for limit in (0, 2))


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.SequenceClassifier(2, 2, 16, cell="gru", kernel_init=init, rngs=rngs)


def parts(parameters):  # a tree like theirs, with names; one stands for all that is below it
    return {name: "frozen" if name == "stack" else "trained" for name in parameters}


first = jaxrnn.fit(model, old, optax.adam(1e-2), epochs=8)
optimizer = optax.multi_transform({"trained": optax.adam(1e-2), "frozen": optax.set_to_zero()}, parts)
second = jaxrnn.fit(model, new, optimizer, epochs=8, init_from=first.trainer)
before, after = first.trainer.params(), second.trainer.params(checkpoint="best")
print("layers untouched:", jax.tree.all(jax.tree.map(np.array_equal, before["stack"], after["stack"])))
print(f"accuracy {second.trainer.evaluate(new)['accuracy']:.4f}")

np.savez("weights.npz", **to_leaves(after))
again = model(nnx.Rngs(1))  # a module with other weights, which takes these
nnx.update(again, from_leaves(np.load("weights.npz"), nnx.to_pure_dict(nnx.state(again, nnx.Param))))
logits, _ = again(inputs.swapaxes(0, 1), again.initial_carry(len(inputs)))  # time first
print(f"from the file {np.mean(logits[0].argmax(-1) == new.targets[:, 0]):.4f}")
