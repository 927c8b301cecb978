"""Which versions a filter lets pass."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from replicator.data_plane.replication.filters import compile_filter
from replicator.data_plane.replication.ports import Entry
from replicator.kernel.digest import Digest
from replicator.kernel.names import ObjectId
from replicator.testing.two_nodes import object_version
from replicator.wire.sessions import Filter

NOW_MS = object_version(100).wall_ms


def passes(object_id: str = "a", *, size: int = 10, made_s_ago: int = 0, **wanted: Any) -> bool:
    entry = Entry(ObjectId(object_id), object_version(100 - made_s_ago), Digest(bytes(32)), size)
    return compile_filter(Filter(**wanted), now_ms=NOW_MS)(entry)


def test_an_empty_filter_lets_everything_pass() -> None:
    assert passes()


def test_sizes_include_their_bounds() -> None:
    assert [size for size in range(5) if passes(size=size, size_bytes_min=1, size_bytes_max=3)] == [1, 2, 3]
    assert not passes(size=1, size_bytes_max=0)


def test_ages_include_their_bounds() -> None:
    old = [age for age in range(5) if passes(made_s_ago=age, age_seconds_min=1, age_seconds_max=3)]
    assert old == [1, 2, 3]


def test_what_was_made_by_a_clock_ahead_is_young() -> None:
    assert passes(made_s_ago=-50, age_seconds_max=0)
    assert not passes(made_s_ago=-50, age_seconds_min=1)


def test_exclusion_wins() -> None:
    assert passes("logs/a.txt", include=["logs/**"], exclude=["*.tmp"])
    assert not passes("logs/a.tmp", include=["logs/**"], exclude=["**/*.tmp"])
    assert not passes("other", include=["logs/**"])


@pytest.mark.parametrize("glob", ["[", "[z-a]", ""])
def test_a_bad_glob_is_refused_where_it_is_submitted(glob: str) -> None:
    with pytest.raises(ValidationError):
        Filter(include=[glob])
