"""Requests out of what stands on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from replicator.cli.units import parse_bytes, parse_duration, parse_moment, parse_rate
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, NodeName, ObjectId
from replicator.wire.jobs import MigrateRequest, MirrorRequest, VerifyRequest
from replicator.wire.sessions import Filter

Request = TypeVar("Request", bound=BaseModel)
Versions = Literal["latest", "all"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What every job is told, as it was written."""

    source: str
    destination: str
    dry_run: bool = False
    priority: int = 0
    bandwidth: str | None = None
    tasks_max: int | None = None
    start_at: str | None = None
    deadline: str | None = None

    def fields(self) -> dict[str, Any]:
        """For a request. A moment that is so long from now counts from this call."""
        now = datetime.now(UTC)
        return {
            "src_node": NodeName.parse(self.source),
            "dst_node": NodeName.parse(self.destination),
            "dry_run": self.dry_run,
            "priority": self.priority,
            "bytes_per_second": None if self.bandwidth is None else parse_rate(self.bandwidth),
            "tasks_max": self.tasks_max,
            "start_at": None if self.start_at is None else parse_moment(self.start_at, now=now),
            "deadline_at": None if self.deadline is None else parse_moment(self.deadline, now=now),
        }


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which objects are meant, as it was written."""

    object_ids: Sequence[str] = ()
    prefix: str | None = None
    bucket: str | None = None
    everything: bool = False
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    size_min: str | None = None
    size_max: str | None = None
    age_min: str | None = None
    age_max: str | None = None

    def filter(self) -> Filter:
        """The filter of the request."""
        return checked(
            Filter,
            include=list(self.include),
            exclude=list(self.exclude),
            size_bytes_min=None if self.size_min is None else parse_bytes(self.size_min),
            size_bytes_max=None if self.size_max is None else parse_bytes(self.size_max),
            age_seconds_min=None if self.age_min is None else parse_duration(self.age_min),
            age_seconds_max=None if self.age_max is None else parse_duration(self.age_max),
        )

    def bucket_name(self) -> BucketName | None:
        """The bucket, if it was named."""
        return None if self.bucket is None else BucketName.parse(self.bucket)


def migration(terms: Terms, scope: Scope, *, versions: Versions, move: bool) -> MigrateRequest:
    """Raises `InvalidRequest` where it is not clear which objects are meant."""
    return checked(
        MigrateRequest,
        **terms.fields(),
        **_selected(scope),
        bucket=scope.bucket_name(),
        filter=scope.filter(),
        versions=versions,
        mode="move" if move else "copy",
    )


def mirroring(
    terms: Terms, scope: Scope, *, delete: bool, deletes_max: int, allow_empty_source: bool = False
) -> MirrorRequest:
    """A mirror of a prefix, or of a bucket."""
    return checked(
        MirrorRequest,
        **terms.fields(),
        bucket=scope.bucket_name() or DEFAULT_BUCKET,
        prefix=scope.prefix or "",
        filter=scope.filter(),
        delete=delete,
        max_deletes=deletes_max,
        allow_empty_source=allow_empty_source,
    )


def verification(terms: Terms, scope: Scope, *, versions: Versions, read_data: bool) -> VerifyRequest:
    """A verification of a prefix, or of a bucket."""
    told = terms.fields()
    return checked(
        VerifyRequest,
        **{name: value for name, value in told.items() if name in VerifyRequest.model_fields},
        bucket=scope.bucket_name() or DEFAULT_BUCKET,
        prefix=scope.prefix or "",
        all_versions=versions == "all",
        read_data=read_data,
    )


def checked(model: type[Request], **fields: Any) -> Request:
    """The message of these fields; raises `InvalidRequest` that says which of them is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'/'.join(map(str, item['loc']))}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        )
        raise InvalidRequest(wrong[:2000]) from error


def _selected(scope: Scope) -> dict[str, Any]:
    named = [bool(scope.object_ids), scope.prefix is not None, scope.everything]
    alone = scope.bucket is not None and not any(named)
    if sum(named) + alone != 1 or (scope.everything and scope.bucket is not None):
        raise InvalidRequest(
            "say what is meant in one way: OBJECT_ID..., --prefix, --bucket alone for all of it, "
            "or --all for every bucket"
        )
    object_ids = [ObjectId.parse(text) for text in scope.object_ids]
    if len(object_ids) == 1:
        return {"object_id": object_ids[0]}
    if object_ids:
        return {"object_ids": object_ids}
    return {"prefix": scope.prefix, "all": scope.everything}
