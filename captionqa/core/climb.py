"""Climbing: find the number of requests in flight by what it brings, with nothing to go by but the answers' own rate.

In: how many answers came in how long at the present limit. Out: the limit to try next. A step up stays when it pays, a
step down stays when it costs nothing. Pure: no clock, no I/O.

Answers are counted in rounds: as many as the limit allows in flight. The first round after a change still belongs to
the limit before and is left out, the next ones are measured, longer when the result is close.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

FIRST_STEP = 2.0
"""Factor of the steps up until the first that does not pay."""
STEP = 2**0.5
"""Factor of every later step. Smaller ones drown in noise: where 3 % are still to be had from ever more requests, this
one shows 1 % of them."""
PAYS = 0.015
"""Gain in rate for which a step up stays."""
COSTS = 0.005
"""Loss in rate up to which a step down stays. Less than `PAYS`, so that a flat stretch is left downwards only."""
CLEAR_GAIN = 0.10
CLEAR_LOSS = 0.05
"""Beyond these one round decides."""
FIRST_S = 0.35
"""Shortest measurement while the first steps are made; a later one takes at least `MEASURED_S`."""
MEASURED_S = 2.0
SURE_ROUNDS = 3.0
RESTS_FIRST = 8
RESTS_MOST = 64
"""Measurements between two trials: a step down that costs 29 % while it is tried must be rare. Doubled by each trial
that changed nothing."""


class Move(Enum):
    """What the present limit is."""

    STAY = auto()
    UP = auto()
    DOWN = auto()


@dataclass(frozen=True, slots=True)
class Level:
    limit: float
    rate: float
    """Per second."""


@dataclass(frozen=True, slots=True)
class Climb:
    """Where the search stands."""

    limit: float
    first: bool = True
    """Whether every step up has paid so far."""
    base: Level | None = None
    """What trials are compared with."""
    move: Move = Move.STAY
    settle: float = 0.0
    """Answers still to come that belong to an earlier limit."""
    answers: float = 0.0
    done: float = 0.0
    seconds: float = 0.0
    """Measured so far."""
    rests: int = 0
    patience: int = RESTS_FIRST
    down_next: bool = False

    def at(self, limit: float, *, first: bool = False) -> Climb:
        """Another limit for another reason: what was measured is void, and a step up is the next trial."""
        return Climb(limit, first=first, settle=self.limit)

    def observe(self, answers: float, done: float, seconds: float, most: float) -> Climb:
        """Take in what came since the last call.

        Args:
            answers: own answers; they count the rounds.
            done: answers that count for the rate: own ones, or those of the server to all its clients.
            most: no step goes beyond this limit.
        """
        if self.settle > 0:
            return replace(self, settle=self.settle - answers)
        seen = replace(self, answers=self.answers + answers, done=self.done + done, seconds=self.seconds + seconds)
        return seen._judge(most) if seen._enough else seen

    def idle(self) -> Climb:
        """The limit was not used, so nothing can be learned from it, and a higher one is of no use."""
        if self.move is Move.UP and self.base is not None:
            return self._rest(self.base)
        return replace(self, answers=0.0, done=0.0, seconds=0.0)

    @property
    def _enough(self) -> bool:
        return self.answers >= self.limit and self.seconds >= (FIRST_S if self.first else MEASURED_S)

    @property
    def _sure(self) -> bool:
        return self.answers >= SURE_ROUNDS * self.limit and self.seconds >= MEASURED_S

    def _judge(self, most: float) -> Climb:
        here = Level(self.limit, self.done / self.seconds)
        if self.base is None or self.base.rate <= 0 or self.move is Move.STAY:
            return self._stay(here, most)
        gain = here.rate / self.base.rate - 1
        clear = gain >= CLEAR_GAIN or gain <= -CLEAR_LOSS
        if not clear and not self._sure:
            return self
        if self.move is Move.UP:
            return self._try_up(replace(self, patience=RESTS_FIRST), here, most) if gain >= PAYS else self._reject(gain)
        if gain >= -COSTS:
            return self._try_down(replace(self, patience=RESTS_FIRST), here)
        return self._reject(gain)

    def _stay(self, here: Level, most: float) -> Climb:
        if self.base is not None and self.rests > 0:
            level = Level(here.limit, (self.base.rate + here.rate) / 2)
            return replace(self, base=level, rests=self.rests - 1, answers=0.0, done=0.0, seconds=0.0)
        if self.down_next:
            return self._try_down(self, here)
        return self._try_up(self, here, most)

    def _try_up(self, by: Climb, here: Level, most: float) -> Climb:
        limit = min(most, here.limit * (FIRST_STEP if by.first else STEP))
        if limit <= here.limit:
            return replace(by, first=False)._rest(here)
        return replace(by, down_next=True)._move(Move.UP, limit, here)

    def _try_down(self, by: Climb, here: Level) -> Climb:
        limit = max(1.0, here.limit / STEP)
        if limit >= here.limit:
            return replace(by, down_next=False)._rest(here)
        return replace(by, down_next=False)._move(Move.DOWN, limit, here)

    def _move(self, move: Move, limit: float, base: Level) -> Climb:
        return replace(
            self, limit=limit, base=base, move=move, settle=self.limit, answers=0.0, done=0.0, seconds=0.0, rests=0
        )

    def _reject(self, gain: float) -> Climb:
        assert self.base is not None
        if not self.first or gain <= -CLEAR_LOSS:
            return replace(self, first=False, patience=min(RESTS_MOST, self.patience * 2))._rest(self.base)
        # The best lies between the last step that paid and this one: one request too few costs more than ten too many.
        between = max(self.base.limit, self.limit / STEP)
        return replace(self, first=False)._rest(Level(between, self.base.rate))

    def _rest(self, base: Level) -> Climb:
        return replace(self._move(Move.STAY, base.limit, base), rests=self.patience)
