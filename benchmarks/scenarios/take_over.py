"""How long nobody does the duties of a control plane that was killed, while another has the same Postgres database."""

from __future__ import annotations

import time

import httpx

from benchmarks.cluster import Server, running_control_plane
from benchmarks.figures import Figure
from benchmarks.scenarios.bench import Bench
from replicator.kernel.errors import Unavailable
from replicator.testing.postgres import PostgresServer, missing_for_postgres
from replicator.wire.replicas import ReplicasView

_LEASE_S = 5.0
_GOAL_S = _LEASE_S + 1
_DUTIES = frozenset({"plan", "sweep"})
_LOOK_S = 0.02
_PATIENCE_S = 60.0


def measure(bench: Bench) -> list[Figure]:
    """Seconds from the death of the replica that plans and sweeps until another does; nothing without Postgres."""
    missing = missing_for_postgres()
    if missing is not None:
        bench.say(f"no take-over: {missing}")
        return []
    rounds = []
    postgres = PostgresServer(safe=True)
    try:
        for number in range(1, bench.options.rounds + 1):
            bench.say(f"killing a replica, round {number}")
            rounds.append(_take_over(bench, postgres.url(postgres.new_database()), number))
    finally:
        postgres.close()
    figure = Figure(
        name=f"take-over of the duties of a replica that was killed, lease {_LEASE_S:g} s",
        unit="s",
        better="lower",
        rounds=tuple(rounds),
        goal=bench.options.goal(_GOAL_S),
        note="two replicas on Postgres; from the kill until the other has them",
    )
    return [figure]


def _take_over(bench: Bench, url: str, number: int) -> float:
    folder = bench.folder / f"take-over-{number}"
    options = ("--database-url", url, "--log-level", "warning", "--duty-lease-seconds", str(_LEASE_S))
    with (
        running_control_plane("first", folder, *options) as first,
        running_control_plane("second", folder, *options) as second,
    ):
        holder = _holder(first)
        while holder is None:
            time.sleep(_LOOK_S)
            holder = _holder(first)
        name = _view(first).answered_by
        killed, other = (first, second) if holder == name else (second, first)
        killed.process.kill()
        started = time.perf_counter()
        while _holder(other) in {None, holder}:
            if time.perf_counter() - started > _PATIENCE_S:
                raise Unavailable("no replica has taken over")
            time.sleep(_LOOK_S)
        return time.perf_counter() - started


def _holder(server: Server) -> str | None:
    """The replica that has both duties."""
    holders = {duty.holder for duty in _view(server).duties if duty.name in _DUTIES}
    return holders.pop() if len(holders) == 1 else None


def _view(server: Server) -> ReplicasView:
    answer = httpx.get(f"{server.url}/replicas", timeout=30, trust_env=False).raise_for_status()
    return ReplicasView.model_validate(answer.json())
