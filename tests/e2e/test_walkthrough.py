"""The requests of the walkthrough, exactly as the documentation gives them, against real processes."""

import hashlib
import os
import time
from typing import Any, Protocol

import httpx
import pytest

JSON = {"Content-Type": "application/json"}
JOB_SECONDS_MAX = 60.0
ENDED = {"succeeded", "partial", "failed", "cancelled"}


class Cluster(Protocol):
    control_plane: str
    node1: str
    node2: str


@pytest.fixture
def http() -> Any:
    with httpx.Client(timeout=30.0, trust_env=False) as client:
        yield client


def ended(http: httpx.Client, cluster: Cluster, job_id: int) -> dict[str, Any]:
    deadline = time.monotonic() + JOB_SECONDS_MAX
    while (job := http.get(f"{cluster.control_plane}/jobs/{job_id}").json())["status"] not in ENDED:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return dict(job)


def register(http: httpx.Client, cluster: Cluster, name: str, base_url: str) -> httpx.Response:
    body = f'{{"name":"{name}","base_url":"{base_url}"}}'
    return http.post(f"{cluster.control_plane}/nodes/register", content=body, headers=JSON)


def migrate(
    http: httpx.Client,
    cluster: Cluster,
    object_id: str,
    *,
    src: str = "node1",
    dst: str = "node2",
    key: str = "",
) -> httpx.Response:
    body = f'{{"src_node":"{src}","dst_node":"{dst}","object_id":"{object_id}"}}'
    headers = JSON | ({"Idempotency-Key": key} if key else {})
    return http.post(f"{cluster.control_plane}/jobs/migrate", content=body, headers=headers)


def test_the_walkthrough(cluster: Cluster, http: httpx.Client) -> None:
    body = os.urandom(5_000_000)
    assert http.put(f"{cluster.node1}/objects/demo.bin", content=body).status_code == 201
    assert register(http, cluster, "node1", cluster.node1).is_success

    created = migrate(http, cluster, "demo.bin")
    assert created.is_success, created.text
    job_id = created.json()["id"]
    assert job_id in [job["id"] for job in http.get(f"{cluster.control_plane}/jobs").json()["jobs"]]

    job = ended(http, cluster, job_id)
    assert (job["kind"], job["src_node"], job["dst_node"], job["object_id"], job["status"], job["error"]) == (
        "migrate",
        "node1",
        "node2",
        "demo.bin",
        "succeeded",
        None,
    )
    progress = job["progress"]
    assert (progress["objects_planned"], progress["objects_verified"], progress["objects_failed"]) == (
        1,
        1,
        0,
    )
    assert progress["bytes_logical"] == progress["bytes_transferred"] == len(body)
    assert job["attempts"] == 1
    assert all(job[moment].endswith("Z") for moment in ("created_at", "started_at", "finished_at"))

    copy = http.get(f"{cluster.node2}/objects/demo.bin")
    assert hashlib.sha256(copy.content).digest() == hashlib.sha256(body).digest()
    original = http.head(f"{cluster.node1}/objects/demo.bin")
    for header in ("ETag", "X-Replicator-Version", "Content-Length", "Content-Type"):
        assert copy.headers[header] == original.headers[header]


def test_an_unchanged_object_moves_no_bytes_and_a_changed_one_few(
    cluster: Cluster, http: httpx.Client
) -> None:
    body = bytearray(os.urandom(8_000_000))
    http.put(f"{cluster.node1}/objects/edited", content=bytes(body))
    ended(http, cluster, migrate(http, cluster, "edited").json()["id"])

    unchanged = ended(http, cluster, migrate(http, cluster, "edited").json()["id"])["progress"]
    assert (unchanged["objects_skipped"], unchanged["bytes_transferred"]) == (1, 0)
    assert unchanged["bytes_deduplicated"] == len(body)

    body[4_000_000:4_001_000] = os.urandom(2_000)
    http.put(f"{cluster.node1}/objects/edited", content=bytes(body))
    changed = ended(http, cluster, migrate(http, cluster, "edited").json()["id"])["progress"]
    assert 0 < changed["bytes_transferred"] < len(body) / 4
    assert (
        changed["bytes_transferred"] + changed["bytes_deduplicated"] == changed["bytes_logical"] == len(body)
    )
    assert http.get(f"{cluster.node2}/objects/edited").content == bytes(body)


def test_registering_again_is_an_update(cluster: Cluster, http: httpx.Client) -> None:
    for base_url in (cluster.node1.replace("localhost", "127.0.0.1"), cluster.node1):
        assert register(http, cluster, "node1", base_url).is_success
        node = http.get(f"{cluster.control_plane}/nodes/node1").json()
        assert node["base_url"].rstrip("/") == base_url
    names = [node["name"] for node in http.get(f"{cluster.control_plane}/nodes").json()["nodes"]]
    assert names == ["node1", "node2"]


def test_the_same_key_gives_the_same_job(cluster: Cluster, http: httpx.Client) -> None:
    http.put(f"{cluster.node1}/objects/once", content=b"once")
    first = migrate(http, cluster, "once", key="key-1").json()
    again = migrate(http, cluster, "once", key="key-1")
    assert again.is_success
    assert again.json()["id"] == first["id"]
    other = migrate(http, cluster, "another", key="key-1")
    assert other.status_code == 409
    assert other.headers["Content-Type"] == "application/problem+json"


def test_a_job_without_its_object_fails_at_once_and_says_so(cluster: Cluster, http: httpx.Client) -> None:
    job = ended(http, cluster, migrate(http, cluster, "no/such object").json()["id"])
    assert (job["status"], job["attempts"]) == ("failed", 1)
    assert (job["error"]["class"], job["error"]["code"]) == ("permanent", "not-found")
    assert "no/such object" in job["error"]["message"]
    assert job["progress"]["objects_failed"] == 1


def test_a_job_for_an_unknown_node_is_not_created(cluster: Cluster, http: httpx.Client) -> None:
    answer = migrate(http, cluster, "demo.bin", dst="node9")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "node9" in answer.json()["detail"]


@pytest.mark.parametrize("process", ["control_plane", "node1", "node2"])
def test_every_process_answers_for_itself(cluster: Cluster, http: httpx.Client, process: str) -> None:
    url = getattr(cluster, process)
    assert http.get(f"{url}/health").status_code == 200
    assert http.get(f"{url}/ready").status_code == 200
    assert b"# TYPE" in http.get(f"{url}/metrics").content
