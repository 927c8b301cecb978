"""Telling a node over HTTP which control plane to join."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import httpx
from pydantic import HttpUrl, ValidationError

from replicator.kernel.errors import BrokenPeer, Conflict, PeerUnreachable
from replicator.kernel.names import NodeName
from replicator.runtime.resolve import resolve
from replicator.wire.problem import Problem
from replicator.wire.sessions import JoinReply, JoinRequest

_ANSWER_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpJoiner:
    """`Joiner` by `POST {base_url}/control/join`. `deadline_s` covers name resolution, too."""

    advertise_url: str
    deadline_s: float = 3.0

    async def ask(self, *, node: NodeName, base_url: str) -> None:
        """See `ports.Joiner`."""
        request = JoinRequest(node=node, control_plane_url=HttpUrl(self.advertise_url))
        try:
            async with asyncio.timeout(self.deadline_s):
                status, answer = await self._post(httpx.URL(base_url), request)
        except TimeoutError as error:
            raise PeerUnreachable(f"{base_url} did not answer within {self.deadline_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PeerUnreachable(f"{base_url} cannot be reached: {error or type(error).__name__}") from error
        _check(node, base_url, status, answer)

    async def _post(self, base_url: httpx.URL, request: JoinRequest) -> tuple[int, bytes]:
        port = base_url.port or (443 if base_url.scheme == "https" else 80)
        addresses = await asyncio.to_thread(resolve, base_url.host, port, timeout_s=self.deadline_s)
        async with httpx.AsyncClient(timeout=self.deadline_s, trust_env=False) as client:
            for host, _ in addresses[:-1]:
                try:
                    return await _post_to(client, host, base_url, request)
                except httpx.ConnectError:
                    continue
            return await _post_to(client, addresses[-1][0], base_url, request)


async def _post_to(
    client: httpx.AsyncClient, host: str, base_url: httpx.URL, request: JoinRequest
) -> tuple[int, bytes]:
    """The status and body of the answer from `host`, an address that `base_url` names."""
    url = base_url.copy_with(host=host, path=base_url.path.rstrip("/") + "/control/join")
    asked = client.stream(
        "POST",
        url,
        content=request.model_dump_json(),
        headers={"Host": base_url.netloc.decode("ascii"), "Content-Type": "application/json"},
        extensions={"sni_hostname": base_url.host},
    )
    async with asked as response:
        body = bytearray()
        async for block in response.aiter_bytes():
            body += block
            if len(body) > _ANSWER_BYTES_MAX:
                raise BrokenPeer(f"{base_url} answers more than a node would")
        return response.status_code, bytes(body)


def _check(node: NodeName, base_url: str, status: int, answer: bytes) -> None:
    if status >= httpx.codes.BAD_REQUEST:
        raise _refusal(base_url, status, answer)
    try:
        reply = JoinReply.model_validate_json(answer)
    except ValidationError as error:
        raise BrokenPeer(f"what answers at {base_url} (status {status}) is no node") from error
    if reply.node != node:
        raise Conflict(f"the node at {base_url} is called '{reply.node}', not '{node}'", node=reply.node)


def _refusal(base_url: str, status: int, answer: bytes) -> Conflict | BrokenPeer:
    try:
        problem = Problem.model_validate_json(answer)
    except ValidationError:
        return BrokenPeer(f"what answers at {base_url} (status {status}) is no node")
    detail = problem.detail[:500]
    if status == httpx.codes.CONFLICT:
        name = (problem.model_extra or {}).get("node")
        return Conflict(f"the node at {base_url} refuses: {detail}", node=name)
    return BrokenPeer(f"the node at {base_url} answers with status {status}: {detail}")
