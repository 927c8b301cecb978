"""What a user asks of the control plane."""

from __future__ import annotations

from typing import Self
from urllib.parse import quote

import httpx
from pydantic import HttpUrl

from replicator.client.endpoint import Deadlines, Endpoint
from replicator.wire.jobs import JobPage, JobStatus, JobView, MigrateRequest
from replicator.wire.nodes import NodePage, NodeView, RegisterNode


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
            base_url, what="the control plane", deadlines=deadlines, transport=transport
        )

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoint.__aexit__()

    async def register_node(self, *, name: str, base_url: str) -> NodeView:
        """Add the node, or update the one of that name."""
        message = RegisterNode(name=name, base_url=HttpUrl(base_url))
        return await self._endpoint.call("POST", "/nodes/register", answer=NodeView, message=message)

    async def node(self, name: str) -> NodeView:
        """The node called `name`, or `NotFound`."""
        return await self._endpoint.call("GET", _node_path(name), answer=NodeView)

    async def nodes(self, *, cursor: str | None = None, limit: int) -> NodePage:
        """At most `limit` nodes, by name."""
        return await self._endpoint.call("GET", "/nodes", answer=NodePage, params=_page(cursor, limit))

    async def remove_node(self, name: str) -> None:
        """Forget a node. What it stores stays on it. `Conflict` while live jobs use it."""
        await self._endpoint.command("DELETE", _node_path(name))

    async def migrate(self, request: MigrateRequest, *, idempotency_key: str | None = None) -> JobView:
        """Create a job, or find the one that the same key and request created before."""
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        return await self._endpoint.call(
            "POST", "/jobs/migrate", answer=JobView, headers=headers, message=request
        )

    async def job(self, job_id: int) -> JobView:
        """The job, or `NotFound`."""
        return await self._endpoint.call("GET", f"/jobs/{job_id}", answer=JobView)

    async def jobs(
        self, *, cursor: str | None = None, limit: int, status: JobStatus | None = None
    ) -> JobPage:
        """At most `limit` jobs, newest first."""
        params = _page(cursor, limit) | ({} if status is None else {"status": status})
        return await self._endpoint.call("GET", "/jobs", answer=JobPage, params=params)

    async def cancel_job(self, job_id: int) -> JobView:
        """Ask a live job to stop; it is `cancelled` once its node has."""
        return await self._endpoint.call("POST", f"/jobs/{job_id}/cancel", answer=JobView)


def _node_path(name: str) -> str:
    return f"/nodes/{quote(name, safe='')}"


def _page(cursor: str | None, limit: int) -> dict[str, str | int]:
    return {"limit": limit} | ({} if cursor is None else {"cursor": cursor})
