"""Replicas of the control plane, as operators see them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from replicator.wire.values import Timestamp


class DutyView(BaseModel):
    """A group of duties that one replica at a time does: `plan`, `sweep`, `join` or `prune`."""

    name: str
    holder: str | None = Field(description="The replica that does it; null once its lease has run out.")
    term: int = Field(description="Grows each time that the lease changes hands, or had run out.")
    since: Timestamp = Field(description="When this term began.")
    until: Timestamp = Field(description="When the lease ends, unless it is renewed.")


class ReplicaView(BaseModel):
    """A process that has written to the database within the last day."""

    name: str = Field(description="Host, process id and a random part.")
    wrote_at: Timestamp


class ReplicasView(BaseModel):
    """Who does what. Times are those of the database."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "answered_by": "host1-4121-9f3c",
                "now": "2025-06-01T12:00:00.000Z",
                "duties": [
                    {
                        "name": "sweep",
                        "holder": "host1-4121-9f3c",
                        "term": 3,
                        "since": "2025-06-01T11:40:12.120Z",
                        "until": "2025-06-01T12:00:03.400Z",
                    }
                ],
                "replicas": [{"name": "host1-4121-9f3c", "wrote_at": "2025-06-01T11:59:59.870Z"}],
            }
        }
    )

    answered_by: str = Field(description="The replica that answers.")
    now: Timestamp = Field(description="Database time.")
    duties: list[DutyView]
    replicas: list[ReplicaView] = Field(description="The latest first, at most 100.")
