"""A model of the lease of one task: claimed, renewed, taken back, and ended by a result that counts once.

One node, in up to three lives of its process, that polls any replica. Messages are lost, come twice and in any
order. See `testing.lease_model` for how time is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from replicator.testing.explorer import Broken

TaskFlaw = Literal[
    "no-epoch-check", "no-state-check", "epoch-kept", "split-transaction", "process-clock", "never-taken-back"
]


class Poll(NamedTuple):
    """From the process `boot`: it carries out `running` (0: nothing), and these attempts have ended, each named by its
    epoch and the life it was given to."""

    boot: int
    opens: bool
    running: int
    results: frozenset[tuple[int, int]]


class Reply(NamedTuple):
    """To the process `boot`: carry out `epoch` (0: nothing), and forget these results."""

    boot: int
    epoch: int
    acknowledged: frozenset[tuple[int, int]]


class World(NamedTuple):
    """`lease` is 0 where the task is not leased, else the life that has it; `left` what is left of it. `session` is the
    life that has the session. `outbox` is durable at the node; `running` is not. `taken` are the results that a
    transaction which is not atomic has found to count."""

    done: bool = False
    epoch: int = 0
    lease: int = 0
    left: int = 0
    lost: frozenset[int] = frozenset()
    session: int = 0
    session_left: int = 0
    boot: int = 1
    running: int = 0
    outbox: frozenset[tuple[int, int]] = frozenset()
    messages: frozenset[Poll | Reply] = frozenset()
    taken: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, kw_only=True)
class TaskModel:
    """Bounded by lives, epochs and messages under way."""

    lives_max: int = 2
    epochs_max: int = 3
    messages_max: int = 2
    lease: int = 2
    flaw: TaskFlaw | None = None

    def start(self) -> World:
        """The task is ready, and the node has just started."""
        return World()

    def is_goal(self, state: World) -> bool:
        """The task has ended, and the node knows."""
        return state.epoch >= self.epochs_max or (state.done and not state.outbox)

    def steps(self, state: World) -> Iterator[tuple[str, World]]:
        """See `explorer.Model`."""
        yield "tick", state._replace(left=max(0, state.left - 1), session_left=max(0, state.session_left - 1))
        yield from self._at_the_node(state)
        yield from self._on_the_way(state)
        if state.lease and (state.left == 0 or self.flaw == "process-clock"):
            if state.left:
                raise Broken("a task was taken back before its lease had run out")
            yield "sweep", self._taken_back(state)
        for result in state.taken:
            yield f"write {result}", self._ended(state, result)._replace(taken=state.taken - {result})

    def _at_the_node(self, state: World) -> Iterator[tuple[str, World]]:
        if state.running:
            ended = (state.running, state.boot)
            yield "finish", state._replace(running=0, outbox=state.outbox | {ended})
        if state.boot < self.lives_max:
            yield "crash", state._replace(boot=state.boot + 1, running=0)
        if len(state.messages) < self.messages_max:
            for opens in (False, True):
                poll = Poll(state.boot, opens, state.running, state.outbox)
                yield f"send {'open' if opens else 'poll'}", state._replace(messages=state.messages | {poll})

    def _on_the_way(self, state: World) -> Iterator[tuple[str, World]]:
        for message in state.messages:
            # It may be lost; come and be gone; or come, and come again later.
            rest = state._replace(messages=state.messages - {message})
            yield f"lose {message}", rest
            yield f"deliver {message}", self._delivered(rest, message)
            if len(state.messages) < self.messages_max:
                yield f"repeat {message}", self._delivered(state, message)

    def _delivered(self, state: World, message: Poll | Reply) -> World:
        if isinstance(message, Reply):
            return _heard(state, message)
        if message.opens:
            return self._opened(state, message)
        if state.session != message.boot or state.session_left == 0:
            return state
        return self._polled(state, message)

    def _opened(self, state: World, message: Poll) -> World:
        state = self._with_results(state, message)
        if state.lease and (state.lease != message.boot or state.left == 0):
            state = self._taken_back(state)
        elif state.lease:
            state = state._replace(left=self.lease)
        state = state._replace(session=message.boot, session_left=self.lease)
        return _sent(state, Reply(message.boot, 0, message.results), self.messages_max)

    def _polled(self, state: World, message: Poll) -> World:
        state = self._with_results(state._replace(session_left=self.lease), message)
        epoch = 0
        if state.lease == message.boot and message.running == state.epoch:
            state = state._replace(left=self.lease)
        elif state.lease == message.boot:
            # It was not heard: the same attempt is given again.
            state, epoch = state._replace(left=self.lease), state.epoch
        elif not state.lease and not state.done and state.epoch < self.epochs_max:
            epoch = state.epoch or 1 if self.flaw == "epoch-kept" else state.epoch + 1
            state = state._replace(epoch=epoch, lease=message.boot, left=self.lease)
        return _sent(state, Reply(message.boot, epoch, message.results), self.messages_max)

    def _with_results(self, state: World, message: Poll) -> World:
        for result in sorted(message.results):
            if self._counts(state, result):
                if self.flaw == "split-transaction":
                    state = state._replace(taken=state.taken | {result})
                else:
                    state = self._ended(state, result)
        return state

    def _taken_back(self, state: World) -> World:
        if self.flaw == "never-taken-back":
            return state
        return state._replace(lease=0, left=0, lost=state.lost | {state.epoch})

    def _counts(self, state: World, result: tuple[int, int]) -> bool:
        epoch, boot = result
        if self.flaw == "no-epoch-check":
            return bool(state.lease) and boot == state.lease
        if self.flaw == "no-state-check":
            return epoch == state.epoch
        return bool(state.lease) and (epoch, boot) == (state.epoch, state.lease)

    def _ended(self, state: World, result: tuple[int, int]) -> World:
        if state.done:
            raise Broken("a task ended twice")
        if result[0] in state.lost or result[0] != state.epoch:
            raise Broken("the result of an attempt counted that was taken back")
        return state._replace(done=True, lease=0, left=0)


def _heard(state: World, reply: Reply) -> World:
    """Also a reply that comes late or again; a life knows what it has carried out while the result is in the outbox."""
    state = state._replace(outbox=state.outbox - reply.acknowledged)
    known = {epoch for epoch, _ in state.outbox}
    if reply.boot != state.boot or not reply.epoch or reply.epoch in known:
        return state
    return state._replace(running=reply.epoch)


def _sent(state: World, reply: Reply, messages_max: int) -> World:
    if len(state.messages) >= messages_max:
        # As if it were lost.
        return state
    return state._replace(messages=state.messages | {reply})
