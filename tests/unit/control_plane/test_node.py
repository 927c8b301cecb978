from __future__ import annotations

import pytest

from replicator.control_plane.domain import lease as leases
from replicator.control_plane.domain import node as nodes
from replicator.control_plane.domain.lease import Session
from replicator.control_plane.domain.node import AddressOrigin, Node, Space
from replicator.kernel.errors import Fenced
from replicator.kernel.names import NodeName

NAME = NodeName("node1")


def session(**fields: object) -> Session:
    values: dict[str, object] = {
        "id": "s",
        "node": NAME,
        "boot_id": "b",
        "release": "1",
        "epoch": 1,
        "opened_at_ms": 0,
        "renewed_at_ms": 0,
        "expires_at_ms": 100,
    }
    return Session(**(values | fields))  # type: ignore[arg-type]


def registered(known: Node | None = None, base_url: str = "http://a", now_ms: int = 1) -> Node:
    return nodes.register(known, name=NAME, base_url=base_url, now_ms=now_ms)


def connected(known: Node | None = None, base_url: str = "http://own", now_ms: int = 1) -> Node:
    return nodes.connect(known, name=NAME, session_id="s", base_url=base_url, now_ms=now_ms)


def test_registering_again_keeps_when_it_was_first() -> None:
    first = nodes.join_answered(registered(), problem="down", now_ms=2)
    same = registered(first, now_ms=9)
    assert (same.registered_at_ms, same.updated_at_ms, same.join_tries) == (1, 9, 1)
    assert registered(first, "http://b").join_tries == 0


def test_who_gave_the_address() -> None:
    assert connected().base_url == "http://own"
    assert connected(connected(), "http://moved").base_url == "http://moved"
    by_hand = connected(registered())
    assert (by_hand.base_url, by_hand.address_origin) == ("http://a", AddressOrigin.OPERATOR)


def test_a_session_ends_the_telling() -> None:
    node = connected(nodes.join_answered(registered(), problem="down", now_ms=2), now_ms=3)
    assert (node.problem, node.join_tries, node.join_at_ms, node.disconnected_at_ms) == (None, 0, None, None)
    assert (node.session_epoch, node.seen_at_ms) == (1, 3)
    lost = nodes.disconnect(node, seen_at_ms=8, now_ms=20)
    assert (lost.session_id, lost.seen_at_ms, lost.disconnected_at_ms) == (None, 8, 20)
    assert lost.join_at_ms == 20 + nodes.JOIN_DELAY_MS_MIN


def test_telling_gets_rarer_up_to_a_bound() -> None:
    node, delays = registered(), []
    for _ in range(9):
        node = nodes.join_answered(node, problem="down", now_ms=1000)
        assert node.join_at_ms is not None
        delays.append(node.join_at_ms - 1000)
    assert delays == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]


def test_agreeing_without_coming_becomes_a_problem() -> None:
    node = registered()
    told = []
    for _ in range(3):
        node = nodes.join_answered(node, problem=None, now_ms=1)
        told.append(node.problem is not None)
    assert told == [False, False, True]


def test_a_connected_node_is_not_told_again() -> None:
    node = nodes.join_answered(connected(), problem="another name", now_ms=2)
    assert (node.problem, node.join_at_ms) == ("another name", None)


def test_a_session_is_good_until_it_expires() -> None:
    assert leases.require_live(session(), boot_id="b", now_ms=99) == session()
    renewed = leases.renewed(session(), lease_ms=50, now_ms=90)
    assert (renewed.expires_at_ms, renewed.renewed_at_ms) == (140, 90)
    assert leases.renewed(session(), lease_ms=5, now_ms=10).expires_at_ms == 100


@pytest.mark.parametrize(
    ("given", "boot_id", "now_ms", "told"),
    [
        (None, "b", 0, "no such session"),
        (session(), "c", 0, "another process"),
        (session(), "b", 100, "expired"),
        (leases.ended(session(), reason="replaced", now_ms=5), "b", 10, "replaced"),
    ],
)
def test_a_session_that_is_over_is_fenced(
    given: Session | None, boot_id: str, now_ms: int, told: str
) -> None:
    with pytest.raises(Fenced, match=told):
        leases.require_live(given, boot_id=boot_id, now_ms=now_ms)


def test_what_an_operator_says_of_a_node_goes_before_what_it_says_itself() -> None:
    node = nodes.located(nodes.labelled(connected(), {"rack": "a"}, now_ms=2), "here", now_ms=3)
    again = nodes.connect(
        node, name=NAME, session_id="t", base_url="http://own", labels={"rack": "b"}, zone="there", now_ms=4
    )
    assert (again.labels, again.zone, again.updated_at_ms) == ({"rack": "a"}, "here", 4)
    back = nodes.located(nodes.labelled(again, None, now_ms=5), None, now_ms=5)
    assert (back.labels, back.zone) == ({}, None)
    own = nodes.connect(
        back, name=NAME, session_id="u", base_url="http://own", labels={"rack": "b"}, zone="there", now_ms=6
    )
    assert (own.labels, own.zone) == ({"rack": "b"}, "there")


def test_a_node_is_taken_out_of_service_and_put_back() -> None:
    out = nodes.maintained(connected(), True, now_ms=2)
    assert (out.maintenance, out.updated_at_ms) == (True, 2)
    assert not nodes.maintained(out, False, now_ms=3).maintenance


def test_a_node_that_says_nothing_new_of_its_disk_is_the_same() -> None:
    node = nodes.measured(connected(), Space(bytes_total=10, bytes_free=4))
    assert (node.bytes_total, node.bytes_free) == (10, 4)
    assert nodes.measured(node, Space(bytes_total=10, bytes_free=4)) is node
    assert nodes.measured(node, None) is node
