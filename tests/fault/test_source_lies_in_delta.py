"""A source that lies in deltas: they cost a resend or the source's turn, and never a wrong byte."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import zstandard

from replicator.data_plane.replication.messages.replies import Sent
from replicator.kernel.digest import Digest
from replicator.testing.forgery import Forgery, cut, forge
from replicator.testing.lies import Lie, altered_frames, bomb, once
from replicator.testing.pull_stage import PullStage
from replicator.wire.frames import Codec, FrameStatus

DAY_MS = 24 * 3600 * 1000
BOMBS = [bomb(), bomb(states_length=False)]


def edited(stage: PullStage, name: str) -> Forgery:
    """A new version of an object that the destination holds and the source remembers; 8 places differ."""
    older = random.Random(name).randbytes(1_500_000)
    newer = bytearray(older)
    for place in range(8):
        at = 100_000 + 150_000 * place
        newer[at : at + 20] = b"as it is from now on"
    chunks = cut(older)
    stage.put(name, chunks)
    made_ms = int(time.time() * 1000) + DAY_MS
    return replace(forge(cut(bytes(newer)), wall_ms=made_ms), older=forge(chunks).chunks)


def content(forgery: Forgery) -> bytes:
    return b"".join(forgery.chunks.values())


def in_deltas(alter: Callable[[bytes], bytes]) -> Lie:
    """Another payload in each delta; single chunks are honest."""

    def change(sent: Sent) -> Sent:
        if sent.status != FrameStatus.DELTA:
            return sent
        return sent._replace(payload=alter(bytes(sent.payload)))

    return altered_frames(change)


def test_an_honest_delta_saves_what_did_not_change(stage: PullStage) -> None:
    forgery = edited(stage, "honest delta")
    result = stage.pull("honest delta", forgery)
    assert result.outcome == "verified", result.error
    assert stage.read("honest delta") == content(forgery)
    assert result.bytes_transferred > 100_000
    assert result.bytes_saved > 0.95 * result.bytes_transferred


# What a delta may be that does not give its chunks: they are asked for plainly.
WRONG_DELTAS: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda payload: random.Random(1).randbytes(len(payload)),
    "cut short": lambda payload: payload[:-5],
    "bytes behind it": lambda payload: payload + b"more",
    "one bit changed": lambda payload: payload[:-3] + bytes([payload[-3] ^ 4]) + payload[-2:],
    "other bytes of other length": lambda _: zstandard.compress(b"something else"),
    "a bomb": lambda _: BOMBS[0],
    "a bomb that does not say so": lambda _: BOMBS[1],
    "an empty frame": lambda _: zstandard.compress(b""),
}


@pytest.mark.parametrize("alter", WRONG_DELTAS.values(), ids=WRONG_DELTAS.keys())
def test_a_delta_that_does_not_give_its_chunks_costs_a_resend(
    stage: PullStage, request: pytest.FixtureRequest, alter: Callable[[bytes], bytes]
) -> None:
    name = f"delta {request.node.callspec.id}"
    forgery = edited(stage, name)
    result = stage.pull(name, forgery, {"fetch": in_deltas(alter)})
    assert result.outcome == "verified", result.error
    assert stage.read(name) == content(forgery)
    assert result.bytes_saved == 0


def test_a_delta_of_other_bytes_is_found_out(stage: PullStage) -> None:
    forgery = edited(stage, "other bytes")
    lengths = {digest: len(chunk) for digest, chunk in forgery.chunks.items()}

    def change(sent: Sent) -> Sent:
        if sent.status != FrameStatus.DELTA:
            return sent
        return sent._replace(payload=zstandard.compress(bytes(lengths[sent.digest])))

    result = stage.pull("other bytes", forgery, {"fetch": altered_frames(change)})
    assert result.outcome == "verified", result.error
    assert stage.read("other bytes") == content(forgery)


# What no source may send at all.
BROKEN: dict[str, Callable[[Sent], Sent]] = {
    "of another piece": lambda sent: sent._replace(digest=Digest(sent.digest[::-1])),
    "longer than its chunks": lambda sent: sent._replace(payload=bytes(5_000_000)),
    "without bytes": lambda sent: sent._replace(payload=b""),
    "that is not compressed": lambda sent: sent._replace(codec=Codec.PLAIN),
}


def broken(change: Callable[[Sent], Sent]) -> Lie:
    return altered_frames(lambda sent: change(sent) if sent.status == FrameStatus.DELTA else sent)


@pytest.mark.parametrize("case", BROKEN)
def test_a_delta_that_breaks_the_protocol_ends_the_source(stage: PullStage, case: str) -> None:
    name = f"a delta {case}"
    result = stage.pull(name, edited(stage, name), {"fetch": broken(BROKEN[case])})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "broken-peer")


@pytest.mark.parametrize("case", BROKEN)
def test_a_good_second_source_brings_what_a_broken_delta_did_not(stage: PullStage, case: str) -> None:
    name = f"second source, a delta {case}"
    forgery = edited(stage, name)
    result = stage.pull(name, forgery, {"fetch": broken(BROKEN[case])}, other=forgery)
    assert result.outcome == "verified", result.error
    assert stage.read(name) == content(forgery)


def test_a_lie_told_once_does_not_end_the_pull(stage: PullStage) -> None:
    forgery = edited(stage, "once")
    result = stage.pull("once", forgery, {"fetch": once(in_deltas(lambda payload: payload[::-1]))})
    assert result.outcome == "verified", result.error
    assert stage.read("once") == content(forgery)
