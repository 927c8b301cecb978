"""The contract suite of the `Catalog` port: subclass `CatalogContract` and give it a `catalog` fixture."""
# ruff: noqa: D102  (the names of the tests are the promises)

from __future__ import annotations

from collections.abc import Mapping

import pytest

from replicator.data_plane.storage.catalog import FAMILIES, Batch, Catalog

KEYS = [b"", b"\0", b"a", b"a\0", b"a\0\xff", b"a\x01", b"a/", b"ab", b"b", b"\xff", b"\xff\xff"]


def write(catalog: Catalog, rows: Mapping[bytes, bytes | None]) -> None:
    """One batch of changes to the family `meta`."""
    batch = Batch()
    for key, row in rows.items():
        if row is None:
            batch.delete("meta", key)
        else:
            batch.put("meta", key, row)
    catalog.write(batch)


class CatalogContract:
    """Every promise of `Catalog` that a test can see without a crash. The fixture gives an empty catalog."""

    @pytest.fixture
    def catalog(self) -> Catalog:
        """The catalog under test."""
        raise NotImplementedError("a subclass provides the catalog")

    def test_what_was_written_is_read(self, catalog: Catalog) -> None:
        write(catalog, {b"k": b"row", b"empty": b""})
        assert catalog.get("meta", b"k") == b"row"
        assert catalog.get("meta", b"empty") == b""
        assert catalog.get("meta", b"absent") is None

    def test_families_are_apart(self, catalog: Catalog) -> None:
        batch = Batch()
        for family in FAMILIES:
            batch.put(family, b"k", family.encode())
        catalog.write(batch)
        assert [catalog.get(family, b"k") for family in FAMILIES] == [family.encode() for family in FAMILIES]

    def test_changes_of_a_batch_take_effect_in_their_order(self, catalog: Catalog) -> None:
        batch = Batch()
        batch.put("meta", b"put last", b"1")
        batch.delete("meta", b"put last")
        batch.put("meta", b"put last", b"2")
        batch.put("meta", b"deleted last", b"1")
        batch.delete("meta", b"deleted last")
        batch.delete("meta", b"never there")
        catalog.write(batch)
        assert list(catalog.scan("meta", b"")) == [(b"put last", b"2")]

    def test_get_many_keeps_the_order_asked_and_repeats(self, catalog: Catalog) -> None:
        write(catalog, {b"a": b"1", b"b": b"2"})
        assert catalog.get_many("meta", [b"b", b"x", b"a", b"b"]) == [b"2", None, b"1", b"2"]
        assert catalog.get_many("meta", []) == []

    def test_get_many_of_many(self, catalog: Catalog) -> None:
        keys = [number.to_bytes(4) for number in range(1000)]
        write(catalog, {key: key[::-1] for key in keys if key[3] % 3})
        assert catalog.get_many("meta", keys) == [key[::-1] if key[3] % 3 else None for key in keys]

    @pytest.mark.parametrize("prefix", KEYS)
    def test_a_scan_gives_the_rows_of_its_prefix_in_byte_order(self, catalog: Catalog, prefix: bytes) -> None:
        write(catalog, {key: b"row of " + key for key in reversed(KEYS)})
        expected = [(key, b"row of " + key) for key in sorted(KEYS) if key.startswith(prefix)]
        assert list(catalog.scan("meta", prefix)) == expected

    @pytest.mark.parametrize("start", KEYS)
    def test_a_scan_begins_at_its_start_inclusive(self, catalog: Catalog, start: bytes) -> None:
        write(catalog, dict.fromkeys(KEYS, b""))
        for prefix in KEYS:
            expected = [key for key in sorted(KEYS) if key.startswith(prefix) and key >= start]
            assert [key for key, _ in catalog.scan("meta", prefix, start)] == expected

    def test_a_scan_goes_on_where_it_is_told_to(self, catalog: Catalog) -> None:
        write(catalog, dict.fromkeys(KEYS, b""))
        groups = catalog.scan("meta", b"a", skip=lambda key: b"ab" if key == b"a\0" else None)
        assert [key for key, _ in groups] == [b"a", b"a\0", b"ab"]
        assert [key for key, _ in catalog.scan("meta", b"a", skip=lambda _: b"b")] == [b"a"]

    def test_a_scan_that_has_begun_does_not_see_later_writes(self, catalog: Catalog) -> None:
        write(catalog, {b"a": b"1", b"b": b"1", b"c": b"1"})
        rows = catalog.scan("meta", b"")
        first = next(rows)
        write(catalog, {b"b": None, b"c": b"2", b"d": b"2"})
        assert [first, *rows] == [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]
        assert [key for key, _ in catalog.scan("meta", b"")] == [b"a", b"c", b"d"]

    def test_an_empty_batch_changes_nothing(self, catalog: Catalog) -> None:
        catalog.write(Batch())
        assert list(catalog.scan("meta", b"")) == []
