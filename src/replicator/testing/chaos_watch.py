"""What must hold from one snapshot to the next, and at the end of a round. Rows in, complaints out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from replicator.testing.chaos_ledger import Attempt, Ledger, ResultName
from replicator.testing.chaos_oracle import JOB_ENDS, TASK_ENDS, by
from replicator.testing.chaos_reader import Row, Snapshot

_COUNTED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass
class Watch:
    """Compares each snapshot with what was seen before."""

    jobs: dict[int, Row] = field(default_factory=dict)
    tasks: dict[int, Row] = field(default_factory=dict)
    duties: dict[str, Row] = field(default_factory=dict)
    hand_overs: Counter[str] = field(default_factory=Counter)
    stopped_pids: set[int] = field(default_factory=set)
    """Replicas that were asked to end: those give their duties back."""
    exclusive: bool = False
    """Whether only one process can have the database: then the next one takes the duties at once."""

    def look(self, snapshot: Snapshot, ledger: Ledger) -> list[str]:
        """What has happened since the last look and may not happen."""
        return [*self._jobs(snapshot, ledger), *self._tasks(snapshot), *self._duties(snapshot)]

    def states(self, states: Sequence[Row], ledger: Ledger) -> list[str]:
        """The same for all jobs there are, by little more than their states."""
        there = {row["id"]: row for row in states}
        found = [f"job {job_id} is gone" for job_id in self.jobs.keys() - there.keys()]
        for job_id, row in there.items():
            if job_id in self.jobs:
                found += _moved(self.jobs[job_id], row, ledger)
        self.jobs |= there
        return found

    def _jobs(self, snapshot: Snapshot, ledger: Ledger) -> Iterator[str]:
        for job in snapshot.jobs:
            before = self.jobs.get(job["id"])
            self.jobs[job["id"]] = job
            if before is not None:
                yield from _moved(before, job, ledger)

    def _tasks(self, snapshot: Snapshot) -> Iterator[str]:
        for task in snapshot.tasks:
            before = self.tasks.get(task["id"])
            self.tasks[task["id"]] = task
            if before is None:
                continue
            if before["state"] in TASK_ENDS and task != before:
                yield f"a task that had ended has changed: {before} to {task}"
            if task["epoch"] < before["epoch"] or task["attempt"] < before["attempt"]:
                yield f"an epoch has shrunk: {before} to {task}"

    def _duties(self, snapshot: Snapshot) -> Iterator[str]:
        for duty in snapshot.duties:
            before = self.duties.get(duty["name"])
            self.duties[duty["name"]] = duty
            if before is None or before == duty:
                continue
            yield from self._handed_over(before, duty)

    def _handed_over(self, before: Row, duty: Row) -> Iterator[str]:
        same_term = duty["term"] == before["term"]
        if duty["term"] < before["term"] or (same_term and duty["holder"] != before["holder"]):
            yield f"a duty changed hands under an old term: {before} to {duty}"
        if same_term and duty["acquired_at_ms"] != before["acquired_at_ms"]:
            yield f"one term began twice: {before} and {duty}"
        if same_term:
            return
        self.hand_overs[duty["name"]] += duty["holder"] != before["holder"]
        gave_it_back = self.exclusive or any(f"-{pid}-" in before["holder"] for pid in self.stopped_pids)
        if duty["acquired_at_ms"] < before["expires_at_ms"] and not gave_it_back:
            yield f"a duty was taken before its lease was over: {before} and {duty}"


def ended(snapshot: Snapshot, ledger: Ledger, *, floor: int = 0) -> list[str]:
    """What is wrong once nothing goes on any more; `snapshot` is one with events, of the jobs above `floor`."""
    return [
        *_submissions(snapshot, ledger, floor),
        *_events(snapshot, ledger),
        *_results(snapshot, ledger),
        *_all_over(snapshot),
    ]


def refusals(told: Counter[ResultName], snapshot: Snapshot, ledger: Ledger) -> list[str]:
    """Whether what replicas said of the results that they refused agrees with what was sent and what counted.

    Args:
        told: refusals by result, from the logs of all replicas.
    """
    outcomes = _outcomes(snapshot)
    found = []
    for name, sent in ledger.results.items():
        counted = outcomes.get(name) == sent.outcome
        # An attempt may also end as cancelled without its own word, when its node has stopped.
        at_least, at_most = told[name], told[name] + counted
        at_least += counted and sent.outcome != "cancelled"
        if at_most < sent.answered or at_least > sent.answered + sent.unanswered:
            found.append(f"{name} was dealt with {at_least} to {at_most} times: {sent}")
    return found


def stale_results(snapshot: Snapshot, ledger: Ledger) -> Counter[str]:
    """Of the results that arrived for certain: those that counted, and those whose attempt had ended otherwise."""
    outcomes = _outcomes(snapshot)
    tally: Counter[str] = Counter()
    for name, sent in ledger.results.items():
        if sent.answered:
            counted = outcomes.get(name) == sent.outcome
            tally["results that counted" if counted else "stale results sent and answered"] += 1
            tally["results sent again"] += sent.answered + sent.unanswered - 1
    return tally


def _outcomes(snapshot: Snapshot) -> dict[ResultName, str | None]:
    return {
        ResultName(Attempt(row["task_id"], row["epoch"]), row["boot_id"]): row["outcome"]
        for row in snapshot.attempts
    }


def _moved(before: Row, job: Row, ledger: Ledger) -> Iterator[str]:
    if before["state"] not in JOB_ENDS:
        return
    again = ledger.retries[job["id"]] + ledger.retries_unanswered[job["id"]]
    moved = job["state"] != before["state"] or job["finished_at_ms"] != before["finished_at_ms"]
    if moved and not again:
        yield f"a job that had ended has changed: {dict(before)} to {dict(job)}"
    if moved and before["state"] in {"succeeded", "cancelled"}:
        yield f"a job that nothing can be retried of has changed: {dict(before)} to {dict(job)}"


def _submissions(snapshot: Snapshot, ledger: Ledger, floor: int) -> Iterator[str]:
    of_key = {job["idempotency_key"]: job["id"] for job in snapshot.jobs}
    for each in ledger.submissions.values():
        if len(each.job_ids) > 1:
            yield f"one key was answered with several jobs: {each}"
        if each.created > 1:
            yield f"one key created a job {each.created} times: {each}"
        there = of_key.pop(each.key, None)
        if each.job_ids and min(each.job_ids) > floor and there not in each.job_ids:
            yield f"a job that was accepted is not there, but {there}: {each}"
        if there is not None and not each.job_ids and not each.unanswered:
            yield f"a job that was refused is there: {each}"
    yield from (f"job {job_id} is nobody's: key {key}" for key, job_id in of_key.items())


def _events(snapshot: Snapshot, ledger: Ledger) -> Iterator[str]:
    of_job = by(snapshot.events, "job_id")
    for job in snapshot.jobs:
        events = of_job.get(job["id"], [])
        names = [row["name"] for row in events]
        moves = [
            name.removeprefix("job.") for name in names if name.startswith("job.") and name != "job.changed"
        ]
        ends = [place for place, name in enumerate(moves) if name in JOB_ENDS]
        runs = [moves[place + 1 : place + 2] for place in ends[:-1]]
        if [row["id"] for row in events] != list(range(1, len(events) + 1)):
            yield f"events of job {job['id']} are missing or twice there: {[row['id'] for row in events]}"
        if unheard := ledger.seen.get(job["id"], set()) - set(moves):
            yield f"a user was told that job {job['id']} is {unheard}, and its story is {moves}"
        if not moves or moves[-1] != job["state"]:
            yield f"job {job['id']} is {job['state']} and its story is {moves}"
        if any(first != ["running"] for first in runs):
            yield f"job {job['id']} ended twice: {moves}"
        accepted, unknown = ledger.retries[job["id"]], ledger.retries_unanswered[job["id"]]
        if not accepted <= len(ends) - 1 <= accepted + unknown:
            yield f"job {job['id']} ended {len(ends)} times with {accepted} to {accepted + unknown} retries: {moves}"


def _results(snapshot: Snapshot, ledger: Ledger) -> Iterator[str]:
    of_task: defaultdict[int, dict[int, Row]] = defaultdict(dict)
    for row in snapshot.attempts:
        of_task[row["task_id"]][row["epoch"]] = row
    complete: Counter[int] = Counter()
    for name, sent in ledger.results.items():
        ended = of_task.get(name.attempt.task_id, {}).get(name.attempt.epoch)
        if ended is None or ended["boot_id"] != name.boot_id:
            continue
        if ended["outcome"] in _COUNTED:
            later = [epoch for epoch in of_task[name.attempt.task_id] if epoch > name.attempt.epoch]
            if ended["outcome"] not in {sent.outcome, "cancelled"}:
                yield f"{name} said {sent.outcome} and the attempt ended otherwise: {dict(ended)}"
            if sent.is_complete and ended["outcome"] == "succeeded":
                complete[name.attempt.task_id] += 1
                if later:
                    yield f"all was done in {name}, and the task went on: {later}"
    yield from (f"task {task_id} succeeded {n} times" for task_id, n in complete.items() if n > 1)
    for attempt, boots in ledger.began.items():
        if len(boots) > 1:
            yield f"{attempt} was given to several processes: {sorted(boots)}"


def _all_over(snapshot: Snapshot) -> Iterator[str]:
    yield from (f"a job never ended: {dict(job)}" for job in snapshot.jobs if job["state"] not in JOB_ENDS)
    yield from (
        f"a task never ended: {dict(task)}" for task in snapshot.tasks if task["state"] not in TASK_ENDS
    )


def tally_of(snapshot: Snapshot) -> Mapping[str, int]:
    """How many of everything ended how."""
    tally = Counter(f"jobs {job['state']}" for job in snapshot.jobs)
    tally.update(f"tasks {task['state']}" for task in snapshot.tasks)
    tally.update(f"attempts {attempt['outcome']}" for attempt in snapshot.attempts)
    return tally
