# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is the gradient that trains a recurrent network the one that the equations give?
#
# Three ways to the same numbers: the backward pass of a vanilla RNN as the course reports derive it, written out in
# NumPy; a graph of small nodes that each know only their own derivative; and the engines that `jaxrnn` trains with,
# where nobody wrote a gradient. In float64 they may differ by rounding and no more.

# %%
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxrnn
from jaxrnn.inspect.graph import (
    Add,
    MatMul,
    SoftmaxCrossEntropy,
    Static,
    Tanh,
    check_gradients,
    draw_graph,
    draw_model,
    draw_step,
    unrolled,
)
from jaxrnn.models import loss_nats

jax.config.update("jax_enable_x64", True)
SEED, HIDDEN = 0, 5

# %% [markdown]
# ## A window and a model
#
# The window of the reports' gradient checks. Weights are drawn large enough that tanh bends.

# %%
text = "HARRY POTTER AND THE GOBLE"
vocabulary = jaxrnn.Vocabulary.from_text(text)
window = vocabulary.encode(text)
inputs, targets = window[:-1], window[1:]
model = jaxrnn.LanguageModel(
    len(vocabulary.symbols),
    HIDDEN,
    kernel_init=jax.nn.initializers.normal(0.5),
    param_dtype=jnp.float64,
    rngs=nnx.Rngs(SEED),
)
parameters = {"/".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param))}
print(len(inputs), "characters,", {path: leaf.shape for path, leaf in parameters.items()})

# %% [markdown]
# ## First way: the equations of the reports
#
# Forward, with column vectors, x_t one-hot:
#
#     a_t = W h_{t-1} + U x_t + b     h_t = tanh(a_t)
#     o_t = V h_t + c                 p_t = softmax(o_t)     L = - sum_t log p_t[y_t]
#
# Backward, from the last step to the first, with ' for transposed:
#
#     dL/do_t = p_t - y_t
#     dL/dh_t = V' dL/do_t + W' dL/da_{t+1}
#     dL/da_t = dL/dh_t * (1 - h_t^2)
#     dL/dV = sum_t dL/do_t h_t'     dL/dW = sum_t dL/da_t h_{t-1}'     dL/dU = sum_t dL/da_t x_t'
#
# The library multiplies rows from the left, so its matrices are the reports' transposed.

# %%
U, W, b, V, c = (
    np.asarray(parameters[path]).T
    for path in ("stack/layers/0/W_x", "stack/layers/0/W_h", "stack/layers/0/b", "W_y", "b_y")
)
one_hot = np.eye(len(vocabulary.symbols))
h, p, loss = [np.zeros(HIDDEN)], [], 0.0
for x, y in zip(inputs, targets, strict=True):
    h.append(np.tanh(W @ h[-1] + U @ one_hot[x] + b))
    o = V @ h[-1] + c
    p.append(np.exp(o) / np.exp(o).sum())
    loss -= np.log(p[-1][y])

dU, dW, db, dV, dc = (np.zeros_like(parameter) for parameter in (U, W, b, V, c))
da_next = np.zeros(HIDDEN)
dh_norms = []
for t in reversed(range(len(inputs))):
    do = p[t] - one_hot[targets[t]]
    dh = V.T @ do + W.T @ da_next
    da = dh * (1 - h[t + 1] ** 2)
    dV += np.outer(do, h[t + 1])
    dc += do
    dW += np.outer(da, h[t])
    dU += np.outer(da, one_hot[inputs[t]])
    db += da
    da_next = da
    dh_norms.insert(0, np.linalg.norm(dh))
by_hand = {
    "stack/layers/0/W_x": dU.T,
    "stack/layers/0/W_h": dW.T,
    "stack/layers/0/b": db,
    "W_y": dV.T,
    "b_y": dc,
}
print(f"loss {loss:.6f} nats, {loss / len(inputs):.4f} a character; ln K is {np.log(len(vocabulary.symbols)):.4f}")

# %% [markdown]
# ## Second way: a graph of nodes
#
# A node has inputs, a value, and one partial derivative an input. The gradient of the cost flows from a node to its
# inputs, times the partial derivative; what comes from several parents is summed. Here is one layer without time:

