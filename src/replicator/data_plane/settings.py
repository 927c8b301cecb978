"""Settings of a node: by flag, or by a `REPLICATOR_NODE_…` variable. Read once, in `main`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, HttpUrl, TypeAdapter, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from replicator.runtime.logging import LogFormat, LogLevel
from replicator.wire.values import Labels, NodeNameField, Zone

MEBIBYTE = 1024 * 1024
RPC_PORT_OFFSET = 100
_LOCAL_ADDRESSES = frozenset({"127.0.0.1", "::1", "0.0.0.0", "::"})  # noqa: S104  (compared, not bound)


_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(Labels)


def _labels_in(text: str | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("write labels as key=value, separated by commas")
    return {key: value for key, _, value in pairs}


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
    serve: Literal["both", "http", "grpc"] = Field(
        "both", description="How other nodes may take bytes from this one: both, http or grpc."
    )
    rpc_port: int | None = Field(
        None, ge=0, le=65_535, description="Port for gRPC; that of HTTP plus 100 where it is not given."
    )
    rpc_url: HttpUrl | None = Field(
        None,
        description="Where others reach the gRPC service; its port on the host of the base URL where it is not given.",
    )
    rpc_requests_max: int = Field(
        64,
        ge=4,
        le=1024,
        description="gRPC requests in progress, each a thread and up to 4 MiB; more are refused.",
    )
    transport: Literal["auto", "http", "grpc"] = Field(
        "auto",
        description="How to take bytes from other nodes: http, grpc, or auto: the faster one that a node speaks.",
    )
    control_plane_url: HttpUrl | None = Field(
        None,
        validation_alias="REPLICATOR_CONTROL_PLANE_URL",
        json_schema_extra={"flag": "--control-plane"},
        description="Control plane to join; without it, the one that registers this node says so.",
    )
    zone: Zone | None = Field(
        None, description="Where this node stands; what an operator tells the control plane wins."
    )
    labels: str | None = Field(
        None,
        json_schema_extra={"flag": "--label", "repeated": True},
        description="Labels of this node as key=value, separated by commas; the flag may be given several times. "
        "What an operator tells the control plane wins.",
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
    streams_per_source: int = Field(
        2, ge=1, le=16, description="Connections by which one task takes bytes from one source."
    )
    streams_max: int = Field(
        6, ge=1, le=64, description="Connections by which one task takes bytes, over all sources."
    )
    bytes_in_flight_max: int = Field(
        256 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Bytes that one task has asked for and that have not arrived, over all sources.",
    )
    compress_below_bytes_per_s: int = Field(
        128 * MEBIBYTE,
        ge=0,
        description="Bytes a second of a stream, below which it is tried whether compressing is quicker.",
    )
    link_failures_max: int = Field(
        5, ge=1, description="Failures in a row after which a source is left alone for a while."
    )
    link_open_s_max: float = Field(
        60.0, gt=0, description="Seconds that a source is left alone at most, before one attempt tries it."
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

    @field_validator("labels")
    @classmethod
    def _labels_are_labels(cls, text: str | None) -> str | None:
        _LABELS.validate_python(_labels_in(text))
        return text

    @property
    def own_labels(self) -> dict[str, str]:
        """What this node says of itself."""
        return _labels_in(self.labels)

    @property
    def reachable_at(self) -> str:
        """The URL this node gives for itself."""
        if self.base_url is not None:
            return str(self.base_url).rstrip("/")
        host = "localhost" if self.host in _LOCAL_ADDRESSES else self.host
        return f"http://{host}:{self.port}"

    @property
    def rpc_listens_on(self) -> int | None:
        """The port for gRPC, 0 for one that is free; None where gRPC is not served."""
        if self.serve == "http":
            return None
        if self.rpc_port is not None:
            return self.rpc_port
        return self.port + RPC_PORT_OFFSET if self.port else 0

    @property
    def rpc_reachable_at(self) -> str | None:
        """The URL this node gives for its gRPC service, if it has one."""
        if self.rpc_listens_on is None:
            return None
        if self.rpc_url is not None:
            return str(self.rpc_url).rstrip("/")
        host = urlsplit(self.reachable_at).hostname or "localhost"
        return f"http://{f'[{host}]' if ':' in host else host}:{self.rpc_listens_on}"
