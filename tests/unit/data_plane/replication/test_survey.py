"""What a survey finds, counts and hands on."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from replicator.data_plane.ports import Versioning
from replicator.data_plane.replication.cursor import Position, Progress, decode_cursor, encode_cursor
from replicator.data_plane.replication.ports import Listing, Stretch
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, Cancelled, Conflict, InvalidRequest, NotFound
from replicator.kernel.merkle import Frontier, encode_bucket, encode_entry
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, NodeName
from replicator.testing.objects import contents, delete
from replicator.testing.two_nodes import TwoNodes, object_version, put
from replicator.wire.sessions import Filter, Survey, SurveyResult

MEDIA = BucketName("media")


@pytest.fixture
def nodes() -> TwoNodes:
    return TwoNodes()


def put_both(nodes: TwoNodes, object_id: str, payload: bytes, number: int = 0) -> None:
    for store in (nodes.source, nodes.destination):
        put(store, object_id, payload, number=number)


def findings(result: SurveyResult) -> dict[str, str]:
    return {found.object_id: found.finding for found in result.found}


def test_sides_that_agree_have_no_findings_and_nothing_is_listed_over_the_wire(nodes: TwoNodes) -> None:
    for number in range(5000):
        put_both(nodes, f"object-{number:05}", b"x")
    result = nodes.survey()
    assert (result.compared, result.unchanged, result.unchanged_bytes) == (5000, 5000, 5000)
    assert result.found == []
    assert nodes.peers[-1].traffic.received < 1000


def test_every_way_to_differ_is_found(nodes: TwoNodes) -> None:
    put_both(nodes, "same", b"1")
    put(nodes.source, "absent", b"12")
    put(nodes.destination, "extra", b"1")
    put(nodes.source, "differs", b"new", number=2)
    put(nodes.destination, "differs", b"old", number=1)
    put(nodes.source, "newer", b"old", number=1)
    put(nodes.destination, "newer", b"new", number=2)

    result = nodes.survey(extras=True)
    assert findings(result) == {"absent": "absent", "extra": "extra", "differs": "differs", "newer": "newer"}
    assert (result.compared, result.unchanged) == (5, 1)
    by_id = {found.object_id: found for found in result.found}
    assert by_id["differs"].version == str(object_version(2))
    assert by_id["absent"].size == 2
    assert "extra" not in findings(nodes.survey())


def test_what_both_have_is_found_where_it_is_to_be_moved(nodes: TwoNodes) -> None:
    put_both(nodes, "same", b"1")
    put(nodes.source, "absent", b"12")
    result = nodes.survey(same=True)
    assert findings(result) == {"absent": "absent", "same": "same"}
    assert (result.compared, result.unchanged) == (2, 0)


def test_a_bucket_that_is_not_at_the_destination_is_absent_there(nodes: TwoNodes) -> None:
    nodes.source.set_bucket(MEDIA, Versioning.OFF)
    put(nodes.source, "a", b"1", bucket=MEDIA)
    assert findings(nodes.survey(bucket=MEDIA)) == {"a": "absent"}


def test_a_bucket_that_is_not_at_the_source_is_an_error_and_nothing_is_called_extra(nodes: TwoNodes) -> None:
    nodes.destination.set_bucket(MEDIA, Versioning.OFF)
    put(nodes.destination, "a", b"1", bucket=MEDIA)
    with pytest.raises(NotFound):
        nodes.survey(bucket=MEDIA, extras=True)


def test_another_node_at_the_address_of_the_source_is_refused(nodes: TwoNodes) -> None:
    nodes.answers_as = NodeName("node3")
    with pytest.raises(Conflict, match="node3"):
        nodes.survey()


def test_only_the_prefix_is_compared(nodes: TwoNodes) -> None:
    for object_id in ("a/1", "b/1", "b/2", "c/1"):
        put(nodes.source, object_id, b"1")
    put(nodes.destination, "a/0", b"1")
    put(nodes.destination, "b/0", b"1")
    assert findings(nodes.survey(prefix="b/", extras=True)) == {
        "b/0": "extra",
        "b/1": "absent",
        "b/2": "absent",
    }


def test_the_ids_asked_for_and_no_others(nodes: TwoNodes) -> None:
    for object_id in ("a", "ab", "b"):
        put(nodes.source, object_id, b"1")
    put(nodes.destination, "nowhere", b"1")
    result = nodes.survey(object_ids=["b", "a", "nowhere"])
    assert findings(result) == {"a": "absent", "b": "absent"}
    assert result.unknown == ["nowhere"]
    with pytest.raises(InvalidRequest, match="bucket"):
        nodes.survey(bucket=None, object_ids=["a"])


def test_a_filter_asks_the_version_of_the_source(nodes: TwoNodes) -> None:
    put(nodes.source, "grew", b"123", number=2)
    put(nodes.destination, "grew", b"1", number=1)
    put(nodes.destination, "gone", b"1")
    put(nodes.destination, "gone-long", b"123")
    small = Filter(size_bytes_max=2)
    # Neither missing nor too many: the source has it, in a version that is not meant.
    assert findings(nodes.survey(filter=small, extras=True)) == {"gone": "extra"}
    large = Filter(size_bytes_min=2)
    assert findings(nodes.survey(filter=large, extras=True)) == {"grew": "differs", "gone-long": "extra"}


def test_what_a_filter_excludes_by_its_key_is_no_extra_in_any_bucket(nodes: TwoNodes) -> None:
    nodes.destination.set_bucket(BucketName("own"), Versioning.OFF)
    put(nodes.destination, "gone", b"1", bucket=BucketName("own"))
    for bucket in (DEFAULT_BUCKET, MEDIA):
        for store in (nodes.source, nodes.destination):
            store.set_bucket(bucket, Versioning.OFF)
        put(nodes.source, "both.jpg", b"1", bucket=bucket)
        for object_id in ("both.jpg", "gone.jpg", "gone.txt", "keep/gone.jpg"):
            put(nodes.destination, object_id, b"1", bucket=bucket)
    asked = nodes.survey(
        bucket=None, extras=True, filter=Filter(include=["**/*.jpg"], exclude=["keep/**", "both.jpg"])
    )
    found = [(each.bucket, each.object_id, each.finding) for each in asked.found]
    assert found == [("default", "gone.jpg", "extra"), ("media", "gone.jpg", "extra")]
    assert [result.outcome for result in nodes.remove(asked.found)] == ["deleted", "deleted"]
    for bucket in (DEFAULT_BUCKET, MEDIA):
        assert contents(nodes.destination, bucket).keys() == {"both.jpg", "gone.txt", "keep/gone.jpg"}


def test_globs_choose_keys(nodes: TwoNodes) -> None:
    for object_id in ("a.jpg", "x/b.jpg", "x/c.txt", "x/y/d.jpg"):
        put(nodes.source, object_id, b"1")
    chosen = nodes.survey(filter=Filter(include=["**/*.jpg"], exclude=["x/*"]))
    assert findings(chosen) == {"a.jpg": "absent", "x/y/d.jpg": "absent"}
    assert chosen.compared == 2


def test_all_versions_are_compared_one_by_one(nodes: TwoNodes) -> None:
    for store in (nodes.source, nodes.destination):
        store.set_bucket(MEDIA, Versioning.ON)
    for number in (1, 2, 3):
        put(nodes.source, "a", b"%d" % number, number=number, bucket=MEDIA)
    for number in (2, 4):
        put(nodes.destination, "a", b"%d" % number, number=number, bucket=MEDIA)
    result = nodes.survey(bucket=MEDIA, all_versions=True, extras=True)
    assert [(found.finding, found.version) for found in result.found] == [
        ("extra", str(object_version(4))),
        ("absent", str(object_version(3))),
        ("absent", str(object_version(1))),
    ]
    assert findings(nodes.survey(bucket=MEDIA)) == {"a": "newer"}


@pytest.mark.parametrize("all_versions", [False, True])
def test_what_a_null_version_here_keeps_out_is_newer(nodes: TwoNodes, *, all_versions: bool) -> None:
    put(nodes.source, "a", b"old", number=1)
    put(nodes.destination, "a", b"new", number=2)
    assert findings(nodes.survey(all_versions=all_versions)) == {"a": "newer"}


def test_what_was_deleted_here_later_is_newer_and_not_absent(nodes: TwoNodes) -> None:
    for store in (nodes.source, nodes.destination):
        store.set_bucket(MEDIA, Versioning.ON)
        put(store, "a", b"1", bucket=MEDIA)
    delete(nodes.destination, "a", bucket=MEDIA)
    assert findings(nodes.survey(bucket=MEDIA)) == {"a": "newer"}
    put(nodes.source, "a", b"2", number=10**9, bucket=MEDIA)
    assert findings(nodes.survey(bucket=MEDIA)) == {"a": "absent"}


@pytest.mark.parametrize("found_max", [1, 2, 7, 100])
def test_results_are_bounded_and_go_on_where_they_ended(nodes: TwoNodes, found_max: int) -> None:
    for number in range(40):
        put(nodes.source, f"{number:03}", b"1")
    for number in range(0, 40, 3):
        put(nodes.destination, f"{number:03}", b"1")
    first = nodes.survey_task(found_max=found_max)
    assert len(first.found) <= found_max
    assert (first.cursor is None) == (found_max == 100)
    whole = nodes.survey(found_max=found_max)
    assert [found.object_id for found in whole.found] == [
        f"{number:03}" for number in range(40) if number % 3
    ]
    assert (whole.compared, whole.unchanged) == (40, 14)


def test_the_versions_of_one_key_are_spread_over_tasks(nodes: TwoNodes) -> None:
    nodes.source.set_bucket(MEDIA, Versioning.ON)
    for number in range(9):
        put(nodes.source, "a", b"1", number=number, bucket=MEDIA)
    for asked in ({}, {"object_ids": ["a"]}):
        result = nodes.survey(bucket=MEDIA, all_versions=True, found_max=2, **asked)
        assert [found.version for found in result.found] == [str(object_version(8 - n)) for n in range(9)]


def test_a_task_ends_in_time_and_the_next_goes_on(nodes: TwoNodes) -> None:
    for number in range(600):
        put_both(nodes, f"{number:03}", b"1")
    nodes.task_s = 0
    assert nodes.survey_task().compared == 256
    assert nodes.survey().compared == 600


@pytest.mark.parametrize("task_s", [0, 10])
def test_a_task_in_which_nothing_is_meant_ends_in_time_too(nodes: TwoNodes, task_s: int) -> None:
    for number in range(30):
        put_both(nodes, f"{number:03}", b"1")
    put(nodes.source, "030", b"large")
    nodes.task_s, nodes.stretch_keys = task_s, 10
    asked: dict[str, Any] = {"filter": Filter(size_bytes_min=2), "bucket": None, "roots": True}
    first = nodes.survey_task(**asked)
    assert (first.cursor is None) == (task_s > 0)
    assert len(first.found) == (task_s > 0)
    whole = nodes.survey(**asked)
    assert (findings(whole), whole.compared) == ({"030": "absent"}, 1)


@pytest.mark.parametrize("asked", [{}, {"object_ids": ["a", "b", "nowhere"]}, {"bucket": None}])
def test_every_task_gets_on_however_little_time_it_has(nodes: TwoNodes, asked: dict[str, Any]) -> None:
    for name in ("empty", "none"):
        nodes.source.set_bucket(BucketName(name), Versioning.OFF)
    for object_id in ("a", "b", "c"):
        put(nodes.source, object_id, b"1")
    nodes.task_s, nodes.stretch_keys = 0, 1
    result = nodes.survey(extras=True, **asked)
    assert findings(result).items() >= {"a": "absent", "b": "absent"}.items()
    assert len(result.found) == len(findings(result)) == result.compared
    assert result.unknown == (["nowhere"] if "object_ids" in asked else [])


def test_keys_that_come_before_the_cursor_bring_nothing_back(nodes: TwoNodes) -> None:
    for object_id in ("b", "c", "d"):
        put(nodes.source, object_id, b"1")
    nodes.stretch_keys = 3
    first = nodes.survey_task(found_max=2)
    assert list(findings(first)) == ["b", "c"]
    for object_id in ("a1", "a2", "a3"):
        put(nodes.source, object_id, b"1")
    nodes.stretch_keys = 1
    assert list(findings(nodes.survey_task(cursor=first.cursor))) == ["d"]


def test_ages_are_as_they_were_when_the_survey_began(nodes: TwoNodes) -> None:
    clock = nodes.clock
    clock.now_ms = object_version(100).wall_ms  # type: ignore[attr-defined]
    for number in range(10):
        put(nodes.source, f"{number:03}", b"1", number=number)
    asked: dict[str, Any] = {"filter": Filter(age_seconds_min=96), "found_max": 2}
    first = nodes.survey_task(**asked)
    clock.now_ms += 1_000_000  # type: ignore[attr-defined]
    second = nodes.survey_task(cursor=first.cursor, **asked)
    rest = nodes.survey_task(cursor=second.cursor, **asked)
    assert [found.object_id for found in first.found + second.found + rest.found] == [
        f"{number:03}" for number in range(5)
    ]


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "é", "A" * 8000])
def test_a_cursor_that_no_node_made_is_refused(nodes: TwoNodes, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        nodes.survey_task(cursor=cursor)


def test_a_cursor_of_another_survey_is_refused(nodes: TwoNodes) -> None:
    for number in range(3):
        put(nodes.source, f"a{number}", b"1")
    cursor = nodes.survey_task(found_max=1).cursor
    assert cursor is not None
    assert nodes.survey_task(found_max=2, cursor=cursor).cursor is not None
    for asked in ({"prefix": "a"}, {"filter": Filter(size_bytes_max=1)}, {"extras": True}):
        with pytest.raises(InvalidRequest, match="cursor"):
            nodes.survey_task(cursor=cursor, **asked)
    altered = cursor[:20] + ("A" if cursor[20] != "A" else "B") + cursor[21:]
    with pytest.raises(InvalidRequest, match="cursor"):
        nodes.survey_task(cursor=altered)


def test_a_cursor_outlives_releases_in_which_more_can_be_asked_for() -> None:
    class LaterFilter(Filter):
        later: list[str] = Field(default_factory=list)

    class LaterSurvey(Survey):
        earliest: int | None = None
        filter: Filter = LaterFilter()

    asked: dict[str, Any] = {"bucket": "media", "extras": True, "prefix": "a"}
    chosen = {"size_bytes_max": 7, "exclude": ["b"]}
    now = Survey(filter=Filter(**chosen), **asked)
    later = LaterSurvey(filter=LaterFilter(**chosen), **asked)
    progress = Progress(5, Position(bucket=MEDIA, after="k", barren=3))
    assert decode_cursor(later, encode_cursor(now, progress)).position == progress.position
    assert decode_cursor(Survey(), encode_cursor(LaterSurvey(), progress)).position == progress.position
    with pytest.raises(InvalidRequest, match="cursor"):
        decode_cursor(later.model_copy(update={"earliest": 1}), encode_cursor(now, progress))


@pytest.mark.parametrize("found_max", [1, 1000])
def test_roots_are_those_of_the_listings(nodes: TwoNodes, found_max: int) -> None:
    put_both(nodes, "a", b"1")
    put(nodes.source, "b", b"2")
    put(nodes.destination, "c", b"3")
    put(nodes.source, "d", b"4")
    result = nodes.survey(roots=True, extras=True, found_max=found_max)
    for store, root in ((nodes.source, result.source_root), (nodes.destination, result.destination_root)):
        tree = Frontier()
        tree.add(encode_bucket(DEFAULT_BUCKET))
        for version in store.list_objects(DEFAULT_BUCKET, "", limit=10).versions:
            tree.add(encode_entry(version.object_id, version.version, version.manifest))
        assert root == str(tree.root())
    assert result.source_root != result.destination_root


def test_equal_roots_where_the_sides_agree(nodes: TwoNodes) -> None:
    for number in range(9):
        put_both(nodes, f"{number}", b"1", number)
    result = nodes.survey(roots=True)
    assert result.source_root == result.destination_root
    assert result.source_root != str(Digest.of(b""))


def test_a_survey_that_is_stopped_says_so(nodes: TwoNodes) -> None:
    run = nodes.survey_run(Survey(bucket=DEFAULT_BUCKET))
    run.stop()
    with pytest.raises(Cancelled):
        run.run()


def test_few_keys_are_found_among_many_here(nodes: TwoNodes) -> None:
    for number in range(9000):
        put(nodes.destination, f"{number:05}", b"1")
    put(nodes.source, "00000", b"1")
    put(nodes.source, "08000", b"1")
    put(nodes.source, "08000x", b"1")
    result = nodes.survey()
    assert (findings(result), result.unchanged) == ({"08000x": "absent"}, 2)
    assert nodes.survey(extras=True).compared == 9001


@pytest.mark.parametrize("found_max", [1, 1000])
def test_every_bucket_of_the_source_is_walked_and_no_other(nodes: TwoNodes, found_max: int) -> None:
    for name in ("archive", "media", "zoo"):
        nodes.source.set_bucket(BucketName(name), Versioning.OFF)
    nodes.destination.set_bucket(MEDIA, Versioning.OFF)
    nodes.destination.set_bucket(BucketName("own"), Versioning.OFF)
    put(nodes.destination, "own", b"1", bucket=BucketName("own"))
    for name in ("archive", "media"):
        put(nodes.source, "a", b"1", bucket=BucketName(name))
        put(nodes.source, "b", b"1", bucket=BucketName(name))
    put(nodes.destination, "a", b"1", bucket=MEDIA)
    put_both(nodes, "a", b"1")
    result = nodes.survey(bucket=None, roots=True, found_max=found_max)
    assert [(found.bucket, found.object_id) for found in result.found] == [
        ("archive", "a"),
        ("archive", "b"),
        ("media", "b"),
    ]
    assert (result.compared, result.unchanged) == (5, 2)
    tree = Frontier()
    for name in ("archive", "default", "media", "zoo"):
        tree.add(encode_bucket(name))
        for version in nodes.source.list_objects(BucketName(name), "", limit=10).versions:
            tree.add(encode_entry(version.object_id, version.version, version.manifest))
    assert result.source_root == str(tree.root())


def test_nothing_hides_behind_keys_of_which_only_markers_are_left(nodes: TwoNodes) -> None:
    nodes.stretch_keys = 2
    for store, deleted in ((nodes.source, "b"), (nodes.destination, "x")):
        store.set_bucket(MEDIA, Versioning.ON)
        put(store, "a", b"1", bucket=MEDIA)
        version = put(store, deleted, b"1", bucket=MEDIA).version
        delete(store, deleted, bucket=MEDIA)
        delete(store, deleted, bucket=MEDIA, version=version)
    put(nodes.source, "c", b"1", bucket=MEDIA)
    # Both list the same of their first two keys, but do not get equally far with them.
    assert findings(nodes.survey(bucket=MEDIA, all_versions=True)) == {"c": "absent"}


class Endless(Serving):
    """Has nothing, and says every time that more follows."""

    def listing(self, stretch: Stretch, *, limit: int, digest_only: bool = False) -> Listing:
        honest = super().listing(stretch, limit=limit, digest_only=digest_only)
        return honest._replace(last=f"{int(stretch.after or 0) + 1:09}", more=True)


@pytest.mark.parametrize("task_s", [0, 10])
def test_a_source_that_goes_on_with_nothing_is_not_followed_for_ever(
    nodes: TwoNodes, monkeypatch: pytest.MonkeyPatch, task_s: int
) -> None:
    own = Serving(nodes.destination, node=NodeName("node2"), clock=nodes.clock)
    monkeypatch.setattr(
        "replicator.testing.two_nodes.Serving",
        lambda store, **named: own if store is nodes.destination else Endless(store, **named),
    )
    monkeypatch.setattr("replicator.data_plane.replication.survey_walk.BARREN_MAX", 20)
    nodes.task_s = task_s
    with pytest.raises(BrokenPeer, match="again and again"):
        nodes.survey()
