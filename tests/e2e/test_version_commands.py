"""Buckets, versions, copies and grouped listings by the command line, against real processes."""

import hashlib
import itertools
import json
import random
import subprocess
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from replicator.testing.waiting import wait_until

_names = itertools.count(1)


class Cluster(Protocol):
    node1: str

    def replicator(self, *arguments: str) -> subprocess.CompletedProcess[bytes]: ...

    def process(self, *arguments: str) -> subprocess.CompletedProcess[bytes]: ...


def answer(done: subprocess.CompletedProcess[bytes]) -> Any:
    """The one JSON document that a successful command printed; nothing else was said."""
    assert (done.returncode, done.stderr) == (0, b""), done
    return json.loads(done.stdout)


def problem(done: subprocess.CompletedProcess[bytes], code: int) -> dict[str, Any]:
    """The problem that a failed command reported as JSON; nothing was printed."""
    assert (done.returncode, done.stdout) == (code, b""), done
    return dict(json.loads(done.stderr))


@pytest.fixture
def bucket(cluster: Cluster) -> str:
    """A bucket that keeps versions."""
    name = f"bucket-{next(_names)}"
    made = answer(cluster.replicator("buckets", "create", "node1", name, "--versioning", "on", "--json"))
    assert (made["name"], made["versioning"]) == (name, "on")
    return name


def put(cluster: Cluster, tmp_path: Path, bucket: str, content: bytes, object_id: str = "doc") -> str:
    source = tmp_path / "source"
    source.write_bytes(content)
    stored = cluster.replicator("put", "node1", str(source), object_id, "--bucket", bucket, "--json")
    return str(answer(stored)["version"])


def content(cluster: Cluster, tmp_path: Path, bucket: str, *more: str) -> bytes:
    target = tmp_path / "target"
    done = cluster.replicator("get", "node1", "doc", str(target), "--force", "--bucket", bucket, *more)
    assert done.returncode == 0, done
    return target.read_bytes()


def test_an_older_version_is_read_listed_and_restored(cluster: Cluster, tmp_path: Path, bucket: str) -> None:
    first = put(cluster, tmp_path, bucket, b"first")
    second = put(cluster, tmp_path, bucket, b"a mistake")
    assert content(cluster, tmp_path, bucket) == b"a mistake"
    assert content(cluster, tmp_path, bucket, "--version", first) == b"first"
    restored = answer(
        cluster.replicator("cp", "node1", "doc", "doc", "--version", first, "--bucket", bucket, "--json")
    )
    assert content(cluster, tmp_path, bucket) == b"first"
    listed = answer(cluster.replicator("versions", "node1", "doc", "--bucket", bucket, "--json"))
    assert [each["version"] for each in listed["versions"]] == [restored["version"], second, first]
    rows = cluster.replicator("versions", "node1", "doc", "-b", bucket, "--limit", "2")
    assert [row.split("\t")[:3] for row in rows.stdout.decode().splitlines()] == [
        [restored["version"], "latest version", "5"],
        [second, "version", "9"],
    ]


def test_a_deleted_object_comes_back_without_its_marker(
    cluster: Cluster, tmp_path: Path, bucket: str
) -> None:
    put(cluster, tmp_path, bucket, b"kept")
    removed = answer(cluster.replicator("rm", "node1", "doc", "--bucket", bucket, "--json"))
    (deletion,) = removed["deletions"]
    assert (removed["removed"], deletion["delete_marker"]) == (["doc"], True)
    assert cluster.replicator("get", "node1", "doc", "-", "--bucket", bucket).returncode == 3
    assert problem(cluster.replicator("buckets", "rm", "node1", bucket, "--json"), 4)["code"] == "conflict"

    marker = deletion["version"]
    gone = cluster.replicator("rm", "node1", "doc", "-b", bucket, "--version", marker)
    assert gone.stdout == f"removed delete marker {marker} of doc\n".encode()
    assert content(cluster, tmp_path, bucket) == b"kept"
    said = cluster.replicator("rm", "node1", "doc", "-b", bucket).stdout.decode()
    assert said.startswith("removed doc; its versions are kept behind delete marker ")


