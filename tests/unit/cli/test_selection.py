"""What stands on the command line becomes exactly one request, or a line that says what to write instead."""

from typing import Any

import pytest

from replicator.cli.selection import Scope, Terms, migration, mirroring, verification
from replicator.kernel.errors import InvalidRequest
from replicator.wire.jobs import MigrateRequest

TERMS = Terms(source="node1", destination="node2")


def migrate(**scope: Any) -> MigrateRequest:
    return migration(TERMS, Scope(**scope), versions="latest", move=False)


@pytest.mark.parametrize(
    ("scope", "selected"),
    [
        ({"object_ids": ["a"]}, {"object_id": "a"}),
        ({"object_ids": ["a", "b"]}, {"object_ids": ["a", "b"]}),
        ({"object_ids": ["a"], "bucket": "media"}, {"object_id": "a", "bucket": "media"}),
        ({"prefix": "p/"}, {"prefix": "p/"}),
        ({"prefix": ""}, {"prefix": ""}),
        ({"prefix": "p/", "bucket": "media"}, {"prefix": "p/", "bucket": "media"}),
        ({"bucket": "media"}, {"bucket": "media"}),
        ({"everything": True}, {"all": True}),
    ],
)
def test_a_selection_is_sent_as_it_was_written(scope: dict[str, Any], selected: dict[str, Any]) -> None:
    sent = migrate(**scope).model_dump(include={"object_id", "object_ids", "prefix", "bucket", "all"})
    assert {name: value for name, value in sent.items() if value not in (None, False)} == selected


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"object_ids": ["a"], "prefix": "p"},
        {"prefix": "p", "everything": True},
        {"bucket": "media", "everything": True},
    ],
)
def test_none_or_several_selections_are_refused(scope: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="one way"):
        migrate(**scope)


def test_filters_and_terms_are_read_with_their_units() -> None:
    terms = Terms(source="node1", destination="node2", dry_run=True, priority=5, bandwidth="10MiB/s")
    scope = Scope(
        prefix="",
        include=["**.jpg"],
        exclude=["tmp/**"],
        size_min="1kB",
        size_max="10MiB",
        age_min="1h",
        age_max="7d",
    )
    request = migration(terms, scope, versions="all", move=True)
    assert (request.dry_run, request.priority, request.bytes_per_second) == (True, 5, 10 * 2**20)
    assert (request.versions, request.mode) == ("all", "move")
    assert (request.filter.include, request.filter.exclude) == (["**.jpg"], ["tmp/**"])
    assert (request.filter.size_bytes_min, request.filter.size_bytes_max) == (1000, 10 * 2**20)
    assert (request.filter.age_seconds_min, request.filter.age_seconds_max) == (3600, 604_800)


def test_a_mirror_and_a_verification_of_nothing_named_are_of_the_default_bucket() -> None:
    mirror = mirroring(TERMS, Scope(), delete=True, deletes_max=5)
    assert (mirror.bucket, mirror.prefix, mirror.delete, mirror.max_deletes) == ("default", "", True, 5)
    verify = verification(TERMS, Scope(prefix="p/"), versions="all", read_data=True)
    assert (verify.bucket, verify.prefix, verify.all_versions, verify.read_data) == (
        "default",
        "p/",
        True,
        True,
    )
    assert not verify.dry_run
    dry = Terms(source="node1", destination="node2", dry_run=True)
    assert verification(dry, Scope(), versions="latest", read_data=False).dry_run


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"object_ids": ["../x"]}, "segment"),
        ({"object_ids": [f"o{number}" for number in range(1001)]}, "object_ids"),
        ({"prefix": "x" * 1025}, "prefix"),
        ({"bucket": "A"}, "bucket name"),
        ({"prefix": "", "size_min": "many"}, "10MiB"),
        ({"prefix": "", "include": [""]}, "include"),
    ],
)
def test_a_value_that_can_never_work_is_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        migrate(**wrong)


def test_a_rate_below_the_least_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="bytes_per_second"):
        migration(
            Terms(source="node1", destination="node2", bandwidth="1B"),
            Scope(everything=True),
            versions="latest",
            move=False,
        )
