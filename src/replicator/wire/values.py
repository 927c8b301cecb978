"""Fields that several messages share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, PlainSerializer, StringConstraints, WithJsonSchema

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.globs import compile_globs
from replicator.kernel.names import BucketName, NodeName, ObjectId


def _checked(parse: type[BucketName | NodeName | ObjectId]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            return str(parse.parse(text))
        except InvalidRequest as error:
            raise ValueError(error.message) from error

    return AfterValidator(check)


def checked_glob(text: str) -> str:
    """`text`, where it is a glob; raises `ValueError`."""
    try:
        compile_globs([text])
    except InvalidRequest as error:
        raise ValueError(error.message) from error
    return text


BucketNameField = Annotated[str, _checked(BucketName)]
NodeNameField = Annotated[str, _checked(NodeName)]
ObjectIdField = Annotated[str, _checked(ObjectId)]
HexDigest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
HexVersion = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Timestamp = Annotated[
    AwareDatetime,
    PlainSerializer(_rfc3339, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A moment with its time zone; in JSON as RFC 3339 in UTC, with milliseconds and `Z`."""
