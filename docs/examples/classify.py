"""A GRU reads sequences of different lengths and says a class: is the sum of the first feature above 0?"""

import jax
import numpy as np
import optax

import jaxrnn

rng = np.random.default_rng(0)
sequences = [rng.normal(size=(length, 2)).astype(np.float32) for length in rng.integers(5, 21, 2000)]
classes = np.array([sequence[:, 0].sum() > 0 for sequence in sequences]).astype(int)

train = jaxrnn.Arrays.from_sequences(sequences[:1600], classes[:1600], batch_size=64)
held_out = jaxrnn.Arrays.from_sequences(sequences[1600:], classes[1600:], batch_size=64)


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.SequenceClassifier(2, 2, 32, cell="gru", kernel_init=init, rngs=rngs)


result = jaxrnn.fit(model, train, optax.adam(1e-2), epochs=10, validation=held_out, run="runs/classify")
accuracy = result.trainer.evaluate(held_out)["accuracy"]
print(f"accuracy {accuracy:.3f}")
predicted = result.trainer.predict(held_out.inputs[:5], held_out.lengths[:5])
print(predicted.values, predicted.probabilities.round(3))
