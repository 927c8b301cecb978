"""A control plane and several nodes, each of which others reach only through a gate: for faults of many kinds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef, decode_manifest, decode_page
from replicator.testing.gate import Gate
from replicator.testing.processes import ServerProcess, control_plane_process, free_port, node_process
from replicator.testing.waiting import wait_until
from replicator.wire import manifests
from replicator.wire.jobs import TERMINAL_STATUSES, JobObject, JobObjectPage, JobView
from replicator.wire.objects import ObjectInfo, ObjectPage

NODE_SETTINGS = {
    # What other nodes are told must pass the gate, so there is no second way.
    "REPLICATOR_NODE_SERVE": "http",
    "REPLICATOR_NODE_PEER_TIMEOUT_S": "2",
    "REPLICATOR_NODE_LINK_OPEN_S_MAX": "0.2",
}
_ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class Member:
    """A node, and the gate that others reach it by."""

    node: ServerProcess
    gate: Gate


class Mesh:
    """All run while the context lasts.

    Args:
        names: of the nodes.
        settings: of every node.
        control_plane_settings: of the control plane.
    """

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        *,
        settings: Mapping[str, str] | None = None,
        control_plane_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.control_plane = control_plane_process(folder, settings=control_plane_settings, port=free_port())
        self.members: dict[str, Member] = {}
        self._folder = folder
        self._names = names
        self._settings = NODE_SETTINGS | dict(settings or {})
        self._running = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def processes(self) -> list[ServerProcess]:
        """The control plane and every node."""
        return [self.control_plane, *(member.node for member in self.members.values())]

    def node(self, name: str) -> ServerProcess:
        """The process of a node."""
        return self.members[name].node

    def gate(self, name: str) -> Gate:
        """What others reach a node through."""
        return self.members[name].gate

    @property
    def passed_bytes(self) -> int:
        """What went from any node to another so far."""
        return sum(member.gate.passed_bytes for member in self.members.values())

    def put(self, node: str, object_id: str, data: bytes, *, bucket: str = "default") -> ObjectInfo:
        """Store an object at a node."""
        answer = self._client.put(self._object_url(node, object_id, bucket), content=data)
        return ObjectInfo.model_validate(answer.raise_for_status().json())

    def delete(self, node: str, object_id: str, *, bucket: str = "default") -> None:
        """Delete an object at a node."""
        self._client.delete(self._object_url(node, object_id, bucket)).raise_for_status()

    def read(self, node: str, object_id: str, *, bucket: str = "default") -> bytes | None:
        """The object at a node; None where it has none.

        Raises:
            httpx.HTTPStatusError: the node refuses, for another reason.
        """
        answer = self._client.get(self._object_url(node, object_id, bucket))
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        return answer.raise_for_status().content

    def listing(self, node: str, *, bucket: str = "default", prefix: str = "") -> dict[str, ObjectInfo]:
        """The latest versions at a node, by id."""
        found: dict[str, ObjectInfo] = {}
        asked = {"bucket": bucket, "prefix": prefix, "limit": "1000"}
        while True:
            answer = self._client.get(f"{self.node(node).url}/objects", params=asked).raise_for_status()
            page = ObjectPage.model_validate(answer.json())
            found |= {each.object_id: each for each in page.objects}
            if page.next_cursor is None:
                return found
            asked["cursor"] = page.next_cursor

    def refs(self, node: str, object_id: str) -> list[ChunkRef]:
        """The chunks of an object in the bucket `default`, in order."""
        url = self.node(node).url
        asked = f"{url}/manifests/{quote(object_id, safe='')}"
        answer = self._client.get(asked, headers={"Accept": manifests.MEDIA_TYPE}).raise_for_status()
        manifest = decode_manifest(answer.content)
        refs = list(manifest.entries)
        for index in range(manifest.page_count):
            page = self._client.get(f"{url}/pages/{manifest.digest}/{index}").content
            refs += decode_page(page, manifest, index)
        return refs

    def has_chunk(self, node: str, digest: Digest) -> bool:
        """Whether a node has the chunk."""
        return self._client.head(f"{self.node(node).url}/chunks/{digest}").is_success

    def lacking_bytes(self, node: str, chunks: Iterable[bytes]) -> int:
        """Of chunks of the content given, those that a node does not have, each once; in bytes."""
        return sum(len(chunk) for chunk in set(chunks) if not self.has_chunk(node, Digest.of(chunk)))

    def version_bucket(self, node: str, bucket: str) -> None:
        """Make a bucket at a node that keeps versions."""
        url = f"{self.node(node).url}/buckets/{bucket}"
        self._client.put(url, json={"versioning": "on"}).raise_for_status()

    def forget_garbage(self, node: str) -> None:
        """Let a node collect what no version refers to, without grace, and give its space back."""
        self._client.post(f"{self.node(node).url}/store/gc", json={"grace_s": 0}).raise_for_status()
        self._client.post(f"{self.node(node).url}/store/compact").raise_for_status()

    def submit(self, kind: str, source: str, destination: str, **asked: Any) -> int:
        """Submit a job of a kind; returns its id."""
        message = {"src_node": source, "dst_node": destination, **asked}
        answer = self._client.post(f"{self.control_plane.url}/jobs/{kind}", json=message).raise_for_status()
        return JobView.model_validate(answer.json()).id

    def order(self, job_id: int, order: str) -> httpx.Response:
        """Pause, resume, cancel or retry a job; whether that is refused is for the caller to judge."""
        return self._client.post(f"{self.control_plane.url}/jobs/{job_id}/{order}")

    def limit_link(self, source: str, destination: str, bytes_per_s: int | None) -> None:
        """Limit what a link carries; None takes the limit away."""
        url = f"{self.control_plane.url}/links/{source}/{destination}"
        if bytes_per_s is None:
            self._client.delete(url)
        else:
            self._client.put(url, json={"bytes_per_second": bytes_per_s}).raise_for_status()

    def job(self, job_id: int) -> JobView:
        """The job as the control plane shows it."""
        answer = self._client.get(f"{self.control_plane.url}/jobs/{job_id}").raise_for_status()
        return JobView.model_validate(answer.json())

    def ended(self, job_id: int) -> JobView:
        """The job once it has ended."""

        def look() -> JobView | None:
            job = self.job(job_id)
            return job if job.status in TERMINAL_STATUSES else None

        return wait_until(look, f"job {job_id} ends")

    def held_or_ended(self, node: str, job_id: int) -> None:
        """Wait until the gate of a node lets nothing more pass, or the job has ended before."""
        wait_until(
            lambda: self.gate(node).is_held or self.job(job_id).status in TERMINAL_STATUSES,
            f"the gate of {node} holds",
        )

    def objects(self, job_id: int) -> list[JobObject]:
        """All objects of a job."""
        found: list[JobObject] = []
        asked: dict[str, str] = {"limit": "1000"}
        while True:
            url = f"{self.control_plane.url}/jobs/{job_id}/objects"
            answer = self._client.get(url, params=asked).raise_for_status()
            page = JobObjectPage.model_validate(answer.json())
            found += page.objects
            if page.next_cursor is None:
                return found
            asked["cursor"] = page.next_cursor

    def events(self, job_id: int, name: str) -> list[dict[str, Any]]:
        """What is told of the events called `name` of a job that has ended, in order."""
        url = f"{self.control_plane.url}/jobs/{job_id}/events"
        with self._client.stream("GET", url) as answer:
            lines = [line for line in answer.raise_for_status().iter_lines() if line.startswith("data: ")]
        told = [json.loads(line.removeprefix("data: ")) for line in lines]
        return [each["fields"] for each in told if each.get("name") == name]

    def wait_connected(self) -> None:
        """Wait until every node has a session."""

        def look() -> bool:
            nodes = self._client.get(f"{self.control_plane.url}/nodes").json()["nodes"]
            connected = {node["name"] for node in nodes if node["status"] == "connected"}
            return connected >= set(self._names)

        wait_until(look, "every node has a session")

    def mend(self) -> None:
        """Have everything run, and every gate open."""
        for member in self.members.values():
            member.gate.open_wide()
        for process in self.processes:
            if process.is_running:
                process.resume()
            else:
                process.start()
        self.wait_connected()

    def require_calm(self) -> None:
        """Assert that no process complained of anything unexpected in its present life."""
        for process in self.processes:
            assert not process.stray_output(), process.log_tail()
            broke = process.events("task.broke") + process.events("pull.stream_broke")
            assert not broke, broke

    def _start(self) -> None:
        start = self._running.enter_context
        start(self.control_plane)
        for name in self._names:
            self.members[name] = self._make(name)
            start(self.members[name].gate)
            self._running.callback(self.members[name].node.close)
        with ThreadPoolExecutor(len(self._names)) as threads:
            list(threads.map(lambda member: member.node.start(), self.members.values()))
        self._client = start(httpx.Client(trust_env=False, timeout=_ANSWER_S))
        self.wait_connected()

    def _make(self, name: str) -> Member:
        gate = Gate()
        gate.upstream_port = free_port()
        node = node_process(
            name,
            self._folder,
            control_plane=self.control_plane.url,
            base_url=gate.url,
            port=gate.upstream_port,
            settings=self._settings,
        )
        return Member(node, gate)

    def _object_url(self, node: str, object_id: str, bucket: str) -> str:
        return f"{self.node(node).url}/objects/{quote(object_id, safe='')}?bucket={bucket}"
