"""How many connections fit into the descriptors of a process."""

from __future__ import annotations

import pytest

from replicator.runtime.admission import ConnectionLimits

WANTED = ConnectionLimits(connections=10_000, refusals=200, backlog=2000)


def test_where_there_are_enough_descriptors_nothing_is_less_than_wanted() -> None:
    assert WANTED.within(65_536) == WANTED


@pytest.mark.parametrize("open_files_max", [64, 256, 1024, 4096, 20_000])
def test_where_there_are_few_descriptors_the_store_keeps_its_part(open_files_max: int) -> None:
    limits = WANTED.within(open_files_max)
    assert min(limits.connections, limits.refusals, limits.backlog) >= 1
    together = limits.connections + limits.refusals + limits.backlog
    assert together <= open_files_max * 4 // 5
