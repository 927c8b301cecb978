"""Migrations asked of the control plane, and how long they took."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from benchmarks.cluster import Cluster
from benchmarks.load import Request, run_load
from replicator.kernel.errors import ReplicatorError, Unavailable
from replicator.wire.jobs import TERMINAL_STATUSES, JobPage, JobView, MigrateRequest
from replicator.wire.sessions import Transfer

_DEADLINE_SECONDS = 600.0
_POLL_SECONDS_MIN, _POLL_SECONDS_MAX = 0.01, 0.05
_POLL_SHARE = 0.05
_MANY_POLL_SECONDS = 0.2
_SUBMIT_CONNECTIONS = 8
_PAGE_JOBS = 100


@dataclass(frozen=True, slots=True)
class Migration:
    """One job from its request to its end."""

    wall_seconds: float
    job_seconds: float
    transfer: Transfer


class Migrator:
    """Asks the control plane of a cluster to copy objects from its first node to its second."""

    def __init__(self, cluster: Cluster) -> None:
        self._source, self._destination = (node.name for node in cluster.nodes)
        self._port = cluster.control_plane.port
        self._client = httpx.Client(base_url=cluster.control_plane.url, timeout=30.0)

    def migrate(self, object_id: str) -> Migration:
        """Wall time runs from the request to the first poll that shows success.

        Raises:
            ReplicatorError: the job ended otherwise.
        """
        started = time.perf_counter()
        answer = self._client.post("/jobs/migrate", json=self._request(object_id)).raise_for_status()
        job = JobView.model_validate_json(answer.content)
        while job.status not in TERMINAL_STATUSES:
            if time.perf_counter() - started > _DEADLINE_SECONDS:
                raise Unavailable(f"job {job.id} is still {job.status} after {_DEADLINE_SECONDS:g} s")
            time.sleep(_poll_seconds(time.perf_counter() - started))
            answer = self._client.get(f"/jobs/{job.id}").raise_for_status()
            job = JobView.model_validate_json(answer.content)
        wall = time.perf_counter() - started
        _require_success(job)
        return Migration(wall, _job_seconds([job]), job.progress)

    def migrate_each(self, object_ids: list[str]) -> Migration:
        """One job for each id, submitted over a few connections; times are those of all of them together."""
        started = time.perf_counter()
        run_load(self._port, (self._submission(each) for each in object_ids), connections=_SUBMIT_CONNECTIONS)
        jobs = self._await_newest(len(object_ids), deadline=started + _DEADLINE_SECONDS)
        wall = time.perf_counter() - started
        for job in jobs:
            _require_success(job)
        return Migration(wall, _job_seconds(jobs), _sum(jobs))

    def round_trip_seconds(self) -> float:
        """The least that a request to the control plane takes: the quickest of a few `GET /health`."""
        taken = []
        for _ in range(20):
            started = time.perf_counter()
            self._client.get("/health").raise_for_status()
            taken.append(time.perf_counter() - started)
        return min(taken)

    def _await_newest(self, count: int, *, deadline: float) -> list[JobView]:
        while True:
            jobs = []
            for job in self._newest(count):
                jobs.append(job)
                if job.status not in TERMINAL_STATUSES:
                    break
            else:
                return jobs
            if time.perf_counter() > deadline:
                raise Unavailable(f"job {jobs[-1].id} is still {jobs[-1].status}")
            time.sleep(_MANY_POLL_SECONDS)

    def _newest(self, count: int) -> Iterator[JobView]:
        cursor: dict[str, str] = {}
        while count > 0:
            limit = min(count, _PAGE_JOBS)
            answer = self._client.get("/jobs", params={"limit": str(limit), **cursor}).raise_for_status()
            page = JobPage.model_validate_json(answer.content)
            yield from page.jobs
            count -= len(page.jobs)
            if count > 0 and not page.next_cursor:
                raise Unavailable(f"the control plane lists {count} jobs less than were accepted")
            cursor = {"cursor": page.next_cursor or ""}

    def _request(self, object_id: str) -> dict[str, str]:
        wanted = MigrateRequest(src_node=self._source, dst_node=self._destination, object_id=object_id)
        return wanted.model_dump()

    def _submission(self, object_id: str) -> Request:
        body = json.dumps(self._request(object_id)).encode()
        return Request("POST", "/jobs/migrate", body, "application/json")


def _poll_seconds(elapsed_seconds: float) -> float:
    """A twentieth of what has passed: fine for short jobs, and long ones are not slowed by being watched."""
    return min(_POLL_SECONDS_MAX, max(_POLL_SECONDS_MIN, _POLL_SHARE * elapsed_seconds))


def _require_success(job: JobView) -> None:
    if job.status != "succeeded":
        raise ReplicatorError(f"job {job.id} ended as {job.status}: {job.error}")


def _job_seconds(jobs: list[JobView]) -> float:
    begun = min(job.created_at for job in jobs)
    ended = max(job.finished_at or job.updated_at for job in jobs)
    return (ended - begun).total_seconds()


def _sum(jobs: list[JobView]) -> Transfer:
    totals: dict[str, int] = {}
    for job in jobs:
        for field in Transfer.model_fields:
            totals[field] = totals.get(field, 0) + getattr(job.progress, field)
    return Transfer(**totals)