def test_a_version_that_is_removed_is_gone_for_good(cluster: Cluster, tmp_path: Path, bucket: str) -> None:
    version = put(cluster, tmp_path, bucket, b"x")
    gone = cluster.replicator("rm", "node1", "doc", "-b", bucket, "--version", version)
    assert gone.stdout == f"removed version {version} of doc\n".encode()
    assert cluster.replicator("get", "node1", "doc", "-", "-b", bucket, "--version", version).returncode == 3
    assert cluster.replicator("versions", "node1", "doc", "-b", bucket).returncode == 3
    assert answer(cluster.replicator("buckets", "rm", "node1", bucket, "--json")) == {"removed": bucket}


def test_a_null_version_is_said_to_be_gone(cluster: Cluster, tmp_path: Path, bucket: str) -> None:
    cluster.replicator("buckets", "set", "node1", bucket, "--versioning", "suspended")
    version = put(cluster, tmp_path, bucket, b"x")
    said = cluster.replicator("rm", "node1", "doc", "-b", bucket).stdout.decode()
    assert said.startswith(f"removed doc: its null version {version} is gone for good; any older version is ")
    asked = cluster.replicator("get", "node1", "doc", "-", "-b", bucket)
    assert f"'replicator versions NODE doc --bucket {bucket}' lists".encode() in asked.stderr


def test_a_bucket_is_emptied_by_what_lists_it(cluster: Cluster, tmp_path: Path, bucket: str) -> None:
    for object_id in ("a", "b/1", "b/2"):
        put(cluster, tmp_path, bucket, b"x", object_id)
    cluster.replicator("rm", "node1", "a", "b/1", "b/2", "-b", bucket)
    refused = cluster.replicator("buckets", "rm", "node1", bucket)
    assert f"'replicator versions NODE --bucket {bucket}' lists".encode() in refused.stderr
    some = cluster.replicator("versions", "node1", "-b", bucket, "--prefix", "b/", "--json")
    assert {each["object_id"] for each in answer(some)["versions"]} == {"b/1", "b/2"}
    rows = cluster.replicator("versions", "node1", "-b", bucket).stdout.decode().splitlines()
    assert len(rows) == 6
    for object_id, version, *_ in (row.split("\t") for row in rows):
        cluster.replicator("rm", "node1", object_id, "-b", bucket, "--version", version)
    assert cluster.replicator("buckets", "rm", "node1", bucket).returncode == 0
    assert problem(cluster.replicator("versions", "node1", "a", "--prefix", "a", "--json"), 2)


def test_a_node_that_is_not_there_is_not_removed(cluster: Cluster) -> None:
    told = cluster.replicator("nodes", "rm", "nobody")
    assert (told.returncode, b"'replicator nodes' lists those there are" in told.stderr) == (3, True)


def test_a_copy_to_another_bucket(cluster: Cluster, tmp_path: Path, bucket: str) -> None:
    put(cluster, tmp_path, "default", b"original", "original")
    copied = ("cp", "node1", "original", "doc", "--to-bucket", bucket, "--if-absent")
    assert cluster.replicator(*copied).stdout.startswith(b"copied original to doc: 8 B, version ")
    assert content(cluster, tmp_path, bucket) == b"original"
    assert problem(cluster.replicator(*copied, "--json"), 4)["code"] == "precondition-failed"


def test_a_listing_groups_by_a_delimiter(cluster: Cluster, tmp_path: Path, bucket: str) -> None:
    for object_id in ("a/1", "a/2", "b", "c/1"):
        put(cluster, tmp_path, bucket, b"x", object_id)
    listing = ("ls", "node1", "--bucket", bucket, "--delimiter", "/")
    listed = answer(cluster.replicator(*listing, "--json"))["objects"]
    assert [each.get("prefix") or each["object_id"] for each in listed] == ["a/", "b", "c/"]
    rows = cluster.replicator(*listing).stdout.decode().splitlines()
    assert [row.split("\t")[:2] for row in rows] == [["a/", "-"], ["b", "1"], ["c/", "-"]]
    first = answer(cluster.replicator(*listing, "--limit", "1", "--json"))
    rest = answer(cluster.replicator(*listing, "--cursor", first["next_cursor"], "--json"))
    assert [each.get("prefix") or each["object_id"] for each in rest["objects"]] == ["b", "c/"]


