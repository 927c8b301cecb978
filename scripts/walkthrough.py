"""The requests of the walkthrough, each printed as the curl command that does the same."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
from local_cluster import ClusterError

ANSWER_SECONDS_MAX = 30.0
JOIN_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.1


def registration(control_plane_url: str, name: str, base_url: str) -> tuple[str, str]:
    """(URL, JSON) of the request that registers a node."""
    return f"{control_plane_url}/nodes/register", _json({"name": name, "base_url": base_url})


def migration(control_plane_url: str, object_id: str, *, dry_run: bool = False) -> tuple[str, str]:
    """(URL, JSON) of the request that migrates from node1 to node2, or only says what that would do."""
    wanted: dict[str, Any] = {"src_node": "node1", "dst_node": "node2", "object_id": object_id}
    if dry_run:
        wanted["dry_run"] = True
    return f"{control_plane_url}/jobs/migrate", _json(wanted)


def as_curl(url: str, body: str) -> str:
    """The request as a command."""
    return f"curl -X POST {url} -H \"Content-Type: application/json\" -d '{body}'"


def post(url: str, body: str) -> dict[str, Any]:
    """Print the request as a command, send it, and return what came back."""
    print(f"  $ {as_curl(url, body)}")
    answer = httpx.post(
        url,
        content=body,
        headers={"Content-Type": "application/json"},
        timeout=ANSWER_SECONDS_MAX,
        trust_env=False,
    )
    return _checked(answer)


def register_all(control_plane_url: str, node_urls: dict[str, str]) -> None:
    """Register every node and wait until each has joined."""
    for name, base_url in node_urls.items():
        post(*registration(control_plane_url, name, base_url))
    deadline = time.monotonic() + JOIN_SECONDS_MAX
    for name in node_urls:
        while (node := _get(f"{control_plane_url}/nodes/{name}"))["status"] != "connected":
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{name} did not join within {JOIN_SECONDS_MAX:g} s: {node['problem'] or 'no reason given'}"
                )
            time.sleep(_POLL_SECONDS)


def _get(url: str) -> dict[str, Any]:
    return _checked(httpx.get(url, timeout=ANSWER_SECONDS_MAX, trust_env=False))


def _checked(answer: httpx.Response) -> dict[str, Any]:
    if not answer.is_success:
        raise ClusterError(
            f"{answer.request.method} {answer.url} answered {answer.status_code}: {answer.text}"
        )
    return dict(answer.json())


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
