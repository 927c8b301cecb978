"""What a node asks of the control plane."""

from __future__ import annotations

from typing import Self

import httpx

from replicator.client.endpoint import Deadlines, Endpoint
from replicator.wire.sessions import POLL_SECONDS_MAX, OpenSession, Poll, PollReply, SessionOpened


class SessionClient:
    """The control plane at a URL, as nodes speak to it; an async context manager.

    Errors are those of `Endpoint`; `Fenced` says that the session has ended: open another.
    """

    def __init__(self, base_url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._endpoint = Endpoint(
            base_url,
            what="the control plane",
            deadlines=Deadlines(answer_s=POLL_SECONDS_MAX + 10),
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        await self._endpoint.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._endpoint.__aexit__()

    async def open(self, message: OpenSession) -> SessionOpened:
        """Open a session; an earlier one of the same node ends."""
        return await self._endpoint.call("POST", "/sessions", answer=SessionOpened, message=message)

    async def poll(self, session_id: str, message: Poll) -> PollReply:
        """Renew the session, report, and hear what to do; waits as long as the message says."""
        return await self._endpoint.call(
            "POST", f"/sessions/{session_id}/poll", answer=PollReply, message=message
        )
