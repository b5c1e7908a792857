"""Chooses the best parameters of members by fresh starts while they are trained; the rules are in `judgement.py`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxrnn.devices.numerics import numerics
from jaxrnn.tasks.protocol import FRESH, Score
from jaxrnn.training.judgement import FROM_CARRY, is_far_above, judged, needs_start
from jaxrnn.training.trainer import Trainer


class Choice(NamedTuple):
    """What was seen of a candidate.

    Attributes:
      smooth_loss: its smoothed loss.
      update: that after which it was so low. Not the updates done: a candidate that was looked at when the run had
        ended, and is so again in one that goes on, is lost both times or never.
      fresh: its score from fresh starts.
      from_carry: its score from the carry that is kept with it; None where that was not tried.
    """

    smooth_loss: float
    update: int
    fresh: Score
    from_carry: Score | None = None

    @property
    def is_lost(self) -> bool:
        """Whether it does far worse from fresh starts than in training."""
        return is_far_above(self.smooth_loss, self.fresh.loss, self.update)

    @property
    def told(self) -> str | None:
        """What a person is told of one that is lost; None of another."""
        if not self.is_lost:
            return None
        told = f"the lowest smoothed loss, {self.smooth_loss:.3f} nats, needs the carry of training: {self.fresh.line}"
        if self.from_carry is None or not needs_start(self.fresh.loss, self.from_carry.loss):
            return told
        return f"{told}, {self.from_carry.loss:.3f} from that carry, which is kept: the best parameters start from it"


def choose(trainer: Trainer, members: Sequence[int], at_end: Sequence[bool]) -> list[Choice]:
    """Scores the candidates of members from fresh starts; their states keep those that do best, see `judged`.

    One that is lost is scored once more, from the carry that is kept with it.

    Args:
      trainer: of the members.
      members: which.
      at_end: of each, whether the choice is beside the regular ones.
    """
    states = [trainer.state(member) for member in members]
    scores = trainer.score(members, FRESH, "candidate")
    choices = [
        Choice(float(state.candidate.smooth_loss), int(state.candidate.update), score)
        for state, score in zip(states, scores, strict=True)
    ]
    lost = [place for place, choice in enumerate(choices) if choice.is_lost and states[place].candidate.carry]
    again = trainer.score([members[place] for place in lost], FRESH, FROM_CARRY) if lost else []
    for place, score in zip(lost, again, strict=True):
        choices[place] = choices[place]._replace(from_carry=score)
    for member, state, choice, ends in zip(members, states, choices, at_end, strict=True):
        from_carry = math.nan if choice.from_carry is None else choice.from_carry.loss
        with numerics(*trainer.numbers):
            trainer.put(member, judged(state, choice.fresh.loss, ends, from_carry))
    return choices
