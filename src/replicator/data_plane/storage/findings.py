"""What is wrong with a store, one thing at a time, as scrub, check and rebuild report it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from replicator.data_plane.ports import DeleteMarker, Version
from replicator.data_plane.storage.walk import Hole
from replicator.kernel.errors import Corrupt


class Finding(NamedTuple):
    """One thing that is wrong.

    Attributes:
        kind: stable kebab-case name.
        message: what is wrong, and what it means, for people.
        data: what it is about, JSON-ready.
    """

    kind: str
    message: str
    data: dict[str, str | int]


OnFinding = Callable[[Finding], None]
"""Hears of each finding as it is made, so that no number of them takes memory."""


def damaged_region(hole: Hole) -> Finding:
    """Bytes of a segment that are no whole record."""
    number, start = hole.place
    return Finding(
        "damaged-region",
        f"segment {number} is damaged from byte {start} to {hole.end}",
        {"segment": number, "offset": start, "end": hole.end},
    )


def missing_segment(number: int) -> Finding:
    """A segment that the catalog knows is not there."""
    return Finding("missing-segment", f"segment {number} is missing", {"segment": number})


def short_segment(number: int, *, length: int, known: int) -> Finding:
    """A segment has fewer bytes than the catalog knows."""
    return Finding(
        "short-segment",
        f"segment {number} has {length} bytes, but {known} were acknowledged",
        {"segment": number, "bytes": length},
    )


def about_version(kind: str, version: Version | DeleteMarker, what: str) -> Finding:
    """Something is wrong with one version of an object."""
    return Finding(
        kind,
        f"version {version.version} of '{version.object_id}' in bucket '{version.bucket}' {what}",
        {"bucket": version.bucket, "object_id": version.object_id, "version": str(version.version)},
    )


def unreadable(family: str, key: bytes, error: Corrupt) -> Finding:
    """A row of the catalog does not decode."""
    return Finding(
        "catalog-row",
        f"a row of the family '{family}' is damaged: {error.message}",
        {"family": family, "key": key.hex()},
    )
