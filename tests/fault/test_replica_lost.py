"""One of two control planes over a Postgres database is killed, stopped past its leases, or asked to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from replicator.testing.postgres import missing_for_postgres
from replicator.testing.postgres_databases import migrated_database
from replicator.testing.processes import ServerProcess, control_plane_process
from replicator.testing.waiting import wait_until
from replicator.wire.replicas import ReplicasView

pytestmark = pytest.mark.skipif(missing_for_postgres() is not None, reason=str(missing_for_postgres()))

DUTIES = {"join", "plan", "prune", "sweep"}
LEASE_S = 3
NEVER_S = 3600


class Two(NamedTuple):
    """The first holds every duty."""

    first: ServerProcess
    second: ServerProcess


@pytest.fixture
def database_url() -> Iterator[str]:
    with migrated_database() as url:
        yield url


def started(stack: ExitStack, folder: Path, url: str, duty_lease_s: float) -> Two:
    settings = {
        "REPLICATOR_CONTROL_PLANE_DATABASE_URL": url,
        "REPLICATOR_CONTROL_PLANE_DUTY_LEASE_SECONDS": str(duty_lease_s),
    }
    first, second = (control_plane_process(folder / each, settings=settings) for each in ("a", "b"))
    stack.enter_context(first)
    wait_until(lambda: set(held_by(first, seen_by=first)) == DUTIES, "the first has every duty")
    stack.enter_context(second)
    return Two(first, second)


def view(server: ServerProcess) -> ReplicasView:
    answer = httpx.get(server.url + "/replicas", timeout=30, trust_env=False).raise_for_status()
    return ReplicasView.model_validate(answer.json())


def replica(server: ServerProcess) -> str:
    name: str = server.events("control-plane.started")[-1]["replica"]
    return name


def held_by(server: ServerProcess, *, seen_by: ServerProcess) -> dict[str, int]:
    """The terms of the duties that `server` has."""
    return {duty.name: duty.term for duty in view(seen_by).duties if duty.holder == replica(server)}


def terms_of_the_past(server: ServerProcess, since: dict[str, int]) -> dict[str, int]:
    """Duties that `server` has in a term of before, or in the very term that another began."""
    held = held_by(server, seen_by=server)
    return {name: term for name, term in held.items() if name in since and term <= since[name]}


def test_the_duties_of_a_killed_replica_are_taken_over(tmp_path: Path, database_url: str) -> None:
    with ExitStack() as stack:
        first, second = started(stack, tmp_path, database_url, LEASE_S)
        first.kill()
        wait_until(lambda: set(held_by(second, seen_by=second)) == DUTIES, "the second takes over")


def test_a_replica_that_was_stopped_past_its_leases_stays_out_of_the_way(
    tmp_path: Path, database_url: str
) -> None:
    with ExitStack() as stack:
        first, second = started(stack, tmp_path, database_url, LEASE_S)
        first.suspend()
        wait_until(lambda: set(held_by(second, seen_by=second)) == DUTIES, "the second takes over")
        before = held_by(second, seen_by=second)
        renewed = {duty.name: duty.until for duty in view(second).duties}
        first.resume()
        assert httpx.get(first.url + "/ready", timeout=30, trust_env=False).status_code == 200
        wait_until(
            lambda: all(duty.until > renewed[duty.name] for duty in view(first).duties),
            "all leases were renewed or taken since the first went on",
        )
        assert terms_of_the_past(first, before) == {}


def test_a_replica_that_ends_in_order_hands_over_at_once(tmp_path: Path, database_url: str) -> None:
    """Its leases would last for an hour."""
    with ExitStack() as stack:
        first, second = started(stack, tmp_path, database_url, NEVER_S)
        assert first.stop() == 0
        wait_until(lambda: set(held_by(second, seen_by=second)) == DUTIES, "the second takes over")
        assert first.events("duties.released")