def test_buckets_are_made_changed_listed_and_refused(cluster: Cluster, bucket: str) -> None:
    listed = answer(cluster.replicator("buckets", "ls", "node1", "--json"))["buckets"]
    assert {"default", bucket} <= {each["name"] for each in listed}
    again = cluster.replicator("buckets", "create", "node1", bucket, "--json")
    assert problem(again, 4)["code"] == "conflict"
    suspended = ("buckets", "set", "node1", bucket, "--versioning", "suspended")
    assert cluster.replicator(*suspended).stdout == f"changed {bucket}: versioning suspended\n".encode()
    off = ("buckets", "set", "node1", bucket, "--versioning", "off", "--json")
    assert problem(cluster.replicator(*off), 4)["code"] == "conflict"
    absent = ("buckets", "set", "node1", "no-such", "--versioning", "on", "--json")
    assert problem(cluster.replicator(*absent), 3)["code"] == "not-found"
    assert problem(cluster.replicator("buckets", "create", "node1", "No", "--json"), 2)
    assert problem(cluster.replicator("ls", "node1", "--bucket", "No", "--json"), 2)
    assert problem(cluster.replicator("rm", "node1", "a", "b", "--version", "0" * 32, "--json"), 2)


def test_a_restore_is_found_in_the_help(cluster: Cluster) -> None:
    assert b"restore" in cluster.replicator("cp", "--help").stdout


def test_a_chunk_is_explained_by_the_object_that_has_it(
    cluster: Cluster, tmp_path: Path, bucket: str
) -> None:
    data = bucket.encode() * 10
    version = put(cluster, tmp_path, bucket, data)
    digest = hashlib.sha256(data).hexdigest()
    told = answer(cluster.replicator("store", "explain", "node1", digest, "--json"))
    assert told["referrers"] == [{"bucket": bucket, "object_id": "doc", "version": version}]
    assert (told["raw_bytes"], told["damaged"], told["references"]) == (len(data), False, 1)


def test_what_was_deleted_for_good_is_collected(cluster: Cluster, tmp_path: Path) -> None:
    data = random.Random("collected").randbytes(40_000)
    put(cluster, tmp_path, "default", data, "collected")
    digests = [each["digest"] for each in entries(cluster, "collected")]
    assert cluster.replicator("rm", "node1", "collected").returncode == 0
    only_counted = answer(cluster.replicator("store", "gc", "node1", "--grace-s", "0", "--dry-run", "--json"))
    assert only_counted["dead_bytes"] >= len(data)
    for digest in digests:
        assert answer(cluster.replicator("store", "explain", "node1", digest, "--json"))["references"] == 1
    done = answer(cluster.replicator("store", "gc", "node1", "--grace-s", "0", "--json"))
    assert done["dead_bytes"] >= len(data)
    for digest in digests:
        told = problem(cluster.replicator("store", "explain", "node1", digest, "--json"), 3)
        assert told["detail"] == "no chunk of that digest on this node"
    stats = answer(cluster.replicator("store", "stats", "node1", "--json"))
    assert stats["dead_bytes"] >= len(data)


def entries(cluster: Cluster, object_id: str) -> list[dict[str, str]]:
    manifest = httpx.get(f"{cluster.node1}/manifests/{object_id}", trust_env=False)
    return list(manifest.json()["entries"])


def test_a_scrub_that_was_asked_for_reads_the_store(cluster: Cluster, tmp_path: Path) -> None:
    put(cluster, tmp_path, "default", b"scrubbed", "scrubbed")
    began = answer(cluster.replicator("store", "scrub", "node2", "--json"))
    assert answer(cluster.replicator("store", "scrub", "node2", "--now", "--json"))["asked"] is True

    def ended() -> bool:
        shown = answer(cluster.replicator("store", "scrub", "node2", "--json"))
        return not shown["asked"] and shown["round"] > began["round"]

    wait_until(ended, "the scrub ends")
    assert answer(cluster.replicator("store", "scrub", "node2", "--json"))["damaged"] == 0
