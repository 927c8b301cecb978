"""The chaos run: it passes on a control plane that keeps its word, and its oracle sees what others would do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from replicator.testing import chaos_watch
from replicator.testing.chaos import Chaos
from replicator.testing.chaos_ledger import Attempt, Ledger, ResultName, SentResult, SlotLimits, Submission
from replicator.testing.chaos_logs import Logs
from replicator.testing.chaos_oracle import complaints, over_limits
from replicator.testing.chaos_reader import Row, Snapshot
from replicator.testing.chaos_stage import Plan
from replicator.testing.chaos_watch import Watch
from replicator.testing.postgres import missing_for_postgres

QUICK_S = 7.0
BOOT = "node1-boot-1"


def quick(database: str, seed: int) -> Plan:
    return Plan(database=database, nodes=4, jobs=20, round_s=QUICK_S, seed=seed)


@pytest.mark.skipif(missing_for_postgres() is not None, reason=str(missing_for_postgres()))
def test_replicas_over_postgres(tmp_path: Path, seed: int) -> None:
    chaos = Chaos(tmp_path, quick("postgres", seed), say=print)
    chaos.run(QUICK_S)
    assert chaos.tally["jobs succeeded"] > 0
    assert chaos.tally["looks"] > 0


def test_one_process_over_sqlite(tmp_path: Path, seed: int) -> None:
    chaos = Chaos(tmp_path, quick("sqlite", seed), say=print)
    chaos.run(QUICK_S / 2)
    assert chaos.tally["jobs succeeded"] > 0


def job(**changes: Any) -> Row:
    counters = dict.fromkeys(
        [
            *("objects_skipped", "objects_failed", "objects_deleted", "bytes_deduplicated"),
            *("tasks_failed", "tasks_cancelled"),
        ],
        0,
    )
    return {
        "id": 1,
        "kind": "migrate",
        "src_node": "node2",
        "dst_node": "node1",
        "state": "succeeded",
        "to_plan": False,
        "postponed": False,
        "idempotency_key": "key-1",
        "tasks_planned": 1,
        "tasks_succeeded": 1,
        "rows_found": 1,
        "attempts": 1,
        "tasks_max": None,
        "dry_run": False,
        "finished_at_ms": 900,
        "error_code": None,
        "objects_planned": 1,
        "objects_verified": 1,
        "bytes_logical": 7,
        "bytes_transferred": 7,
        **counters,
        **changes,
    }


def task(**changes: Any) -> Row:
    return {
        "id": 1,
        "job_id": 1,
        "src_node": "node2",
        "dst_node": "node1",
        "kind": "pull",
        "state": "succeeded",
        "epoch": 1,
        "attempt": 1,
        "items": 0,
        "items_failed": 0,
        "lease_session_id": None,
        "lease_boot_id": None,
        "lease_expires_at_ms": None,
        "begun_at_ms": 500,
        "updated_at_ms": 900,
        **changes,
    }


def attempt(**changes: Any) -> Row:
    known = {"task_id": 1, "epoch": 1, "attempt": 1, "session_id": "s", "boot_id": BOOT}
    return {**known, "begun_at_ms": 500, "ended_at_ms": 900, "outcome": "succeeded", **changes}


def objects(**changes: Any) -> Row:
    known = {"job_id": 1, "task_id": 1, "outcome": "verified", "action": "transfer", "n": 1}
    return {**known, "bytes_transferred": 7, "last_id": 1, **changes}


def story(*names: str) -> Sequence[Row]:
    return [{"job_id": 1, "id": place, "name": name} for place, name in enumerate(names, start=1)]


def duty(**changes: Any) -> Row:
    return {"name": "plan", "holder": "a", "term": 1, "acquired_at_ms": 0, "expires_at_ms": 2000, **changes}


WELL = Snapshot(
    now_ms=1000,
    jobs=[job()],
    tasks=[task()],
    attempts=[attempt()],
    objects=[objects()],
    duties=[duty()],
    events=story("job.queued", "job.planning", "job.running", "job.succeeded"),
)
RUNNING: Mapping[str, Any] = {
    "state": "leased",
    "lease_session_id": "s",
    "lease_boot_id": BOOT,
    "lease_expires_at_ms": 2000,
}
NAME = ResultName(Attempt(1, 1), BOOT)


def told() -> Ledger:
    ledger = Ledger()
    ledger.submissions["key-1"] = Submission("key-1", "migrate", {}, job_ids={1}, created=1)
    ledger.results[NAME] = SentResult("succeeded", is_complete=True, answered=1)
    return ledger


def everything(snapshot: Snapshot, ledger: Ledger, refused: Counter[ResultName] | None = None) -> list[str]:
    watch = Watch()
    watch.look(WELL, ledger)
    return [
        *complaints(snapshot),
        *over_limits(snapshot, ledger),
        *watch.look(snapshot, ledger),
        *chaos_watch.ended(snapshot, ledger),
        *chaos_watch.refusals(refused or Counter(), snapshot, ledger),
    ]


def test_nothing_is_said_of_what_is_well() -> None:
    assert everything(WELL, told()) == []


@pytest.mark.parametrize(
    ("snapshot", "complaint"),
    [
        # A result under a stale epoch was let count: the check of the epoch is gone.
        (
            replace(
                WELL,
                attempts=[attempt(), attempt(epoch=2, attempt=2, outcome="lost", boot_id="node1-boot-2")],
                tasks=[task(epoch=2, attempt=2)],
            ),
            "the task went on",
        ),
        (replace(WELL, attempts=[attempt(), attempt(epoch=1, attempt=2)]), "epochs"),
        (replace(WELL, attempts=[]), "not every attempt has one epoch"),
        # A task was ended twice.
        (replace(WELL, jobs=[job(tasks_succeeded=2)]), "counts 1 tasks"),
        (replace(WELL, jobs=[job(objects_verified=2, objects_planned=2)]), "counts other objects"),
        (replace(WELL, tasks=[task(updated_at_ms=950)]), "a task that had ended has changed"),
        # A batch was acknowledged and lost.
        (replace(WELL, jobs=[], tasks=[], attempts=[], objects=[], events=()), "accepted is not there"),
        (replace(WELL, objects=[]), "counts other objects"),
        (replace(WELL, events=story("job.queued", "job.running")), "its story"),
        # Other things that may not be.
        (replace(WELL, jobs=[job(), job(id=2)]), "key key-1 has 2 jobs"),
        (replace(WELL, in_both=[1]), "in history"),
        (replace(WELL, jobs=[job(), job(id=2, idempotency_key="key-2")]), "nobody's"),
        (replace(WELL, jobs=[job(state="cancelled")]), "had ended has changed"),
        (
            replace(
                WELL,
                events=story("job.queued", "job.running", "job.succeeded", "job.running", "job.succeeded"),
            ),
            "ended 2 times",
        ),
        (replace(WELL, tasks=[task(lease_session_id="s", lease_boot_id=BOOT)]), "lease without a task"),
        (replace(WELL, tasks=[task(**RUNNING)]), "under way"),
        (replace(WELL, tasks=[task(items=1)]), "left objects behind"),
        (replace(WELL, objects=[objects(), objects(outcome="pending", n=2)]), "forgot 2 objects"),
        (replace(WELL, jobs=[job(bytes_logical=8)]), "the bytes are not"),
        (replace(WELL, duties=[duty(holder="b")]), "under an old term"),
        (replace(WELL, duties=[duty(holder="b", term=2, acquired_at_ms=1500)]), "before its lease was over"),
        (replace(WELL, duties=[duty(term=0)]), "under an old term"),
        (
            replace(WELL, nodes=[{"name": "node1", "session_id": "x", "maintenance": False}]),
            "session has ended",
        ),
    ],
)
def test_what_does_not_hold_is_seen(snapshot: Snapshot, complaint: str) -> None:
    assert complaint in "\n".join(everything(snapshot, told()))


def results_lost(ledger: Ledger) -> None:
    ledger.results[NAME].answered = 2


def a_key_with_two_jobs(ledger: Ledger) -> None:
    ledger.submissions["key-1"].job_ids.add(2)


def created_twice(ledger: Ledger) -> None:
    ledger.submissions["key-1"].created = 2


def a_retry_forgotten(ledger: Ledger) -> None:
    ledger.retries[1] = 1


def told_of_another_end(ledger: Ledger) -> None:
    ledger.seen[1] = {"running", "cancelled"}


def given_to_two(ledger: Ledger) -> None:
    ledger.began[Attempt(1, 1)] = {"node1-boot-1", "node1-boot-2"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (results_lost, "dealt with 1 to 1 times"),
        (a_key_with_two_jobs, "several jobs"),
        (created_twice, "created a job 2 times"),
        (a_retry_forgotten, "with 1 to 1 retries"),
        (told_of_another_end, "its story"),
        (given_to_two, "given to several processes"),
    ],
)
def test_what_clients_were_told_is_held_against_it(change: Callable[[Ledger], None], complaint: str) -> None:
    ledger = told()
    change(ledger)
    assert complaint in "\n".join(everything(WELL, ledger))


def test_a_stale_result_is_refused_once_for_each_time_that_it_arrived() -> None:
    stale = replace(
        WELL, attempts=[attempt(outcome="lost"), attempt(epoch=2, attempt=2, boot_id="node1-boot-2")]
    )
    ledger = told()
    ledger.results[NAME].answered = 2
    assert chaos_watch.refusals(Counter({NAME: 2}), stale, ledger) == []
    assert chaos_watch.refusals(Counter({NAME: 1}), stale, ledger) != []
    assert chaos_watch.stale_results(stale, ledger)["stale results sent and answered"] == 1


@pytest.mark.parametrize(("begun", "is_over"), [((500, 600), True), ((300, 400), False), ((300, 600), True)])
def test_slots_that_nobody_had(begun: Sequence[int], is_over: bool) -> None:
    hand = [task(id=place, begun_at_ms=at_ms, **RUNNING) for place, at_ms in enumerate(begun, start=1)]
    limits = [{"node": "node1", "tasks_max": 1, "serves_max": None}]
    ledger = Ledger(limits={"node1": SlotLimits(tasks_max=1, since_ms=450)})
    assert bool(over_limits(replace(WELL, tasks=hand, limits=limits), ledger)) is is_over
    links = [{"src_node": "node2", "dst_node": "node1", "tasks_max": 1}]
    of_link = Ledger(link_limits={("node2", "node1"): SlotLimits(tasks_max=1, since_ms=450)})
    assert bool(over_limits(replace(WELL, tasks=hand, links=links), of_link)) is is_over


def test_logs_are_read_to_their_end(tmp_path: Path) -> None:
    log = tmp_path / "replica1.log"
    log.write_text('{"event": "a", "level": "info"}\n{"event": "b"')
    logs = Logs([log])
    assert logs.look() == []
    with log.open("a") as more:
        more.write(', "level": "error"}\nTraceback (most recent call last):\nhalf {"event"\n')
    assert len(logs.look()) == 2
    assert logs.look() == []
    assert logs.events == Counter({"a": 1, "b": 1})
