"""Fields that several messages share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)

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


def _without_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("it may not hold the character U+0000, which not every database can keep")
    return text


WithoutNul = AfterValidator(_without_nul)
"""Of text that has a meaning; names have rules of their own."""


def text_for_people(text: object) -> object:
    """`text`, with a sign in the place of each character that cannot be kept: surrogates and U+0000."""
    if not isinstance(text, str):
        return text
    return text.encode(errors="replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


BucketNameField = Annotated[str, _checked(BucketName)]
NodeNameField = Annotated[str, _checked(NodeName)]
ObjectIdField = Annotated[str, _checked(ObjectId)]
LABELS_MAX = 32
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9._:/@+-]+$")]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=LABELS_MAX)]
Zone = LabelValue
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

TasksMax = Annotated[int, Field(ge=1, le=1_000_000)]
"""A limit of tasks at a time."""


def _within_reach(moment: datetime) -> datetime:
    if not _MOMENT_MIN <= moment <= _MOMENT_MAX:
        raise ValueError("it must lie between the years 1970 and 9998")
    return moment


_MOMENT_MIN, _MOMENT_MAX = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
ToCome = Annotated[Timestamp, AfterValidator(_within_reach)]
"""A moment that somebody names."""
