"""Parameters that several of the node's FastAPI routes share."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from starlette.convertors import Convertor, register_url_convertor

from replicator.data_plane.api.headers import parse_object_id
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, OBJECT_ID_BYTES_MAX, BucketName, ObjectId
from replicator.kernel.version import VersionId

LIST_LIMIT_MAX = 1000


class _AnyText(Convertor[str]):
    """Matches what Starlette's `path` does not: line breaks, so that an id with one is refused by name."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


async def _object_id(
    request: Request,
    _decoded: Annotated[str, Path(alias="object_id", examples=["models/v1/weights.bin"])],
) -> ObjectId:
    # Taken from the raw path, because the decoded one has lost what was escaped.
    raw: bytes = request.scope["raw_path"]
    return parse_object_id(raw[raw.index(b"/", 1) + 1 :])


async def _bucket(
    bucket: Annotated[str, Query(description="The bucket that holds the object.")] = str(DEFAULT_BUCKET),
) -> BucketName:
    return BucketName.parse(bucket)


async def _version(
    version: Annotated[
        str | None, Query(description="32 hexadecimal digits; without it, the latest version.")
    ] = None,
) -> VersionId | None:
    return None if version is None else VersionId.parse(version)


ObjectIdInPath = Annotated[ObjectId, Depends(_object_id)]
"""Of a route `/root/{object_id:text}`."""
InBucket = Annotated[BucketName, Depends(_bucket)]
WantedVersion = Annotated[VersionId | None, Depends(_version)]
Cursor = Annotated[str | None, Query(max_length=2 * OBJECT_ID_BYTES_MAX)]
Limit = Annotated[int, Query(ge=1, le=LIST_LIMIT_MAX)]


def encode_cursor(after: str) -> str:
    """Where a listing goes on, as a cursor."""
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> str | None:
    """From `encode_cursor`; raises `InvalidRequest`."""
    if cursor is None:
        return None
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        after = raw.decode()
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("not a cursor of this list: begin again without one") from error
    if not 1 <= len(raw) <= OBJECT_ID_BYTES_MAX:
        raise InvalidRequest("not a cursor of this list: begin again without one")
    return after
