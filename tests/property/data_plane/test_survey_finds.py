"""Whatever two nodes hold, a survey finds what a plain comparison of all they list finds, however it is cut up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.data_plane.ports import Store, Version, Versioning
from replicator.kernel.errors import Conflict
from replicator.kernel.names import BucketName, ObjectId
from replicator.testing.objects import delete
from replicator.testing.two_nodes import TwoNodes, object_version, put

BUCKET = BucketName("media")
keys = st.sampled_from(["a", "a/b", "a/c", "b", "bb", "é", "日本", "\U0001d4b3"])
ONLY_MARKERS = {"a/b", "b", "é"}
writes = st.lists(st.tuples(keys, st.integers(0, 9)), max_size=12)


def fill(store: Store, versioning: Versioning, made: list[tuple[str, int]], gone: list[str]) -> None:
    store.set_bucket(BUCKET, versioning)
    for key, number in made:
        try:
            put(store, key, b"%d" % number, number=number, bucket=BUCKET)
        except Conflict:
            # An older null version than the one that is there.
            continue
    for key in gone:
        versions = store.versions(BUCKET, ObjectId(key), None, 100)
        if store.head(BUCKET, ObjectId(key)) is not None:
            delete(store, key, bucket=BUCKET)
        for each in versions[: 100 * (key in ONLY_MARKERS)]:
            if versioning is Versioning.ON:
                delete(store, key, bucket=BUCKET, version=each.version)


def latest(store: Store) -> dict[str, Version]:
    return {each.object_id: each for each in store.list_objects(BUCKET, "", limit=1000).versions}


def every(store: Store) -> dict[tuple[str, bytes], Version]:
    found = store.bucket_versions(BUCKET, "", None, 1000)
    return {(each.object_id, each.version): each for each in found if isinstance(each, Version)}


def expected_latest(nodes: TwoNodes) -> dict[str, str]:
    source, destination = latest(nodes.source), latest(nodes.destination)
    found = dict.fromkeys(destination.keys() - source.keys(), "extra")
    for key, version in source.items():
        newest = nodes.destination.versions(BUCKET, version.object_id, None, 1)
        if newest and newest[0].version > version.version:
            found[key] = "newer"
        elif key not in destination:
            found[key] = "absent"
        elif destination[key].version != version.version:
            found[key] = "differs"
    return found


versionings = st.sampled_from([Versioning.OFF, Versioning.ON])
deletions = st.lists(keys, max_size=3)


@settings(max_examples=200, deadline=None)
@given(
    versioning=versionings,
    there=writes,
    here=writes,
    gone_there=deletions,
    gone_here=deletions,
    stretch_keys=st.sampled_from([1, 2, 3, 4096]),
    found_max=st.sampled_from([1, 2, 1000]),
)
def test_a_survey_finds_what_differs(
    versioning: Versioning,
    there: list[tuple[str, int]],
    here: list[tuple[str, int]],
    gone_there: list[str],
    gone_here: list[str],
    stretch_keys: int,
    found_max: int,
) -> None:
    nodes = TwoNodes(stretch_keys=stretch_keys)
    fill(nodes.source, versioning, there, gone_there)
    fill(nodes.destination, versioning, here, gone_here)
    found = nodes.survey(bucket=BUCKET, extras=True, roots=True, found_max=found_max)
    expected = expected_latest(nodes)
    assert {each.object_id: each.finding for each in found.found} == expected
    assert len(found.found) == len(expected)
    assert found.compared == len(latest(nodes.source).keys() | latest(nodes.destination).keys())
    assert found.compared == found.unchanged + len(found.found)
    assert (found.source_root == found.destination_root) == (
        {key: each.version for key, each in latest(nodes.source).items()}
        == {key: each.version for key, each in latest(nodes.destination).items()}
    )
    without = nodes.survey(bucket=BUCKET, found_max=found_max)
    assert {each.object_id: each.finding for each in without.found} == {
        key: finding for key, finding in expected.items() if finding != "extra"
    }


@settings(max_examples=200, deadline=None)
@given(
    there=writes,
    here=writes,
    gone_there=deletions,
    gone_here=deletions,
    stretch_keys=st.sampled_from([1, 2, 3, 4096]),
    found_max=st.sampled_from([1, 2, 1000]),
    extras=st.booleans(),
)
def test_a_survey_of_all_versions_finds_each(
    there: list[tuple[str, int]],
    here: list[tuple[str, int]],
    gone_there: list[str],
    gone_here: list[str],
    stretch_keys: int,
    found_max: int,
    *,
    extras: bool,
) -> None:
    nodes = TwoNodes(stretch_keys=stretch_keys)
    fill(nodes.source, Versioning.ON, there, gone_there)
    fill(nodes.destination, Versioning.ON, here, gone_here)
    found = nodes.survey(bucket=BUCKET, all_versions=True, extras=extras, found_max=found_max)
    source, destination = every(nodes.source).keys(), every(nodes.destination).keys()
    expected = {**dict.fromkeys(source - destination, "absent")}
    if extras:
        expected |= dict.fromkeys(destination - source, "extra")
    assert {(each.object_id, bytes.fromhex(each.version)): each.finding for each in found.found} == expected
    assert len(found.found) == len(expected)
    assert found.unchanged == len(source & destination)
    assert object_version(0) < object_version(9)
