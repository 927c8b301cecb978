"""Every setting of the control plane, read once when it starts."""

from __future__ import annotations

import os
from typing import Self

from pydantic import Field, HttpUrl, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from replicator.runtime.logging import LogFormat, LogLevel
from replicator.wire.sessions import POLL_SECONDS_MAX

_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - recognised, not bound


class Settings(BaseSettings):
    """Each is set by a flag or by its variable, `REPLICATOR_CONTROL_PLANE_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="REPLICATOR_CONTROL_PLANE_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8000, ge=0, le=65_535, description="TCP port to listen on; 0 for any that is free.")
    data_dir: str = Field("replicator-control-plane", description="Folder for the database; made if missing.")
    database_url: str | None = Field(
        None,
        description="Database, as sqlite:////path/to/file or, for several replicas, "
        "postgresql://user:password@host:5432/name; by default a file in the data folder.",
    )
    advertise_url: HttpUrl | None = Field(
        None, description="URL under which nodes reach this control plane; by default http://HOST:PORT."
    )
    session_lease_seconds: float = Field(
        15, gt=0, le=3600, description="Seconds without a poll after which a node's session expires."
    )
    poll_seconds: float = Field(
        10, gt=0, le=POLL_SECONDS_MAX, description="Seconds that a node's poll may wait; less than the lease."
    )
    attempts_max: int = Field(
        8, ge=1, le=1000, description="Failed attempts, beyond unreachable nodes, after which a task fails."
    )
    losses_max: int = Field(
        20,
        ge=1,
        le=1000,
        description="Losses of a node in a row after which the task it was at fails as poison.",
    )
    backoff_floor_seconds: float = Field(
        1, ge=0, le=3600, description="Least delay before another attempt, in seconds."
    )
    backoff_step_seconds: float = Field(
        2, gt=0, le=3600, description="Random delay on top, at most; doubled by each failure, in seconds."
    )
    backoff_max_seconds: float = Field(
        900, gt=0, le=86_400, description="Bound of the random delay on top, in seconds."
    )
    park_limit_seconds: float = Field(
        86_400,
        gt=0,
        le=31_536_000,
        description="Seconds a task waits for an unreachable node before it fails.",
    )
    duty_lease_seconds: float = Field(
        5,
        gt=0,
        le=31_536_000,
        description="Seconds after which another replica takes over the duties of one that is gone; Postgres only.",
    )
    history_after_seconds: float = Field(
        86_400,
        ge=0,
        le=31_536_000,
        description="Seconds after its end that a job moves to history, where it can be read but not retried.",
    )
    history_keep_seconds: float = Field(
        7_776_000,
        ge=0,
        le=3_153_600_000,
        description="Seconds after its end that a job in history is removed with all its rows; 0 for never.",
    )
    event_streams_max: int = Field(
        256, ge=1, le=10_000, description="Streams of job events that may be open; more are answered 503."
    )
    page_items_default: int = Field(100, ge=1, le=10_000, description="Items in a page of a list.")
    page_items_max: int = Field(1000, ge=1, le=10_000, description="Items in a page of a list, at most.")
    log_level: LogLevel = Field(
        "info", description="Least severity that is logged: debug, info, warning or error."
    )
    log_format: LogFormat = Field("auto", description="json, text, or auto: text on a terminal.")

    @model_validator(mode="after")
    def _lease_outlasts_poll(self) -> Self:
        if self.poll_seconds >= self.session_lease_seconds:
            raise ValueError("poll_seconds must be less than session_lease_seconds")
        return self

    @model_validator(mode="after")
    def _history_keeps_what_it_gets(self) -> Self:
        if 0 < self.history_keep_seconds < self.history_after_seconds:
            raise ValueError("history_keep_seconds must not be less than history_after_seconds, but for 0")
        return self

    def url_for_nodes(self, port: int) -> str:
        """The URL that nodes are told to join, where `port` is the one that is listened on."""
        if self.advertise_url is not None:
            return str(self.advertise_url).rstrip("/")
        host = "localhost" if self.host in _ANY_ADDRESS else self.host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def url_of_database(self) -> str:
        """Where the state is kept."""
        return self.database_url or f"sqlite:///{os.path.abspath(self.data_dir)}/control-plane.sqlite"
