"""The optimizers by name: which constants each rule uses. Nothing here loads JAX.

A new rule is a function of `jaxrnn.optim.rules` and a row of `OPTIMIZERS`.
"""

from __future__ import annotations

# The name of each function in `jaxrnn.optim.rules`, and the settings that are for it. Another setting that is not at
# its default is a mistake; with `momentum` among them the chain has it after the rule.
OPTIMIZERS: dict[str, tuple[str, ...]] = {
    "adagrad": ("epsilon", "epsilon_in_root"),
    "rmsprop": ("rmsprop_decay", "epsilon", "epsilon_in_root", "momentum", "nesterov"),
    "adam": ("epsilon", "epsilon_in_root", "adam_b1", "adam_b2"),
    "adamw": ("epsilon", "epsilon_in_root", "adam_b1", "adam_b2", "weight_decay"),
    "sgd": ("momentum", "nesterov"),
}

# What to begin with where a recipe's rate is that of another rule.
USUAL_RATES = {"adagrad": 0.1, "rmsprop": 2e-3, "adam": 2e-3, "adamw": 2e-3, "sgd": 0.1}


def rules_with(constant: str) -> list[str]:
    """The rules that use a constant.

    Example:
      >>> rules_with("momentum")
      ['rmsprop', 'sgd']
    """
    return [name for name, constants in OPTIMIZERS.items() if constant in constants]


# Every constant of any rule, in the order of their first use.
CONSTANTS = tuple(dict.fromkeys(constant for constants in OPTIMIZERS.values() for constant in constants))
