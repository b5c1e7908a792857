"""The recipe of the palindromes: its options, and the settings of `jaxrnn train` that they stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter

from jaxrnn import TrainConfig
from jaxrnn.cells import cell_options
from jaxrnn.checks import check_choice, check_count, check_number
from jaxrnn.config import CELL_NAMES, OPTIMIZER_NAMES
from jaxrnn.errors import ConfigurationError
from jaxrnn.terminal import whole_number

Count = Annotated[int, Parameter(converter=whole_number)]
INITS = ("ours", "deviation", "variance")
# --raise-rate: the rate is doubled at so many steps. Report D raises its rate with T and does not say how.
RATE_DOUBLES_AT = 50


@dataclass(frozen=True)
class Recipe:
    """What all members of a command share. The defaults are the course's, which report D follows.

    Attributes:
      updates: updates at most.
      hidden: H.
      batch_size: B.
      optimizer: adagrad, rmsprop, adam or sgd.
      learning_rate: its learning rate.
      rmsprop_decay: of RMSprop's mean square; D does not state it.
      raise_rate: multiply the rate by 1 + T / 50.
      clip_global_norm: limit of the norm of the whole gradient.
      input: how digits are read, "number" or "one-hot".
      init: "ours": weights even between -1 / sqrt(H) and 1 / sqrt(H), biases 0, the forget gate's 1; "deviation":
        weights and biases N(0, 0.1) with 0.1 as standard deviation; "variance": with 0.1 as variance.
      init_scale: in place of the scale that the name stands for.
      forget_bias: in place of 1 for "ours" and 0, about which the biases are drawn, for the others.
      update_bias: of a GRU, likewise, in place of 0.
      pooling: what the class is read from: "last" step or "mean" over all.
      stop_at_accuracy: mean accuracy of the latest 100 updates at which a member has solved it; 0 is never.
    """

    updates: Count = 1000
    hidden: Count = 128
    batch_size: Count = 128
    optimizer: str = "rmsprop"
    learning_rate: float = 1e-3
    rmsprop_decay: float = 0.95
    raise_rate: bool = False
    clip_global_norm: float = 10.0
    input: str = "number"
    init: str = "ours"
    init_scale: float | None = None
    forget_bias: float | None = None
    update_bias: float = 0.0
    pooling: str = "last"
    stop_at_accuracy: float = 0.995

    def __post_init__(self) -> None:
        check_choice("init", self.init, INITS)
        check_choice("optimizer", self.optimizer, OPTIMIZER_NAMES)
        check_count("hidden", self.hidden, 1)
        check_number("learning_rate", self.learning_rate, 0.0)

    def rate(self, length: int) -> float:
        """The learning rate at T steps.

        Example:
          >>> Recipe(raise_rate=True).rate(50), Recipe().rate(50)
          (0.002, 0.001)
        """
        return self.learning_rate * (1 + length / RATE_DOUBLES_AT) if self.raise_rate else self.learning_rate

    def settings(self, cell: str, length: int, seed: int) -> TrainConfig:
        """The settings of one run.

        Raises:
          ConfigurationError: if they are not such that `jaxrnn train` could take them.
        """
        check_choice("cells", cell, CELL_NAMES)
        check_count("lengths", length, 1)
        ours = self.init == "ours"
        scale = {"ours": self.hidden**-0.5, "deviation": 0.1, "variance": math.sqrt(0.1)}[self.init]
        by_name: dict[str, Any] = {}
        if "forget_bias" in cell_options(cell):
            by_name["forget_bias"] = float(ours) if self.forget_bias is None else self.forget_bias
        if "update_bias" in cell_options(cell):
            by_name["update_bias"] = self.update_bias
        if self.optimizer == "rmsprop":
            by_name["rmsprop_decay"] = self.rmsprop_decay
        return TrainConfig(
            task="palindromes",
            sequence_length=length,
            input=self.input,
            pooling=self.pooling,
            cell=cell,
            hidden=self.hidden,
            init="uniform" if ours else "normal",
            init_scale=scale if self.init_scale is None else self.init_scale,
            init_biases=not ours,
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            learning_rate=self.rate(length),
            clip_value=0.0,
            clip_global_norm=self.clip_global_norm,
            loss_reduction="mean",
            updates=self.updates,
            seed=seed,
            stop_at_accuracy=self.stop_at_accuracy,
            devices="1",
            **by_name,
        )


@dataclass(frozen=True)
class LongRecipe(Recipe):
    updates: Count = 10_000
    stop_at_accuracy: float = 0.0


@dataclass(frozen=True)
class OneHotRecipe(Recipe):
    updates: Count = 10_000
    input: str = "one-hot"
    optimizer: str = "adam"
    learning_rate: float = 3e-3
    forget_bias: float | None = 5.0  # so open, an LSTM remembers 50 steps before it has learned anything


LongRecipe.__doc__ = OneHotRecipe.__doc__ = Recipe.__doc__  # the words of --help


def members(recipe: Recipe, cells: list[str], lengths: list[int], seeds: int) -> list[TrainConfig]:
    """Every cell at every length with seeds 0, 1, ...; short sequences first."""
    check_count("seeds", seeds, 1)
    if not cells or not lengths:
        raise ConfigurationError("--cells and --lengths expect at least one each")
    return [
        recipe.settings(cell, length, seed)
        for length in dict.fromkeys(sorted(lengths))
        for cell in dict.fromkeys(cells)
        for seed in range(seeds)
    ]
