"""Why a task is in its state, and what would change it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from replicator.control_plane.domain.finding import (
    Finding,
    Scene,
    absence,
    at,
    fullness,
    is_connected,
    maybe_at,
    plural,
    reason,
    taken_in,
    told,
)
from replicator.control_plane.domain.task import Task, TaskState

POISON = "poison"
"""Code of the error of a task that its nodes did not survive."""
_RETRIED = {
    "permanent": "an error of this class is not tried again",
    "node-down": "it had waited too long for a node",
}


def of_task(task: Task, scene: Scene) -> Iterator[Finding]:
    """Everything that keeps `task` as it is, what matters most first."""
    return _STATES[task.state](task, scene)


def _ready(task: Task, scene: Scene) -> Iterator[Finding]:
    found = [*_absent(task, scene), *_hindered(task, scene)]
    yield from found or [_awaits_poll(task, scene)]


def _absent(task: Task, scene: Scene) -> Iterator[Finding]:
    name, node = task.dst_node, scene.nodes.get(task.dst_node)
    if not is_connected(name, scene):
        gives_up_ms = _gives_up_ms(task, scene)
        until = "" if gives_up_ms is None else f"; without one the task fails at {at(gives_up_ms)}"
        yield Finding(
            kind="node-disconnected",
            because=f"task {task.id} is ready, but {name} {absence(name, scene)}",
            would_change=f"{name} opening a session{until}",
            data={
                "node": name,
                "problem": None if node is None else node.problem,
                "gives_up_at": maybe_at(gives_up_ms),
            },
            waiting_for=f"{name} to connect",
        )
    if task.src_node not in scene.nodes:
        yield Finding(
            kind="source-unknown",
            because=f"there is no node {task.src_node} any more, from which task {task.id} was to read",
            would_change=f"registering it again, before {name} asks for work and the task fails: "
            "POST /nodes/register",
            data={"node": task.src_node},
            waiting_for=f"{name} to take it",
        )


def _hindered(task: Task, scene: Scene) -> Iterator[Finding]:
    for side, name in (("node", task.dst_node), ("source", task.src_node)):
        node = scene.nodes.get(name)
        if node is not None and node.maintenance:
            yield Finding(
                kind=f"{side}-maintenance",
                because=f"task {task.id} is ready, but {name} is in maintenance, and no task "
                f"{'of it' if side == 'node' else 'that reads from it'} is handed out",
                would_change=f'the end of it: PATCH /nodes/{name} {{"maintenance": false}}',
                data={"node": name},
                waiting_for=f"the end of the maintenance of {name}",
            )
    for full in fullness(task.src_node, task.dst_node, scene):
        yield Finding(
            kind=full.kind,
            because=f"task {task.id} is ready, but {full.in_words}, and no more may at a time",
            would_change=f"the end of one of them, or a higher limit: {full.set_by}",
            data={
                "src_node": task.src_node,
                "dst_node": task.dst_node,
                "in_hand": full.count,
                "most": full.most,
            },
            waiting_for=full.waiting_for,
        )


def _awaits_poll(task: Task, scene: Scene) -> Finding:
    count = None if scene.in_hand is None else taken_in(scene.in_hand, task.dst_node)
    has = "" if count is None else f"has {plural(count, 'task')} in hand and "
    return Finding(
        kind="ready",
        because=f"task {task.id} has been ready since {at(task.ready_at_ms)}: {task.dst_node} is connected, {has}"
        "takes it in its turn when it asks for work and has room for it",
        would_change=f"{task.dst_node} asking for work; a higher priority moves it forward: "
        f"PATCH /jobs/{task.job_id}",
        data={
            "node": task.dst_node,
            "ready_since": at(task.ready_at_ms),
            "in_hand": count,
            "priority": task.priority,
        },
        waiting_for=f"{task.dst_node} to take it",
    )


def _leased(task: Task, _: Scene) -> Iterator[Finding]:
    if task.stop_asked:
        yield _stopping(task, "stopping", "its job was paused")
        return
    begun = "" if task.begun_at_ms is None else f"; attempt {task.attempt} began at {at(task.begun_at_ms)}"
    yield Finding(
        kind="at-work",
        because=f"task {task.id} is leased to {task.dst_node}{_until(task)}{begun}, "
        f"last progress at {at(task.updated_at_ms)}",
        would_change=f"the result that {task.dst_node} reports; a lease that is not renewed ends, and the task is "
        "taken back",
        data=_lease(task) | {"attempt": task.attempt, "progress_at": at(task.updated_at_ms)},
    )


def _cancelling(task: Task, _: Scene) -> Iterator[Finding]:
    yield _stopping(task, "cancelling", "its job is being cancelled")


def _stopping(task: Task, kind: str, why: str) -> Finding:
    return Finding(
        kind=kind,
        because=f"{why}, and {task.dst_node}, which has task {task.id} in hand{_until(task)}, has not said yet that "
        "it has stopped",
        would_change=f"the answer of {task.dst_node}, or the end of its lease",
        data=_lease(task),
        waiting_for=f"{task.dst_node} to stop",
    )


def _scheduled(task: Task, scene: Scene) -> Iterator[Finding]:
    due_ms = scene.now_ms if task.not_before_ms is None else task.not_before_ms
    seconds = max(0, -(-(due_ms - scene.now_ms) // 1000))
    data = {"until": at(due_ms), "failures": task.failures, **told(task.error)}
    if task.parked_for is not None:
        yield _parked(task, scene, due_ms, seconds, data)
        return
    most = None if scene.policy is None else scene.policy.attempts_max
    of_most = "" if most is None else f" of {most}"
    yield Finding(
        kind="backoff",
        because=f"task {task.id} has failed {task.failures}{of_most} times and is tried again at {at(due_ms)}; "
        f"the last reason: {reason(task.error)}",
        would_change="that moment" if most is None else f"that moment; it fails for good at failure {most}",
        data={**data, "attempts_max": most},
        waiting_for=f"the next attempt; retrying in {seconds} s",
    )


def _parked(task: Task, scene: Scene, due_ms: int, seconds: int, data: Mapping[str, object]) -> Finding:
    name = task.parked_for
    assert name is not None
    missed = name == task.dst_node and not is_connected(name, scene)
    since = "" if task.parked_since_ms is None else f" since {at(task.parked_since_ms)}"
    gives_up_ms = _gives_up_ms(task, scene)
    ends = "" if gives_up_ms is None else f"; the task fails at the first attempt after {at(gives_up_ms)}"
    return Finding(
        kind="parked",
        because=f"task {task.id} has been parked for {name}{since}, "
        f"{'which ' + absence(name, scene) if missed else 'which could not be reached'}; "
        f"the last reason: {reason(task.error)}",
        would_change=f"{name} opening a session, or the next attempt at {at(due_ms)}{ends}",
        data={
            **data,  # type: ignore[dict-item]
            "parked_for": name,
            "parked_since": maybe_at(task.parked_since_ms),
            "gives_up_at": maybe_at(gives_up_ms),
        },
        waiting_for=f"{name} to {'connect' if missed else 'answer'}; retrying in {seconds} s",
    )


def _held(task: Task, scene: Scene) -> Iterator[Finding]:
    backoff = task.not_before_ms is not None and task.not_before_ms > scene.now_ms
    yield Finding(
        kind="held",
        because=f"task {task.id} is held because job {task.job_id} is paused",
        would_change=f"somebody resuming it: POST /jobs/{task.job_id}/resume",
        data={"job": task.job_id, "until": maybe_at(task.not_before_ms) if backoff else None},
        waiting_for="somebody to resume it",
    )


def _succeeded(task: Task, _: Scene) -> Iterator[Finding]:
    yield Finding(
        kind="succeeded",
        because=f"task {task.id} succeeded at {at(task.updated_at_ms)}, in attempt {task.attempt}",
        would_change=None,
        data={"attempt": task.attempt},
    )


def _failed(task: Task, _: Scene) -> Iterator[Finding]:
    code, error_class = (None, "") if task.error is None else (task.error.code, task.error.error_class)
    counted = f"{plural(task.failures + 1, 'failure')} counted against its limit"
    why = _RETRIED.get(error_class, counted)
    if code == POISON:
        why = f"{plural(task.losses, 'attempt')} in a row ended with the node that made them"
    yield Finding(
        kind="poison" if code == POISON else "failed",
        because=f"task {task.id} failed for good at {at(task.updated_at_ms)}, after "
        f"{plural(task.attempt, 'attempt')}: {reason(task.error)}; {why}",
        would_change=f"trying again what failed, once its cause is gone and job {task.job_id} has ended: "
        f"POST /jobs/{task.job_id}/retry; until then it is among the dead letters",
        data={"attempts": task.attempt, "objects_failed": task.items_failed, **told(task.error)},
    )


def _cancelled(task: Task, _: Scene) -> Iterator[Finding]:
    yield Finding(
        kind="cancelled",
        because=f"task {task.id} was cancelled with job {task.job_id} at {at(task.updated_at_ms)}",
        would_change=None,
    )


_STATES: Mapping[TaskState, Callable[[Task, Scene], Iterator[Finding]]] = {
    TaskState.READY: _ready,
    TaskState.LEASED: _leased,
    TaskState.SCHEDULED: _scheduled,
    TaskState.HELD: _held,
    TaskState.CANCELLING: _cancelling,
    TaskState.SUCCEEDED: _succeeded,
    TaskState.FAILED: _failed,
    TaskState.CANCELLED: _cancelled,
}


def _gives_up_ms(task: Task, scene: Scene) -> int | None:
    """When a task that waits for a node is given up, if that is known."""
    if scene.policy is None:
        return None
    since_ms = task.parked_since_ms
    if task.state is TaskState.READY:
        node = scene.nodes.get(task.dst_node)
        absent_ms = None if node is None else node.disconnected_at_ms
        since_ms = max(task.ready_at_ms, absent_ms or 0)
    return None if since_ms is None else since_ms + scene.policy.park_ms_max


def _until(task: Task) -> str:
    return "" if task.lease is None else f" until {at(task.lease.expires_at_ms)}"


def _lease(task: Task) -> dict[str, str | int | None]:
    lease = task.lease
    return {
        "node": task.dst_node,
        "session_id": None if lease is None else lease.session_id,
        "boot_id": None if lease is None else lease.boot_id,
        "lease_expires_at": None if lease is None else at(lease.expires_at_ms),
        "epoch": task.epoch,
    }
