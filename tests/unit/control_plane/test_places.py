from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.control_plane.domain.limits import LinkLimit, NodeLimits
from replicator.control_plane.domain.node import AddressOrigin, Node
from replicator.control_plane.domain.places import Places
from replicator.kernel.names import NodeName

HERE, SOURCE, OTHER = NodeName("here"), NodeName("source"), NodeName("other")


def node(name: NodeName, *, maintenance: bool = False) -> Node:
    return Node(
        name=name,
        base_url=f"http://{name}",
        address_origin=AddressOrigin.OPERATOR,
        disconnected_at_ms=None,
        join_at_ms=None,
        maintenance=maintenance,
        registered_at_ms=0,
        updated_at_ms=0,
    )


def test_without_limits_there_is_room_for_all_that_is_wanted() -> None:
    places = Places(node=HERE, nodes={HERE: node(HERE), SOURCE: node(SOURCE)}, in_hand={(SOURCE, HERE): 99})
    assert (places.room(wanted=7), places.room_from(SOURCE, wanted=7)) == (7, 7)
    assert not places.is_limited(HERE)
    assert not places.is_limited(SOURCE)


@pytest.mark.parametrize(("tasks_max", "room"), [(1, 0), (3, 0), (4, 1), (5, 2), (100, 7)])
def test_a_node_takes_in_what_it_has_room_for_wherever_it_reads(tasks_max: int, room: int) -> None:
    in_hand = {(SOURCE, HERE): 2, (OTHER, HERE): 1, (SOURCE, OTHER): 50}
    places = Places(node=HERE, limits={HERE: NodeLimits(tasks_max=tasks_max)}, in_hand=in_hand)
    assert places.is_limited(HERE)
    assert places.room(wanted=7) == room


@pytest.mark.parametrize(
    ("serves_max", "left", "room"), [(1, 0, 0), (3, 0, 0), (5, 0, 2), (5, 1, 1), (5, 9, 0)]
)
def test_a_source_serves_all_its_readers_together(serves_max: int, left: int, room: int) -> None:
    places = Places(
        node=HERE,
        limits={SOURCE: NodeLimits(serves_max=serves_max)},
        in_hand={(SOURCE, HERE): 1, (SOURCE, OTHER): 2, (OTHER, HERE): 50},
        left={SOURCE: left},
    )
    assert places.is_limited(SOURCE)
    assert places.room_from(SOURCE, wanted=7) == room
    assert places.room_from(OTHER, wanted=7) == 7


def test_a_link_counts_only_what_goes_over_it_and_the_least_room_counts() -> None:
    link = LinkLimit(src_node=SOURCE, dst_node=HERE, tasks_max=3)
    in_hand = {(SOURCE, HERE): 1, (SOURCE, OTHER): 5}
    places = Places(node=HERE, links={SOURCE: link}, in_hand=in_hand)
    assert places.is_limited(SOURCE)
    assert places.room_from(SOURCE, wanted=7) == 2
    tighter = replace(places, limits={SOURCE: NodeLimits(serves_max=7)})
    assert tighter.room_from(SOURCE, wanted=7) == 1


def test_in_maintenance_there_is_no_room_at_a_node_or_from_it() -> None:
    resting = node(SOURCE, maintenance=True)
    assert Places(node=SOURCE, nodes={SOURCE: resting}).room(wanted=7) == 0
    assert Places(node=HERE, nodes={SOURCE: resting}).room_from(SOURCE, wanted=7) == 0
    assert Places(node=HERE, nodes={SOURCE: resting}).room(wanted=7) == 7
