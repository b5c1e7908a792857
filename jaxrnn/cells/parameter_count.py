"""How many parameters a cell has, by formula."""

from __future__ import annotations


def parameter_count(name: str, in_features: int, hidden_features: int, use_bias: bool = True) -> int:
    """The number of parameters of one layer, without making it.

    With F input and H hidden features, and without biases where `use_bias` is false:

        vanilla                        H (F + H + 1)
        lstm                         4 H (F + H + 1)
        lstm-peephole                4 H (F + H + 1) + 3 H
        lstm-peephole-full           4 H (F + H + 1) + 3 H^2
        temporal-gate-lstm           4 H (F + H + 1) + 3 H           a period, a shift and an open ratio a unit
        lstm-layer-norm              4 H (F + H + 1) + 10 H          gains of 4 H, 4 H and H, and a bias of H
        lstm-multiplicative          5 H (F + H) + 4 H
        gru                          3 H (F + H + 2)
        gru-flax, gru-reset-before   3 H (F + H + 1)

    Args:
      name: a key of `CELLS`.
      in_features: F, the number of symbols when the input is ids.
      hidden_features: H.
      use_bias: whether the cell has biases.

    Raises:
      ValueError: if there is no such cell.

    Example:
      >>> parameter_count("lstm", in_features=128, hidden_features=128)
      131584
    """
    F, H = in_features, hidden_features
    # Blocks of the two products together, blocks of biases, and what else there is.
    parts = {
        "vanilla": (1, 1, 0),
        "lstm": (4, 4, 0),
        "lstm-peephole": (4, 4, 3 * H),
        "lstm-peephole-full": (4, 4, 3 * H * H),
        "temporal-gate-lstm": (4, 4, 3 * H),
        "lstm-layer-norm": (4, 4, 10 * H),
        "lstm-multiplicative": (5, 4, 0),
        "gru": (3, 6, 0),
        "gru-flax": (3, 3, 0),
        "gru-reset-before": (3, 3, 0),
    }
    if name not in parts:
        raise ValueError(f"parameter_count expects a cell out of {', '.join(parts)}; got {name!r}")
    blocks, biases, others = parts[name]
    return blocks * H * (F + H) + (biases * H if use_bias else 0) + others
