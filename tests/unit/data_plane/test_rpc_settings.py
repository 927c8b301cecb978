"""Where a node serves gRPC, and what it says about that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicator.data_plane.settings import NodeSettings


def settings(**given: Any) -> NodeSettings:
    return NodeSettings(name="node1", data_dir=Path("data"), **given)


@pytest.mark.parametrize(
    ("given", "port", "url"),
    [
        ({}, 9101, "http://localhost:9101"),
        ({"port": 9002}, 9102, "http://localhost:9102"),
        ({"port": 0}, 0, "http://localhost:0"),
        ({"rpc_port": 7000}, 7000, "http://localhost:7000"),
        ({"base_url": "http://node1:9001"}, 9101, "http://node1:9101"),
        ({"base_url": "https://node1.example/a"}, 9101, "http://node1.example:9101"),
        ({"base_url": "http://[2001:db8::1]:9001"}, 9101, "http://[2001:db8::1]:9101"),
        ({"host": "10.0.0.7"}, 9101, "http://10.0.0.7:9101"),
        ({"rpc_url": "http://elsewhere:1/"}, 9101, "http://elsewhere:1"),
        ({"serve": "grpc"}, 9101, "http://localhost:9101"),
        ({"serve": "http", "rpc_url": "http://elsewhere:1"}, None, None),
    ],
)
def test_where_grpc_is_served_and_reached(given: dict[str, Any], port: int | None, url: str | None) -> None:
    made = settings(**given)
    assert (made.rpc_listens_on, made.rpc_reachable_at) == (port, url)
