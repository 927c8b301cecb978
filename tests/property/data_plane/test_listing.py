"""Listing is right, and a page reads no more rows than it shows, however many objects share a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.data_plane.ports import Listing, Version, Versioning
from replicator.data_plane.storage import rows
from replicator.data_plane.storage.catalog import Batch, Family, Skip
from replicator.data_plane.storage.listing import list_objects
from replicator.data_plane.storage.memory_catalog import MemoryCatalog
from replicator.data_plane.storage.rows import Place
from replicator.kernel.digest import Digest
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionClock
from replicator.testing.node_store import StoreFolder
from replicator.testing.objects import commit, new_version

NEIGHBOURS = (BucketName("aaa"), BucketName("zzz"))
VERSION_ID = VersionClock("node1").next(1)
MANIFEST = Digest(bytes(32))

names = st.text(alphabet="ab/é\U0001d4b3", min_size=1, max_size=6)
prefixes = st.text(alphabet="ab/é", max_size=3)
delimiters = st.sampled_from(["", "/", "a", "//", "é"])


class CountingCatalog(MemoryCatalog):
    """Counts what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.rows_read = 0
        self.scans = 0

    def scan(
        self, family: Family, prefix: bytes, start: bytes | None = None, skip: Skip | None = None
    ) -> Iterator[tuple[bytes, bytes]]:
        self.scans += 1
        for item in super().scan(family, prefix, start, skip):
            self.rows_read += 1
            yield item


def put(catalog: MemoryCatalog, bucket: BucketName, names: set[str]) -> None:
    batch = Batch()
    for name in names:
        version = Version(
            bucket=bucket,
            object_id=ObjectId(name),
            version=VERSION_ID,
            manifest=MANIFEST,
            size=0,
            chunk_count=0,
            content_type="",
        )
        row = rows.encode_version_row(version, Place(1, 64))
        batch.put("heads", rows.object_prefix(bucket, name), VERSION_ID + row)
    catalog.write(batch)


def shown(page: Listing) -> int:
    return len(page.versions) + len(page.prefixes)


def group_of(name: str, prefix: str, delimiter: str) -> str | None:
    head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
    return prefix + head + found if found else None


def expected(names: set[str], prefix: str, delimiter: str, after: str | None) -> list[str]:
    """Every id and group that a listing shows behind `after`, in order."""
    done = group_of(after, prefix, delimiter) if after is not None and after.startswith(prefix) else None
    found = set()
    for name in names:
        group = group_of(name, prefix, delimiter)
        is_behind = after is None or name.encode() > after.encode()
        if name.startswith(prefix) and is_behind and (group is None or group != done):
            found.add(group or name)
    return sorted(found, key=str.encode)


@given(
    held=st.sets(names, max_size=30),
    prefix=prefixes,
    delimiter=delimiters,
    start=st.none() | names,
    limit=st.integers(1, 5),
)
def test_pages_show_everything_once_and_read_only_what_they_show(
    held: set[str], prefix: str, delimiter: str, start: str | None, limit: int
) -> None:
    catalog = CountingCatalog()
    for bucket in (DEFAULT_BUCKET, *NEIGHBOURS):
        put(catalog, bucket, held)
    found: list[str] = []
    after = start
    for _ in range(len(held) + 1):
        catalog.rows_read = catalog.scans = 0
        page = list_objects(catalog, DEFAULT_BUCKET, prefix, delimiter=delimiter, after=after, limit=limit)
        assert catalog.rows_read <= shown(page) + 1
        assert catalog.scans <= 1
        together = [version.object_id for version in page.versions] + page.prefixes
        found += sorted(together, key=str.encode)
        after = page.after
        if after is None:
            break
        assert shown(page) == limit
    assert found == expected(held, prefix, delimiter, start)


@pytest.mark.parametrize("objects", [10, 1000, 20_000])
def test_a_prefix_that_holds_nearly_every_object_costs_one_row(objects: int) -> None:
    catalog = CountingCatalog()
    put(catalog, DEFAULT_BUCKET, {"a", "zz", *(f"data/{number:06}" for number in range(objects))})
    page = list_objects(catalog, DEFAULT_BUCKET, "", delimiter="/", after=None, limit=1000)
    assert [version.object_id for version in page.versions] == ["a", "zz"]
    assert page.prefixes == ["data/"]
    assert catalog.rows_read == 3


def test_a_page_of_buckets_or_of_all_versions_costs_by_its_length(tmp_path: Path) -> None:
    catalog = CountingCatalog()
    with StoreFolder(tmp_path, open_catalog=lambda _: catalog).opened() as store:
        names = [BucketName(f"bucket-{number:03}") for number in range(60)]
        for name in names:
            store.set_bucket(name, Versioning.ON)
            commit(store, new_version(ObjectId("a"), b"x", bucket=names[0]))
        store.remove_bucket(names[10])
        catalog.rows_read = 0
        assert [each.name for each in store.buckets(names[8], 3)] == [names[9], *names[11:13]]
        assert catalog.rows_read <= 4
        catalog.rows_read = 0
        assert len(store.bucket_versions(names[0], "", None, 5)) == 5
        assert catalog.rows_read <= 5
