"""What follows a failed attempt: another, a wait, or the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.task import Task
from replicator.kernel.names import NodeName
from replicator.wire.sessions import ErrorInfo

Uniform = Callable[[float, float], float]
"""A random number between two bounds, as `random.uniform`."""

_DOUBLINGS_MAX = 40
_RESTARTS_WITHOUT_DELAY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and how soon. `uniform` is the source of randomness.

    A task whose node was lost `losses_max` times in a row while it was at it is not tried again.
    """

    attempts_max: int
    losses_max: int
    delay_floor_ms: int
    delay_step_ms: int
    delay_spread_ms_max: int
    park_ms_max: int
    uniform: Uniform

    def delay_ms(self, failures: int) -> int:
        """Before the attempt that follows `failures` failures: the floor and full jitter above it.

        Source: Brooker, "Exponential Backoff and Jitter" (2015).
        """
        spread = min(self.delay_spread_ms_max, self.delay_step_ms * 2 ** min(failures, _DOUBLINGS_MAX))
        return self.delay_floor_ms + round(self.uniform(0, spread))

    @property
    def delay_ms_max(self) -> int:
        """The longest delay this policy ever asks for."""
        return self.delay_floor_ms + self.delay_spread_ms_max


def after_failure(task: Task, *, error: ErrorInfo, policy: RetryPolicy, now_ms: int) -> Task:
    """The task after its node reported `error`, by the error's class."""
    match error.error_class:
        case "permanent":
            return tasks.fail(task, error=error, now_ms=now_ms)
        case "node-down":
            return _after_absence(
                task,
                error=error,
                absent=task.src_node,
                delay_ms=policy.delay_ms(task.parks),
                policy=policy,
                now_ms=now_ms,
            )
        case _:
            if task.failures + 1 >= policy.attempts_max:
                return tasks.fail(task, error=error, now_ms=now_ms)
            not_before_ms = now_ms + policy.delay_ms(task.failures)
            return tasks.retry(task, error=error, not_before_ms=not_before_ms, now_ms=now_ms)


def after_loss(
    task: Task, *, error: ErrorInfo, at_once: bool, ended: bool, policy: RetryPolicy, now_ms: int
) -> Task:
    """The task taken back from a node that fell silent, or `at_once` from one that restarted.

    The epoch grows. A task that is lost again and again waits all the same: it may be what ends its node.

    Args:
        ended: whether another process has taken the node over, and not only its word on the task was lost.
    """
    if task.state is tasks.TaskState.CANCELLING:
        return tasks.cancel(tasks.fence(task), now_ms=now_ms)
    if ended:
        task = tasks.lose(task)
        if task.losses >= policy.losses_max:
            return _fail_as_poison(tasks.fence(task), now_ms)
    at_once = at_once and task.parks < _RESTARTS_WITHOUT_DELAY
    return _after_absence(
        tasks.fence(task),
        error=error,
        absent=task.dst_node,
        delay_ms=0 if at_once else policy.delay_ms(task.parks),
        policy=policy,
        now_ms=now_ms,
    )


def before_claim(task: Task, *, boot_id: str, policy: RetryPolicy, now_ms: int) -> Task:
    """A ready task as the process `boot_id` of its node finds it; it may fail.

    Where another process fell silent during the latest attempt, that one is lost. The same one was only not heard.
    """
    if task.lapsed_boot_id is None or task.lapsed_boot_id == boot_id:
        return task
    task = tasks.lose(task)
    return _fail_as_poison(task, now_ms) if task.losses >= policy.losses_max else task


def _fail_as_poison(task: Task, now_ms: int) -> Task:
    error = ErrorInfo(
        error_class="permanent",
        code="poison",
        message=f"{task.dst_node} was lost {task.losses} times in a row while it was at this task, which may be what "
        "ends it: see its log, then retry the job",
    )
    return tasks.fail(task, error=error, now_ms=now_ms)


def _after_absence(
    task: Task, *, error: ErrorInfo, absent: NodeName, delay_ms: int, policy: RetryPolicy, now_ms: int
) -> Task:
    parked = tasks.park(task, error=error, parked_for=absent, not_before_ms=now_ms + delay_ms, now_ms=now_ms)
    assert parked.parked_since_ms is not None
    if now_ms - parked.parked_since_ms >= policy.park_ms_max:
        return tasks.fail(task, error=error, now_ms=now_ms)
    return parked
