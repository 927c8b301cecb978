"""What people and scripts do with jobs about many objects, against real processes."""

import csv
import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any, Protocol

import httpx


class Cluster(Protocol):
    node1: str
    node2: str

    def replicator(self, *arguments: str) -> subprocess.CompletedProcess[bytes]: ...


def answer(done: subprocess.CompletedProcess[bytes]) -> Any:
    assert (done.returncode, done.stderr) == (0, b""), done
    return json.loads(done.stdout)


def store(url: str, bodies: dict[str, bytes]) -> None:
    for object_id, body in bodies.items():
        httpx.put(f"{url}/objects/{object_id}", content=body, trust_env=False).raise_for_status()


def fetched(url: str, object_id: str) -> bytes | None:
    found = httpx.get(f"{url}/objects/{object_id}", trust_env=False)
    return found.content if found.is_success else None


def bodies(prefix: str, count: int) -> dict[str, bytes]:
    return {f"{prefix}{number}": os.urandom(1000 + number) for number in range(count)}


def test_a_prefix_is_planned_and_then_moves_what_was_planned(cluster: Cluster) -> None:
    stored = bodies("planned/", 7)
    store(cluster.node1, stored | {"planned/skip.tmp": b"not this", "other/planned": b"nor this"})
    store(cluster.node2, {"planned/other": stored["planned/3"]})
    wanted = ("migrate", "node1", "node2", "--prefix", "planned/", "--exclude", "**.tmp")

    planned = answer(cluster.replicator(*wanted, "--dry-run", "--json"))
    lacking = sum(len(body) for name, body in stored.items() if name != "planned/3")
    assert planned["plan"]["objects_to_transfer"] == len(stored)
    assert planned["plan"]["bytes_lacking"] == lacking
    assert fetched(cluster.node2, "planned/0") is None, "a dry run changes nothing"
    told = cluster.replicator(*wanted, "--dry-run").stdout.decode()
    assert f"{lacking:,}" in told
    assert "nothing changed" in told

    moved = answer(cluster.replicator(*wanted, "--json"))
    assert moved["status"] == "succeeded"
    progress = moved["progress"]
    assert progress["objects_planned"] == progress["objects_verified"] + progress["objects_skipped"] == 7
    assert progress["bytes_transferred"] == lacking
    assert moved["plan"]["bytes_lacking_error"] == 0
    assert {name: fetched(cluster.node2, name) for name in stored} == stored
    assert fetched(cluster.node2, "planned/skip.tmp") is None
    assert b"a dry run, had planned it" in cluster.replicator("job", str(moved["id"])).stdout


def test_several_objects_and_what_became_of_each(cluster: Cluster, tmp_path: Path) -> None:
    stored = bodies("each/", 3)
    store(cluster.node1, stored)
    done = cluster.replicator("migrate", "node1", "node2", *stored, "each/absent", "--json")
    assert done.returncode == 6
    job = json.loads(done.stdout)
    assert (job["status"], job["progress"]["objects_failed"]) == ("partial", 1)
    job_id = str(job["id"])

    listed = answer(cluster.replicator("job", job_id, "--objects", "--json"))["objects"]
    assert {item["object_id"]: item["outcome"] for item in listed} == dict.fromkeys(stored, "verified") | {
        "each/absent": "failed"
    }
    failed = cluster.replicator("job", job_id, "--objects", "--outcome", "failed").stdout.decode()
    (line,) = failed.splitlines()
    assert (line.split("\t")[3], line.split("\t")[-1]) == ("each/absent", "not-found")
    text = cluster.replicator("job", job_id, "--objects", "--csv").stdout.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["object_id"] for row in rows] == [item["object_id"] for item in listed]
    events = cluster.replicator("job", job_id, "--events")
    assert events.returncode == 6
    names = [line.split("\t")[2] for line in events.stdout.decode().splitlines()]
    assert (names[0], names[-1]) == ("job.queued", "job.partial")
    assert "object.failed" in names

    store(cluster.node1, {"each/absent": b"here now"})
    retried = answer(cluster.replicator("job", job_id, "--retry", "--wait", "--json"))
    assert (retried["status"], retried["progress"]["objects_failed"]) == ("succeeded", 0)
    assert fetched(cluster.node2, "each/absent") == b"here now"


def test_a_move_leaves_nothing_behind(cluster: Cluster) -> None:
    stored = bodies("moved/", 3)
    store(cluster.node1, stored)
    moved = answer(cluster.replicator("migrate", "node1", "node2", "--prefix", "moved/", "--move", "--json"))
    assert (moved["status"], moved["mode"]) == ("succeeded", "move")
    assert {name: fetched(cluster.node2, name) for name in stored} == stored
    assert [fetched(cluster.node1, name) for name in stored] == [None] * 3


