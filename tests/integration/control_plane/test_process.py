"""The process as users run it: its start, its end, and its errors."""

from __future__ import annotations

import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from replicator.runtime.bootstrap import OPEN_FILES_MAX
from replicator.testing.processes import ServerProcess, control_plane_process
from replicator.testing.waiting import wait_until
from replicator.wire.sessions import PollReply

OPENING = {"node": "node2", "boot_id": "12345678", "base_url": "http://127.0.0.1:1", "release": "1"}
MIGRATE = {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with control_plane_process(tmp_path) as server:
        yield server


def post(server: ServerProcess, path: str, message: dict[str, Any]) -> Any:
    return httpx.post(server.url + path, json=message, timeout=30, trust_env=False).raise_for_status().json()


def test_a_job_goes_on_after_a_kill(server: ServerProcess) -> None:
    session_id = post(server, "/sessions", OPENING)["session_id"]
    post(server, "/sessions", OPENING | {"node": "node1"})
    post(server, "/jobs/migrate", MIGRATE)
    poll = {"boot_id": OPENING["boot_id"], "capacity": 1, "wait_seconds": 20}
    (task,) = post(server, f"/sessions/{session_id}/poll", poll)["tasks"]
    server.kill()
    server.start()
    result = {name: task[name] for name in ("control_plane", "task_id", "epoch")}
    result |= {"boot_id": OPENING["boot_id"], "outcome": "succeeded", "transfer": {}}
    result |= {"objects": [{"row": task["items"][0]["row"], "outcome": "verified"}]}
    post(server, f"/sessions/{session_id}/poll", poll | {"results": [result]})
    job = httpx.get(server.url + "/jobs/1", timeout=30, trust_env=False).json()
    assert (job["status"], job["attempts"]) == ("succeeded", 1)
    assert server.stray_output() == []


def test_a_waiting_poll_does_not_hold_up_the_end(server: ServerProcess) -> None:
    session_id = post(server, "/sessions", OPENING)["session_id"]
    answers: list[Any] = []

    def wait() -> None:
        poll = {"boot_id": OPENING["boot_id"], "capacity": 1, "wait_seconds": 30}
        answers.append(post(server, f"/sessions/{session_id}/poll", poll))

    polling = threading.Thread(target=wait)
    polling.start()

    def transactions() -> bool:
        metrics = httpx.get(server.url + "/metrics", timeout=30, trust_env=False).text
        return 'replicator_transaction_seconds_count{kind="write"} 3.0' in metrics

    wait_until(transactions, "the poll has been taken up")
    assert server.stop() == 0
    polling.join()
    assert [PollReply.model_validate(answer) for answer in answers] == [PollReply()]
    assert server.events("control-plane.stopped")


def test_one_process_uses_a_database(server: ServerProcess, tmp_path: Path) -> None:
    second = control_plane_process(tmp_path)
    assert not second.try_start()
    assert second.wait() == 1
    (complaint,) = second.stray_output()
    assert complaint.startswith(f"replicator control-plane: another control plane (process {server.pid})")


@pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="the limits of another process are Linux's to tell"
)
def test_a_process_may_open_more_files_than_shells_allow(tmp_path: Path) -> None:
    server = control_plane_process(tmp_path)
    server.wrapper = ("sh", "-c", 'ulimit -Sn 256; exec "$@"', "sh")
    with server:
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        assert soft == hard or soft >= OPEN_FILES_MAX


def test_a_taken_port_is_named(server: ServerProcess, tmp_path: Path) -> None:
    other = tmp_path / "other"
    second = control_plane_process(other)
    second._port = server.port
    assert not second.try_start()
    assert second.wait() == 1
    assert f"port {server.port} on 127.0.0.1 is taken" in "".join(second.stray_output())
    assert "--port" in "".join(second.stray_output())
