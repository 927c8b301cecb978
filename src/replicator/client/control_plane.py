"""What a user asks of the control plane."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Self
from urllib.parse import quote

import httpx
from pydantic import HttpUrl

from replicator.client.endpoint import Deadlines, Endpoint, Params
from replicator.client.job_events import PATIENCE_SECONDS, Told, job_events
from replicator.wire.explain import Explanation
from replicator.wire.jobs import (
    ChangeJob,
    DeadLetterPage,
    JobKind,
    JobObjectPage,
    JobPage,
    JobStatus,
    JobView,
    MigrateRequest,
    MirrorRequest,
    Outcome,
    VerifyRequest,
)
from replicator.wire.nodes import (
    ChangeNode,
    LinkLimit,
    LinkPage,
    LinkView,
    NodeLimits,
    NodePage,
    NodeStatus,
    NodeView,
    RegisterNode,
)
from replicator.wire.replicas import ReplicasView
from replicator.wire.tasks import TaskDetail, TaskPage, TaskStatus

CSV_BLOCK_BYTES = 64 * 1024
RETRIES_S = (0.2, 0.5, 1.0)


class ControlPlaneClient:
    """The control plane at a URL; an async context manager. Errors are those of `Endpoint`."""

    def __init__(
        self,
        base_url: str,
        *,
        deadlines: Deadlines | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._endpoint = Endpoint(
            base_url,
            what="the control plane",
            deadlines=deadlines or Deadlines(retries_s=RETRIES_S),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoint.__aexit__()

    async def register_node(
        self,
        *,
        name: str,
        base_url: str,
        labels: Mapping[str, str] | None = None,
        zone: str | None = None,
    ) -> NodeView:
        """Add the node, or update the one of that name; labels and a zone that are None stay as they are."""
        told = None if labels is None else dict(labels)
        message = RegisterNode(name=name, base_url=HttpUrl(base_url), labels=told, zone=zone)
        return await self._endpoint.call("POST", "/nodes/register", answer=NodeView, message=message)

    async def replicas(self) -> ReplicasView:
        """The replicas, and which of them does what."""
        return await self._endpoint.call("GET", "/replicas", answer=ReplicasView)

    async def node(self, name: str) -> NodeView:
        """The node called `name`, or `NotFound`."""
        return await self._endpoint.call("GET", _node_path(name), answer=NodeView)

    async def nodes(
        self,
        *,
        cursor: str | None = None,
        limit: int,
        zone: str | None = None,
        labels: Sequence[str] = (),
        status: NodeStatus | None = None,
    ) -> NodePage:
        """At most `limit` nodes, by name: those in `zone`, with all `labels` (`key=value`), of that status.

        A page may hold fewer than there are left, or none; only `next_cursor` tells.
        """
        wanted: dict[str, str | list[str] | None] = {"zone": zone, "label": list(labels), "status": status}
        params: Params = {
            **_page(cursor, limit),
            **{name: value for name, value in wanted.items() if value},
        }
        return await self._endpoint.call("GET", "/nodes", answer=NodePage, params=params)

    async def change_node(self, name: str, change: ChangeNode) -> NodeView:
        """Change what `change` sets: labels, zone, maintenance."""
        return await self._endpoint.call("PATCH", _node_path(name), answer=NodeView, message=change)

    async def explain_node(self, name: str) -> Explanation:
        """Why the node gets work, or none."""
        return await self._endpoint.call("GET", f"{_node_path(name)}/explain", answer=Explanation)

    async def remove_node(self, name: str) -> None:
        """Forget a node. What it stores stays on it. `Conflict` while live jobs use it."""
        await self._endpoint.command("DELETE", _node_path(name))

    async def migrate(self, request: MigrateRequest, *, idempotency_key: str | None = None) -> JobView:
        """Create a job, or find the one that the same key and request created before."""
        return await self._submit("migrate", request, idempotency_key)

    async def mirror(self, request: MirrorRequest, *, idempotency_key: str | None = None) -> JobView:
        """Create a job, or find the one that the same key and request created before."""
        return await self._submit("mirror", request, idempotency_key)

    async def verify(self, request: VerifyRequest, *, idempotency_key: str | None = None) -> JobView:
        """Create a job, or find the one that the same key and request created before."""
        return await self._submit("verify", request, idempotency_key)

    async def job(self, job_id: int) -> JobView:
        """The job, or `NotFound`."""
        return await self._endpoint.call("GET", f"/jobs/{job_id}", answer=JobView)

    async def jobs(
        self, *, cursor: str | None = None, limit: int, status: JobStatus | None = None
    ) -> JobPage:
        """At most `limit` jobs, newest first."""
        params = _page(cursor, limit) | ({} if status is None else {"status": status})
        return await self._endpoint.call("GET", "/jobs", answer=JobPage, params=params)

    async def explain_job(self, job_id: int) -> Explanation:
        """Why the job is in its state, and what would change it."""
        return await self._endpoint.call("GET", f"/jobs/{job_id}/explain", answer=Explanation)

    async def tasks(
        self, job_id: int, *, cursor: str | None = None, limit: int, status: TaskStatus | None = None
    ) -> TaskPage:
        """At most `limit` tasks of the job, in the order they were made."""
        params = _page(cursor, limit) | ({} if status is None else {"status": status})
        return await self._endpoint.call("GET", f"/jobs/{job_id}/tasks", answer=TaskPage, params=params)

    async def task(self, task_id: int) -> TaskDetail:
        """The task with its latest attempts, or `NotFound`."""
        return await self._endpoint.call("GET", f"/tasks/{task_id}", answer=TaskDetail)

    async def explain_task(self, task_id: int) -> Explanation:
        """Why the task is in its state, and what would change it."""
        return await self._endpoint.call("GET", f"/tasks/{task_id}/explain", answer=Explanation)

    async def dead_letters(self, *, cursor: str | None = None, limit: int) -> DeadLetterPage:
        """At most `limit` tasks that have failed for good, newest first."""
        params = _page(cursor, limit)
        return await self._endpoint.call("GET", "/dead-letters", answer=DeadLetterPage, params=params)

    async def cancel_job(self, job_id: int) -> JobView:
        """Ask a live job to stop; it is `cancelled` once its node has."""
        return await self._endpoint.call("POST", f"/jobs/{job_id}/cancel", answer=JobView)

    async def pause_job(self, job_id: int) -> JobView:
        """Begin no more of a live job until it is resumed."""
        return await self._endpoint.call("POST", f"/jobs/{job_id}/pause", answer=JobView)

    async def resume_job(self, job_id: int) -> JobView:
        """Let a paused job go on."""
        return await self._endpoint.call("POST", f"/jobs/{job_id}/resume", answer=JobView)

    async def retry_job(self, job_id: int) -> JobView:
        """Try again what failed of a job that has ended, and nothing else."""
        return await self._endpoint.call("POST", f"/jobs/{job_id}/retry", answer=JobView)

    async def change_job(self, job_id: int, change: ChangeJob) -> JobView:
        """Change what `change` sets: a limit that it sets to None is taken away."""
        return await self._endpoint.call("PATCH", f"/jobs/{job_id}", answer=JobView, message=change)

    async def job_objects(
        self, job_id: int, *, cursor: str | None = None, limit: int, outcome: Outcome | None = None
    ) -> JobObjectPage:
        """At most `limit` objects of the job, in the order they were found."""
        params = _page(cursor, limit) | _outcome(outcome)
        return await self._endpoint.call(
            "GET", f"/jobs/{job_id}/objects", answer=JobObjectPage, params=params
        )

    async def job_objects_csv(
        self, job_id: int, *, outcome: Outcome | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Every object of the job as CSV with a line of titles, in blocks."""
        params = {"format": "csv"} | _outcome(outcome)
        async with self._endpoint.download(f"/jobs/{job_id}/objects", params=params) as response:
            async for block in self._endpoint.blocks(response, block_bytes=CSV_BLOCK_BYTES):
                yield block

    def job_events(
        self, job_id: int, *, after: int = 0, patience_s: float = PATIENCE_SECONDS
    ) -> AsyncGenerator[Told, None]:
        """What has happened to the job behind event `after` and what happens, until it has ended.

        Also the job itself, where it has changed. A lost connection is made anew where it was lost; after
        `patience_s` seconds without one the error travels.
        """
        return job_events(self._endpoint, job_id, after=after, patience_s=patience_s)

    async def node_limits(self, name: str) -> NodeLimits:
        """What the node is held to."""
        return await self._endpoint.call("GET", f"{_node_path(name)}/limits", answer=NodeLimits)

    async def limit_node(self, name: str, limits: NodeLimits) -> NodeLimits:
        """Replace what the node is held to."""
        return await self._endpoint.call(
            "PUT", f"{_node_path(name)}/limits", answer=NodeLimits, message=limits
        )

    async def unlimit_node(self, name: str) -> None:
        """Take the node's limits away."""
        await self._endpoint.command("DELETE", f"{_node_path(name)}/limits")

    async def links(self, *, cursor: str | None = None, limit: int) -> LinkPage:
        """At most `limit` links that are limited, by source and destination."""
        return await self._endpoint.call("GET", "/links", answer=LinkPage, params=_page(cursor, limit))

    async def link(self, source: str, destination: str) -> LinkView:
        """The limit of a link, or `NotFound`."""
        return await self._endpoint.call("GET", _link_path(source, destination), answer=LinkView)

    async def limit_link(self, source: str, destination: str, limit: LinkLimit) -> LinkView:
        """Replace the limit of a link."""
        return await self._endpoint.call(
            "PUT", _link_path(source, destination), answer=LinkView, message=limit
        )

    async def unlimit_link(self, source: str, destination: str) -> None:
        """Take the limit of a link away; `NotFound` where there is none."""
        await self._endpoint.command("DELETE", _link_path(source, destination))

    async def _submit(
        self,
        kind: JobKind,
        request: MigrateRequest | MirrorRequest | VerifyRequest,
        idempotency_key: str | None,
    ) -> JobView:
        # With a key it may be sent again after its answer was lost, for one with the replica that had it.
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        return await self._endpoint.call(
            "POST", f"/jobs/{kind}", answer=JobView, headers=headers, message=request
        )


def _node_path(name: str) -> str:
    return f"/nodes/{quote(name, safe='')}"


def _link_path(source: str, destination: str) -> str:
    return f"/links/{quote(source, safe='')}/{quote(destination, safe='')}"


def _outcome(outcome: Outcome | None) -> dict[str, str | int]:
    return {} if outcome is None else {"outcome": outcome}


def _page(cursor: str | None, limit: int) -> dict[str, str | int]:
    return {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
