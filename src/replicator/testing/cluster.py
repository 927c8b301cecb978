"""A control plane, a source behind a gate and a destination: real processes for faults in mid-pull."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import httpx

from replicator.data_plane.replication.shares import REQUEST_BYTES_MIN
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef, decode_manifest, decode_page
from replicator.testing.gate import Gate
from replicator.testing.processes import control_plane_process, free_port, node_process
from replicator.testing.waiting import wait_until
from replicator.wire import manifests
from replicator.wire.frames import FRAME_BYTES
from replicator.wire.jobs import TERMINAL_STATUSES, JobView

SOURCE, DESTINATION = "source", "destination"
_HEAD_BYTES_MAX = 1024


class PullCluster:
    """All three run while the context lasts. The destination reaches the source only through `gate`."""

    def __init__(self, folder: Path) -> None:
        self.gate = Gate()
        self.control_plane = control_plane_process(folder)
        self._folder = folder
        self._running = ExitStack()

    def __enter__(self) -> Self:
        start = self._running.enter_context
        start(self.gate)
        start(self.control_plane)
        url = self.control_plane.url
        port = self.gate.upstream_port = free_port()
        self.source = start(
            node_process(SOURCE, self._folder, control_plane=url, base_url=self.gate.url, port=port)
        )
        self.destination = start(node_process(DESTINATION, self._folder, control_plane=url))
        self._client = start(httpx.Client(trust_env=False, timeout=30))
        wait_until(self._all_connected, "both nodes have sessions")
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def put(self, object_id: str, data: bytes) -> list[ChunkRef]:
        """Store an object at the source; returns its chunks."""
        self._client.put(f"{self.source.url}/objects/{object_id}", content=data).raise_for_status()
        answer = self._client.get(
            f"{self.source.url}/manifests/{object_id}", headers={"Accept": manifests.MEDIA_TYPE}
        )
        manifest = decode_manifest(answer.content)
        refs = list(manifest.entries)
        for index in range(manifest.page_count):
            page = self._client.get(f"{self.source.url}/pages/{manifest.digest}/{index}").content
            refs += decode_page(page, manifest, index)
        return refs

    def migrate(self, object_id: str) -> int:
        """Submit the job that brings an object to the destination; returns its id."""
        wanted = {"src_node": SOURCE, "dst_node": DESTINATION, "object_id": object_id}
        answer = self._client.post(f"{self.control_plane.url}/jobs/migrate", json=wanted).raise_for_status()
        return JobView.model_validate(answer.json()).id

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

    def read(self, object_id: str) -> bytes | None:
        """The object at the destination."""
        answer = self._client.get(f"{self.destination.url}/objects/{object_id}")
        return answer.content if answer.status_code == httpx.codes.OK else None

    def missing(self, refs: Sequence[ChunkRef]) -> list[ChunkRef]:
        """The chunks that the destination does not have, each once."""
        return [ref for ref in dict.fromkeys(refs) if not self._has(ref.digest)]

    def stored_bytes(self) -> int:
        """Length of all segments of the destination."""
        folder = self.destination.data_dir / "segments"
        return sum(file.stat().st_size for file in folder.iterdir()) if folder.exists() else 0

    def _has(self, digest: Digest) -> bool:
        return self._client.head(f"{self.destination.url}/chunks/{digest}").status_code == httpx.codes.OK

    def _all_connected(self) -> bool:
        nodes = self._client.get(f"{self.control_plane.url}/nodes").json()["nodes"]
        return sorted(node["name"] for node in nodes if node["status"] == "connected") == [
            DESTINATION,
            SOURCE,
        ]


def wire_bytes_max(refs: Sequence[ChunkRef], *, wanted: Sequence[ChunkRef], attempts: int) -> int:
    """The most that may pass to bring `wanted` of an object of the chunks `refs`, in bytes.

    Each chunk once in its frame, and for each attempt the manifest and the heads of the responses, of which
    there are more where less is asked for at a time.
    """
    frames = sum(FRAME_BYTES + ref.length for ref in wanted)
    asked_bytes = sum(ref.length for ref in wanted)
    requests = 16 + asked_bytes // REQUEST_BYTES_MIN
    manifest = 4096 + 40 * len(refs)
    return frames + attempts * (manifest + requests * _HEAD_BYTES_MAX)


def require_adds_up(job: JobView, size: int, *, passed_bytes: int | None = None) -> None:
    """Hold a job that brought one object of `size` bytes against what it says, and what passed the gate."""
    progress = job.progress
    assert job.status == "succeeded", job
    assert progress.objects_planned == 1 == progress.objects_verified + progress.objects_skipped
    assert progress.bytes_transferred + progress.bytes_deduplicated == progress.bytes_logical == size
    if passed_bytes is not None:
        assert progress.bytes_wire == passed_bytes
