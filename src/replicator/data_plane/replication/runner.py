"""The tasks that this node carries out: starts, watches and stops pulls, and keeps their results.

A result is durable in the store's outbox before anybody hears of it, where the store still takes writes, and
leaves the outbox when the control plane has acknowledged it. Its row there is named by task and epoch alone, which
two control planes may both give out: the later result then takes the row of the earlier, which is kept in memory.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.ports import Store
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.pull import Pull, Pulled
from replicator.kernel import errors
from replicator.kernel.clock import Clock
from replicator.kernel.errors import ReplicatorError
from replicator.kernel.names import NodeName, ObjectId
from replicator.runtime.logging import get_logger
from replicator.wire.sessions import (
    ErrorClass,
    ErrorInfo,
    TaskAssignment,
    TaskProgress,
    TaskRef,
    TaskResult,
    Transfer,
)

log = get_logger()
OpenPeer = Callable[[str], Peer]
_MESSAGE_LENGTH_MAX = 2000


def classify(error: ReplicatorError) -> ErrorClass:
    """What may be done about an attempt that ended so."""
    match error:
        case errors.PeerUnreachable():
            return "node-down"
        case errors.Unavailable() | errors.QuotaExceeded():
            return "transient"
        case _ if type(error) is ReplicatorError:
            return "transient"
        case _:
            return "permanent"


@dataclass(slots=True)
class _Running:
    assignment: TaskAssignment
    pull: Pull
    peer: Peer
    stopped: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False


class TaskRunner:
    """Runs at most `pulls_max` tasks. Its methods belong to one event loop; the pulls run in threads.

    Args:
        boot_id: names this life of the process in every result.
        open_peer: a peer for the base URL of a source.
        on_result: called in the event loop when a result has been posted.
    """

    def __init__(
        self,
        store: Store,
        *,
        boot_id: str,
        open_peer: OpenPeer,
        pulls_max: int,
        metrics: NodeMetrics,
        clock: Clock,
        on_result: Callable[[], None],
    ) -> None:
        self._store = store
        self._boot_id = boot_id
        self._open_peer = open_peer
        self._pulls_max = pulls_max
        self._metrics = metrics
        self._clock = clock
        self._on_result = on_result
        self._loop = asyncio.get_running_loop()
        self._threads = concurrent.futures.ThreadPoolExecutor(pulls_max, "pull")
        self._running: dict[TaskRef, _Running] = {}
        self._posted = dict(_readable(store))

    @property
    def capacity(self) -> int:
        """How many tasks could start now."""
        return self._pulls_max - len(self._running)

    def progress(self) -> list[TaskProgress]:
        """How far each running task has come."""
        return [
            TaskProgress(**ref.model_dump(), transfer=_transfer(running.pull))
            for ref, running in self._running.items()
            if not running.abandoned
        ]

    def results(self, limit: int) -> list[TaskResult]:
        """Results that the control plane has not acknowledged, oldest first."""
        return [TaskResult.model_validate_json(payload) for payload in list(self._posted.values())[:limit]]

    def start(self, assignment: TaskAssignment) -> None:
        """Carry out a task; one that is running or has ended already is left as it is."""
        key = assignment.ref
        if key in self._running or key in self._posted:
            return
        peer = self._open_peer(assignment.source.base_url)
        stopped = threading.Event()
        source = NodeName(assignment.source.node)
        pull = Pull(ObjectId(assignment.object_id), self._store, peer, self._clock, stopped, source)
        self._running[key] = _Running(assignment, pull, peer, stopped)
        self._metrics.pulls_in_progress.inc()
        log.info("task.started", task=key.task_id, epoch=key.epoch, object_id=assignment.object_id)
        work = self._loop.run_in_executor(self._threads, self._carry_out, self._running[key])
        work.add_done_callback(lambda done: self._ended(key, done))

    def cancel(self, ref: TaskRef) -> None:
        """Stop a task; its result then says `cancelled`."""
        running = self._running.get(ref)
        if running is not None:
            _stop(running)

    def abandon(self, ref: TaskRef) -> None:
        """Stop a task that was given to somebody else; it will have no result."""
        running = self._running.get(ref)
        if running is not None:
            running.abandoned = True
            _stop(running)

    def serve(self, control_plane: str) -> None:
        """Abandon what any other control plane gave out: it can no longer hear of it, nor take it back."""
        for ref in self._running:
            if ref.control_plane != control_plane:
                log.info("task.abandoned", task=ref.task_id, epoch=ref.epoch, given_by=ref.control_plane)
                self.abandon(ref)

    def acknowledge(self, refs: list[TaskRef]) -> None:
        """Drop results that need not be sent again."""
        for ref in refs:
            if self._posted.pop(ref, None) is not None and not self._shares_row(ref):
                self._store.withdraw(ref.task_id, ref.epoch)

    def _shares_row(self, ref: TaskRef) -> bool:
        """Whether the outbox row of `ref` may hold another control plane's result by now."""
        row = (ref.task_id, ref.epoch)
        return any((each.task_id, each.epoch) == row for each in (*self._posted, *self._running))

    async def close(self) -> None:
        """Stop every task without a result: what arrived stays, and the control plane gives them out anew."""
        for running in self._running.values():
            running.abandoned = True
            _stop(running)
        await asyncio.to_thread(self._threads.shutdown)

    def _carry_out(self, running: _Running) -> tuple[bytes, TaskResult] | None:
        """In a thread: pull, then post the result."""
        result = self._attempt(running)
        if running.abandoned:
            return None
        payload = result.model_dump_json(by_alias=True).encode()
        try:
            self._store.post(result.task_id, result.epoch, payload)
        except ReplicatorError as error:
            # It is reported all the same: only a crash before that would lose it, and cost another attempt.
            log.warning("task.result_not_kept", task=result.task_id, epoch=result.epoch, reason=error.message)
        return payload, result

    def _attempt(self, running: _Running) -> TaskResult:
        pull, assignment = running.pull, running.assignment
        pulled: Pulled | None = None
        failure: ReplicatorError | None = None
        try:
            pulled = pull.run()
        except ReplicatorError as error:
            failure = error
        except Exception as error:
            log.error("task.broke", task=assignment.task_id, exc_info=error)
            failure = ReplicatorError(f"an unexpected error at the destination: {error!r}")
        finally:
            running.peer.close()
        if pulled is None and running.stopped.is_set():
            failure = errors.Cancelled("the task was stopped")
        return _result(assignment, self._boot_id, _transfer(pull), pulled, failure)

    def _ended(self, key: TaskRef, done: asyncio.Future[tuple[bytes, TaskResult] | None]) -> None:
        del self._running[key]
        self._metrics.pulls_in_progress.dec()
        error = done.exception()
        if error is not None:
            # No result could be kept. The control plane notices that the task runs nowhere, and tries again.
            log.error("task.result_lost", task=key.task_id, epoch=key.epoch, exc_info=error)
            return
        ended = done.result()
        if ended is None:
            return
        payload, result = ended
        self._posted[key] = payload
        self._metrics.pulls.labels(result.outcome).inc()
        self._metrics.pulled_bytes.labels("transferred").inc(result.transfer.bytes_transferred)
        self._metrics.pulled_bytes.labels("deduplicated").inc(result.transfer.bytes_deduplicated)
        log.info(
            "task.ended",
            task=key.task_id,
            epoch=key.epoch,
            outcome=result.outcome,
            bytes_transferred=result.transfer.bytes_transferred,
            error=result.error.message if result.error is not None else None,
        )
        self._on_result()


