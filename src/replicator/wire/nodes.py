"""Nodes as the control plane knows them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, JsonValue, model_validator

from replicator.wire.sessions import RateLimit
from replicator.wire.values import (
    LABELS_MAX,
    LabelKey,
    Labels,
    LabelValue,
    NodeNameField,
    TasksMax,
    Timestamp,
    Zone,
)

NodeStatus = Literal["connected", "disconnected"]


_NODE_EXAMPLE: dict[str, JsonValue] = {
    "name": "node1",
    "base_url": "http://node1:9001",
    "rpc_url": "http://node1:9101",
    "limits": {
        "ingress_bytes_per_second": None,
        "egress_bytes_per_second": 104857600,
        "tasks_max": None,
        "serves_max": 4,
    },
    "status": "connected",
    "labels": {"disk": "ssd"},
    "zone": "eu-1",
    "maintenance": False,
    "bytes_total": 2000398934016,
    "bytes_free": 1500299200512,
    "tasks_in_hand": 2,
    "boot_id": "5f1c7a90d2e84b36",
    "release": "0.1.0",
    "problem": None,
    "registered_at": "2025-06-01T12:00:00.000Z",
    "updated_at": "2025-06-01T12:00:00.000Z",
    "seen_at": "2025-06-01T12:03:20.500Z",
    "lease_expires_at": "2025-06-01T12:03:35.500Z",
}


class RegisterNode(BaseModel):
    """`POST /nodes/register`: add a node, or update the one of that name."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "node1", "base_url": "http://node1:9001"}}
    )

    name: NodeNameField
    base_url: HttpUrl = Field(description="Where the control plane and other nodes reach it.")
    labels: Labels | None = Field(None, description="In the place of those it has; null leaves them.")
    zone: Zone | None = Field(None, description="Where it stands; null leaves what is known.")


class ChangeNode(BaseModel):
    """`PATCH /nodes/{name}`: what is not named stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"labels": {"disk": "ssd", "rack": None}, "maintenance": True}},
    )

    labels: Annotated[dict[LabelKey, LabelValue | None], Field(max_length=LABELS_MAX)] | None = Field(
        None,
        description="Changes those that are named, and null takes one away. Null for all of them: those that the "
        "node says of itself, from its next session on.",
    )
    zone: Zone | None = Field(
        None, description="Null for what the node says of itself, from its next session on."
    )
    maintenance: bool | None = Field(
        None, description="Whether it is given no new work, and none that reads from it."
    )


class NodeLimits(BaseModel):
    """`PUT /nodes/{name}/limits`: of all of a node's replication; null for no limit."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "ingress_bytes_per_second": None,
                "egress_bytes_per_second": 104857600,
                "serves_max": 4,
            }
        },
    )

    ingress_bytes_per_second: RateLimit | None = Field(None, description="What it receives.")
    egress_bytes_per_second: RateLimit | None = Field(None, description="What it sends.")
    tasks_max: TasksMax | None = Field(None, description="Tasks that it has in hand at a time.")
    serves_max: TasksMax | None = Field(None, description="Tasks of other nodes at a time that read from it.")


class NodeView(BaseModel):
    """A node."""

    model_config = ConfigDict(json_schema_extra={"example": _NODE_EXAMPLE})

    name: str
    base_url: str
    rpc_url: str | None = Field(None, description="Its gRPC service, if it has one.")
    limits: NodeLimits = Field(default_factory=NodeLimits, description="What it is held to.")
    status: NodeStatus = Field(description="Whether it has a live session.")
    labels: dict[str, str] = Field(default_factory=dict)
    zone: str | None = Field(None, description="Where it stands.")
    maintenance: bool = Field(
        False, description="Whether it is given no new work, and none that reads from it."
    )
    bytes_total: int | None = Field(None, description="Of the disk of its store, as it last reported.")
    bytes_free: int | None = Field(None, description="Of the disk of its store, as it last reported.")
    tasks_in_hand: int = Field(0, description="Tasks that are leased to it.")
    boot_id: str | None = Field(description="The process life of its session.")
    release: str | None = Field(description="The release that process runs.")
    problem: str | None = Field(description="Why it could not be told to join, where that failed.")
    registered_at: Timestamp
    updated_at: Timestamp
    seen_at: Timestamp | None = Field(description="When its session was last renewed.")
    lease_expires_at: Timestamp | None = Field(
        None, description="When its session ends unless it is renewed before."
    )


class NodePage(BaseModel):
    """Nodes by name."""

    model_config = ConfigDict(json_schema_extra={"example": {"nodes": [_NODE_EXAMPLE], "next_cursor": None}})

    nodes: list[NodeView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


_LINK_EXAMPLE: dict[str, JsonValue] = {
    "src_node": "node1",
    "dst_node": "node2",
    "bytes_per_second": 10485760,
    "tasks_max": None,
}


class LinkLimit(BaseModel):
    """`PUT /links/{src_node}/{dst_node}`: what may go from one node to another; one of them, or both."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"bytes_per_second": 10485760}})

    bytes_per_second: RateLimit | None = Field(None, description="Null for no limit.")
    tasks_max: TasksMax | None = Field(None, description="Tasks at a time; null for no limit.")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.bytes_per_second is None and self.tasks_max is None:
            raise ValueError("name bytes_per_second, tasks_max, or both; DELETE takes the limit off")
        return self


class LinkView(BaseModel):
    """A link that is limited."""

    model_config = ConfigDict(json_schema_extra={"example": _LINK_EXAMPLE})

    src_node: str
    dst_node: str
    bytes_per_second: int | None = None
    tasks_max: int | None = Field(None, description="Tasks at a time.")


class LinkPage(BaseModel):
    """Limited links, by source and destination."""

    model_config = ConfigDict(json_schema_extra={"example": {"links": [_LINK_EXAMPLE], "next_cursor": None}})

    links: list[LinkView]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")
