"""Nodes as the control plane knows them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, JsonValue

from replicator.wire.values import NodeNameField, Timestamp

NodeStatus = Literal["connected", "disconnected"]


_NODE_EXAMPLE: dict[str, JsonValue] = {
    "name": "node1",
    "base_url": "http://node1:9001",
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


class NodeView(BaseModel):
    """A node."""

    model_config = ConfigDict(json_schema_extra={"example": _NODE_EXAMPLE})

    name: str
    base_url: str
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
