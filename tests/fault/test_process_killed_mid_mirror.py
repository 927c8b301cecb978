"""Processes are killed while one side is made equal to the other: what goes is what had to go, and no more."""

import random

from replicator.testing.job_accounts import require_accounts
from replicator.testing.mesh import Mesh
from replicator.testing.processes import ServerProcess
from replicator.testing.waiting import wait_until

OBJECTS = 20
EXTRAS = 6
UNCHANGED = 5
OBJECT_BYTES = 60_000


def set_up(mesh: Mesh, rng: random.Random, prefix: str) -> dict[str, bytes]:
    """Some objects at the source, of which the destination has a few, and a few that it alone has."""
    contents = {f"{prefix}/{number:02}": rng.randbytes(OBJECT_BYTES) for number in range(OBJECTS)}
    for index, (object_id, data) in enumerate(contents.items()):
        mesh.put("a", object_id, data)
        if index == UNCHANGED - 1:
            assert mesh.ended(mesh.submit("mirror", "a", "b", prefix=f"{prefix}/")).status == "succeeded"
    for number in range(EXTRAS):
        mesh.put("b", f"{prefix}/extra{number}", rng.randbytes(1000))
    return contents


def victims_of(mesh: Mesh, rng: random.Random) -> list[ServerProcess]:
    return rng.sample([mesh.node("a"), mesh.node("b"), mesh.control_plane], 3)


def mirror_under_kills(mesh: Mesh, rng: random.Random, prefix: str, *, max_deletes: int) -> int:
    """Submit the job, and kill every process once in the course of it."""
    gate = mesh.gate("a")
    job = 0
    for victim in victims_of(mesh, rng):
        gate.hold_at(gate.passed_bytes + rng.randrange(1, OBJECTS * OBJECT_BYTES // 5))
        job = job or mesh.submit(
            "mirror", "a", "b", prefix=f"{prefix}/", delete=True, max_deletes=max_deletes
        )
        mesh.held_or_ended("a", job)
        victim.kill()
        gate.release()
        victim.start()
    return job


def test_both_sides_are_equal_at_the_end(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    prefix = f"mirror/{seed}"
    contents = set_up(mesh, rng, prefix)
    ended = mesh.ended(mirror_under_kills(mesh, rng, prefix, max_deletes=EXTRAS))
    require_accounts(mesh, ended, unchanged=UNCHANGED, unchanged_bytes=UNCHANGED * OBJECT_BYTES)
    assert ended.status == "succeeded", ended.error
    assert ended.progress.objects_deleted == EXTRAS
    assert mesh.listing("b", prefix=f"{prefix}/") == mesh.listing("a", prefix=f"{prefix}/")
    for object_id, data in contents.items():
        assert mesh.read("b", object_id) == data
    verified = mesh.ended(mesh.submit("verify", "a", "b", prefix=f"{prefix}/", read_data=True))
    assert verified.verdict is not None
    assert verified.verdict.agree


def test_where_too_many_would_go_none_goes(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    prefix = f"guarded/{seed}"
    contents = set_up(mesh, rng, prefix)
    ended = mesh.ended(mirror_under_kills(mesh, rng, prefix, max_deletes=EXTRAS - 1))
    rows = require_accounts(mesh, ended, unchanged=UNCHANGED, unchanged_bytes=UNCHANGED * OBJECT_BYTES)
    assert (ended.status, ended.progress.objects_deleted) == ("partial", 0)
    kept = [row for row in rows if row.action == "delete"]
    assert len(kept) == EXTRAS
    assert {row.error.code for row in kept if row.error} == {"max-deletes-exceeded"}
    listed = mesh.listing("b", prefix=f"{prefix}/")
    assert len(listed) == EXTRAS + len(contents)
    for object_id, data in contents.items():
        assert mesh.read("b", object_id) == data


def test_what_is_written_while_it_runs_is_not_deleted(mesh: Mesh, seed: int) -> None:
    prefix = f"back/{seed}"
    set_up(mesh, random.Random(seed), prefix)
    back_at_source, new_at_destination = f"{prefix}/extra0", f"{prefix}/extra1"
    # What is to be deleted is known, and the source, which is asked once more, takes its time to answer.
    mesh.gate("a").slow_to(None, delay_s=0.4)
    job = mesh.submit("mirror", "a", "b", prefix=f"{prefix}/", delete=True)
    wait_until(lambda: mesh.objects(job), "it is known what differs")
    mesh.put("a", back_at_source, b"written just now")
    mesh.put("b", new_at_destination, b"written just now")
    mesh.gate("a").open_wide()
    rows = require_accounts(
        mesh, mesh.ended(job), unchanged=UNCHANGED, unchanged_bytes=UNCHANGED * OBJECT_BYTES
    )
    outcomes = {row.object_id: row.outcome for row in rows if row.action == "delete"}
    assert list(outcomes.values()).count("deleted") >= EXTRAS - 2
    assert mesh.read("b", new_at_destination) == b"written just now"
    assert (mesh.read("b", back_at_source) is None) == (outcomes[back_at_source] == "deleted")