def test_a_mirror_deletes_only_when_told_and_a_verification_proves_it(cluster: Cluster) -> None:
    store(cluster.node1, bodies("mirror/", 4))
    store(cluster.node2, {"mirror/extra": b"only here"})
    mirror = ("mirror", "node1", "node2", "--prefix", "mirror/")
    verify = ("verify", "node1", "node2", "--prefix", "mirror/")
    dry = answer(cluster.replicator(*verify, "--dry-run", "--json"))
    assert (dry["status"], dry["dry_run"], dry["verdict"]) == ("succeeded", True, None)
    assert (dry["plan"]["objects_to_transfer"], dry["plan"]["objects_to_delete"]) == (4, 0)
    assert fetched(cluster.node2, "mirror/0") is None
    assert cluster.replicator(*mirror).returncode == 0
    assert fetched(cluster.node2, "mirror/extra") == b"only here"

    differ = cluster.replicator(*verify)
    assert differ.returncode == 6
    assert b"do not agree (differences: 1)" in differ.stdout
    assert b"default/mirror/extra" in differ.stdout

    guarded = cluster.replicator(*mirror, "--delete", "--max-deletes", "0", "--json")
    assert guarded.returncode == 6
    assert fetched(cluster.node2, "mirror/extra") == b"only here"

    deleted = answer(cluster.replicator(*mirror, "--delete", "--json"))
    assert deleted["progress"]["objects_deleted"] == 1
    assert fetched(cluster.node2, "mirror/extra") is None
    proof = cluster.replicator(*verify, "--read-data")
    assert proof.returncode == 0, proof
    assert b"node1 and node2 agree on mirror/**; 4 versions compared" in proof.stdout
    roots = {line.split()[-1] for line in proof.stdout.decode().splitlines() if "root on" in line}
    assert len(roots) == 1


def test_a_job_is_paused_limited_resumed_and_ends(cluster: Cluster) -> None:
    store(cluster.node1, {"slow": os.urandom(3_000_000)})
    job = answer(
        cluster.replicator("migrate", "node1", "node2", "slow", "--bandwidth", "64KiB", "--no-wait", "--json")
    )
    job_id = str(job["id"])
    assert answer(cluster.replicator("job", job_id, "--pause", "--json"))["status"] == "paused"
    changed = answer(cluster.replicator("job", job_id, "--bandwidth", "none", "--priority", "5", "--json"))
    assert (changed["bytes_per_second"], changed["priority"], changed["status"]) == (None, 5, "paused")
    assert cluster.replicator("job", job_id, "--resume", "--wait").returncode == 0
    assert fetched(cluster.node2, "slow") == fetched(cluster.node1, "slow")
    done = answer(cluster.replicator("job", job_id, "--json"))["progress"]
    assert done["bytes_transferred"] + done["bytes_deduplicated"] == done["bytes_logical"] == 3_000_000


def test_limits_are_set_listed_and_taken_away(cluster: Cluster) -> None:
    assert cluster.replicator("limits", "node", "node1", "--egress", "10MiB").returncode == 0
    assert cluster.replicator("limits", "link", "node1", "node2", "5MB/s").returncode == 0
    rows = cluster.replicator("limits").stdout.decode().splitlines()
    assert rows == ["egress\tnode1\t-\t10485760\t-", "link\tnode1\tnode2\t5000000\t-"]
    assert (
        cluster.replicator("limits", "node", "node1", "--egress", "none", "--serves-max", "4").returncode == 0
    )
    assert cluster.replicator("limits", "link", "node1", "node2", "none", "--tasks-max", "2").returncode == 0
    rows = cluster.replicator("limits").stdout.decode().splitlines()
    assert rows == ["serves\tnode1\t-\t-\t4", "link\tnode1\tnode2\t-\t2"]
    assert cluster.replicator("limits", "node", "node1", "--serves-max", "none").returncode == 0
    assert cluster.replicator("limits", "link", "node1", "node2", "--tasks-max", "none").returncode == 0
    assert answer(cluster.replicator("limits", "--json")) == {"limits": []}


def test_a_job_that_begins_later_is_let_begin(cluster: Cluster) -> None:
    store(cluster.node1, {"later.bin": b"later"})
    later = (
        "migrate",
        "node1",
        "node2",
        "later.bin",
        "--start-at",
        "1d",
        "--deadline",
        "2d",
        "--no-wait",
        "--json",
    )
    job = answer(cluster.replicator(*later))
    assert (job["status"], job["start_at"] < job["deadline_at"]) == ("queued", True)
    begun = answer(cluster.replicator("job", str(job["id"]), "--start-at", "none", "--wait", "--json"))
    assert begun["status"] == "succeeded"
    letters = answer(cluster.replicator("dead-letters", "--json"))["dead_letters"]
    assert begun["id"] not in [letter["job_id"] for letter in letters]


def test_what_cannot_be_meant_is_refused_before_it_is_sent(cluster: Cluster) -> None:
    for arguments, said in [
        (("migrate", "node1", "node2"), b"OBJECT_ID"),
        (("migrate", "node1", "node2", "x", "--all"), b"one way"),
        (("migrate", "node1", "node2", "--all", "--max-age", "soon"), b"7d"),
        (("migrate", "node1", "node2", "x", "--bandwidth", "fast"), b"10MiB"),
        (("job", "1", "--pause", "--resume"), b"not both"),
        (("job", "1", "--events", "--objects"), b"stand alone"),
    ]:
        refused = cluster.replicator(*arguments)
        assert refused.returncode == 2, refused
        assert said in refused.stderr
