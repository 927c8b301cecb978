from __future__ import annotations

import pytest

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.version import VersionClock, VersionId

NOW_MS = 1_767_323_045_678


def test_versions_of_one_node_grow_while_its_clock_stands_still() -> None:
    clock = VersionClock("node1")
    made = [clock.next(NOW_MS) for _ in range(1000)]
    assert made == sorted(set(made))
    assert {version.wall_ms for version in made} == {NOW_MS}


def test_versions_grow_when_the_wall_clock_goes_back() -> None:
    clock = VersionClock("node1")
    before = clock.next(NOW_MS)
    assert before < clock.next(NOW_MS - 3_600_000) < clock.next(-1) < clock.next(0) < clock.next(NOW_MS + 1)


def test_more_versions_in_a_millisecond_than_the_counter_holds_still_grow() -> None:
    clock = VersionClock("node1")
    clock.observe(VersionId(((NOW_MS << 16) | 0xFFFF).to_bytes(8) + bytes(8)))
    assert clock.next(NOW_MS).wall_ms == NOW_MS + 1


def test_a_version_is_greater_than_any_observed_from_elsewhere() -> None:
    theirs = VersionClock("node2").next(NOW_MS + 60_000)
    clock = VersionClock("node1")
    clock.observe(theirs)
    assert clock.next(NOW_MS) > theirs


def test_observing_an_old_version_does_not_turn_the_clock_back() -> None:
    clock = VersionClock("node1")
    newest = clock.next(NOW_MS)
    clock.observe(VersionClock("node2").next(NOW_MS - 1000))
    assert clock.next(NOW_MS) > newest


def test_a_clock_goes_on_from_its_kept_stamp() -> None:
    before = VersionClock("node1")
    last = before.next(NOW_MS)
    after = VersionClock("node1", stamp=before.stamp)
    assert after.next(NOW_MS - 3_600_000) > last


def test_two_nodes_never_make_the_same_version() -> None:
    assert VersionClock("node1").next(NOW_MS) != VersionClock("node2").next(NOW_MS)


def test_a_clock_that_has_run_out_says_so() -> None:
    clock = VersionClock("node1")
    clock.observe(VersionId(b"\xff" * 16))
    with pytest.raises(InvalidRequest, match="run out"):
        clock.next(NOW_MS)


def test_one_absurd_reading_of_the_wall_clock_does_not_spoil_the_next() -> None:
    clock = VersionClock("node1")
    before = clock.next(NOW_MS)
    with pytest.raises(InvalidRequest, match="run out"):
        clock.next(1 << 48)
    after = clock.next(NOW_MS + 1)
    assert after > before
    assert after.wall_ms == NOW_MS + 1


def test_the_layout_of_an_id_is_fixed() -> None:
    version = VersionClock("node1").next(NOW_MS)
    assert str(version) == "019b7ca98f2e0000ca12f31b8cbf5f29"


def test_an_id_reads_back_from_its_text() -> None:
    version = VersionClock("node1").next(NOW_MS)
    assert VersionId.parse(str(version)) == version
    assert repr(version) == f"VersionId({version})"


@pytest.mark.parametrize(
    "text", ["", "0" * 31, "0" * 33, "A" * 32, "0" * 31 + "g", "0" * 31 + "\n", "0_" * 16]
)
def test_refuses_anything_but_32_lowercase_hex_digits(text: str) -> None:
    with pytest.raises(InvalidRequest, match="32 lowercase hexadecimal digits"):
        VersionId.parse(text)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_refuses_other_lengths(length: int) -> None:
    with pytest.raises(InvalidRequest, match=f"16 bytes, not {length}"):
        VersionId(bytes(length))
