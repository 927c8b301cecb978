"""The profile `ha`: a hundred jobs, while each control plane is killed in turn and Postgres is restarted."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from containers import http_api
from containers.cluster import Cluster
from containers.command import wait_until
from containers.outcome import expect
from containers.steps import say, step

PROXY = "http://localhost:8100"
NODES = {
    "ha-node1": "http://localhost:9011",
    "ha-node2": "http://localhost:9012",
    "ha-node3": "http://localhost:9013",
}
CONTROL_PLANES = ("control-plane1", "control-plane2")
JOBS = 100
_OBJECT_BYTES = 512 * 1024
_INGRESS_BYTES_PER_S = 256 * 1024
_PAGE = 500
_WAIT_S = 240.0
_LIVE = {"queued", "planning", "running"}
_TWICE = "SELECT count(*) FROM (SELECT task_id FROM attempts WHERE outcome = 'succeeded' GROUP BY 1 HAVING count(*) > 1) AS twice"
_BEGAN = "SELECT pg_postmaster_start_time()"
_ACCEPTED = "SELECT count(*) FROM attempts WHERE outcome = 'succeeded'"


def play_ha(cluster: Cluster, *, folder: Path, seed: int) -> None:
    """Every step; raises `StepFailed` at the first that goes wrong."""
    step("start the profile ha and wait for its health checks")
    cluster.up(*NODES, "postgres", *CONTROL_PLANES)
    wait_until("all nodes are connected through the proxy", _all_connected, timeout_s=_WAIT_S)
    step(f"{JOBS} jobs from ha-node1 to the two others, which may take {_INGRESS_BYTES_PER_S} bytes a second")
    sums = _upload_all(folder, seed)
    for name in ("ha-node2", "ha-node3"):
        http_api.put_json(f"{PROXY}/nodes/{name}/limits", {"ingress_bytes_per_second": _INGRESS_BYTES_PER_S})
    jobs = {_submit(number, object_id): object_id for number, object_id in enumerate(sums)}
    for service in CONTROL_PLANES:
        _during(f"kill {service}", partial(cluster.kill, service))
        _goes_on()
        cluster.start(service)
        cluster.wait_healthy(service)
    began = _asked(cluster, _BEGAN)
    _during("restart postgres", partial(cluster.restart, "postgres"))
    wait_until("postgres has begun anew", lambda: _asked(cluster, _BEGAN) != began, timeout_s=_WAIT_S)
    step("every job ends, once")
    wait_until("all jobs have ended", lambda: not _live(), timeout_s=_WAIT_S)
    _check(cluster, jobs, sums)


def _upload_all(folder: Path, seed: int) -> dict[str, str]:
    """The SHA-256 of each object, by its id."""
    rng, sums = random.Random(seed), {}
    for number in range(JOBS):
        data = rng.randbytes(_OBJECT_BYTES)
        (folder / "object").write_bytes(data)
        object_id = f"object-{number:03}"
        http_api.put_object(NODES["ha-node1"], object_id, folder / "object")
        sums[object_id] = hashlib.sha256(data).hexdigest()
    return sums


def _submit(number: int, object_id: str) -> int:
    wanted = {"src_node": "ha-node1", "dst_node": _destination(number), "object_id": object_id}
    return int(http_api.post_json(f"{PROXY}/jobs/migrate", wanted)["id"])


def _destination(number: int) -> str:
    return ("ha-node2", "ha-node3")[number % 2]


def _during(what: str, act: Callable[[], None]) -> None:
    live = len(_live())
    expect(live > 0, f"jobs are live when it is time to {what}")
    step(f"{what}, with {live} jobs live")
    act()


def _goes_on() -> None:
    """With one control plane away, jobs still end."""
    live: list[int] = []

    def fewer_than_at_first() -> bool:
        live.append(len(_live()))
        return live[-1] < live[0] or not live[-1]

    wait_until("a job ends meanwhile", fewer_than_at_first, timeout_s=_WAIT_S)


def _live() -> list[int]:
    return [job["id"] for job in _jobs() if job["status"] in _LIVE]


def _jobs() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http_api.get_json(f"{PROXY}/jobs?limit={_PAGE}")["jobs"]
    return found


def _check(cluster: Cluster, jobs: dict[int, str], sums: dict[str, str]) -> None:
    found = _jobs()
    statuses = Counter(job["status"] for job in found)
    expect(statuses == {"succeeded": JOBS}, f"all {JOBS} jobs have succeeded: {dict(statuses)}")
    expect({job["id"] for job in found} == set(jobs), "they are the jobs that were accepted")
    verified = Counter(job["progress"]["objects_verified"] for job in found)
    expect(verified == {1: JOBS}, f"each has verified its object once: {dict(verified)}")
    for number, (object_id, expected) in enumerate(sums.items()):
        got = http_api.sha256_of_object(NODES[_destination(number)], object_id)
        expect(got == expected, f"{object_id} on {_destination(number)} has SHA-256 {expected}: {got}")
    for query, expected_count in ((_TWICE, 0), (_ACCEPTED, JOBS)):
        count = int(_asked(cluster, query))
        expect(count == expected_count, f"{query}: {count}")
    attempts = sum(job["attempts"] for job in found)
    say(f"{JOBS} jobs, {attempts} attempts, every object whole, one accepted result each")


def _asked(cluster: Cluster, query: str) -> str:
    return cluster.execute("postgres", "psql", "-U", "replicator", "-d", "replicator", "-tAc", query)


def _all_connected() -> bool:
    nodes = http_api.get_json(f"{PROXY}/nodes")["nodes"]
    return {node["name"]: node["status"] for node in nodes} == dict.fromkeys(NODES, "connected")
