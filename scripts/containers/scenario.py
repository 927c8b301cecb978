"""What is asked of the containers, in the order a user would."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers import http_api
from containers.cluster import SERVICES, Cluster, bytes_below
from containers.command import run, wait_until
from containers.outcome import Hopeless, StepFailed, expect
from containers.steps import say, step

CONTROL_PLANE = "http://localhost:8000"
NODE1, NODE2 = "http://localhost:9001", "http://localhost:9002"

# The requests of the walkthrough, letter by letter.
REGISTER_NODE1 = (
    'curl -X POST http://localhost:8000/nodes/register -H "Content-Type: application/json" '
    """-d '{"name":"node1","base_url":"http://node1:9001"}'"""
)
MIGRATE_DEMO = (
    'curl -X POST http://localhost:8000/jobs/migrate -H "Content-Type: application/json" '
    """-d '{"src_node":"node1","dst_node":"node2","object_id":"demo.bin"}'"""
)
LIST_JOBS = "curl http://localhost:8000/jobs"
SHOW_JOB_1 = "curl http://localhost:8000/jobs/1"

_PULLED = re.compile(r'^replicator_node_pulled_bytes_total\{kind="transferred"\} (\S+)$', re.MULTILINE)
_LIVE = {"queued", "planning", "running"}
_DEMO_BYTES = 32 * 1024 * 1024
_LARGE_BYTES = 384 * 1024 * 1024
_BLOCK_BYTES = 1024 * 1024
# Slow enough that the kill comes in the middle of the pull, whatever the machine.
_SLOW_CPUS = 0.1
_KILL_AFTER_BYTES = 64 * 1024 * 1024
# What may lie behind the last whole record when a process dies.
_TORN_BYTES_MAX = 16 * 1024 * 1024
_JOB_TIMEOUT_S = 300.0
_REQUEST_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An object as it was sent, to hold every answer against."""

    object_id: str
    size: int
    sha256: str


def play(cluster: Cluster, *, folder: Path, seed: int) -> None:
    """Every step; raises `StepFailed` at the first that goes wrong."""
    step("start the containers and wait for their health checks")
    cluster.up()
    _check_users(cluster)
    demo = _walkthrough(folder, seed)
    large = _killed_node(cluster, folder, seed + 1)
    step("remove the containers, keep the volumes, start again")
    cluster.down()
    cluster.up()
    _check_kept(demo, large)


def _walkthrough(folder: Path, seed: int) -> Upload:
    step("the walkthrough, word for word")
    demo = _upload("demo.bin", _DEMO_BYTES, folder, seed)
    expect(_curl(REGISTER_NODE1)["name"] == "node1", "node1 is registered")
    http_api.post_json(f"{CONTROL_PLANE}/nodes/register", {"name": "node2", "base_url": "http://node2:9002"})
    created = _curl(MIGRATE_DEMO)
    expect(created["id"] == 1, f"the first job has id 1: {created}")
    job = _finished_job(1, lambda: _curl(SHOW_JOB_1))
    expect([entry["id"] for entry in _curl(LIST_JOBS)["jobs"]] == [1], "the list of jobs holds job 1")
    expect(job["progress"]["bytes_transferred"] == demo.size, f"all bytes moved: {job['progress']}")
    _check_object(NODE2, demo)
    return demo


def _killed_node(cluster: Cluster, folder: Path, seed: int) -> Upload:
    step("kill node2 in the middle of a migration, start it again")
    large = _upload("large.bin", _LARGE_BYTES, folder, seed)
    segments = cluster.volume("node2") / "segments"
    before = bytes_below(segments)
    cluster.limit_cpus("node2", _SLOW_CPUS)
    request = {"src_node": "node1", "dst_node": "node2", "object_id": large.object_id}
    job_id = http_api.post_json(f"{CONTROL_PLANE}/jobs/migrate", request)["id"]
    wait_until(
        f"node2 has {_KILL_AFTER_BYTES} bytes more",
        lambda: bytes_below(segments) - before >= _KILL_AFTER_BYTES,
        timeout_s=_JOB_TIMEOUT_S,
    )
    cluster.kill("node2")
    kept = bytes_below(segments) - before
    expect(kept < large.size, "node2 died before it had everything")
    status = _job(job_id)["status"]
    expect(status in _LIVE, f"the job is alive while node2 is dead, and not {status}")
    say(f"killed with {kept} of {large.size} bytes in its volume; the job is {status}")
    cluster.start("node2")
    cluster.limit_cpus("node2", os.cpu_count() or 1)
    cluster.wait_healthy("node2")
    job = _finished_job(job_id, lambda: _job(job_id))
    _check_accounts(job["progress"], large)
    _check_sent_once(large, kept)
    say(f"finished after {job['attempts']} attempts: {json.dumps(job['progress'])}")
    _check_object(NODE2, large)
    return large


