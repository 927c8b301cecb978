"""Processes are killed while objects move: no version is ever lost from both sides, and none stays on both."""

import random

import pytest

from replicator.testing.job_accounts import require_accounts, require_once
from replicator.testing.mesh import Mesh
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
OBJECTS = 24
OBJECT_BYTES = 150_000


def put_all(mesh: Mesh, rng: random.Random, prefix: str) -> dict[str, bytes]:
    contents = {f"{prefix}/{number:02}": rng.randbytes(OBJECT_BYTES) for number in range(OBJECTS)}
    for object_id, data in contents.items():
        mesh.put("a", object_id, data)
    return contents


def require_none_lost(mesh: Mesh, contents: dict[str, bytes]) -> None:
    """Every object is whole at the source, or else at the destination."""
    for object_id, data in contents.items():
        # It may go from the source between the two, and is then at the destination already.
        assert data in (mesh.read("a", object_id), mesh.read("b", object_id)), object_id


def require_moved(mesh: Mesh, job: int, contents: dict[str, bytes]) -> None:
    ended = mesh.ended(job)
    assert ended.status == "succeeded", ended.error
    rows = require_accounts(mesh, ended)
    require_once(rows, list(contents))
    for object_id, data in contents.items():
        assert mesh.read("a", object_id) is None
        assert mesh.read("b", object_id) == data


def test_killed_again_and_again_none_is_lost(mesh: Mesh, seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    contents = put_all(mesh, rng, f"move/{seed}")
    gate = mesh.gate("a")
    victims = [mesh.node("a"), mesh.node("b"), mesh.control_plane] * rounds
    rng.shuffle(victims)
    job = 0
    for victim in victims:
        gate.hold_at(gate.passed_bytes + rng.randrange(1, OBJECTS * OBJECT_BYTES // (len(victims) + 1)))
        job = job or mesh.submit("migrate", "a", "b", prefix=f"move/{seed}/", mode="move")
        mesh.held_or_ended("a", job)
        victim.kill()
        gate.release()
        victim.start()
        require_none_lost(mesh, contents)
    require_moved(mesh, job, contents)


@pytest.mark.parametrize("victim", ["a", "b"])
def test_killed_between_the_commit_and_the_removal(mesh: Mesh, seed: int, victim: str) -> None:
    rng = random.Random(seed)
    object_id = f"moved/{victim}/{seed}"
    contents = {object_id: rng.randbytes(OBJECT_BYTES)}
    mesh.put("a", object_id, contents[object_id])
    # The source is asked who it is before anything is removed there, and its answer takes its time.
    mesh.gate("a").slow_to(None, delay_s=0.5)
    job = mesh.submit("migrate", "a", "b", object_id=object_id, mode="move")
    wait_until(lambda: object_id in mesh.listing("b", prefix=object_id), "it is committed")
    mesh.node(victim).kill()
    mesh.gate("a").open_wide()
    mesh.node(victim).start()
    require_none_lost(mesh, contents)
    require_moved(mesh, job, contents)


def test_the_answer_to_the_removal_is_lost(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    object_id = f"answered/{seed}"
    contents = {object_id: rng.randbytes(OBJECT_BYTES)}
    mesh.put("a", object_id, contents[object_id])
    mesh.gate("a").slow_to(None, delay_s=0.3)
    job = mesh.submit("migrate", "a", "b", object_id=object_id, mode="move")
    wait_until(lambda: mesh.read("a", object_id) is None, "it is removed at the source")
    mesh.node("b").kill()
    mesh.gate("a").open_wide()
    mesh.node("b").start()
    require_none_lost(mesh, contents)
    require_moved(mesh, job, contents)


def test_what_was_written_at_the_source_meanwhile_stays(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    object_id = f"written/{seed}"
    old, new = rng.randbytes(MEBIBYTE), rng.randbytes(OBJECT_BYTES)
    mesh.put("a", object_id, old)
    gate = mesh.gate("a")
    gate.hold_at(gate.passed_bytes + MEBIBYTE // 2)
    job = mesh.submit("migrate", "a", "b", prefix=object_id, mode="move")
    gate.wait_until_held()
    mesh.put("a", object_id, new)
    gate.release()
    (row,) = require_accounts(mesh, mesh.ended(job))
    assert (mesh.read("a", object_id), mesh.read("b", object_id)) == (new, old)
    assert row.outcome == "verified"


def test_what_an_earlier_move_left_behind_goes_with_the_next(mesh: Mesh, seed: int) -> None:
    contents = put_all(mesh, random.Random(seed), f"left/{seed}")
    assert mesh.ended(mesh.submit("migrate", "a", "b", prefix=f"left/{seed}/")).status == "succeeded"
    require_moved(mesh, mesh.submit("migrate", "a", "b", prefix=f"left/{seed}/", mode="move"), contents)
