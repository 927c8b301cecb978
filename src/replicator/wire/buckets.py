"""What a node says about its buckets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from replicator.wire.values import Timestamp

VersioningState = Literal["off", "on", "suspended"]

_BUCKET_EXAMPLE: dict[str, JsonValue] = {
    "name": "backups",
    "versioning": "on",
    "created_at": "2026-01-02T03:04:05.678Z",
}


class BucketSettings(BaseModel):
    """`PUT /buckets/{name}`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"versioning": "on"}})

    versioning: VersioningState = Field(
        description="`off`: a write replaces the version before. `on`: every version is kept. `suspended`: "
        "those that there are stay, and writes replace only one another."
    )


class BucketInfo(BaseModel):
    """A bucket."""

    model_config = ConfigDict(json_schema_extra={"example": _BUCKET_EXAMPLE})

    name: str
    versioning: VersioningState
    created_at: Timestamp


class BucketPage(BaseModel):
    """Buckets in byte order of their names."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"buckets": [_BUCKET_EXAMPLE], "next_cursor": None}}
    )

    buckets: list[BucketInfo]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")
