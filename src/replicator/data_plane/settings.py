"""Settings of a node: by flag, or by a `REPLICATOR_NODE_…` variable. Read once, in `main`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, HttpUrl
from pydantic_settings import BaseSettings, SettingsConfigDict

from replicator.runtime.logging import LogFormat, LogLevel
from replicator.wire.values import NodeNameField

MEBIBYTE = 1024 * 1024
_LOCAL_ADDRESSES = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104  (compared, not bound)


class NodeSettings(BaseSettings):
    """How one node runs."""

    model_config = SettingsConfigDict(
        env_prefix="REPLICATOR_NODE_", frozen=True, extra="ignore", populate_by_name=True
    )

    name: NodeNameField = Field(description="What this node is called; version ids and jobs name it.")
    data_dir: Path = Field(description="Folder that holds everything this node keeps.")
    port: int = Field(9001, ge=0, le=65_535, description="Port to listen on.")
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every one.")
    base_url: HttpUrl | None = Field(
        None, description="Where others reach this node; http://HOST:PORT where it is not given."
    )
    control_plane_url: HttpUrl | None = Field(
        None,
        validation_alias="REPLICATOR_CONTROL_PLANE_URL",
        json_schema_extra={"flag": "--control-plane"},
        description="Control plane to join; without it, the one that registers this node says so.",
    )
    threads: int = Field(8, ge=1, le=256, description="Threads for cutting, hashing and reading.")
    pulls_max: int = Field(4, ge=1, le=64, description="Tasks carried out at the same time.")
    connections_max: int = Field(
        16_384, ge=1, description="Open connections; more are answered 503 and closed."
    )
    requests_max: int = Field(
        1024, ge=1, description="Requests in progress, operations aside; more are answered 503."
    )
    buffer_bytes_max: int = Field(
        64 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Bytes that transfers share for their blocks, 512 KiB or more each; others wait their turn.",
    )
    transfer_wait_s: float = Field(
        10.0, gt=0, description="Seconds a transfer waits for its turn before it is answered 503."
    )
    stall_timeout_s: float = Field(
        60.0, gt=0, description="Seconds a client may take to send or take one block, at most 1 MiB."
    )
    body_bytes_per_s_min: int = Field(
        1024,
        ge=0,
        description="Bytes a second at which a client must send, or take, a body, on average over the stall timeout.",
    )
    peer_timeout_s: float = Field(
        10.0, gt=0, description="Seconds to resolve and connect to a peer, and to wait for its next byte."
    )
    segment_bytes_max: int = Field(
        512 * MEBIBYTE, ge=MEBIBYTE, description="Bytes from which a segment is followed by a new one."
    )
    disk_reserve_bytes: int = Field(
        256 * MEBIBYTE, ge=0, description="Bytes always left free on the disk; uploads beyond get 507."
    )
    gc_grace_s: float = Field(
        3600.0, ge=0, description="Seconds that is kept what no version refers to any more."
    )
    space_overhead_max: float = Field(
        0.1, gt=0, description="Dead bytes as a share of the live ones, beyond which segments are compacted."
    )
    compaction_bytes_per_s_max: int = Field(
        64 * MEBIBYTE, ge=64 * 1024, description="Bytes a second that compaction in the background moves."
    )
    compression: Literal["off", "zstd"] = Field(
        "off",
        description="How new chunks are kept: off, as they are; zstd, compressed where that saves an eighth.",
    )
    catalog_cache_bytes: int = Field(
        64 * MEBIBYTE, ge=MEBIBYTE, description="Bytes of catalog blocks kept in memory."
    )
    scrub_period_s: float = Field(
        30 * 86_400.0, gt=0, description="Seconds within which every record is read and proven once."
    )
    scrub_bytes_per_s_max: int = Field(
        64 * MEBIBYTE, ge=1, description="Bytes a second that the scrub reads at most, whatever its period."
    )
    backup_dir: Path | None = Field(
        None, description="Folder for backups, on the disk of the data folder; without it none are made."
    )
    log_level: LogLevel = Field(
        "info", description="Least severe events to log: debug, info, warning or error."
    )
    log_format: LogFormat = Field("auto", description="json, text, or auto: text on a terminal.")

    @property
    def reachable_at(self) -> str:
        """The URL this node gives for itself."""
        if self.base_url is not None:
            return str(self.base_url).rstrip("/")
        host = "localhost" if self.host in _LOCAL_ADDRESSES else self.host
        return f"http://{host}:{self.port}"
