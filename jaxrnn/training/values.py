"""The settings that are values of a program, not part of it: members of one population may differ in them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrnn.checks import flag
from jaxrnn.config import DROPOUT_SITES, TrainConfig
from jaxrnn.devices.numerics import numerics
from jaxrnn.errors import ConfigurationError
from jaxrnn.models.dropout import SITES, DropoutRates
from jaxrnn.optim.optimizer import Hyperparameters

# Of these whether they are above 0 is part of the program: 0 leaves the operation out.
SWITCHED_BY_0 = ("clip_value", "clip_global_norm", "clip_backward", *DROPOUT_SITES)
TRACED = (
    "seed",
    "learning_rate",
    "decay_rate",
    "decay_after_epochs",
    "decay_every_updates",
    "warmup_updates",
    *SWITCHED_BY_0,
)
# What only the host looks at, for each member by itself.
OF_THE_HOST = ("updates", "epochs", "fold", "early_stopping", "patience", "plateau_patience")


class TracedValues(NamedTuple):
    """What `TRACED` names, as scalar arrays (the seed is in the state as a key).

    Attributes:
      hyperparameters: learning rate, its schedule, and clipping limits.
      dropout_rates: by site; None where the network has no such site.
      clip_backward: limit of the gradients of p_t and r_t inside the backward loop; infinity clips nothing.
    """

    hyperparameters: Hyperparameters
    dropout_rates: DropoutRates
    clip_backward: jax.Array


def traced_values(config: TrainConfig) -> TracedValues:
    """The values of these settings."""
    dtype = jnp.dtype(config.dtype)
    rates = {site: getattr(config, f"dropout_{site}") for site in SITES}
    with numerics(config.dtype):
        return TracedValues(
            config.hyperparameters(),
            DropoutRates(**{site: jnp.asarray(rate, dtype) if rate else None for site, rate in rates.items()}),
            jnp.asarray(config.clip_backward or jnp.inf, dtype),
        )


def structure_of(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide a compiled program, by name: those who agree in them can be members of one.

    `TRACED` values do not, but for whether one of `SWITCHED_BY_0` is above 0.
    """
    of_a_member = {*OF_THE_HOST, *TRACED} - {*SWITCHED_BY_0}
    return {
        name: value > 0 if name in SWITCHED_BY_0 else value
        for name, value in config.to_json().items()
        if name not in of_a_member
    }


def group_by_structure(configs: Iterable[TrainConfig]) -> list[list[TrainConfig]]:
    """Settings that fit into one program each, in the order given: see `structure_of`."""
    groups: dict[str, list[TrainConfig]] = {}
    for config in configs:
        groups.setdefault(json.dumps(structure_of(config), sort_keys=True), []).append(config)
    return list(groups.values())


def refuse_other_structures(configs: Sequence[TrainConfig]) -> None:
    """Refuses settings that do not fit into one program.

    Raises:
      ConfigurationError: if there are none, or with the first setting in which a member does not fit the first one.

    Example:
      >>> refuse_other_structures([TrainConfig(seed=1), TrainConfig(seed=2, clip_value=1.0)])
      >>> refuse_other_structures([TrainConfig(), TrainConfig(hidden=64)])  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxrnn.errors.ConfigurationError: ... member 1 has --hidden 64, member 0 has 100; ...
    """
    if not configs:
        raise ConfigurationError("a population expects the settings of at least one member; got none")
    first = structure_of(configs[0])
    for number, config in enumerate(configs[1:], start=1):
        for name, value in structure_of(config).items():
            if value != first[name]:
                raise ConfigurationError(
                    "a population expects settings equal but for seeds, rates, their decay, and the sizes above 0 of "
                    f"dropout rates and clipping limits; member {number} has {flag(name)} {getattr(config, name)}, "
                    f"member 0 has {getattr(configs[0], name)}; make populations by group_by_structure(...)"
                )
