"""Losses of your own: smoothed labels of a class, and several yes-or-no answers at once."""

import jax
import numpy as np
import optax

import jaxrnn

rng = np.random.default_rng(0)
inputs = rng.normal(size=(800, 10, 3))
signs = inputs.sum(axis=1) > 0  # (N, 3): of each feature, whether its sum is above 0


def model(rngs, outputs=2):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.SequenceClassifier(3, outputs, 24, cell="gru", kernel_init=init, rngs=rngs)


def smoothed(outputs, targets):  # (K, B, C) and (K, B) to (K, B)
    return optax.softmax_cross_entropy(outputs, optax.smooth_labels(jax.nn.one_hot(targets, 2), 0.1))


def each_answer(outputs, targets):  # (K, B, D) and (K, B, D) to (K, B)
    return optax.sigmoid_binary_cross_entropy(outputs, targets).mean(axis=-1)


def right(outputs, targets):
    return ((outputs > 0) == (targets > 0.5)).mean(axis=-1)


one = jaxrnn.Arrays(inputs, signs[:, 0].astype(int), batch_size=50, loss=smoothed)
print(jaxrnn.fit(model, one, optax.adam(1e-2), epochs=8).trainer.evaluate(one))
three = signs[:, None, :].astype(float)  # (N, 1, D): numbers, since they are no classes that exclude each other
several = jaxrnn.Arrays(inputs, three, batch_size=50, loss=each_answer, metrics={"right": right})
print(jaxrnn.fit(lambda rngs: model(rngs, 3), several, optax.adam(1e-2), epochs=8).trainer.evaluate(several))
