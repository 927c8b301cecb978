"""What a node says about its objects."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from replicator.kernel.names import DEFAULT_BUCKET
from replicator.wire.values import BucketNameField, HexDigest, HexVersion, ObjectIdField, Timestamp

DELETE_MARKER_HEADER = "X-Replicator-Delete-Marker"
REMOVED_VERSION_HEADER = "X-Replicator-Removed-Version"

_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_OBJECT_EXAMPLE: dict[str, JsonValue] = {
    "bucket": "default",
    "object_id": "demo.bin",
    "version": "019f3b2c4d5e0000a1b2c3d4e5f60718",
    "size": 1048576,
    "etag": f'"{_DIGEST}"',
    "manifest": _DIGEST,
    "content_type": "application/octet-stream",
    "created_at": "2026-01-02T03:04:05.678Z",
}


class ObjectInfo(BaseModel):
    """One version of an object."""

    model_config = ConfigDict(json_schema_extra={"example": _OBJECT_EXAMPLE})

    bucket: str = Field(str(DEFAULT_BUCKET), examples=["default"])
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
        json_schema_extra={"example": {**_OBJECT_EXAMPLE, "chunks": 13, "chunks_new": 2, "bytes_new": 151552}}
    )

    chunks: int = Field(description="Chunks in the object.", ge=0)
    chunks_new: int = Field(description="Chunks that this node did not hold before.", ge=0)
    bytes_new: int = Field(description="Bytes in those chunks.", ge=0)


class ObjectPage(BaseModel):
    """Objects in order of their ids' UTF-8 bytes."""

    objects: list[ObjectInfo]
    prefixes: list[str] = Field(
        [],
        description="What ids have in common up to and with the delimiter; those ids are not in `objects`.",
    )
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


class VersionInfo(BaseModel):
    """One version or delete marker; a marker has no content, and so none of what describes it."""

    version: HexVersion
    latest: bool = Field(description="It is what the object is now; a marker: the object is deleted.")
    null: bool = Field(description="The next write without versioning replaces it.")
    delete_marker: bool
    size: int | None = Field(None, description="Length in bytes.")
    etag: str | None = None
    manifest: HexDigest | None = None
    content_type: str | None = None
    created_at: Timestamp


class VersionPage(BaseModel):
    """Versions and delete markers of one object, newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "bucket": "default",
                "object_id": "demo.bin",
                "versions": [
                    {
                        "version": "019f3b2c9a010000a1b2c3d4e5f60718",
                        "latest": True,
                        "null": False,
                        "delete_marker": True,
                        "created_at": "2026-01-02T03:05:00.000Z",
                    },
                    {
                        "version": "019f3b2c4d5e0000a1b2c3d4e5f60718",
                        "latest": False,
                        "null": False,
                        "delete_marker": False,
                        "size": 1048576,
                        "etag": f'"{_DIGEST}"',
                        "manifest": _DIGEST,
                        "content_type": "application/octet-stream",
                        "created_at": "2026-01-02T03:04:05.678Z",
                    },
                ],
                "next_cursor": None,
            }
        }
    )

    bucket: str
    object_id: str
    versions: list[VersionInfo]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


class ListedVersion(VersionInfo):
    """One version or delete marker among those of a bucket."""

    object_id: str = Field(examples=["demo.bin"])


class BucketVersionPage(BaseModel):
    """Versions and delete markers of a bucket in order of their ids' UTF-8 bytes, of each object newest first."""

    bucket: str
    versions: list[ListedVersion]
    next_cursor: str | None = Field(None, description="Pass as `cursor` for the next page; null at the end.")


class CopySource(BaseModel):
    """What to copy: the latest version of an object, or the one named."""

    model_config = ConfigDict(extra="forbid")

    bucket: BucketNameField = str(DEFAULT_BUCKET)
    object_id: ObjectIdField
    version: HexVersion | None = None


class CopyTarget(BaseModel):
    """The object whose latest version the copy becomes."""

    model_config = ConfigDict(extra="forbid")

    bucket: BucketNameField = str(DEFAULT_BUCKET)
    object_id: ObjectIdField


class CopyRequest(BaseModel):
    """`POST /copies`. A copy of an older version to the object that it is of restores it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "source": {"object_id": "demo.bin", "version": "019f3b2c4d5e0000a1b2c3d4e5f60718"},
                "target": {"object_id": "demo.bin"},
            }
        },
    )

    source: CopySource
    target: CopyTarget


class ChunkEntry(BaseModel):
    """One chunk of a manifest."""

    digest: HexDigest
    length: int = Field(description="Length in bytes.", gt=0)


class ManifestView(BaseModel):
    """One page of an object's manifest, as JSON for people and scripts."""

    bucket: str
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
