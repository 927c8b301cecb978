"""What a job is about. It never changes; priority and rate, which do, are the job's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from replicator.kernel.names import NodeName
from replicator.wire.sessions import Filter, Survey

FOUND_MAX = 1000
"""Findings in one stretch of a survey, and so rows that one transaction adds."""
_IDS_NAMED_MAX = 3


class JobKind(StrEnum):
    """What was asked for."""

    MIGRATE = "migrate"
    MIRROR = "mirror"
    VERIFY = "verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Which objects, from where to where, and what is to be done about them.

    `bucket` is None for every bucket; `object_ids` is empty for all with the `prefix`. `delete`,
    `max_deletes` and `allow_empty_source` are a mirror's, `read_data` a verification's, `move` a migration's.
    """

    kind: JobKind = JobKind.MIGRATE
    src_node: NodeName
    dst_node: NodeName
    bucket: str | None = "default"
    object_ids: tuple[str, ...] = ()
    prefix: str = ""
    filter: Filter = field(default_factory=Filter)
    all_versions: bool = False
    move: bool = False
    dry_run: bool = False
    delete: bool = False
    max_deletes: int = 0
    allow_empty_source: bool = False
    read_data: bool = False


def is_direct(spec: JobSpec) -> bool:
    """Whether the objects are known without a survey. A move names versions, so that it can be told that it is done."""
    plain = spec.kind is JobKind.MIGRATE and spec.filter == Filter() and not spec.move
    return plain and bool(spec.object_ids) and not spec.all_versions and not spec.dry_run


def changes_something(spec: JobSpec) -> bool:
    """Whether objects are brought or deleted, and not only looked at."""
    return not spec.dry_run and spec.kind is not JobKind.VERIFY


def survey_of(spec: JobSpec, *, cursor: str | None) -> Survey:
    """The next stretch of the job's survey. A dry run's is the whole, and proves nothing."""
    verifies = spec.kind is JobKind.VERIFY
    return Survey(
        bucket=spec.bucket,
        prefix=spec.prefix,
        object_ids=list(spec.object_ids),
        all_versions=spec.all_versions,
        filter=spec.filter,
        extras=spec.delete or verifies,
        same=spec.move and not spec.dry_run,
        dry_run=spec.dry_run,
        read_data=spec.read_data and not spec.dry_run,
        roots=verifies and not spec.dry_run,
        cursor=cursor,
        found_max=FOUND_MAX,
    )


def in_words(spec: JobSpec) -> str:
    """What the job is about, for people."""
    said = [_objects_in_words(spec)]
    if spec.all_versions:
        said.append("all versions")
    if spec.filter != Filter():
        said.append("filtered")
    return ", ".join(said)


def _objects_in_words(spec: JobSpec) -> str:
    if spec.bucket is None:
        return "every object"
    place = "" if spec.bucket == "default" else f" in bucket {spec.bucket}"
    if not spec.object_ids:
        return f"{spec.prefix}**{place}"
    rest = len(spec.object_ids) - _IDS_NAMED_MAX
    named = ", ".join(spec.object_ids[:_IDS_NAMED_MAX])
    return f"{named}{f' and {rest} more' if rest > 0 else ''}{place}"