def _readable(store: Store) -> Iterator[tuple[TaskRef, bytes]]:
    for task_id, epoch, payload in store.outbox():
        try:
            yield TaskResult.model_validate_json(payload).ref, payload
        except ValidationError as error:
            # Whoever wrote it spoke another protocol; without a result the attempt is made again.
            log.warning("task.result_unreadable", task=task_id, epoch=epoch, reason=str(error))
            store.withdraw(task_id, epoch)


def _stop(running: _Running) -> None:
    running.stopped.set()
    running.peer.close()


def _transfer(pull: Pull) -> Transfer:
    tally = pull.tally
    return Transfer(
        objects_planned=1,
        bytes_logical=tally.logical,
        bytes_transferred=tally.transferred,
        bytes_deduplicated=tally.deduplicated,
        bytes_wire=tally.wire,
    )


def _result(
    assignment: TaskAssignment,
    boot_id: str,
    transfer: Transfer,
    pulled: Pulled | None,
    failure: ReplicatorError | None,
) -> TaskResult:
    skipped = pulled is not None and pulled.skipped
    outcome = "succeeded" if pulled is not None else "failed"
    counted = transfer.model_copy(
        update={
            "objects_verified": int(pulled is not None and not skipped),
            "objects_skipped": int(skipped),
            "objects_failed": int(pulled is None),
        }
    )
    return TaskResult(
        **assignment.ref.model_dump(),
        object_id=assignment.object_id,
        boot_id=boot_id,
        outcome="cancelled" if isinstance(failure, errors.Cancelled) else outcome,
        transfer=counted,
        version=str(pulled.version.version) if pulled is not None else None,
        manifest=str(pulled.version.manifest) if pulled is not None else None,
        error=None if failure is None else _describe(failure),
    )


def _describe(error: ReplicatorError) -> ErrorInfo:
    return ErrorInfo(
        error_class=classify(error), code=error.code, message=error.message[:_MESSAGE_LENGTH_MAX]
    )
