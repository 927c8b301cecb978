"""What must hold in every snapshot of the database, whatever happens. Pure: rows in, complaints out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from replicator.testing.chaos_ledger import Ledger, SlotLimits
from replicator.testing.chaos_reader import Row, Snapshot

IN_HAND = frozenset({"leased", "cancelling"})
TASK_ENDS = frozenset({"succeeded", "failed", "cancelled"})
JOB_ENDS = frozenset({"succeeded", "partial", "failed", "cancelled"})
_LIVE_TASKS_MAX = 64
_WAKES_MAX = 20_000


def complaints(snapshot: Snapshot) -> list[str]:
    """Everything that is wrong in one moment; empty where nothing is."""
    checks = (_identities, _leases, _attempts, _tasks_of_jobs, _objects_of_jobs, _objects_of_tasks, _sessions)
    return [each for check in checks for each in check(snapshot)]


def over_limits(snapshot: Snapshot, ledger: Ledger) -> list[str]:
    """Tasks begun where no slot was free.

    Limits may be lowered below what is in hand. But what is in hand stays there until it ends, so where a task was
    begun after a limit held, all that is in hand now and was begun before was in hand then.
    """
    return [
        *_over_node_limits(snapshot, ledger.limits),
        *_over_link_limits(snapshot, ledger.link_limits),
        *_over_job_limits(snapshot),
        *_begun_in_maintenance(snapshot, ledger.maintenance_since_ms),
    ]


def _identities(snapshot: Snapshot) -> Iterator[str]:
    for job_id, count in Counter(job["id"] for job in snapshot.jobs).items():
        if count > 1:
            yield f"job {job_id} is there {count} times"
    yield from (f"job {job_id} is among the living and in history" for job_id in snapshot.in_both)
    keys = Counter(job["idempotency_key"] for job in snapshot.jobs if job["idempotency_key"])
    yield from (f"key {key} has {count} jobs" for key, count in keys.items() if count > 1)
    for task_id, count in Counter(task["id"] for task in snapshot.tasks).items():
        if count > 1:
            yield f"task {task_id} is there {count} times"


def _leases(snapshot: Snapshot) -> Iterator[str]:
    for task in snapshot.tasks:
        if (task["state"] in IN_HAND) != (task["lease_session_id"] is not None):
            yield f"a lease without a task in hand, or the other way round: {task}"
        if (task["lease_session_id"] is None) != (task["lease_boot_id"] is None):
            yield f"half a lease: {task}"


def _attempts(snapshot: Snapshot) -> Iterator[str]:
    of_task = by(snapshot.attempts, "task_id")
    for task in snapshot.tasks:
        mine = sorted(of_task.pop(task["id"], ()), key=lambda attempt: int(attempt["epoch"]))
        yield from _attempts_of(task, mine)
    yield from (f"attempts of task {task_id}, which is not there" for task_id in of_task)


def _attempts_of(task: Row, mine: Sequence[Row]) -> Iterator[str]:
    epochs = [attempt["epoch"] for attempt in mine]
    if len(set(epochs)) != len(epochs) or any(epoch > task["epoch"] for epoch in epochs):
        yield f"the epochs {epochs} are not those of {task}"
    if [attempt["attempt"] for attempt in mine] != list(range(1, task["attempt"] + 1)):
        yield f"not every attempt has one epoch: {task} has {[dict(each) for each in mine]}"
    still = [attempt["epoch"] for attempt in mine if attempt["outcome"] is None]
    expected = [task["epoch"]] if task["state"] in IN_HAND else []
    if still != expected:
        yield f"under way are the epochs {still} of {task}"
    if mine and task["state"] in IN_HAND and mine[-1]["boot_id"] != task["lease_boot_id"]:
        yield f"the attempt of {mine[-1]['boot_id']} is in the hands of another: {task}"
    if any((each["ended_at_ms"] is None) != (each["outcome"] is None) for each in mine):
        yield f"half an end: {[dict(each) for each in mine]}"


def _tasks_of_jobs(snapshot: Snapshot) -> Iterator[str]:
    states: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for task in snapshot.tasks:
        states[task["job_id"]][task["state"]] += 1
    for job in snapshot.jobs:
        mine = states.pop(job["id"], Counter())
        counted = {state: job[f"tasks_{state}"] for state in TASK_ENDS}
        if job["tasks_planned"] != mine.total() or any(mine[state] != n for state, n in counted.items()):
            yield f"job {job['id']} counts {job['tasks_planned']} tasks, {counted}, and has {dict(mine)}"
        live = mine.total() - sum(mine[state] for state in TASK_ENDS)
        if live > _LIVE_TASKS_MAX:
            yield f"job {job['id']} has {live} live tasks"
        if job["state"] in JOB_ENDS and (live or job["to_plan"] or job["finished_at_ms"] is None):
            yield f"it has ended and goes on with {live} tasks: {job}"
    yield from (f"tasks of job {job_id}, which is not there" for job_id in states)


def _objects_of_jobs(snapshot: Snapshot) -> Iterator[str]:
    of_job = by(snapshot.objects, "job_id")
    for job in snapshot.jobs:
        mine = of_job.pop(job["id"], [])
        count: Counter[str] = Counter()
        for group in mine:
            count[group["outcome"]] += group["n"]
        yield from _sums(job, count, mine)
    yield from (f"objects of job {job_id}, which is not there" for job_id in of_job)


def _sums(job: Row, count: Counter[str], groups: Sequence[Row]) -> Iterator[str]:
    planned = job["objects_verified"] + job["objects_skipped"] + job["objects_failed"]
    if job["objects_planned"] != planned:
        yield f"planned is not verified, skipped and failed: {job}"
    if job["bytes_logical"] != job["bytes_transferred"] + job["bytes_deduplicated"]:
        yield f"the bytes are not those transferred and deduplicated: {job}"
    exact = {
        "rows_found": count.total(),
        "objects_verified": count["verified"],
        "objects_failed": count["failed"],
        "objects_deleted": count["deleted"],
        "bytes_transferred": sum(
            group["bytes_transferred"] for group in groups if group["outcome"] != "pending"
        ),
    }
    if job["kind"] == "migrate" and not job["tasks_planned"]:
        exact.pop("rows_found")  # what was asked for by name is found when the job is planned
    wrong = {name: (job[name], found) for name, found in exact.items() if job[name] != found}
    if wrong:
        yield f"job {job['id']} counts other objects than it has (counted, there): {wrong} of {job}"
    if job["objects_skipped"] < count["skipped"]:
        yield f"job {job['id']} has skipped {count['skipped']} and counts {job['objects_skipped']}"
    if job["state"] in JOB_ENDS and count["pending"]:
        yield f"it has ended and forgot {count['pending']} objects: {job}"
    if job["state"] == "succeeded" and count["failed"] and job["kind"] != "verify":
        yield f"it is called a success with {count['failed']} failed objects: {job}"
    if count["cancelled"] and job["state"] not in {"cancelling", "cancelled"}:
        yield f"objects are cancelled and the job is not: {job}"


def _objects_of_tasks(snapshot: Snapshot) -> Iterator[str]:
    pending: Counter[int] = Counter()
    for group in snapshot.objects:
        if group["outcome"] == "pending" and group["task_id"] is not None:
            pending[group["task_id"]] += group["n"]
    for task in snapshot.tasks:
        if task["items"] != pending.pop(task["id"], 0):
            yield f"other objects wait for it than it counts: {task}"
        if task["state"] in TASK_ENDS and task["items"]:
            yield f"it has ended and left objects behind: {task}"
    yield from (f"{n} objects wait for task {task_id}, which is not there" for task_id, n in pending.items())


def _sessions(snapshot: Snapshot) -> Iterator[str]:
    live = {session["id"]: session for session in snapshot.sessions if session["ended_at_ms"] is None}
    named = {node["session_id"] for node in snapshot.nodes if node["session_id"] is not None}
    yield from (f"a node's session has ended or is not there: {each}" for each in named - live.keys())
    yield from (f"a session lives that its node does not know: {live[each]}" for each in live.keys() - named)
    if snapshot.wakes > _WAKES_MAX:
        yield f"{snapshot.wakes} wakes are kept"


def _over_node_limits(snapshot: Snapshot, limits: Mapping[str, SlotLimits]) -> Iterator[str]:
    in_force = {row["node"]: row for row in snapshot.limits}
    in_hand = [task for task in snapshot.tasks if task["state"] in IN_HAND]
    for node, told in limits.items():
        row = in_force.get(node, {"tasks_max": None, "serves_max": None})
        for name, end in (("tasks_max", "dst_node"), ("serves_max", "src_node")):
            most = getattr(told, name)
            if most is None or row[name] != most:
                continue
            here = [task for task in in_hand if task[end] == node]
            yield from _over(f"{name} of {node}", here, most, told.since_ms)


def _over_link_limits(snapshot: Snapshot, limits: Mapping[tuple[str, str], SlotLimits]) -> Iterator[str]:
    in_force = {(row["src_node"], row["dst_node"]): row["tasks_max"] for row in snapshot.links}
    in_hand = [task for task in snapshot.tasks if task["state"] in IN_HAND]
    for link, told in limits.items():
        if told.tasks_max is not None and in_force.get(link) == told.tasks_max:
            here = [task for task in in_hand if (task["src_node"], task["dst_node"]) == link]
            yield from _over(f"tasks_max of the link {link}", here, told.tasks_max, told.since_ms)


def _over(what: str, here: Sequence[Row], most: int, since_ms: int) -> Iterator[str]:
    late = [task["id"] for task in here if task["begun_at_ms"] > since_ms]
    if len(here) > most and late:
        yield f"{len(here)} tasks in hand where {most} is {what}; begun since then: {late}"


def _over_job_limits(snapshot: Snapshot) -> Iterator[str]:
    live = Counter(task["job_id"] for task in snapshot.tasks if task["state"] not in TASK_ENDS)
    for job in snapshot.jobs:
        if job["tasks_max"] is not None and live[job["id"]] > job["tasks_max"]:
            yield f"job {job['id']} has {live[job['id']]} live tasks and tasks_max {job['tasks_max']}"


def _begun_in_maintenance(snapshot: Snapshot, since_ms: Mapping[str, int]) -> Iterator[str]:
    quiet = {node["name"] for node in snapshot.nodes if node["maintenance"]}
    for task in snapshot.tasks:
        for node in {task["src_node"], task["dst_node"]} & quiet & since_ms.keys():
            if task["state"] in IN_HAND and task["begun_at_ms"] > since_ms[node]:
                yield f"begun while {node} is in maintenance: {task}"


def by(rows: Sequence[Row], name: str) -> dict[Any, list[Row]]:
    """`rows` by the value of a column."""
    found: defaultdict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[name]].append(row)
    return dict(found)
