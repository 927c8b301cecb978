"""Which object and version a bare path and its query name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.api.address import Address, parse_address
from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId

HEX = b"019f3b2c4d5e0000a1b2c3d4e5f60718"
VERSION = VersionId.parse(HEX.decode())


@pytest.mark.parametrize(
    ("query", "bucket", "version"),
    [
        (b"", DEFAULT_BUCKET, None),
        (b"bucket=default", DEFAULT_BUCKET, None),
        (b"bucket=my.bucket-1", BucketName("my.bucket-1"), None),
        (b"version=" + HEX, DEFAULT_BUCKET, VERSION),
        (b"version=" + HEX + b"&bucket=%61bc", BucketName("abc"), VERSION),
    ],
)
def test_a_query_names_bucket_and_version(
    query: bytes, bucket: BucketName, version: VersionId | None
) -> None:
    assert parse_address(b"a%2Fb//c", query) == Address(bucket, ObjectId("a/b//c"), version)


@pytest.mark.parametrize(
    "query",
    [
        b"bucket",
        b"bucket=",
        b"bucket=No",
        b"bucket=a..b",
        b"bucket=abc&bucket=abc",
        b"version=",
        b"version=latest",
        b"version=" + HEX.upper(),
        b"versionId=" + HEX,
        b"Version=" + HEX,
        b"x=1",
        b"&",
        b"bucket=%ff%fe%fd",
        b"bucket=\xff",
    ],
)
def test_what_could_be_meant_otherwise_is_refused(query: bytes) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(b"a", query)


@given(st.binary(max_size=60))
def test_any_query_is_understood_or_refused(query: bytes) -> None:
    try:
        address = parse_address(b"a", query)
    except InvalidRequest:
        return
    assert BucketName.parse(address.bucket) == address.bucket
