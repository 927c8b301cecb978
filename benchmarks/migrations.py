"""Jobs asked of the control plane of a cluster, and how long they took."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Self

import httpx

from benchmarks.cluster import Cluster
from replicator.kernel.errors import ReplicatorError, Unavailable
from replicator.wire.jobs import TERMINAL_STATUSES, JobView
from replicator.wire.sessions import Transfer

_DEADLINE_SECONDS = 900.0
_POLL_SECONDS_MIN, _POLL_SECONDS_MAX = 0.002, 0.05
_POLL_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Migration:
    """One job from its request to its end.

    Attributes:
        wall_seconds: from the request to the first poll that shows success.
        job_seconds: from the moment it was created to its end, as the control plane says.
        link_bytes: between sources and destination meanwhile, counted outside; None where nobody counts.
    """

    wall_seconds: float
    job_seconds: float
    link_bytes: int | None
    job: JobView

    @property
    def transfer(self) -> Transfer:
        """What the job says it did."""
        return self.job.progress

    @property
    def wire_bytes(self) -> int:
        """Bytes on the wire, as counted outside where somebody counts, else as the job says."""
        return self.transfer.bytes_wire if self.link_bytes is None else self.link_bytes


class Migrator:
    """Asks for what is to go from the first node of a cluster to its last. A context manager."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._client = httpx.Client(base_url=cluster.control_plane.url, timeout=30.0, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def migrate(self, object_id: str) -> Migration:
        """Bring one object; raises `ReplicatorError` where the job ends otherwise than with success."""
        return self.run("migrate", object_id=object_id)

    def run(self, kind: str, **selection: Any) -> Migration:
        """A job of any kind; `selection` is what its request says besides the nodes. Raises as `migrate`."""
        link_bytes = self._cluster.places.link_bytes
        nodes = self._cluster.nodes
        request = {"src_node": nodes[0].name, "dst_node": nodes[-1].name, **selection}
        passed_before = link_bytes() if link_bytes else 0
        started = time.perf_counter()
        answer = self._client.post(f"/jobs/{kind}", json=request).raise_for_status()
        job = self._ended(JobView.model_validate_json(answer.content), started)
        wall = time.perf_counter() - started
        passed = link_bytes() - passed_before if link_bytes else None
        if job.status != "succeeded":
            raise ReplicatorError(f"job {job.id} ended as {job.status}: {job.error}")
        return Migration(wall, _job_seconds(job), passed, job)

    def round_trip_seconds(self) -> float:
        """The least that a request to the control plane takes: the quickest of a few `GET /health`."""
        taken = []
        for _ in range(20):
            started = time.perf_counter()
            self._client.get("/health").raise_for_status()
            taken.append(time.perf_counter() - started)
        return min(taken)

    def _ended(self, job: JobView, started: float) -> JobView:
        while job.status not in TERMINAL_STATUSES:
            elapsed = time.perf_counter() - started
            if elapsed > _DEADLINE_SECONDS:
                raise Unavailable(f"job {job.id} is still {job.status} after {_DEADLINE_SECONDS:g} s")
            # Fine for short jobs; long ones are not slowed by being watched.
            time.sleep(min(_POLL_SECONDS_MAX, max(_POLL_SECONDS_MIN, _POLL_SHARE * elapsed)))
            answer = self._client.get(f"/jobs/{job.id}").raise_for_status()
            job = JobView.model_validate_json(answer.content)
        return job


def _job_seconds(job: JobView) -> float:
    return ((job.finished_at or job.updated_at) - job.created_at).total_seconds()