def _check_accounts(progress: dict[str, Any], upload: Upload) -> None:
    moved, deduplicated = progress["bytes_transferred"], progress["bytes_deduplicated"]
    expect(progress["bytes_logical"] == upload.size, f"the job counts the object's bytes: {progress}")
    expect(moved + deduplicated == upload.size, f"every byte is accounted for: {progress}")


def _check_sent_once(upload: Upload, kept: int) -> None:
    """What node2 had before it died did not travel again; it counts from its latest start."""
    found = _PULLED.search(http_api.get_text(f"{NODE2}/metrics"))
    if found is None:
        raise StepFailed("node2 does not say how many bytes it pulled")
    sent, bound = float(found[1]), upload.size - kept + _TORN_BYTES_MAX
    expect(sent <= bound, f"node2 pulled at most {bound} bytes after its restart: {sent:.0f}")
    say(f"pulled {sent:.0f} bytes after its restart")


def _check_kept(*uploads: Upload) -> None:
    for upload in uploads:
        _check_object(NODE1, upload)
        _check_object(NODE2, upload)
    statuses = [job["status"] for job in http_api.get_json(f"{CONTROL_PLANE}/jobs")["jobs"]]
    expect(statuses == ["succeeded"] * len(uploads), f"the control plane remembers the jobs: {statuses}")
    wait_until("both nodes are connected again", _all_connected, timeout_s=_JOB_TIMEOUT_S)


def _all_connected() -> bool:
    nodes = http_api.get_json(f"{CONTROL_PLANE}/nodes")["nodes"]
    return [(node["name"], node["status"]) for node in nodes] == [
        ("node1", "connected"),
        ("node2", "connected"),
    ]


def _check_users(cluster: Cluster) -> None:
    for service in SERVICES:
        users = cluster.user_ids(service)
        expect(0 not in users, f"{service} does not run as root: {users}")


def _check_object(node_url: str, upload: Upload) -> None:
    found = http_api.sha256_of_object(node_url, upload.object_id)
    expect(found == upload.sha256, f"{upload.object_id} on {node_url} has SHA-256 {upload.sha256}: {found}")


def _upload(object_id: str, size: int, folder: Path, seed: int) -> Upload:
    """Random bytes, which nothing can compress or deduplicate, stored on node1."""
    source = folder / object_id
    noise, digest = random.Random(seed), hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(size // _BLOCK_BYTES):
            block = noise.randbytes(_BLOCK_BYTES)
            digest.update(block)
            file.write(block)
    stored = http_api.put_object(NODE1, object_id, source)
    expect(stored["size"] == size, f"node1 stored all of {object_id}: {stored}")
    source.unlink()
    return Upload(object_id=object_id, size=size, sha256=digest.hexdigest())


def _finished_job(job_id: int, look: Any) -> dict[str, Any]:
    def succeeded() -> dict[str, Any] | None:
        job: dict[str, Any] = look()
        if job["status"] == "succeeded":
            return job
        if job["status"] not in _LIVE:
            raise Hopeless(f"job {job_id} ended otherwise: {json.dumps(job)}")
        raise StepFailed(f"last seen: {json.dumps(job)}")

    return wait_until(f"job {job_id} has succeeded", succeeded, timeout_s=_JOB_TIMEOUT_S)


def _job(job_id: int) -> Any:
    return http_api.get_json(f"{CONTROL_PLANE}/jobs/{job_id}")


def _curl(command: str) -> Any:
    options = ["--silent", "--show-error", "--fail-with-body", "--max-time", "30"]
    return json.loads(run([*shlex.split(command), *options], timeout_s=_REQUEST_TIMEOUT_S))
