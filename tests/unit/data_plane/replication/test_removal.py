"""What a mirror deletes, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.data_plane.ports import DeleteMarker, Versioning
from replicator.kernel.errors import NotFound
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.testing.objects import contents, delete, history
from replicator.testing.two_nodes import TwoNodes, object_version, put
from replicator.wire.sessions import Found

MEDIA = BucketName("media")


@pytest.fixture
def nodes() -> TwoNodes:
    nodes = TwoNodes()
    for store in (nodes.source, nodes.destination):
        store.set_bucket(MEDIA, Versioning.ON)
        put(store, "kept", b"1")
    return nodes


def extras(nodes: TwoNodes, bucket: BucketName = DEFAULT_BUCKET) -> list[Found]:
    return [found for found in nodes.survey(bucket=bucket, extras=True).found if found.finding == "extra"]


def outcomes(nodes: TwoNodes, found: list[Found]) -> list[str]:
    return [result.outcome for result in sorted(nodes.remove(found), key=lambda result: result.row)]


def test_what_the_source_does_not_have_goes(nodes: TwoNodes) -> None:
    put(nodes.destination, "a", b"2")
    put(nodes.destination, "b/c", b"3")
    found = extras(nodes)
    done = nodes.removal(found)
    assert [result.outcome for result in done.objects] == ["deleted", "deleted"]
    assert contents(nodes.destination) == {"kept": b"1"}
    assert contents(nodes.source) == {"kept": b"1"}
    assert outcomes(nodes, found) == ["deleted", "deleted"]


def test_what_is_back_at_the_source_stays(nodes: TwoNodes) -> None:
    put(nodes.destination, "a", b"2")
    put(nodes.destination, "b", b"3")
    found = extras(nodes)
    put(nodes.source, "a", b"again", number=9)
    assert outcomes(nodes, found) == ["skipped", "deleted"]
    assert contents(nodes.destination) == {"kept": b"1", "a": b"2"}


def test_neighbours_are_asked_for_together(nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(200):
        put(nodes.destination, f"many/{number:03}", b"1")
    found = extras(nodes)
    for number in (0, 57, 58, 199):
        put(nodes.source, f"many/{number:03}", b"again", number=9)
    listed: list[str] = []
    scan = nodes.source.scan

    def scanned(bucket: BucketName, prefix: str, **within: Any) -> Any:
        listed.append(within["until"])
        return scan(bucket, prefix, **within)

    monkeypatch.setattr(nodes.source, "scan", scanned)
    told = outcomes(nodes, found)
    assert [index for index, outcome in enumerate(told) if outcome == "skipped"] == [0, 57, 58, 199]
    assert told.count("deleted") == 196
    assert contents(nodes.destination).keys() == {"kept", *(f"many/{n:03}" for n in (0, 57, 58, 199))}
    assert listed == ["many/000", "many/199"]


@pytest.mark.parametrize("between", [0, 1, 100, 300])
def test_what_the_source_has_in_between_changes_nothing(nodes: TwoNodes, between: int) -> None:
    for gone in range(4):
        put(nodes.destination, f"{gone}", b"1")
        for number in range(between):
            put(nodes.source, f"{gone}-{number:04}", b"1")
    found = extras(nodes)
    put(nodes.source, "2", b"again", number=9)
    assert outcomes(nodes, found) == ["deleted", "deleted", "skipped", "deleted"]
    assert contents(nodes.destination).keys() == {"2", "kept"}


def test_of_several_versions_of_a_key_none_goes_while_the_source_has_it(nodes: TwoNodes) -> None:
    for object_id in ("a", "b"):
        for number in (1, 2):
            put(nodes.destination, object_id, b"%d" % number, number=number, bucket=MEDIA)
    found = nodes.survey(bucket=MEDIA, extras=True, all_versions=True).found
    put(nodes.source, "b", b"again", number=9, bucket=MEDIA)
    assert outcomes(nodes, found)[2:] == ["skipped", "skipped"]
    assert contents(nodes.destination, MEDIA) == {"b": b"2"}


def test_what_was_deleted_before_an_error_is_told(nodes: TwoNodes) -> None:
    put(nodes.destination, "a", b"1")
    put(nodes.destination, "b", b"1", bucket=MEDIA)
    found = [*extras(nodes), *extras(nodes, MEDIA)]
    nodes.source.remove_bucket(MEDIA)
    done = nodes.removal(found)
    assert [(result.row, result.outcome) for result in done.objects] == [(1, "deleted")]
    assert isinstance(done.error, NotFound)
    assert contents(nodes.destination) == {"kept": b"1"}
    assert contents(nodes.destination, MEDIA) == {"b": b"1"}


def test_what_was_written_here_since_stays(nodes: TwoNodes) -> None:
    put(nodes.destination, "a", b"2", number=1)
    found = extras(nodes)
    put(nodes.destination, "a", b"3", number=2)
    assert outcomes(nodes, found) == ["skipped"]
    assert contents(nodes.destination)["a"] == b"3"


def test_a_version_that_is_another_than_the_one_found_stays(nodes: TwoNodes) -> None:
    put(nodes.destination, "a", b"2")
    found = [each.model_copy(update={"manifest": "0" * 64}) for each in extras(nodes)]
    (result,) = nodes.remove(found)
    assert result.outcome == "failed"
    assert result.error is not None
    assert result.error.code == "precondition-failed"
    assert contents(nodes.destination)["a"] == b"2"


def test_a_source_that_lost_the_bucket_empties_nothing(nodes: TwoNodes) -> None:
    put(nodes.destination, "a", b"1", bucket=MEDIA)
    found = extras(nodes, MEDIA)
    nodes.source.remove_bucket(MEDIA)
    with pytest.raises(NotFound):
        nodes.remove(found)
    assert contents(nodes.destination, MEDIA) == {"a": b"1"}


def test_where_versions_are_kept_no_older_one_comes_to_light(nodes: TwoNodes) -> None:
    for number in (1, 2):
        put(nodes.source, "a", b"%d" % number, number=number, bucket=MEDIA)
        put(nodes.destination, "a", b"%d" % number, number=number, bucket=MEDIA)
    delete(nodes.source, "a", bucket=MEDIA)
    assert outcomes(nodes, extras(nodes, MEDIA)) == ["deleted"]
    assert nodes.destination.head(MEDIA, ObjectId("a")) is None
    kinds = [isinstance(each, DeleteMarker) for each in history(nodes.destination, "a", MEDIA)]
    assert kinds == [True, False, False]
    assert nodes.survey(bucket=MEDIA, extras=True).found == []


def test_a_removal_that_names_no_version_is_refused(nodes: TwoNodes) -> None:
    put(nodes.destination, "a", b"2")
    found = [each.model_copy(update={"version": None}) for each in extras(nodes)]
    assert outcomes(nodes, found) == ["failed"]
    assert contents(nodes.destination)["a"] == b"2"
    assert str(object_version(0)) == str(
        nodes.destination.list_objects(DEFAULT_BUCKET, "", limit=1).versions[0].version
    )
