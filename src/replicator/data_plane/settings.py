"""Settings of a node: by flag, or by a `REPLICATOR_NODE_…` variable. Read once, in `main`."""

from __future__ import annotations

from pathlib import Path

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
    requests_max: int = Field(
        1024, ge=1, description="Object and chunk requests in progress; more are answered 503."
    )
    buffer_bytes_max: int = Field(
        64 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Bytes that object and chunk requests share for their blocks; many requests, smaller blocks.",
    )
    stall_timeout_s: float = Field(
        60.0, gt=0, description="Seconds a client may take to send or take one block, at most 1 MiB."
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
    catalog_cache_bytes: int = Field(
        64 * MEBIBYTE, ge=MEBIBYTE, description="Bytes of catalog blocks kept in memory."
    )
    log_level: LogLevel = Field("info", description="Least severe events to log.")
    log_format: LogFormat = Field("auto", description="json, text, or auto: text on a terminal.")

    @property
    def reachable_at(self) -> str:
        """The URL this node gives for itself."""
        if self.base_url is not None:
            return str(self.base_url).rstrip("/")
        host = "localhost" if self.host in _LOCAL_ADDRESSES else self.host
        return f"http://{host}:{self.port}"
