"""What things may be called: nodes, buckets and objects.

No path is ever built from these names, so the rules protect people and protocols, not the file system.
"""

from __future__ import annotations

import re
from typing import Self

from replicator.kernel.errors import InvalidRequest

OBJECT_ID_BYTES_MAX = 1024
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_BUCKET_PREFIXES_RESERVED = ("xn--", "sthree-", "amzn-s3-demo-")
_BUCKET_SUFFIXES_RESERVED = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
_NODE_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,1024}")
_DOT_SEGMENT = re.compile(r"(?:^|/)\.\.?(?:/|$)")


class ObjectId(str):
    """The key of an object in its bucket: UTF-8, 1 to 1,024 bytes, slashes allowed.

    Control characters and the segments `.` and `..` are refused, because clients and proxies on the way
    rewrite them. Every other character stands for itself: `a//b`, `/a` and `a/` are three objects.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidRequest` that names the rule it breaks."""
        try:
            length = len(text.encode())
        except UnicodeEncodeError as error:
            raise InvalidRequest("an object id must be valid UTF-8") from error
        if not 1 <= length <= OBJECT_ID_BYTES_MAX:
            raise InvalidRequest(
                f"an object id has 1 to {OBJECT_ID_BYTES_MAX} bytes in UTF-8, this one has {length}"
            )
        if _CONTROL_CHARACTER.search(text):
            raise InvalidRequest("an object id may not hold control characters")
        if _DOT_SEGMENT.search(text):
            raise InvalidRequest("an object id may not hold '.' or '..' as a segment")
        return cls(text)


class NodeName(str):
    """What a node is called: 1 to 63 letters, digits, `.`, `_` and `-`, a letter or digit at both ends."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidRequest`."""
        if not _NODE_NAME.fullmatch(text):
            raise InvalidRequest(
                "a node name has 1 to 63 letters, digits, '.', '_' or '-', "
                "and begins and ends with a letter or digit",
                name=text[:80],
            )
        return cls(text)


class ContentType(str):
    """A media type as it is kept and served again: 1 to 1,024 printable ASCII characters."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidRequest`."""
        if not _CONTENT_TYPE.fullmatch(text):
            raise InvalidRequest("a Content-Type has 1 to 1,024 printable ASCII characters")
        return cls(text)


class BucketName(str):
    """What holds objects, by the rules for S3's general purpose buckets; `default` always exists.

    Source: "Bucket naming rules" in the Amazon S3 user guide.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Check `text`; raises `InvalidRequest` that names the rule it breaks."""
        if not _BUCKET_NAME.fullmatch(text):
            raise InvalidRequest(
                "a bucket name has 3 to 63 lowercase letters, digits, '.' or '-', "
                "and begins and ends with a letter or digit",
                bucket=text[:80],
            )
        if ".." in text:
            raise InvalidRequest("a bucket name may not hold two dots in a row", bucket=text)
        if _IP_ADDRESS.fullmatch(text):
            raise InvalidRequest("a bucket name may not look like an IP address", bucket=text)
        if text.startswith(_BUCKET_PREFIXES_RESERVED) or text.endswith(_BUCKET_SUFFIXES_RESERVED):
            raise InvalidRequest(
                f"a bucket name may not begin with {', '.join(_BUCKET_PREFIXES_RESERVED)} "
                f"or end with {', '.join(_BUCKET_SUFFIXES_RESERVED)}: S3 reserves them",
                bucket=text,
            )
        return cls(text)


DEFAULT_BUCKET = BucketName("default")
