"""What the source offers for the goals of a pull, and keeps for them while it lasts."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.data_plane.replication.asking import Asking
from replicator.data_plane.replication.goal import Goal, gone
from replicator.data_plane.replication.ports import Offer
from replicator.data_plane.replication.shares import may_pass
from replicator.kernel.clock import Clock
from replicator.kernel.errors import ReplicatorError, TooLarge
from replicator.runtime.logging import get_logger

log = get_logger()
HOLD_S = 120
_RENEW_S = 40.0
_RENEW_AGAIN_S = 5.0


class Offering:
    """Belongs to the thread of the pull."""

    def __init__(self, asking: Asking, clock: Clock) -> None:
        self._asking = asking
        self._clock = clock
        self._due_s = clock.monotonic_s() + _RENEW_S

    @property
    def wait_s(self) -> float:
        """Seconds until what is offered has to be asked for again."""
        return max(0.0, self._due_s - self._clock.monotonic_s())

    def ask(self, goals: Sequence[Goal]) -> None:
        """Every goal has an offer afterwards, or has failed.

        Raises:
            Conflict: another node answers for the source.
            ReplicatorError: nothing can be asked, as `Asking.ask` says.
        """
        waiting = list(goals)
        while waiting:
            beyond = []
            for goal, answer in zip(waiting, self._answers(waiting), strict=True):
                if isinstance(answer, TooLarge) and len(waiting) > 1:
                    beyond.append(goal)
                else:
                    self._take(goal, answer)
            if len(beyond) == len(waiting):
                # Not even the first of them fits an answer.
                beyond.pop(0).fail(TooLarge("the manifest is too large to be offered"))
            waiting = beyond

    def renew_if_due(self, goals: Sequence[Goal]) -> None:
        """Have what is not here yet kept at the source for longer."""
        offered = [goal for goal in goals if goal.outcome is None and goal.offer is not None]
        if self.wait_s > 0 or not offered:
            return
        self._due_s = self._clock.monotonic_s() + _RENEW_S
        try:
            self._asking.ask(lambda peer: peer.offers([goal.wanted for goal in offered], hold_s=HOLD_S))
        except ReplicatorError as error:
            if not may_pass(error):
                raise
            # The streams say more about a source in trouble than this does; the hold lasts for some time yet.
            self._due_s = self._clock.monotonic_s() + _RENEW_AGAIN_S
            log.warning("pull.not_renewed", source=self._asking.source, reason=error.message)

    def _answers(self, goals: Sequence[Goal]) -> list[Offer | ReplicatorError]:
        wanted = [goal.wanted for goal in goals]
        answers = self._asking.ask(lambda peer: peer.offers(wanted, hold_s=HOLD_S))
        names = {answer.node for answer in answers if isinstance(answer, Offer)}
        # A node that has none of it does not say there what it is called.
        for name in names or {self._asking.ask(lambda peer: peer.hello())}:
            self._asking.require_source(name)
        return answers

    def _take(self, goal: Goal, answer: Offer | ReplicatorError) -> None:
        if isinstance(answer, ReplicatorError):
            goal.fail(gone(goal, answer))
            return
        try:
            goal.take(answer, now_ms=self._clock.wall_ms())
        except ReplicatorError as error:
            goal.fail(error)
