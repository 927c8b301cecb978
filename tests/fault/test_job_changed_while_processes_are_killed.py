"""A user pauses, resumes, cancels and retries jobs while processes are killed: each order holds, nothing is twice."""

import random

import httpx
import pytest

from replicator.testing.cluster import wire_bytes_max
from replicator.testing.job_accounts import require_accounts
from replicator.testing.mesh import Mesh
from replicator.testing.processes import ServerProcess
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
SIZE = 8 * MEBIBYTE
# Of a destination that is killed: blocks in hand, and what the gate and the kernel hold for its streams.
UNDER_WAY_BYTES_MAX = 6 * MEBIBYTE
# Of a link that stands still until it is given up: a chunk for each stream.
STALLED_BYTES_MAX = 2 * 256 * 1024
VICTIMS = ["source", "destination", "control plane"]


def process_of(mesh: Mesh, victim: str) -> ServerProcess:
    return {"source": mesh.node("a"), "destination": mesh.node("b"), "control plane": mesh.control_plane}[
        victim
    ]


def begin(mesh: Mesh, rng: random.Random, object_id: str, data: bytes) -> int:
    """A job that is held in the middle of the object."""
    mesh.put("a", object_id, data)
    gate = mesh.gate("a")
    gate.hold_at(gate.passed_bytes + rng.randrange(MEBIBYTE, SIZE - MEBIBYTE))
    job = mesh.submit("migrate", "a", "b", object_id=object_id)
    gate.wait_until_held()
    return job


@pytest.mark.parametrize("victim", VICTIMS)
def test_paused_it_stays_paused_and_resumed_it_goes_on(mesh: Mesh, seed: int, victim: str) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    object_id = f"paused/{victim}/{seed}"
    began = mesh.passed_bytes
    job = begin(mesh, rng, object_id, data)
    mesh.order(job, "pause").raise_for_status()
    process_of(mesh, victim).kill()
    mesh.gate("a").release()
    process_of(mesh, victim).start()
    mesh.wait_connected()
    # A destination that has not heard of the pause goes on, and is right: it may have finished the job by now.
    unheard = victim == "control plane"
    status = mesh.job(job).status
    assert status == "paused" or (unheard and status == "succeeded")
    if not unheard:
        assert mesh.read("b", object_id) is None
    resumed = mesh.order(job, "resume")
    assert resumed.is_success or (unheard and resumed.status_code == httpx.codes.CONFLICT)
    ended = mesh.ended(job)
    (row,) = require_accounts(mesh, ended)
    assert row.outcome in ("verified", "skipped")
    assert mesh.read("b", object_id) == data
    refs = mesh.refs("a", object_id)
    whole = wire_bytes_max(refs, wanted=refs, attempts=ended.attempts)
    assert mesh.passed_bytes - began <= whole + UNDER_WAY_BYTES_MAX


@pytest.mark.parametrize("victim", VICTIMS)
def test_cancelled_it_ends_and_leaves_nothing_in_part(mesh: Mesh, seed: int, victim: str) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    object_id = f"cancelled/{victim}/{seed}"
    job = begin(mesh, rng, object_id, data)
    mesh.order(job, "cancel").raise_for_status()
    process_of(mesh, victim).kill()
    mesh.gate("a").release()
    process_of(mesh, victim).start()
    ended = mesh.ended(job)
    (row,) = require_accounts(mesh, ended)
    # It may have arrived just before it heard of it.
    assert row.outcome in ("cancelled", "verified")
    assert ended.status == "cancelled" or (ended.status, row.outcome) == ("succeeded", "verified")
    assert mesh.read("b", object_id) == (None if row.outcome == "cancelled" else data)
    assert not mesh.order(job, "resume").is_success

    again = mesh.ended(mesh.submit("migrate", "a", "b", object_id=object_id))
    require_accounts(mesh, again)
    assert again.status == "succeeded"
    assert mesh.read("b", object_id) == data


def test_what_failed_and_nothing_else_is_tried_again(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    contents = {f"failed/{seed}/{number}": rng.randbytes(MEBIBYTE) for number in range(4)}
    gone = rng.choice(sorted(contents))
    for object_id, data in contents.items():
        if object_id != gone:
            mesh.put("a", object_id, data)
    job = mesh.submit("migrate", "a", "b", object_ids=list(contents))
    ended = mesh.ended(job)
    require_accounts(mesh, ended)
    assert ended.status == "partial"

    mesh.put("a", gone, contents[gone])
    gate = mesh.gate("a")
    began = gate.passed_bytes
    gate.hold_at(began + MEBIBYTE // 2)
    mesh.order(job, "retry").raise_for_status()
    gate.wait_until_held()
    mesh.control_plane.kill()
    mesh.control_plane.start()
    gate.release()
    again = wait_until(lambda: mesh.ended(job), "it ends again")
    assert again.status == "succeeded"
    require_accounts(mesh, again)
    for object_id, data in contents.items():
        assert mesh.read("b", object_id) == data
    refs = mesh.refs("a", gone)
    whole = wire_bytes_max(refs, wanted=refs, attempts=again.attempts)
    assert gate.passed_bytes - began <= whole + STALLED_BYTES_MAX
