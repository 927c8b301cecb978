"""What people and scripts do with `replicator`, against real processes: output, exit codes, files."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60.0


class Cluster(Protocol):
    control_plane: str
    node1: str
    node2: str

    def environment(self) -> dict[str, str]: ...

    def replicator(self, *arguments: str) -> subprocess.CompletedProcess[bytes]: ...

    def process(
        self, *arguments: str, stdin: bytes = b"", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]: ...


def answer(done: subprocess.CompletedProcess[bytes]) -> Any:
    """The one JSON document that a successful command printed; nothing else was said."""
    assert (done.returncode, done.stderr) == (0, b""), done
    return json.loads(done.stdout)


def problem(done: subprocess.CompletedProcess[bytes], code: int) -> dict[str, Any]:
    """The problem that a failed command reported as JSON; nothing was printed."""
    assert (done.returncode, done.stdout) == (code, b""), done
    return dict(json.loads(done.stderr))


def complaint(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    """The one line that a failed command said; nothing was printed."""
    assert (done.returncode, done.stdout) == (code, b""), done
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("replicator: ")
    return line


def store(cluster: Cluster, object_id: str, body: bytes = b"12345") -> None:
    answer = httpx.put(f"{cluster.node1}/objects/{object_id}", content=body, trust_env=False)
    assert answer.is_success, answer.text


def fetched(url: str, object_id: str) -> bytes | None:
    answer = httpx.get(f"{url}/objects/{object_id}", trust_env=False)
    return answer.content if answer.is_success else None


def test_an_object_goes_in_moves_and_comes_out(cluster: Cluster, tmp_path: Path) -> None:
    source = tmp_path / "photo album.tar"
    source.write_bytes(os.urandom(3_000_000))
    stored = answer(cluster.process("put", "node1", str(source), "--checksum", "--json"))
    assert (stored["object_id"], stored["size"], stored["bytes_new"]) == (source.name, 3_000_000, 3_000_000)

    moved = cluster.process("migrate", "node1", "node2", source.name)
    assert moved.returncode == 0
    assert b"3.0 MB were sent" in moved.stdout
    assert b"succeeded" in moved.stderr, "progress in a pipe is plain lines on standard error"
    assert b"\x1b" not in moved.stdout + moved.stderr

    target = tmp_path / "out"
    target.mkdir()
    assert cluster.process("get", "node2", source.name, cwd=target).returncode == 0
    assert (target / source.name).read_bytes() == source.read_bytes()
    assert os.listdir(target) == [source.name]


def test_standard_input_and_output(cluster: Cluster) -> None:
    body = os.urandom(2_500_000)
    assert cluster.process("put", cluster.node1, "-", "stream", stdin=body).returncode == 0
    got = cluster.process("get", cluster.node1, "stream", "-")
    assert (got.returncode, got.stdout) == (0, body)
    assert "OBJECT_ID" in complaint(cluster.replicator("put", "node1", "-"), 2)
    assert problem(cluster.replicator("get", "node1", "stream", "-", "--json"), 2)


@pytest.mark.parametrize("object_id", ["/a//b/", "50%?#&=+.txt", "%2e%2e", "Grüße/☃", "x y", "--json"])
def test_any_object_id_means_itself(cluster: Cluster, tmp_path: Path, object_id: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text(object_id)
    assert cluster.replicator("put", "node1", str(source), "--", object_id).returncode == 0
    listing = answer(cluster.replicator("ls", "node1", "--json", "--", object_id))
    assert object_id in [item["object_id"] for item in listing["objects"]]
    moved = answer(cluster.replicator("migrate", "--json", "--", "node1", "node2", object_id))
    assert moved["status"] == "succeeded"
    assert cluster.replicator("get", "node2", "--", object_id, str(target)).returncode == 0
    assert target.read_text() == object_id
    assert cluster.replicator("rm", "node2", "--", object_id).returncode == 0
    assert "no object" in complaint(cluster.replicator("get", "node2", "--", object_id, "-"), 3)


def test_listing_by_prefix_page_and_pipe(cluster: Cluster) -> None:
    names = [f"list/{letter}" for letter in "abcde"]
    for name in names:
        store(cluster, name)
    listing = answer(cluster.replicator("ls", "node1", "list/", "--json"))
    assert [item["object_id"] for item in listing["objects"]] == names
    assert listing["next_cursor"] is None

    first = answer(cluster.replicator("ls", "node1", "list/", "--limit", "2", "--json"))
    rest = answer(cluster.replicator("ls", "node1", "list/", "--cursor", first["next_cursor"], "--json"))
    assert [item["object_id"] for page in (first, rest) for item in page["objects"]] == names

    rows = cluster.replicator("ls", "node1", "list/").stdout.decode().splitlines()
    assert [row.split("\t")[:2] for row in rows] == [[name, "5"] for name in names]


def test_removing_reports_what_was_not_there_and_removes_the_rest(cluster: Cluster) -> None:
    store(cluster, "removable")
    done = cluster.replicator("rm", "node1", "absent", "removable", "--json")
    assert done.returncode == 3
    result = json.loads(done.stdout)
    assert result["removed"] == ["removable"]
    assert [(item["object_id"], item["code"]) for item in result["failed"]] == [("absent", "not-found")]
    assert fetched(cluster.node1, "removable") is None


def test_conditions_on_an_upload(cluster: Cluster, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    first = answer(cluster.replicator("put", "node1", str(one), "guarded", "--json"))
    refused = cluster.replicator("put", "node1", str(two), "guarded", "--if-absent", "--json")
    assert problem(refused, 4)["code"] == "precondition-failed"
    from_a_pipe = cluster.process("put", "node1", "-", "guarded", "--if-absent", stdin=os.urandom(5_000_000))
    assert from_a_pipe.returncode == 4
    bare_tag = first["etag"].strip('"')
    assert cluster.replicator("put", "node1", str(two), "guarded", "--if-match", bare_tag).returncode == 0
    assert cluster.replicator("put", "node1", str(one), "guarded", "--if-match", bare_tag).returncode == 4
    assert fetched(cluster.node1, "guarded") == b"two"


def test_a_file_is_not_replaced_unasked_and_a_failed_get_leaves_none(
    cluster: Cluster, tmp_path: Path
) -> None:
    store(cluster, "kept", b"new")
    target = tmp_path / "kept"
    target.write_bytes(b"old")
    assert "--force" in complaint(cluster.replicator("get", "node1", "kept", str(tmp_path)), 4)
    assert target.read_bytes() == b"old"
    assert cluster.replicator("get", "node1", "kept", str(target), "--force").returncode == 0
    assert target.read_bytes() == b"new"
    assert problem(cluster.replicator("get", "node1", "nothing", str(tmp_path / "x"), "--json"), 3)
    assert os.listdir(tmp_path) == ["kept"]


def test_jobs_are_listed_shown_and_found_again_by_their_key(cluster: Cluster) -> None:
    store(cluster, "keyed")
    wanted = ("migrate", "node1", "node2", "keyed", "--idempotency-key", "nightly", "--json")
    first = answer(cluster.replicator(*wanted, "--no-wait"))
    assert answer(cluster.replicator(*wanted))["id"] == first["id"]
    other = ("migrate", "node1", "node2", "other", "--idempotency-key", "nightly", "--json")
    assert problem(cluster.replicator(*other), 4)["code"] == "conflict"

    job_id = str(first["id"])
    assert answer(cluster.replicator("job", job_id, "--wait", "--json"))["status"] == "succeeded"
    listed = answer(cluster.replicator("jobs", "--status", "succeeded", "--json"))["jobs"]
    assert first["id"] in [job["id"] for job in listed]
    assert {job["status"] for job in listed} == {"succeeded"}
    newest = cluster.replicator("jobs", "--limit", "1").stdout.decode().split("\t")
    assert len(newest) == 11
    shown = cluster.replicator("job", job_id)
    assert shown.returncode == 0
    assert b"1 verified" in shown.stdout or b"1 skipped" in shown.stdout
    assert cluster.replicator("job", job_id, "--cancel").returncode == 4


def test_a_failed_job_has_an_exit_code_of_its_own_and_a_reason(cluster: Cluster) -> None:
    failed = cluster.replicator("migrate", "node1", "node2", "no-such-object")
    assert (failed.returncode, failed.stdout) == (6, b"")
    assert b"no-such-object" in failed.stderr.splitlines()[-1]
    as_json = cluster.replicator("migrate", "node1", "node2", "no-such-object", "--json")
    assert (as_json.returncode, as_json.stderr) == (6, b"")
    job = json.loads(as_json.stdout)
    assert (job["status"], job["error"]["code"]) == ("failed", "not-found")
    assert cluster.replicator("job", str(job["id"])).returncode == 0
    assert cluster.replicator("job", str(job["id"]), "--follow").returncode == 6


def test_nodes_are_listed_registered_again_and_forgotten(cluster: Cluster) -> None:
    nodes = answer(cluster.replicator("nodes", "--json"))["nodes"]
    assert {node["name"]: node["status"] for node in nodes if node["name"] in {"node1", "node2"}} == {
        "node1": "connected",
        "node2": "connected",
    }
    again = answer(cluster.replicator("nodes", "register", "node2", cluster.node2, "--json"))
    assert again["base_url"].rstrip("/") == cluster.node2

    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        added = cluster.replicator("nodes", "register", "spare", nowhere)
    assert added.returncode == 0
    assert b"has not joined yet" in added.stderr
    assert answer(cluster.replicator("nodes", "rm", "spare", "--json")) == {"removed": "spare"}
    assert "spare" in complaint(cluster.replicator("nodes", "rm", "spare"), 3)


def test_a_node_is_labelled_put_in_maintenance_and_explained(cluster: Cluster) -> None:
    changed = answer(
        cluster.replicator("nodes", "set", "node2", "--zone", "eu-1", "--label", "a=1", "--json")
    )
    assert (changed["zone"], changed["labels"]) == ("eu-1", {"a": "1"})
    assert 0 < changed["bytes_free"] < changed["bytes_total"]
    changed = answer(cluster.replicator("nodes", "set", "node2", "--label", "a=", "--label", "b=2", "--json"))
    assert changed["labels"] == {"b": "2"}
    listed = answer(cluster.replicator("nodes", "--zone", "eu-1", "--label", "b=2", "--json"))["nodes"]
    assert [node["name"] for node in listed] == ["node2"]
    assert "no label" in complaint(cluster.replicator("nodes", "set", "node2", "--label", "a"), 2)

    assert b"in maintenance" in cluster.replicator("nodes", "maintenance", "node2", "on").stdout
    store(cluster, "waits.bin")
    job = answer(cluster.replicator("migrate", "node1", "node2", "waits.bin", "--no-wait", "--json"))["id"]
    told = cluster.replicator("explain", "job", str(job)).stdout.decode()
    assert "node2 is in maintenance" in told
    assert "'replicator nodes maintenance node2 off'" in told
    (task,) = answer(cluster.replicator("tasks", str(job), "--json"))["tasks"]
    assert (task["status"], task["waiting_for"]) == ("ready", "the end of the maintenance of node2")
    explained = answer(cluster.replicator("explain", "task", str(task["id"]), "--json"))
    assert [finding["kind"] for finding in explained["findings"]] == ["node-maintenance"]
    assert b"is in maintenance" in cluster.replicator("explain", "node", "node2").stdout

    assert b"takes work again" in cluster.replicator("nodes", "maintenance", "node2", "off").stdout
    assert cluster.replicator("job", str(job), "--wait").returncode == 0
    assert b"attempt 1" in cluster.replicator("task", str(task["id"])).stdout
    assert cluster.replicator("nodes", "set", "node2", "--zone", "none", "--label", "none").returncode == 0
    assert "node9" in complaint(cluster.replicator("explain", "node", "node9"), 3)
    assert "there is no task" in complaint(cluster.replicator("task", "999999"), 3)


def test_replicas_and_their_duties_are_shown(cluster: Cluster) -> None:
    told = answer(cluster.replicator("replicas", "--json"))
    done = cluster.replicator("replicas")
    assert done.returncode == 0
    rows = [line.split("\t") for line in done.stdout.decode().splitlines()]
    assert [row[0] for row in rows[:-1]] == [duty["name"] for duty in told["duties"]]
    assert rows[-1][0] == told["answered_by"]


@pytest.mark.parametrize("command", [["nodes"], ["jobs"], ["dead-letters"], ["replicas"]])
def test_on_a_narrow_terminal_no_word_is_broken(cluster: Cluster, command: list[str]) -> None:
    assert cluster.replicator("migrate", "node1", "node2", "no-such-object").returncode == 6
    lines = on_terminal(cluster, *command, columns=80)
    assert max(map(len, lines)) <= 80, lines
    words = {word for line in lines for word in line.split()}
    assert words & {"node1", "sweep"}, lines


def on_terminal(cluster: Cluster, *arguments: str, columns: int) -> list[str]:
    """The lines that a command writes to a terminal of so many columns."""
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as screen:
        environment = {**cluster.environment(), "COLUMNS": str(columns)}
        command = [sys.executable, "-m", "replicator.cli.main", *arguments]
        done = subprocess.Popen(command, stdout=theirs, stderr=subprocess.DEVNULL, env=environment)
        os.close(theirs)
        said = b""
        with suppress(OSError):  # that is how the end of a terminal reads
            while block := screen.read(65536):
                said += block
        assert done.wait(60) == 0
    return said.decode().splitlines()


def test_what_is_unknown_or_wrong_has_its_exit_code(cluster: Cluster) -> None:
    assert "node9" in complaint(cluster.replicator("ls", "node9"), 3)
    assert problem(cluster.replicator("migrate", "node1", "node9", "x", "--json"), 3)["code"] == "not-found"
    assert problem(cluster.replicator("job", "999999", "--json"), 3)["status"] == 404
    assert "'.' or '..'" in complaint(cluster.replicator("get", "node1", "../x"), 2)
    assert "not a URL" in complaint(cluster.replicator("--control-plane", "nonsense", "nodes"), 2)
    assert cluster.replicator("jobs", "--status", "lost").returncode == 2
    assert cluster.replicator("nonsense").returncode == 2
    missing = complaint(cluster.replicator("put", "node1", "/no/such/file"), 2)
    assert "No such file" in missing


@pytest.mark.parametrize("before", [True, False])
def test_a_control_plane_that_is_not_there_is_unavailable(cluster: Cluster, before: bool) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        option = ("--control-plane", f"http://127.0.0.1:{reserved.getsockname()[1]}")
        command = (*option, "nodes") if before else ("nodes", *option)
        line = complaint(cluster.replicator(*command), 5)
    assert option[1] in line
    assert "check that it runs" in line


def test_a_reader_that_goes_away_ends_the_command_quietly(cluster: Cluster) -> None:
    store(cluster, "long", os.urandom(4_000_000))
    with running(cluster, "get", "node1", "long", "-") as getting:
        assert getting.stdout is not None
        assert getting.stderr is not None
        assert len(getting.stdout.read(10)) == 10
        getting.stdout.close()
        said = getting.stderr.read()
        assert getting.wait(SECONDS_MAX) == 141
    assert b"Traceback" not in said


def test_an_interrupted_upload_stores_nothing(cluster: Cluster) -> None:
    with running(cluster, "put", "node1", "-", "interrupted") as putting:
        assert putting.stdin is not None
        assert putting.stderr is not None
        putting.stdin.write(b"the first bytes of many")
        putting.stdin.flush()
        assert putting.stderr.readline().startswith(b"put interrupted:"), "it is under way"
        putting.send_signal(signal.SIGINT)
        assert putting.wait(SECONDS_MAX) == 130
    assert fetched(cluster.node1, "interrupted") is None


def running(cluster: Cluster, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "replicator.cli.main", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=cluster.environment(),
    )


@pytest.mark.parametrize("server", ["control-plane", "node"])
def test_a_server_gets_its_own_arguments(cluster: Cluster, server: str) -> None:
    helped = cluster.process(server, "--help")
    assert helped.returncode == 0
    assert b"--data-dir" in helped.stdout


def test_a_server_whose_port_is_taken_says_how_to_choose_another(cluster: Cluster, tmp_path: Path) -> None:
    port = cluster.node1.rpartition(":")[2]
    done = cluster.process("node", "--name", "n", "--data-dir", str(tmp_path / "n"), "--port", port)
    assert done.returncode not in {0, None}
    assert f"port {port}".encode() in done.stdout + done.stderr
    assert b"--port" in done.stdout + done.stderr


@pytest.mark.parametrize("target", ["up", "demo"])
def test_a_taken_port_is_named_with_the_way_to_choose_another(cluster: Cluster, target: str) -> None:
    port = cluster.node1.rpartition(":")[2]
    script = str(ROOT / "scripts" / f"{target}.py")
    done = subprocess.run(
        [sys.executable, script, "--port-node1", port], capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert done.returncode == 1
    assert f"port {port} (for node1)" in done.stderr
    assert f"make {target}" in done.stderr
    assert "PORT_NODE1=" in done.stderr
