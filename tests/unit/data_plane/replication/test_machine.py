"""Who is asked for which chunks, one decision at a time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from replicator.data_plane.replication.machine import Ask, Leave, Machine, Settled, Wait
from replicator.data_plane.replication.ports import Piece
from replicator.data_plane.replication.shares import REQUEST_BYTES_MAX, REQUEST_BYTES_MIN
from replicator.kernel.digest import Digest
from replicator.kernel.errors import (
    BrokenPeer,
    Cancelled,
    Corrupt,
    NotFound,
    PeerUnreachable,
    ReplicatorError,
    Unavailable,
)
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import NodeName
from replicator.wire.frames import FETCH_CHUNKS_MAX

MEBIBYTE = 1024 * 1024
CHUNK_BYTES = 64 * 1024
SILENCE_S = 10.0
FIRST, SECOND = NodeName("first"), NodeName("second")


def refs(count: int, *, length: int = CHUNK_BYTES, seed: str = "") -> list[ChunkRef]:
    return [ChunkRef(Digest.of(f"{seed}{number}".encode()), length) for number in range(count)]


def machine_of(*sources: NodeName, in_flight: int = 1 << 40, worth: int = 8 * MEBIBYTE) -> Machine:
    machine = Machine(in_flight_bytes_max=in_flight, worth_bytes=worth, silence_s=SILENCE_S)
    for source in sources:
        machine.join(source, streams=2)
    return machine


def ask(machine: Machine, source: NodeName = FIRST, now_s: float = 0.0) -> Ask:
    decision = machine.next(source, now_s)
    assert isinstance(decision, Ask)
    return decision


def chunks_of(asked: Ask) -> list[ChunkRef]:
    return [ref for piece in asked.pieces for ref in piece.chunks]


def bring(machine: Machine, asked: Ask, *, now_s: float = 0.1) -> None:
    machine.kept(asked.number, [ref.digest for ref in chunks_of(asked)])
    machine.ended(asked.number, now_s)


def fail(machine: Machine, asked: Ask, error: ReplicatorError, *, now_s: float, jitter: float = 0.5) -> None:
    machine.failed(asked.number, error, now_s=now_s, jitter=jitter)


def bring_all(machine: Machine, sources: Sequence[NodeName] = (FIRST,)) -> list[ChunkRef]:
    """Serve whoever is free until nobody gets anything; returns what was asked for."""
    came = []
    while asks := [
        each for each in (machine.next(source, 100.0) for source in sources) if isinstance(each, Ask)
    ]:
        for asked in asks:
            came += chunks_of(asked)
            bring(machine, asked, now_s=100.1)
    return came


def test_everything_is_asked_for_once_and_in_order() -> None:
    machine = machine_of(FIRST)
    wanted = refs(300)
    part = machine.add(1, [Piece(wanted)])
    assert bring_all(machine) == wanted
    assert machine.settled() == [Settled(1, None)]
    assert (part.arrived, part.transferred, part.left) == (300 * CHUNK_BYTES, 300 * CHUNK_BYTES, 0)
    assert machine.left_bytes == 0
    assert machine.next(FIRST, 0.0) == Wait()


def test_an_owner_that_wants_nothing_is_settled_at_once() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [])
    assert machine.settled() == [Settled(1, None)]


def test_a_chunk_that_two_owners_want_travels_for_the_first() -> None:
    machine = machine_of(FIRST)
    shared, own = refs(3), refs(1, seed="own")
    first = machine.add(1, [Piece(shared)])
    second = machine.add(2, [Piece(shared[1:] + own)])
    assert sorted(bring_all(machine)) == sorted(shared + own)
    assert sorted(machine.settled()) == [Settled(1, None), Settled(2, None)]
    assert (first.arrived, first.transferred) == (3 * CHUNK_BYTES, 3 * CHUNK_BYTES)
    assert (second.arrived, second.transferred) == (3 * CHUNK_BYTES, CHUNK_BYTES)


def test_what_arrives_between_a_look_and_what_follows_is_not_fetched_again() -> None:
    machine = machine_of(FIRST)
    (ref,) = refs(1)
    machine.add(1, [Piece([ref])])
    machine.look()
    bring(machine, ask(machine))
    late = machine.add(2, [Piece([ref])])
    assert machine.settled() == [Settled(1, None), Settled(2, None)]
    assert (late.arrived, late.transferred) == (CHUNK_BYTES, 0)
    assert machine.next(FIRST, 1.0) == Wait()


def test_a_length_that_contradicts_what_has_just_arrived_is_refused() -> None:
    machine = machine_of(FIRST)
    (ref,) = refs(1)
    machine.look()
    machine.add(1, [Piece([ref])])
    bring(machine, ask(machine))
    with pytest.raises(BrokenPeer, match="different lengths"):
        machine.add(2, [Piece([ref._replace(length=1)])])


def test_two_lengths_of_one_chunk_are_refused_and_change_nothing() -> None:
    machine = machine_of(FIRST)
    (ref,) = refs(1)
    machine.add(1, [Piece([ref])])
    with pytest.raises(BrokenPeer, match="different lengths"):
        machine.add(2, [Piece([*refs(1, seed="new"), ref._replace(length=1)])])
    assert bring_all(machine) == [ref]


def test_a_run_with_references_stays_together() -> None:
    machine = machine_of(FIRST)
    before, run, after, old = (refs(2, seed=seed) for seed in ("before", "run", "after", "old"))
    whole = [Piece(before), Piece(run, old), Piece(after)]
    machine.add(1, whole)
    asked = ask(machine)
    assert asked.pieces == whole[: len(asked.pieces)]
    came = list(asked.pieces)
    bring(machine, asked)
    while isinstance(more := machine.next(FIRST, 1.0), Ask):
        came += more.pieces
        bring(machine, more, now_s=1.1)
    assert Piece(run, old) in came


def test_a_request_is_a_quarter_of_a_second_of_work_within_bounds() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(20_000))])
    asked = ask(machine)
    bring(machine, asked, now_s=asked.length / (40 * MEBIBYTE))
    assert ask(machine, now_s=1.0).length == pytest.approx(10 * MEBIBYTE, rel=0.01)


@pytest.mark.parametrize(("seconds", "length"), [(1000.0, REQUEST_BYTES_MIN), (0.001, REQUEST_BYTES_MAX)])
def test_a_request_is_never_tiny_nor_huge(seconds: float, length: int) -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(40_000))])
    bring(machine, ask(machine), now_s=seconds)
    assert ask(machine, now_s=seconds).length == length


def test_a_request_has_no_more_chunks_than_the_wire_takes() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(20_000, length=500))])
    assert len(chunks_of(ask(machine))) == FETCH_CHUNKS_MAX


def test_near_the_end_requests_are_small() -> None:
    machine = machine_of(FIRST, SECOND)
    machine.add(1, [Piece(refs(160))])
    lengths = [ask(machine, source).length for source in (FIRST, SECOND, FIRST, SECOND)]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] <= 160 * CHUNK_BYTES // 8


def test_what_is_in_flight_is_bounded() -> None:
    machine = machine_of(FIRST, in_flight=MEBIBYTE)
    machine.add(1, [Piece(refs(1000))])
    asked = ask(machine)
    assert asked.length <= MEBIBYTE
    assert machine.next(FIRST, 0.0) == Wait()
    bring(machine, asked)
    ask(machine)


def test_what_a_failed_request_did_not_bring_goes_to_the_front() -> None:
    machine = machine_of(FIRST, SECOND)
    wanted = refs(500)
    machine.add(1, [Piece(wanted)])
    asked = ask(machine)
    kept, lost = chunks_of(asked)[:3], chunks_of(asked)[3:]
    machine.kept(asked.number, [ref.digest for ref in kept])
    fail(machine, asked, Unavailable("reset"), now_s=1.0)
    again = ask(machine, SECOND, 1.0)
    assert chunks_of(again)[: len(lost)] == lost[: len(chunks_of(again))]
    bring(machine, again, now_s=1.5)
    rest = bring_all(machine, (FIRST, SECOND))
    assert sorted(kept + chunks_of(again) + rest) == sorted(wanted)


def test_a_source_that_failed_waits_and_is_then_tried_by_one_stream() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(500))])
    fail(machine, ask(machine), Unavailable("busy"), now_s=1.0)
    waits = machine.next(FIRST, 1.0)
    assert isinstance(waits, Wait)
    assert waits.until_s is not None
    assert waits.until_s > 1.0
    probe = ask(machine, now_s=waits.until_s)
    assert machine.next(FIRST, waits.until_s) == Wait()
    bring(machine, probe, now_s=waits.until_s + 1)
    ask(machine, now_s=waits.until_s + 1)
    ask(machine, now_s=waits.until_s + 1)


def test_streams_that_fail_together_count_as_one_failure() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(500))])
    together = [ask(machine) for _ in range(4)]
    for number, asked in enumerate(together):
        fail(machine, asked, Unavailable("reset"), now_s=1.0 + number / 100)
    assert isinstance(machine.next(FIRST, 60.0), Ask)


def test_a_source_that_goes_on_failing_is_given_up_with_its_last_error() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(500))])
    error = PeerUnreachable("nobody there")
    for number in range(3):
        fail(machine, ask(machine, now_s=10.0 * number), error, now_s=10.0 * number + 1)
    assert machine.next(FIRST, 100.0) == Leave()
    assert machine.settled() == [Settled(1, error)]
    assert machine.left_bytes == 0


def test_a_source_whose_silence_lasts_is_given_up_earlier() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(300))])
    began = ask(machine)
    machine.kept(began.number, [chunks_of(began)[0].digest])
    silent = PeerUnreachable("no answer")
    fail(machine, began, silent, now_s=SILENCE_S, jitter=0.0)
    assert machine.settled() == []
    fail(machine, ask(machine, now_s=SILENCE_S), silent, now_s=2 * SILENCE_S)
    assert machine.settled() == [Settled(1, silent)]


def test_progress_forgives_failures_but_not_without_end() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(5000))])
    error = Unavailable("reset")
    for number in range(1000):
        decision = machine.next(FIRST, 10.0 * number)
        if not isinstance(decision, Ask):
            break
        machine.kept(decision.number, [chunks_of(decision)[0].digest])
        fail(machine, decision, error, now_s=10.0 * number + 1)
    assert 3 < number < 100
    assert machine.settled() == [Settled(1, error)]


def test_a_source_that_breaks_the_protocol_is_not_tried_again() -> None:
    machine = machine_of(FIRST, SECOND)
    wanted = refs(10)
    machine.add(1, [Piece(wanted)])
    fail(machine, ask(machine), BrokenPeer("garbage"), now_s=0.1)
    assert machine.next(FIRST, 100.0) == Leave()
    assert sorted(bring_all(machine, (SECOND,))) == sorted(wanted)
    assert machine.settled() == [Settled(1, None)]


def test_a_source_that_asks_for_much_time_is_left() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(1))])
    error = Unavailable("busy", retry_after_s=600.0)
    fail(machine, ask(machine), error, now_s=0.0)
    assert machine.settled() == [Settled(1, error)]


def test_a_source_is_given_the_time_it_asks_for() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(1))])
    fail(machine, ask(machine), Unavailable("busy", retry_after_s=3.0), now_s=0.0, jitter=0.0)
    assert machine.next(FIRST, 2.9) == Wait(3.0)
    ask(machine, now_s=3.0)


def test_a_chunk_that_a_source_lacks_is_asked_of_another() -> None:
    machine = machine_of(FIRST, SECOND)
    wanted = refs(4)
    machine.add(1, [Piece(wanted)])
    asked = ask(machine)
    machine.lacks(asked.number, [chunks_of(asked)[0]])
    machine.kept(asked.number, [ref.digest for ref in chunks_of(asked)[1:]])
    machine.ended(asked.number, 0.1)
    assert wanted[0] not in bring_all(machine, (FIRST,))
    assert wanted[0] in bring_all(machine, (SECOND,))
    assert machine.settled() == [Settled(1, None)]


def test_a_chunk_that_nobody_has_fails_who_wants_it_and_nobody_else() -> None:
    machine = machine_of(FIRST)
    gone, fine = refs(2), refs(2, seed="fine")
    machine.add(1, [Piece(gone)])
    machine.add(2, [Piece(fine)])
    asked = ask(machine)
    machine.lacks(asked.number, [gone[0]])
    ((owner, error),) = machine.settled()
    assert owner == 1
    assert type(error) is NotFound
    assert error.data["digest"] == str(gone[0].digest)
    bring(machine, asked)
    bring_all(machine)
    assert machine.settled() == [Settled(2, None)]


def test_a_damaged_chunk_is_reported_and_taken_from_another() -> None:
    machine = machine_of(FIRST, SECOND)
    wanted = refs(40)
    machine.add(1, [Piece(wanted)])
    asked = ask(machine)
    bad = chunks_of(asked)[1]
    machine.kept(asked.number, [chunks_of(asked)[0].digest])
    machine.damaged(asked.number, [bad])
    machine.ended(asked.number, 0.1)
    assert list(machine.corrupt) == [(FIRST, bad.digest)]
    came = bring_all(machine, (FIRST, SECOND))
    assert sorted(came) == sorted(wanted[1:])
    assert machine.settled() == [Settled(1, None)]


def test_a_chunk_damaged_at_its_only_holder_is_corrupt() -> None:
    machine = machine_of(FIRST, SECOND)
    (ref,) = refs(1)
    machine.add(1, [Piece([ref])])
    asked = ask(machine)
    machine.damaged(asked.number, [ref])
    machine.ended(asked.number, 0.1)
    asked = ask(machine, SECOND)
    machine.lacks(asked.number, [ref])
    ((_, error),) = machine.settled()
    assert type(error) is Corrupt
    assert error.data["digest"] == str(ref.digest)


def test_a_chunk_that_a_failed_source_may_have_is_not_called_gone() -> None:
    machine = machine_of(FIRST, SECOND)
    (ref,) = refs(1)
    machine.add(1, [Piece([ref])])
    machine.lacks(ask(machine, SECOND).number, [ref])
    error = BrokenPeer("garbage")
    fail(machine, ask(machine), error, now_s=0.1)
    assert machine.settled() == [Settled(1, error)]


def test_what_a_delta_did_not_give_is_asked_for_plainly() -> None:
    machine = machine_of(FIRST)
    run, old = refs(3), refs(2, seed="old")
    machine.add(1, [Piece(run, old)])
    asked = ask(machine)
    assert asked.pieces == [Piece(run, old)]
    machine.resend(asked.number, run)
    machine.ended(asked.number, 0.1)
    again = ask(machine, now_s=0.2)
    assert again.pieces == [Piece(run)]


def test_a_delta_that_was_cut_off_is_asked_for_as_a_delta_again() -> None:
    machine = machine_of(FIRST)
    run, old = refs(3), refs(2, seed="old")
    machine.add(1, [Piece(run, old)])
    fail(machine, ask(machine), Unavailable("reset"), now_s=0.0, jitter=0.0)
    assert ask(machine, now_s=1.0).pieces == [Piece(run, old)]


def test_nodes_in_reserve_are_called_in_for_much_work() -> None:
    machine = machine_of(FIRST)
    machine.enlist(SECOND)
    machine.add(1, [Piece(refs(2))])
    assert machine.called_in() == []
    machine.add(2, [Piece(refs(200, seed="more"))])
    assert machine.called_in() == [SECOND]
    assert machine.called_in() == []


def test_nodes_in_reserve_are_called_in_for_a_chunk_that_nobody_else_has() -> None:
    machine = machine_of(FIRST)
    machine.enlist(SECOND)
    (ref,) = refs(1)
    machine.add(1, [Piece([ref])])
    asked = ask(machine)
    machine.damaged(asked.number, [ref])
    machine.ended(asked.number, 0.1)
    assert machine.settled() == []
    assert machine.called_in() == [SECOND]
    machine.join(SECOND, streams=1)
    assert bring_all(machine, (SECOND,)) == [ref]
    assert machine.settled() == [Settled(1, None)]


def test_a_node_in_reserve_that_is_of_no_use_leaves_the_error_of_the_source() -> None:
    machine = machine_of(FIRST)
    machine.enlist(SECOND)
    (ref,) = refs(1)
    machine.add(1, [Piece([ref])])
    machine.damaged(ask(machine).number, [ref])
    assert machine.called_in() == [SECOND]
    assert machine.settled() == []
    machine.stay_out(SECOND)
    ((_, error),) = machine.settled()
    assert type(error) is Corrupt


def test_a_node_is_not_asked_for_what_it_said_it_lacks() -> None:
    machine = machine_of(FIRST)
    wanted = refs(4)
    machine.add(1, [Piece(wanted)])
    machine.join(SECOND, streams=1, lacks=[wanted[0].digest, wanted[2].digest])
    assert bring_all(machine, (SECOND,)) == [wanted[1], wanted[3]]


def test_a_source_much_slower_than_the_rest_gets_nothing_near_the_end() -> None:
    machine = machine_of()
    machine.join(FIRST, streams=1, rate_bytes_per_s=100 * MEBIBYTE)
    machine.join(SECOND, streams=1, rate_bytes_per_s=64 * 1024)
    machine.add(1, [Piece(refs(64))])
    assert machine.next(SECOND, 0.0) == Wait()
    assert len(bring_all(machine, (FIRST, SECOND))) == 64


def test_a_slow_source_gets_what_only_it_has() -> None:
    machine = machine_of(FIRST)
    wanted = refs(4)
    machine.join(SECOND, streams=1, rate_bytes_per_s=64 * 1024)
    machine.add(1, [Piece(wanted)])
    machine.join(FIRST, streams=1, rate_bytes_per_s=100 * MEBIBYTE, lacks=[wanted[0].digest])
    assert chunks_of(ask(machine, SECOND)) == [wanted[0]]


def test_saved_bytes_are_shared_out_to_the_byte() -> None:
    machine = machine_of(FIRST)
    parts = [
        machine.add(owner, [Piece(refs(1, length=100 * owner, seed=f"{owner}-"))]) for owner in (1, 2, 3)
    ]
    asked = ask(machine)
    machine.kept(asked.number, [ref.digest for ref in chunks_of(asked)], saved_bytes=401)
    assert sum(part.saved for part in parts) == 401
    assert all(part.saved <= part.transferred for part in parts)


def test_the_end_fails_all_that_is_open() -> None:
    machine = machine_of(FIRST)
    machine.add(1, [Piece(refs(500))])
    asked = ask(machine)
    machine.abort(Cancelled("stopped"))
    ((owner, error),) = machine.settled()
    assert (owner, type(error)) == (1, Cancelled)
    assert machine.next(FIRST, 0.0) == Leave()
    bring(machine, asked)
    assert machine.settled() == []
