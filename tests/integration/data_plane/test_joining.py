"""What a node answers to those who tell it which control plane to join."""

from __future__ import annotations

import httpx
import pytest


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
