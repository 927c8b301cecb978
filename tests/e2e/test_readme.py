"""What README.md says about jobs, versions and upkeep can be typed as it stands while `make up` runs."""

import shlex
import subprocess
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
OFFLINE = {"check", "rebuild-catalog", "restore"}
BUCKET = "of-the-readme"


class Cluster(Protocol):
    folder: Path
    control_plane: str
    node1: str

    def replicator(self, *arguments: str) -> subprocess.CompletedProcess[bytes]: ...

    def process(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]: ...


def block_with(text: str) -> list[str]:
    """The lines of the one block of code that holds `text`."""
    (found,) = (block for block in README.read_text().split("```")[1::2] if text in block)
    return found.strip().splitlines()


@pytest.fixture(autouse=True)
def folder(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the lines are typed: it has the data of the cluster where `make up` keeps them."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "up").symlink_to(cluster.folder / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def typed(cluster: Cluster, folder: Path, line: str) -> str:
    """What a line prints; it must succeed."""
    name, *words = shlex.split(line, comments=True)
    if name != "replicator":
        return subprocess.run(line, shell=True, check=True, capture_output=True, text=True).stdout
    if words[0] == "store" and words[1] in OFFLINE:
        done = cluster.process(*words, cwd=folder)
    else:
        done = cluster.replicator(*words)
    assert done.returncode == 0, (line, done)
    return done.stdout.decode()


def test_versions(cluster: Cluster, folder: Path) -> None:
    cluster.replicator("buckets", "create", "node1", BUCKET)
    version = ""
    for line in block_with("replicator buckets set"):
        wanted = line.replace("node1 default", f"node1 {BUCKET}").replace("VERSION", version)
        of_objects = wanted.startswith("replicator") and "buckets" not in wanted
        # Other tests use the bucket 'default' as it is at first.
        command = f"{wanted.split(' #')[0]} --bucket {BUCKET}" if of_objects else wanted
        printed = typed(cluster, folder, command)
        if line.startswith("replicator versions node1 notes.txt"):
            version = printed.splitlines()[-1].split("\t")[0]
    assert (folder / "old.txt").read_text() == "first draft\n"


def test_jobs(cluster: Cluster, folder: Path) -> None:
    httpx.put(f"{cluster.node1}/objects/{BUCKET}.bin", content=b"x", trust_env=False).raise_for_status()
    job = ""
    for line in block_with("replicator mirror"):
        # Other tests have objects called 'demo'.
        wanted = line.replace("--prefix demo", f"--prefix {BUCKET}").replace("JOB", job)
        printed = typed(cluster, folder, wanted)
        if line.startswith("replicator jobs"):
            job = printed.split("\t")[0]


def test_nodes_and_explanations(cluster: Cluster, folder: Path) -> None:
    httpx.put(f"{cluster.node1}/objects/why.bin", content=b"x", trust_env=False).raise_for_status()
    typed(cluster, folder, "replicator migrate node1 node2 why.bin")
    job = typed(cluster, folder, "replicator jobs --limit 1").split("\t")[0]
    for line in block_with("replicator explain job"):
        printed = typed(cluster, folder, line.replace("JOB", job))
        assert printed.startswith(f"job {job} has succeeded\n") or "explain" not in line
    typed(cluster, folder, "replicator nodes set node2 --zone none --label none")


def test_upkeep(cluster: Cluster, folder: Path) -> None:
    httpx.put(f"{cluster.node1}/objects/readme.bin", content=b"x", trust_env=False).raise_for_status()
    manifest: Any = httpx.get(f"{cluster.node1}/manifests/readme.bin", trust_env=False).json()
    for line in block_with("replicator store stats"):
        typed(cluster, folder, line.replace("DIGEST", manifest["entries"][0]["digest"]))


def test_where_the_control_plane_is_elsewhere_the_export_line_is_printed(cluster: Cluster) -> None:
    said = (cluster.folder / "up.log").read_text()
    assert f"export REPLICATOR_CONTROL_PLANE_URL={cluster.control_plane} " in said
