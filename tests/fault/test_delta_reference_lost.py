"""What a delta is made against is lost or damaged, on either side: a resend, never a wrong byte."""

import random
from collections.abc import Callable

import pytest

from replicator.testing.cluster import wire_bytes_max
from replicator.testing.damage import spoil_chunk
from replicator.testing.job_accounts import require_accounts
from replicator.testing.mesh import Mesh
from replicator.wire.jobs import JobObject

MEBIBYTE = 1024 * 1024
SIZE = 4 * MEBIBYTE
EDITS = 24
EDIT_BYTES = 8000


def edited(data: bytes, rng: random.Random) -> bytes:
    """With some bytes replaced, here and there."""
    changed = bytearray(data)
    for _ in range(EDITS):
        at = rng.randrange(SIZE - EDIT_BYTES)
        changed[at : at + EDIT_BYTES] = rng.randbytes(EDIT_BYTES)
    return bytes(changed)


def nothing(mesh: Mesh, object_id: str, old: bytes, new: bytes) -> None:
    """The delta as it should be, to compare with."""


def collect_at_source(mesh: Mesh, object_id: str, old: bytes, new: bytes) -> None:
    """The version before goes from the source for good, also what is kept for the pull that brought it."""
    mesh.node("a").kill()
    mesh.node("a").start()
    mesh.forget_garbage("a")


def spoil_at(name: str) -> Callable[[Mesh, str, bytes, bytes], None]:
    def spoil(mesh: Mesh, object_id: str, old: bytes, new: bytes) -> None:
        refs = mesh.refs("b", object_id)
        kept = {ref.digest for ref in mesh.refs("a", object_id)}
        for ref in refs:
            if ref.digest not in kept:
                spoil_chunk(mesh.node(name).data_dir, old, refs, ref.digest)

    return spoil


def delete_at_destination(mesh: Mesh, object_id: str, old: bytes, new: bytes) -> None:
    """Its user deletes the version before and collects, while the pull relies on it."""
    mesh.delete("b", object_id)
    mesh.forget_garbage("b")


# Bytes that have passed when it happens: before the offer is answered, or in the middle of the deltas.
CASES = {
    "nothing is lost": (nothing, 1),
    "gone at the source before it is asked": (collect_at_source, 1),
    "damaged at the source before it is asked": (spoil_at("a"), 1),
    "damaged at the destination before it asks": (spoil_at("b"), 1),
    "damaged at the destination in the middle": (spoil_at("b"), 60_000),
    "deleted at the destination in the middle": (delete_at_destination, 60_000),
}


def pull(mesh: Mesh, seed: int, harm: Callable[[Mesh, str, bytes, bytes], None], *, point: int) -> JobObject:
    """Bring an edited object while something happens to its version before; returns its row."""
    rng = random.Random(seed)
    object_id = f"edited/{seed}/{rng.randrange(2**32)}"
    old = rng.randbytes(SIZE)
    new = edited(old, rng)
    mesh.put("a", object_id, old)
    assert mesh.ended(mesh.submit("migrate", "a", "b", object_id=object_id)).status == "succeeded"
    mesh.put("a", object_id, new)
    gate = mesh.gate("a")
    began = mesh.passed_bytes
    gate.hold_at(gate.passed_bytes + point)
    job = mesh.submit("migrate", "a", "b", object_id=object_id)
    gate.wait_until_held()
    harm(mesh, object_id, old, new)
    gate.release()
    ended = mesh.ended(job)
    passed = mesh.passed_bytes - began
    (row,) = require_accounts(mesh, ended)
    assert row.outcome == "verified"
    assert mesh.read("b", object_id) == new
    refs = mesh.refs("a", object_id)
    # A delta that does not decode has travelled for nothing; it is never as large as what it stands for.
    assert passed <= 2 * wire_bytes_max(refs, wanted=refs, attempts=ended.attempts)
    assert ended.progress.bytes_wire == passed
    assert row.bytes_transferred - row.bytes_saved <= passed
    return row


@pytest.mark.parametrize("case", CASES)
def test_it_costs_a_resend_and_never_a_wrong_byte(mesh: Mesh, seed: int, case: str) -> None:
    harm, point = CASES[case]
    row = pull(mesh, seed, harm, point=point)
    if point == 1:
        assert bool(row.bytes_saved) == (harm is nothing)
