"""What a node says about its store, and what can be asked of it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from replicator.wire.values import HexDigest, HexVersion, Timestamp

_DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class StoreStatsView(BaseModel):
    """What a store holds. Bytes are those of records, headers included."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "segments": 12,
                "bytes": 12_884_901_888,
                "live_bytes": 12_348_030_976,
                "dead_bytes": 536_870_912,
                "retiring_manifests": 3,
                "retiring_bytes": 104_857_600,
                "damaged_chunks": 0,
                "held_chunks": 40,
                "held_manifests": 1,
                "reclaimed_bytes": 2_147_483_648,
                "compacted_segments": 2,
                "scrubbed_bytes": 6_442_450_944,
            }
        }
    )

    segments: int
    bytes: int
    live_bytes: int = Field(description="Of what something refers to.")
    dead_bytes: int = Field(
        description="Of what nothing refers to: garbage, and uploads and pulls in progress."
    )
    retiring_manifests: int = Field(description="No version refers to them; their grace has not passed yet.")
    retiring_bytes: int = Field(description="Bytes of the objects that they were.")
    damaged_chunks: int = Field(description="Failed their last check.")
    held_chunks: int = Field(description="Kept by work in progress.")
    held_manifests: int = Field(description="Kept by work in progress.")
    reclaimed_bytes: int = Field(description="Since the process began.")
    compacted_segments: int = Field(description="Since the process began.")
    scrubbed_bytes: int = Field(description="Since the process began.")


class SegmentView(BaseModel):
    """One segment."""

    number: int
    bytes: int
    live_bytes: int = Field(description="Of records that something refers to, headers included.")


class SegmentList(BaseModel):
    """Every segment, oldest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"segments": [{"number": 1, "bytes": 1_073_741_824, "live_bytes": 268_435_456}]}
        }
    )

    segments: list[SegmentView]


class CollectRequest(BaseModel):
    """`POST /store/gc`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"grace_s": 0, "dry_run": True}})

    grace_s: float | None = Field(
        None,
        ge=0,
        le=10 * 366 * 24 * 3600,
        allow_inf_nan=False,
        description="In place of the setting: how long ago the last version must be gone.",
    )
    dry_run: bool = False


class CollectReport(BaseModel):
    """What a collection did, or with `dry_run` would do."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"manifests": 3, "dead_bytes": 104_857_600, "dry_run": False}}
    )

    manifests: int
    dead_bytes: int = Field(description="Of records, headers included, that are garbage from then on.")
    dry_run: bool


class CompactRequest(BaseModel):
    """`POST /store/compact`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"dry_run": True}})

    dry_run: bool = False


class CompactReport(BaseModel):
    """What a compaction did, or with `dry_run` would do."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "segments": 2,
                "bytes_copied": 268_435_456,
                "bytes_reclaimed": 1_879_048_192,
                "dry_run": False,
            }
        }
    )

    segments: int
    bytes_copied: int
    bytes_reclaimed: int
    dry_run: bool


class ReferrerView(BaseModel):
    """A version that refers to a chunk."""

    bucket: str
    object_id: str
    version: HexVersion


class ChunkExplanation(BaseModel):
    """Why a chunk is kept."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "digest": _DIGEST,
                "segment": 3,
                "offset": 1_048_576,
                "stored_bytes": 65_536,
                "raw_bytes": 65_536,
                "damaged": False,
                "references": 1,
                "staged": 0,
                "retiring": 0,
                "referrers": [
                    {
                        "bucket": "default",
                        "object_id": "demo.bin",
                        "version": "019f3b2c4d5e0000a1b2c3d4e5f60718",
                    }
                ],
                "holds": ["read of 'demo.bin'"],
            }
        }
    )

    digest: HexDigest
    segment: int | None = Field(description="Where its record is; null: it is not here.")
    offset: int | None
    stored_bytes: int | None
    raw_bytes: int | None
    damaged: bool
    references: int = Field(description="Manifests that refer to it, staged and retiring ones included.")
    staged: int = Field(description="Of these, those of uploads and pulls in progress.")
    retiring: int = Field(description="Of these, those that wait for their grace to pass.")
    referrers: list[ReferrerView] = Field(description="The first of the versions that refer to it.")
    holds: list[str] = Field(description="Work in progress that keeps it.")


class ScrubView(BaseModel):
    """How far the scrub is."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "asked": False,
                "round": 4,
                "segment": 7,
                "offset": 524_288,
                "bytes_done": 6_442_450_944,
                "bytes_total": 12_348_030_976,
                "damaged": 0,
                "began_at": "2026-01-02T03:04:05.678Z",
                "last_completed_at": "2025-12-30T03:04:05.678Z",
                "last_damaged": 0,
            }
        }
    )

    asked: bool = Field(description="A scrub that was asked for is running.")
    round: int = Field(description="How many times the whole store has been read.")
    segment: int = Field(description="Where it goes on.")
    offset: int
    bytes_done: int = Field(description="Of this round.")
    bytes_total: int
    damaged: int = Field(description="Records found damaged in this round.")
    began_at: Timestamp | None
    last_completed_at: Timestamp | None
    last_damaged: int | None = Field(None, description="Records found damaged in the last complete round.")


class BackupRequest(BaseModel):
    """`POST /store/backups`."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "2026-01-02"}})

    name: str = Field(
        min_length=1, max_length=255, description="Of the folder to make below the backup folder."
    )


class BackupReport(BaseModel):
    """A backup that is complete."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "2026-01-02", "path": "/var/backups/node1/2026-01-02"}}
    )

    name: str
    path: str = Field(description="On the node's machine.")
