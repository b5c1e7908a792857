"""Rules that no run of this length can come to: they are refused, not kept without a word. All ask a `TrainJob`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxrnn.errors import ConfigurationError
from jaxrnn.training.early_stopping import fewest_validations


def refuse_early_stopping_that_cannot_act(job: Any) -> None:
    """Refuses a rule that no run of this length can come to.

    Raises:
      ConfigurationError: with the earliest update.
    """
    config = job.config
    needed = fewest_validations(config.early_stopping, config.patience) * job.validation_every
    if needed > job.updates:
        raise ConfigurationError(
            f"--early-stopping {config.early_stopping} can stop at update {needed:,} at the earliest, the run has "
            f"{job.updates:,}; give more --updates or --epochs, a smaller --validation-every, or leave it out"
        )


def refuse_decay_that_cannot_act(jobs: Sequence[Any]) -> None:
    """Refuses a rate that waits with its decay for what never comes; on the command line the settings know it.

    Raises:
      ConfigurationError: with what is missing.
    """
    for job in jobs:
        config = job.config
        if config.plateau_patience and not job.validates:
            raise ConfigurationError("plateau_patience expects a `validation` to look at; got none")
        if config.decay_rate < 1 and not (job.windows or config.decay_every_updates or config.plateau_patience):
            raise ConfigurationError(
                f"a {type(job.task).__name__} has no epochs for the rate to decay by; give decay_every_updates too"
            )


def refuse_plateau_that_cannot_act(job: Any) -> None:
    """Refuses to wait for a plateau that no run of this length can come to; one that was begun before may go on.

    Raises:
      ConfigurationError: with the earliest update.
    """
    config, every = job.config, job.validation_every
    if not config.plateau_patience:
        return
    if not every:
        of_retrain = " with --retrain; leave one out" if config.retrain else "; give one, or leave it out"
        raise ConfigurationError(f"--plateau-patience has no validation to look at{of_retrain}")
    needed = fewest_validations("patience", config.plateau_patience) * every
    if needed >= job.updates:
        raise ConfigurationError(
            f"--plateau-patience {config.plateau_patience} can lower the rate after update {needed:,} at the earliest, "
            f"the run has {job.updates:,}; give more --updates or --epochs, a smaller --validation-every, or leave it "
            "out"
        )
