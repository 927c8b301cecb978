"""Asking the source of a task: again where that may help, and only while the way to it works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from replicator.data_plane.replication.engine import Engine
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.shares import PATIENCE_S_MAX, TRIES_MAX, backoff_s, may_pass
from replicator.kernel.errors import Cancelled, Conflict, ReplicatorError
from replicator.kernel.names import NodeName
from replicator.runtime.logging import get_logger

log = get_logger()
T = TypeVar("T")


class Asking:
    """Questions to `source` over one peer. One thread at a time.

    Args:
        cancelled: once it is set, every question ends in `Cancelled`.
    """

    def __init__(self, engine: Engine, peer: Peer, *, source: NodeName, cancelled: threading.Event) -> None:
        self._engine = engine
        self._peer = peer
        self._link = engine.links.of(source)
        self._cancelled = cancelled
        self.source = source

    def ask(self, question: Callable[[Peer], T]) -> T:
        """The answer to `question`, which is asked up to three times while its error may pass.

        Not again once it was waited for as long as a source may be silent: then the attempt as a whole has to
        end, so that the task can wait for the source.

        Raises:
            Cancelled: the pull was stopped.
            ReplicatorError: the last error.
        """
        clock, waited_s = self._engine.clock, 0.0
        for failures in range(1, TRIES_MAX):
            began_s = clock.monotonic_s()
            try:
                return self._try(question)
            except ReplicatorError as error:
                waited_s += clock.monotonic_s() - began_s
                asked_s = float(error.data.get("retry_after_s", 0.0))
                is_silent = waited_s >= self._engine.bounds.silence_s
                if not may_pass(error) or asked_s > PATIENCE_S_MAX or is_silent:
                    raise
                log.info("source.asked_again", source=self.source, failures=failures, reason=error.message)
                self._cancelled.wait(asked_s + backoff_s(failures, self._engine.rng.random()))
        return self._try(question)

    def require_source(self, node: NodeName) -> None:
        """Raises `Conflict` where the peer calls itself `node` and that is not the source."""
        if node != self.source:
            raise Conflict(
                f"the base_url of node '{self.source}' leads to node '{node}': correct it by "
                "registering it again",
                node=str(node),
            )

    def _try(self, question: Callable[[Peer], T]) -> T:
        if self._cancelled.is_set():
            raise Cancelled("the pull was stopped")
        self._link.require_closed()
        try:
            answer = question(self._peer)
        except ReplicatorError as error:
            if self._cancelled.is_set():
                stopped = Cancelled("the pull was stopped")
                # Others may try in its place.
                self._link.failed(stopped)
                raise stopped from error
            self._link.failed(error)
            raise
        self._link.worked(0, 0)
        return answer
