"""Hidden sizes of equal cost: models of different cells and depths with as many parameters as an LSTM of one layer."""

from __future__ import annotations

import bisect

from jaxrnn.cells.table import parameter_count


def model_parameters(
    cell: str,
    layers: int,
    hidden: int,
    vocabulary_size: int,
    use_bias: bool = True,
    skip_connections: bool = False,
) -> int:
    """The number of parameters of a language model with one-hot input: its layers and the output layer with its bias.

        layers                P(V, H) + (L - 1) P(H, H)          with skip connections P(V, H) + (L - 1) P(H + V, H)
        output layer          (H + 1) V                          with skip connections (L H + 1) V

    P is `parameter_count` of the cell.

    Args:
      cell: a key of `jaxrnn.CELLS`.
      layers: L.
      hidden: H of every layer.
      vocabulary_size: V.
      use_bias: whether the cells have biases.
      skip_connections: as for `Stack`.

    Example:
      >>> model_parameters("lstm", 1, 64, 83)
      43283
    """
    above = hidden + (vocabulary_size if skip_connections else 0)
    lowest = parameter_count(cell, vocabulary_size, hidden, use_bias)
    others = (layers - 1) * parameter_count(cell, above, hidden, use_bias)
    return lowest + others + (hidden * (layers if skip_connections else 1) + 1) * vocabulary_size


def hidden_size_for(
    cell: str,
    layers: int,
    model_size: int,
    vocabulary_size: int,
    use_bias: bool = True,
    skip_connections: bool = False,
) -> int:
    """The hidden size whose model has most nearly as many parameters as an LSTM of one layer of `model_size` units.

    The LSTM has biases, no peepholes, and the same vocabulary. Of two sizes equally near the smaller is taken.

    Args:
      cell: a key of `jaxrnn.CELLS`.
      layers: how many.
      model_size: hidden units of the LSTM that sets the budget.
      vocabulary_size: V.
      use_bias: whether the cells of the model asked for have biases.
      skip_connections: as for `Stack`.

    Raises:
      ValueError: if a number is below 1.

    Example:
      >>> hidden_size_for("lstm", 1, 64, 83), hidden_size_for("gru-reset-before", 2, 64, 83, use_bias=False)
      (64, 53)

    Source: the "model size" of the thesis.
    """
    if min(layers, model_size, vocabulary_size) < 1:
        raise ValueError(
            "hidden_size_for expects numbers of at least 1, got "
            f"layers={layers}, model_size={model_size}, vocabulary_size={vocabulary_size}"
        )
    budget = model_parameters("lstm", 1, model_size, vocabulary_size)

    def excess(hidden: int) -> int:
        return model_parameters(cell, layers, hidden, vocabulary_size, use_bias, skip_connections) - budget

    above = 1
    while excess(above) < 0:
        above *= 2
    above = bisect.bisect_left(range(above + 1), 0, lo=above // 2, key=excess)  # the first that is not too small
    below = above - 1
    return below if below and -excess(below) <= excess(above) else above
