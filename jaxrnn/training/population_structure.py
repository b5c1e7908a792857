"""Which settings fit into one population: one compiled program, in which only some values differ."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from jaxrnn.checks import flag
from jaxrnn.config import DROPOUT_SITES, TrainConfig
from jaxrnn.errors import ConfigurationError

FREE = ("seed", "learning_rate")
FREE_ABOVE_0 = (*DROPOUT_SITES, "clip_value", "clip_global_norm", "clip_backward")  # 0 leaves the operation out


def group_by_structure(configs: Iterable[TrainConfig]) -> list[list[TrainConfig]]:
    """Settings that fit into one population each, in the order given.

    Those of one group have any seed, any learning rate, and any size above 0 of the dropout rates and clipping limits
    that the others have above 0. All other settings are equal, also those that the step takes as values, such as the
    decay of the learning rate or the number of epochs.
    """
    groups: dict[str, list[TrainConfig]] = {}
    for config in configs:
        groups.setdefault(json.dumps(_structure(config), sort_keys=True), []).append(config)
    return list(groups.values())


def refuse_other_structures(configs: Sequence[TrainConfig]) -> None:
    """Refuses settings that do not fit into one population.

    Args:
      configs: those of the members.

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
    first = _structure(configs[0])
    for number, config in enumerate(configs[1:], start=1):
        for name, value in _structure(config).items():
            if value != first[name]:
                raise ConfigurationError(
                    "a population expects settings equal but for seeds, learning rates and the sizes above 0 of "
                    f"dropout rates and clipping limits; member {number} has {flag(name)} {getattr(config, name)}, "
                    f"member 0 has {getattr(configs[0], name)}; make one population of each group_by_structure(...)"
                )


def _structure(config: TrainConfig) -> dict[str, Any]:
    """The settings without the free values; of those free above 0 only whether they are."""
    values = {name: value for name, value in config.to_json().items() if name not in FREE}
    return values | {name: values[name] > 0 for name in FREE_ABOVE_0}
