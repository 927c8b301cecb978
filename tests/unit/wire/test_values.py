from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel, ValidationError

from replicator.wire.values import HexDigest, HexVersion, NodeNameField, ObjectIdField, Timestamp


class Sample(BaseModel):
    node: NodeNameField = "node1"
    object_id: ObjectIdField = "demo.bin"
    digest: HexDigest = "0" * 64
    version: HexVersion = "0" * 32
    at: Timestamp = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def test_good_values_stand_for_themselves() -> None:
    sample = Sample(node="node-2", object_id="a/b//ü", digest="0f" * 32, version="0f" * 16)
    assert (sample.node, sample.object_id, sample.digest, sample.version) == (
        "node-2",
        "a/b//ü",
        "0f" * 32,
        "0f" * 16,
    )


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("node", "-a", "a node name has 1 to 63"),
        ("node", "a\n", "a node name has 1 to 63"),
        ("node", 7, "valid string"),
        ("object_id", "", "1 to 1024 bytes"),
        ("object_id", "a/../b", "segment"),
        ("object_id", "a\x00", "control"),
        ("object_id", "\ud800", "valid UTF-8"),
        ("digest", "0" * 63, "match pattern"),
        ("digest", "F" * 64, "match pattern"),
        ("digest", "0" * 64 + "\n", "match pattern"),
        ("version", "0" * 33, "match pattern"),
        ("at", "2026-01-02T03:04:05", "timezone"),
        ("at", "yesterday", "valid datetime"),
    ],
)
def test_bad_values_are_refused_by_the_rule_they_break(field: str, value: object, rule: str) -> None:
    with pytest.raises(ValidationError, match=rule):
        Sample.model_validate({field: value})


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 678_999, UTC), "2026-01-02T03:04:05.678Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 0, UTC), "2026-01-02T03:04:05.000Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 0, timezone(timedelta(hours=5))), "2026-01-01T22:04:05.000Z"),
    ],
)
def test_a_moment_is_written_in_utc_with_milliseconds(moment: datetime, text: str) -> None:
    assert Sample(at=moment).model_dump()["at"] == text
    assert f'"at":"{text}"' in Sample(at=moment).model_dump_json()


def test_a_moment_is_described_as_one() -> None:
    for mode in ("validation", "serialization"):
        schema = Sample.model_json_schema(mode=mode)["properties"]["at"]
        assert (schema["type"], schema["format"]) == ("string", "date-time")
