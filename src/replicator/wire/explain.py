"""Why something is in its state, as users see it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Subject = Literal["job", "task", "node"]


_FINDING_EXAMPLE: dict[str, JsonValue] = {
    "kind": "node-disconnected",
    "because": "task 7 is ready, but node2 has not been connected since 2025-06-01T12:00:00.000Z",
    "would_change": "node2 opening a session; without one the task fails at 2025-06-02T12:00:00.000Z",
    "data": {"node": "node2", "gives_up_at": "2025-06-02T12:00:00.000Z"},
}


class FindingView(BaseModel):
    """One reason for a state."""

    model_config = ConfigDict(json_schema_extra={"example": _FINDING_EXAMPLE})

    kind: str = Field(description="Stable kebab-case name; data of a kind has the same fields.")
    because: str = Field(description="A sentence.")
    would_change: str | None = Field(description="What would; null where nothing can, or need.")
    data: dict[str, JsonValue] = Field(description="What the sentence is made of; times are RFC 3339.")


class Explanation(BaseModel):
    """Why a job, a task or a node is in its state, and what would change it: what matters most first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"subject": "job", "id": "5", "state": "running", "findings": [_FINDING_EXAMPLE]}
        }
    )

    subject: Subject
    id: str = Field(description="The number of a job or task, or the name of a node.")
    state: str
    findings: list[FindingView]
