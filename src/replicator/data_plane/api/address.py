"""Which object, and which version of it, a request on a bare path is about. Pure."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from replicator.data_plane.api.headers import parse_object_id
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId

PARAMETERS = ("bucket", "version")


class Address(NamedTuple):
    """An object, or one version of it."""

    bucket: BucketName
    object_id: ObjectId
    version: VersionId | None


def parse_address(path: bytes, query: bytes) -> Address:
    """From the rest of a raw path behind its root, and the raw query.

    Raises:
        InvalidRequest: a name or version id that is none, or a parameter that is unknown or comes twice:
            a misspelt one would make a request be about another version than was meant.
    """
    bucket, version = (DEFAULT_BUCKET, None) if not query else _parse_query(query)
    return Address(bucket, parse_object_id(path), version)


@lru_cache(maxsize=1024)
def _parse_query(query: bytes) -> tuple[BucketName, VersionId | None]:
    try:
        given = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")
    except (UnicodeDecodeError, ValueError) as error:
        raise InvalidRequest("the query is not of the form name=value&…") from error
    values = dict(given)
    if len(values) < len(given) or not values.keys() <= set(PARAMETERS):
        raise InvalidRequest(f"this path takes the parameters {' and '.join(PARAMETERS)}, each once")
    bucket = BucketName.parse(values["bucket"]) if "bucket" in values else DEFAULT_BUCKET
    return bucket, VersionId.parse(values["version"]) if "version" in values else None
