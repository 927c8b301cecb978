"""What a node answers to those who tell it which control plane to join."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from replicator.testing.processes import free_port, node_process
from replicator.testing.waiting import wait_until


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_is_bounded(client: httpx.Client, chunked: bool) -> None:
    body = b" " * 70_000
    answer = client.post(
        "/control/join",
        content=iter([body]) if chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert "65536 bytes" in answer.json()["detail"]


def test_another_node_is_told_so(client: httpx.Client) -> None:
    asked = {"node": "node7", "control_plane_url": "http://127.0.0.1:1"}
    answer = client.post("/control/join", json=asked)
    assert (answer.status_code, answer.json()["code"], answer.json()["node"]) == (409, "conflict", "node1")


def test_a_node_that_starts_first_waits_and_has_lost_nothing(tmp_path: Path) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with node_process("node9", tmp_path, control_plane=nobody) as node:
        waits = wait_until(lambda: node.events("session.waits"), "it says that it waits")
        assert waits[0]["control_plane"] == nobody
        assert "cannot be reached" in waits[0]["reason"]
        assert node.events("session.lost") == []
