"""Nodes as the control plane knows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, JsonValue

from replicator.wire.sessions import RateLimit
from replicator.wire.values import NodeNameField, Timestamp

NodeStatus = Literal["connected", "disconnected"]


_NODE_EXAMPLE: dict[str, JsonValue] = {
    "name": "node1",
    "base_url": "http://node1:9001",
    "rpc_url": "http://node1:9101",
    "limits": {"ingress_bytes_per_second": None, "egress_bytes_per_second": 104857600},
    "status": "connected",
    "boot_id": "5f1c7a90d2e84b36",
    "release": "0.1.0",
    "problem": None,
    "registered_at": "2025-06-01T12:00:00.000Z",
    "updated_at": "2025-06-01T12:00:00.000Z",
    "seen_at": "2025-06-01T12:03:20.500Z",
}


class RegisterNode(BaseModel):
    """`POST /nodes/register`: add a node, or update the one of that name."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "node1", "base_url": "http://node1:9001"}}
    )

    name: NodeNameField
    base_url: HttpUrl = Field(description="Where the control plane and other nodes reach it.")


class NodeLimits(BaseModel):
    """`PUT /nodes/{name}/limits`: bytes a second over all of a node's replication; null for no limit."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"ingress_bytes_per_second": None, "egress_bytes_per_second": 104857600}
        },
    )

    ingress_bytes_per_second: RateLimit | None = Field(None, description="What it receives.")
    egress_bytes_per_second: RateLimit | None = Field(None, description="What it sends.")


class NodeView(BaseModel):
    """A node."""

    model_config = ConfigDict(json_schema_extra={"example": _NODE_EXAMPLE})

    name: str
    base_url: str
    rpc_url: str | None = Field(None, description="Its gRPC service, if it has one.")
    limits: NodeLimits = Field(default_factory=NodeLimits, description="What it is held to.")
    status: NodeStatus = Field(description="Whether it has a live session.")
    boot_id: str | None = Field(description="The process life of its session.")
    release: str | None = Field(description="The release that process runs.")
    problem: str | None = Field(description="Why it could not be told to join, where that failed.")
    registered_at: Timestamp
    updated_at: Timestamp
    seen_at: Timestamp | None = Field(description="When its session was last renewed.")


class NodePage(BaseModel):
    """Nodes by name."""

    model_config = ConfigDict(json_schema_extra={"example": {"nodes": [_NODE_EXAMPLE], "next_cursor": None}})

    nodes: list[NodeView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


_LINK_EXAMPLE: dict[str, JsonValue] = {
    "src_node": "node1",
    "dst_node": "node2",
    "bytes_per_second": 10485760,
}


class LinkLimit(BaseModel):
    """`PUT /links/{src_node}/{dst_node}`: what may go from one node to another."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"bytes_per_second": 10485760}})

    bytes_per_second: RateLimit


class LinkView(BaseModel):
    """A link that is limited."""

    model_config = ConfigDict(json_schema_extra={"example": _LINK_EXAMPLE})

    src_node: str
    dst_node: str
    bytes_per_second: int


class LinkPage(BaseModel):
    """Limited links, by source and destination."""

    model_config = ConfigDict(json_schema_extra={"example": {"links": [_LINK_EXAMPLE], "next_cursor": None}})

    links: list[LinkView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")