# %%
rng = np.random.default_rng(SEED)
x, w = Static(rng.normal(size=(1, 3)), "x"), Static(rng.normal(size=(3, 2)), "W")
bias, truth = Static(np.zeros(2), "b"), Static([1], "y")
cost = SoftmaxCrossEntropy(Tanh(Add(MatMul(x, w), bias), name="h"), truth, name="loss")
cost.forward()
cost.backward()
draw_graph(cost)

# %% [markdown]
# A recurrent network is such a graph, unrolled over time. The weights are one node each, however many steps read them,
# so their gradients are sums over the steps: the sums of the equations above. The first two steps of our window:

# %%
short = unrolled(model, window[:3], symbols=vocabulary.symbols)
short.gradients()
draw_graph(short.cost)

# %% [markdown]
# And the whole window, too long to draw, but not to compute:

# %%
graph = unrolled(model, window)
by_nodes = graph.gradients()
print(f"{len(graph.cost.order())} nodes, loss {graph.cost.value:.6f} nats")

# %% [markdown]
# Every node keeps its gradient, that of h_t too. It is what reaches step t from all later losses:

# %%
node_norms = [np.linalg.norm(layers[0].gradient) for layers in graph.hidden[1:]]
print("|dL/dh_t| at t = 1, 9, 17, 25:", *(f"{node_norms[t]:.4f}" for t in (0, 8, 16, 24)))
print(f"by hand and by nodes differ by at most {np.abs(np.subtract(node_norms, dh_norms)).max():.0e}")
assert np.allclose(node_norms, dh_norms, rtol=1e-12)

# %% [markdown]
# How does one know that a derivative is right? By differences of the cost. A tanh whose author forgot the square:


# %%
class WrongTanh(Tanh):
    def partials(self, d, out, a):
        return (d * (1 - out),)


for kind in (Tanh, WrongTanh):
    rows = check_gradients(SoftmaxCrossEntropy(kind(Add(MatMul(x, w), bias)), truth))
    print(f"{kind.__name__:10}", {row.group: f"{row.max_absolute:.0e}" for row in rows})
    assert (max(row.max_absolute for row in rows) < 1e-8) == (kind is Tanh)

# %% [markdown]
# ## Third way: the engines that train
#
# The author of a cell writes its formula and no gradient. This is the step of the vanilla cell as JAX sees it, and for
# comparison that of the LSTM, with its three logistic gates:

# %%
draw_step(model.stack.layers[0])

# %%
draw_step(jaxrnn.LSTMCell(len(vocabulary.symbols), HIDDEN, rngs=nnx.Rngs(SEED)))

# %% [markdown]
# An engine unrolls the step over the window, and `jax.grad` differentiates it. When the model writes, what it wrote is
# its next input (dotted):

# %%
draw_model(model, steps=3, feedback=True)

# %%
graphdef, state = nnx.split(model)


def loss_of(state, engine):
    model = nnx.merge(graphdef, state)
    logits, _ = model(inputs[:, None], model.initial_carry(1), engine=engine)
    return loss_nats(logits, targets[:, None]).sum()


by_engine = {}
for engine in ("reference", "scan", "hoisted"):
    gradients = jax.jit(jax.grad(loss_of), static_argnums=1)(state, engine)
    by_engine[engine] = {"/".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(gradients)}

# %% [markdown]
# ## Answer
#
# Yes. The largest differences from the gradients by hand, whose largest entry stands beside them:

# %%
print(f"{'':20}{'largest':>10}{'nodes':>10}" + "".join(f"{engine:>12}" for engine in by_engine))
for path, gradient in by_hand.items():
    others = [by_nodes[path], *(gradients[path] for gradients in by_engine.values())]
    differences = [np.abs(gradient - np.asarray(other)).max() for other in others]
    print(
        f"{path:20}{np.abs(gradient).max():10.4f}{differences[0]:10.0e}"
        + "".join(f"{d:12.0e}" for d in differences[1:])
    )
    assert max(differences) < 1e-12
