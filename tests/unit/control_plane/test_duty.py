from __future__ import annotations

from dataclasses import replace

from replicator.control_plane.domain.duty import DutyLease, Group, hold, is_live, released

NOW = 1_000_000
LEASE_MS = 6000
MINE = DutyLease(name="sweep", holder="me", term=4, acquired_at_ms=NOW - 9000, expires_at_ms=NOW + LEASE_MS)


def held(lease: DutyLease | None, *, now_ms: int = NOW, by_force: bool = False) -> DutyLease | None:
    found = hold(lease, group=Group.SWEEP, replica="me", lease_ms=LEASE_MS, now_ms=now_ms, by_force=by_force)
    return None if found is None else found.lease


def test_the_first_term_is_whose_asks_first() -> None:
    assert held(None) == replace(MINE, term=1, acquired_at_ms=NOW)


def test_a_lease_that_another_has_is_taken_once_it_is_over_and_not_before() -> None:
    other = replace(MINE, holder="other")
    assert held(other, now_ms=other.expires_at_ms - 1) is None
    after = other.expires_at_ms
    taken = held(other, now_ms=after)
    assert taken == replace(MINE, term=5, acquired_at_ms=after, expires_at_ms=after + LEASE_MS)


def test_a_lease_is_extended_once_a_third_of_it_has_gone_by() -> None:
    assert held(MINE, now_ms=NOW + 1999) == MINE
    extended = replace(MINE, expires_at_ms=NOW + 2000 + LEASE_MS)
    assert held(MINE, now_ms=NOW + 2000) == extended


def test_a_gap_begins_a_new_term_of_the_same_holder() -> None:
    taken = held(MINE, now_ms=MINE.expires_at_ms)
    assert taken is not None
    assert taken.term == MINE.term + 1


def test_a_holder_corrects_its_lease_after_time_went_back() -> None:
    earlier = NOW - 3_600_000
    assert held(MINE, now_ms=earlier) == replace(MINE, expires_at_ms=earlier + LEASE_MS)


def test_what_was_given_back_is_free() -> None:
    assert not is_live(released(MINE, now_ms=NOW), NOW)


def test_what_a_process_had_that_has_surely_ended_is_taken_at_once() -> None:
    taken = held(replace(MINE, holder="other"), by_force=True)
    assert taken is not None
    assert (taken.holder, taken.term) == ("me", 5)
