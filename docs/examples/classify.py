"""A GRU reads NumPy arrays of different lengths and says a class: is there more above 0 than below?"""

import jax
import numpy as np
import optax

import jaxrnn

rng = np.random.default_rng(0)
lengths = rng.integers(5, 21, 2000)
sequences = [rng.normal(size=(length, 2)) for length in lengths]
classes = [int((sequence[:, 0] > 0).mean() > 0.5) for sequence in sequences]

data = {"batch_size": 64}
train = jaxrnn.Arrays.from_sequences(sequences[:1600], classes[:1600], **data)
held_out = jaxrnn.Arrays.from_sequences(sequences[1600:], classes[1600:], **data)


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.SequenceClassifier(2, 2, 32, cell="gru", kernel_init=init, rngs=rngs)


result = jaxrnn.fit(model, train, optax.adam(5e-3), epochs=10, validation=held_out, run="runs/classify")
print(result.trainer.evaluate(held_out))
predicted = result.trainer.predict(held_out.inputs, held_out.lengths)
print(predicted.values[:5], predicted.probabilities[:5].round(3))
