from __future__ import annotations

from typing import Any

import pytest

from replicator.control_plane.scheduler.decide import Duty, Snapshot, decide

NOW = 1_000_000


def snapshot(**fields: Any) -> Snapshot:
    nothing: dict[str, Any] = {
        "now_ms": NOW,
        "jobs_to_plan": False,
        "next_session_expiry_ms": None,
        "next_lease_expiry_ms": None,
        "next_backoff_end_ms": None,
        "absent_since_ms": None,
        "next_join_ms": None,
    }
    return Snapshot(**(nothing | fields))


def test_nothing_to_do() -> None:
    decision = decide(snapshot(), park_ms_max=5000, sleep_ms_max=1000)
    assert (decision.duties, decision.sleep_ms) == (frozenset(), 1000)


@pytest.mark.parametrize(
    ("field", "duty", "lead_ms"),
    [
        ("next_session_expiry_ms", Duty.EXPIRE_SESSIONS, 0),
        ("next_lease_expiry_ms", Duty.TAKE_BACK, 0),
        ("next_backoff_end_ms", Duty.RELEASE, 0),
        ("absent_since_ms", Duty.GIVE_UP, 5000),
        ("next_join_ms", Duty.JOIN, 0),
    ],
)
def test_what_is_due_is_done_and_what_is_not_is_waited_for(field: str, duty: Duty, lead_ms: int) -> None:
    due = decide(snapshot(**{field: NOW - lead_ms}), park_ms_max=5000, sleep_ms_max=1000)
    assert due.duties == {duty}
    soon = decide(snapshot(**{field: NOW - lead_ms + 300}), park_ms_max=5000, sleep_ms_max=1000)
    assert (soon.duties, soon.sleep_ms) == (frozenset(), 300)
    later = decide(snapshot(**{field: NOW - lead_ms + 9000}), park_ms_max=5000, sleep_ms_max=1000)
    assert (later.duties, later.sleep_ms) == (frozenset(), 1000)


def test_several_at_once() -> None:
    told = snapshot(jobs_to_plan=True, next_backoff_end_ms=NOW - 1, next_join_ms=NOW + 10)
    decision = decide(told, park_ms_max=5000, sleep_ms_max=1000)
    assert decision.duties == {Duty.PLAN, Duty.RELEASE}
    assert decision.sleep_ms == 10
