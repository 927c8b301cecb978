"""A process is killed while many small objects travel: each has one outcome, and none is sent twice."""

import random

import pytest

from replicator.testing.job_accounts import batch_wire_bytes_max, require_accounts, require_once
from replicator.testing.mesh import Mesh
from replicator.testing.processes import ServerProcess

OBJECTS = 300
OBJECT_BYTES = 12_000
TWINS = 20


def victim_of(mesh: Mesh, name: str) -> ServerProcess:
    return {"source": mesh.node("a"), "destination": mesh.node("b"), "control plane": mesh.control_plane}[
        name
    ]


def put_batch(mesh: Mesh, rng: random.Random, prefix: str) -> dict[str, bytes]:
    """Objects of one chunk each; some have the content of another."""
    contents = {f"{prefix}/{number:04}": rng.randbytes(OBJECT_BYTES) for number in range(OBJECTS - TWINS)}
    # Next to each other, and so in the same batch but for one pair at most.
    contents |= {
        f"{object_id}-twin": contents[object_id] for object_id in rng.sample(sorted(contents), TWINS)
    }
    for object_id, data in contents.items():
        mesh.put("a", object_id, data)
    return contents


@pytest.mark.parametrize("name", ["source", "destination", "control plane"])
def test_every_object_has_one_outcome(mesh: Mesh, seed: int, name: str) -> None:
    rng = random.Random(seed)
    prefix = f"batch/{seed}/{name.replace(' ', '-')}"
    contents = put_batch(mesh, rng, prefix)
    distinct_bytes = len(set(contents.values())) * OBJECT_BYTES
    gate, victim = mesh.gate("a"), victim_of(mesh, name)
    began, all_began = gate.passed_bytes, mesh.passed_bytes
    gate.hold_at(began + rng.randrange(distinct_bytes // 4, distinct_bytes * 3 // 4))
    job = mesh.submit("migrate", "a", "b", prefix=f"{prefix}/")
    gate.wait_until_held()
    victim.kill()
    gate.hold_at(gate.passed_bytes)
    victim.start()
    lacking = distinct_bytes if victim is mesh.control_plane else mesh.lacking_bytes("b", contents.values())
    first = gate.passed_bytes
    gate.release()

    ended = mesh.ended(job)
    rows = require_accounts(mesh, ended)
    require_once(rows, list(contents))
    assert ended.status == "succeeded"
    assert {row.outcome for row in rows} <= {"verified", "skipped"}
    assert ended.progress.bytes_transferred <= distinct_bytes + OBJECT_BYTES
    if victim is not mesh.node("b"):
        assert ended.progress.bytes_transferred >= distinct_bytes
    listed = mesh.listing("b", prefix=f"{prefix}/")
    assert listed == mesh.listing("a", prefix=f"{prefix}/")
    for object_id, data in contents.items():
        assert mesh.read("b", object_id) == data
    again = gate.passed_bytes - (began if victim is mesh.control_plane else first)
    assert again <= batch_wire_bytes_max(len(contents), lacking, attempts=ended.attempts)
    # Other nodes may have been asked whether they have it.
    passed = mesh.passed_bytes - all_began
    # What a destination received since its last report dies with it.
    assert ended.progress.bytes_wire == passed or (
        victim is mesh.node("b") and ended.progress.bytes_wire < passed
    )
