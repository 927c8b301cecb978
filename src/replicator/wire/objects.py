"""What a node says about its objects."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from replicator.wire.values import HexDigest, HexVersion, Timestamp


class ObjectInfo(BaseModel):
    """The latest version of one object."""

    object_id: str = Field(examples=["demo.bin"])
    version: HexVersion
    size: int = Field(description="Length in bytes.", ge=0)
    etag: str = Field(description="Entity tag, quoted as in HTTP; from the manifest digest.")
    manifest: HexDigest
    content_type: str = Field(examples=["application/octet-stream"])
    created_at: Timestamp


class PutResult(ObjectInfo):
    """The answer to an upload."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "object_id": "demo.bin",
                "version": "019f3b2c4d5e0000a1b2c3d4e5f60718",
                "size": 1048576,
                "etag": '"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"',
                "manifest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "content_type": "application/octet-stream",
                "created_at": "2026-01-02T03:04:05.678Z",
                "chunks": 13,
                "chunks_new": 2,
                "bytes_new": 151552,
            }
        }
    )

    chunks: int = Field(description="Chunks in the object.", ge=0)
    chunks_new: int = Field(description="Chunks that this node did not hold before.", ge=0)
    bytes_new: int = Field(description="Bytes in those chunks.", ge=0)


class ObjectPage(BaseModel):
    """Objects in order of their ids' UTF-8 bytes."""

    objects: list[ObjectInfo]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


class ChunkEntry(BaseModel):
    """One chunk of a manifest."""

    digest: HexDigest
    length: int = Field(description="Length in bytes.", gt=0)


class ManifestView(BaseModel):
    """One page of an object's manifest, as JSON for people and scripts."""

    object_id: str
    version: HexVersion
    manifest: HexDigest
    size: int
    chunk_count: int
    chunk_bytes_min: int
    chunk_bytes_avg: int
    chunk_bytes_max: int
    page: int = Field(description="Number of this page, from 0.")
    page_count: int
    entries: list[ChunkEntry] = Field(description="At most 4,096 entries.")
