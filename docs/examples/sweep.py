"""Six at once as one program, three learning rates with two seeds each; each of them is a run of its own."""

import jax

import jaxrnn

text = jaxrnn.Text("python-reference", bptt_length=16, batch_size=16, validation_fraction=0.02)
members = [{"learning_rate": rate, "seed": seed} for rate in (1e-3, 3e-3, 1e-2) for seed in (0, 1)]


def model(rngs):
    init = jax.nn.initializers.glorot_uniform()
    return jaxrnn.LanguageModel(len(text.vocabulary), 32, cell="gru", kernel_init=init, rngs=rngs)


adam = jaxrnn.named_optimizer("adam", learning_rate=1e-3, clip_global_norm=1.0)
result = jaxrnn.fit(model, text, adam, members=members, updates=100, run="runs/sweep")
scores = result.trainer.score(range(6))
for place in sorted(range(6), key=lambda place: scores[place].loss):
    print(f"{scores[place].loss:.3f} nats  {members[place]}  {result.directories[place]}")
