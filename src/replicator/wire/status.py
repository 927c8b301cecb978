"""What a process says of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Health(BaseModel):
    """The answer of `/health` and `/ready`."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"status": "ok", "name": "node1", "release": "0.1.0"}}
    )

    status: Literal["ok"]
    name: str = Field(description="Which process answered.")
    release: str
