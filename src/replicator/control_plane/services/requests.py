"""What users ask for, as the specification of a job."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

from replicator.control_plane.domain.spec import JobKind, JobSpec
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, NodeName
from replicator.wire.jobs import MigrateRequest, MirrorRequest, VerifyRequest

JobRequest = MigrateRequest | MirrorRequest | VerifyRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_OBJECT = frozenset({"src_node", "dst_node", "object_id"})
_NOT_PLANNED_BY = {"dry_run", "priority", "bytes_per_second", "tasks_max", "start_at", "deadline_at"}


def spec_of(request: JobRequest) -> JobSpec:
    """What the job is about.

    Raises:
        InvalidRequest: source and destination are the same node, or it is not clear which objects are meant.
    """
    spec = _spec_of(request)
    if spec.src_node == spec.dst_node:
        raise InvalidRequest(
            f"source and destination are the same node, '{spec.src_node}'; name two", node=spec.src_node
        )
    return spec


def fingerprint_of(request: JobRequest) -> str:
    """The same for the same request, over all releases."""
    said = request.model_dump(mode="json", exclude_defaults=True)
    if said.keys() == _ONE_OBJECT:
        return _hash(["migrate", said["src_node"], said["dst_node"], said["object_id"]])
    return _hash([_kind_of(request), said])


def plan_fingerprint_of(request: JobRequest) -> str:
    """The same for a request and its dry run, whatever their priorities, rates and times."""
    said = request.model_dump(mode="json", exclude_defaults=True, exclude=_NOT_PLANNED_BY)
    return _hash([_kind_of(request), said])


def ms_of(moment: datetime | None) -> int | None:
    """A moment as database time."""
    return None if moment is None else (moment - _EPOCH) // timedelta(milliseconds=1)


def _spec_of(request: JobRequest) -> JobSpec:
    match request:
        case MigrateRequest():
            return _migration(request)
        case MirrorRequest():
            return _mirror(request)
        case VerifyRequest():
            return _verification(request)


def _kind_of(request: JobRequest) -> JobKind:
    kinds: dict[type[JobRequest], JobKind] = {
        MigrateRequest: JobKind.MIGRATE,
        MirrorRequest: JobKind.MIRROR,
        VerifyRequest: JobKind.VERIFY,
    }
    return kinds[type(request)]


def _migration(request: MigrateRequest) -> JobSpec:
    _require_one_selection(request)
    ids = [request.object_id] if request.object_id is not None else request.object_ids or []
    return JobSpec(
        kind=JobKind.MIGRATE,
        src_node=NodeName(request.src_node),
        dst_node=NodeName(request.dst_node),
        bucket=None if request.all else request.bucket or DEFAULT_BUCKET,
        object_ids=tuple(dict.fromkeys(ids)),
        prefix=request.prefix or "",
        filter=request.filter,
        all_versions=request.versions == "all",
        move=request.mode == "move",
        dry_run=request.dry_run,
    )


def _require_one_selection(request: MigrateRequest) -> None:
    given = [
        name
        for name, is_given in {
            "object_id": request.object_id is not None,
            "object_ids": request.object_ids is not None,
            "prefix": request.prefix is not None,
            "all": request.all,
        }.items()
        if is_given
    ]
    alone = not given and request.bucket is not None
    if not alone and (len(given) != 1 or (request.all and request.bucket is not None)):
        named = given if request.bucket is None else [*given, "bucket"]
        raise InvalidRequest(
            "say which objects: exactly one of object_id, object_ids, prefix and all, or bucket alone; "
            f"this request has {' and '.join(named) or 'none'}"
        )


def _mirror(request: MirrorRequest) -> JobSpec:
    return JobSpec(
        kind=JobKind.MIRROR,
        src_node=NodeName(request.src_node),
        dst_node=NodeName(request.dst_node),
        bucket=request.bucket,
        prefix=request.prefix,
        filter=request.filter,
        dry_run=request.dry_run,
        delete=request.delete,
        max_deletes=request.max_deletes,
        allow_empty_source=request.allow_empty_source,
    )


def _verification(request: VerifyRequest) -> JobSpec:
    return JobSpec(
        kind=JobKind.VERIFY,
        src_node=NodeName(request.src_node),
        dst_node=NodeName(request.dst_node),
        bucket=request.bucket,
        prefix=request.prefix,
        all_versions=request.all_versions,
        dry_run=request.dry_run,
        read_data=request.read_data,
    )


def _hash(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
