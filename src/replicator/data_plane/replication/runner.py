"""The tasks that this node carries out: starts, watches and stops them, and keeps their results.

A result is durable in the store's outbox before anybody hears of it, where the store still takes writes, and
leaves the outbox when the control plane has acknowledged it. Its row there is named by task and epoch alone, which
two control planes may both give out: the later result then takes the row of the earlier, which is kept in memory.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.ports import Store
from replicator.data_plane.replication.reporting import describe
from replicator.data_plane.replication.work import BeginWork, Work, WorkDone
from replicator.kernel import errors
from replicator.kernel.errors import ReplicatorError
from replicator.runtime.logging import get_logger
from replicator.wire.sessions import TaskAssignment, TaskProgress, TaskRef, TaskResult, Transfer

log = get_logger()


@dataclass(slots=True)
class _Running:
    assignment: TaskAssignment
    work: Work
    stopped: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False


class TaskRunner:
    """Runs at most `tasks_max` tasks. Its methods belong to one event loop; the work is done in threads.

    Args:
        boot_id: names this life of the process in every result.
        begin: makes the work of a task, by its kind.
        on_result: called in the event loop when a result has been posted.
    """

    def __init__(
        self,
        store: Store,
        *,
        boot_id: str,
        begin: BeginWork,
        tasks_max: int,
        metrics: NodeMetrics,
        on_result: Callable[[], None],
    ) -> None:
        self._store = store
        self._boot_id = boot_id
        self._begin = begin
        self._tasks_max = tasks_max
        self._metrics = metrics
        self._on_result = on_result
        self._loop = asyncio.get_running_loop()
        self._threads = concurrent.futures.ThreadPoolExecutor(tasks_max, "task")
        self._running: dict[TaskRef, _Running] = {}
        self._posted = dict(_readable(store))

    @property
    def capacity(self) -> int:
        """How many tasks could start now."""
        return self._tasks_max - len(self._running)

    def progress(self) -> list[TaskProgress]:
        """How far each running task has come."""
        return [
            TaskProgress(**ref.model_dump(), transfer=running.work.transfer)
            for ref, running in self._running.items()
            if not running.abandoned
        ]

    def results(self, limit: int, *, bytes_max: int) -> list[TaskResult]:
        """Results that the control plane has not acknowledged, oldest first.

        Args:
            bytes_max: of all of them together as JSON; one that is longer comes alone.
        """
        results: list[TaskResult] = []
        length = 0
        for payload in itertools.islice(self._posted.values(), limit):
            length += len(payload)
            if results and length > bytes_max:
                break
            results.append(TaskResult.model_validate_json(payload))
        return results

    def start(self, assignment: TaskAssignment) -> None:
        """Carry out a task; one that is running or has ended already is left as it is."""
        key = assignment.ref
        if key in self._running or key in self._posted:
            return
        try:
            work = self._begin[assignment.kind](assignment)
        except ReplicatorError as error:
            work = _Refused(error)
        self._running[key] = _Running(assignment, work)
        self._metrics.tasks_in_progress.labels(assignment.kind).inc()
        log.info(
            "task.started",
            task=key.task_id,
            epoch=key.epoch,
            kind=assignment.kind,
            items=len(assignment.items),
        )
        done = self._loop.run_in_executor(self._threads, self._carry_out, self._running[key])
        done.add_done_callback(lambda done: self._ended(key, assignment, done))

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
        """In a thread: do the work, then post the result."""
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
        assignment = running.assignment
        try:
            done = running.work.run()
        except ReplicatorError as error:
            done = WorkDone(error=error)
        except Exception as error:
            log.error("task.broke", task=assignment.task_id, exc_info=error)
            done = WorkDone(error=ReplicatorError(f"an unexpected error at the destination: {error!r}"))
        if done.error is not None and running.stopped.is_set():
            done = dataclasses.replace(done, error=errors.Cancelled("the task was stopped"))
        return _result(assignment, self._boot_id, running.work.transfer, done)

    def _ended(
        self, key: TaskRef, assignment: TaskAssignment, done: asyncio.Future[tuple[bytes, TaskResult] | None]
    ) -> None:
        del self._running[key]
        self._metrics.tasks_in_progress.labels(assignment.kind).dec()
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
        self._metrics.count_task(assignment.kind, result.outcome, result.transfer)
        log.info(
            "task.ended",
            task=key.task_id,
            epoch=key.epoch,
            outcome=result.outcome,
            objects_failed=result.transfer.objects_failed,
            bytes_transferred=result.transfer.bytes_transferred,
            bytes_wire=result.transfer.bytes_wire,
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
    running.work.stop()


def _result(assignment: TaskAssignment, boot_id: str, transfer: Transfer, done: WorkDone) -> TaskResult:
    outcome = "succeeded" if done.error is None else "failed"
    return TaskResult(
        **assignment.ref.model_dump(),
        boot_id=boot_id,
        outcome="cancelled" if isinstance(done.error, errors.Cancelled) else outcome,
        transfer=transfer,
        objects=list(done.objects),
        survey=done.survey,
        corrupt=list(done.corrupt),
        error=None if done.error is None else describe(done.error),
    )


class _Refused:
    """The `Work` of a task that cannot even begin."""

    transfer = Transfer()

    def __init__(self, error: ReplicatorError) -> None:
        self._error = error

    def run(self) -> WorkDone:
        """See `Work.run`."""
        raise self._error

    def stop(self) -> None:
        """See `Work.stop`."""
