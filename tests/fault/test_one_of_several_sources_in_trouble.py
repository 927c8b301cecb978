"""Several nodes hold an object and one of them is in trouble: the rest comes from the others, and nothing twice."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from replicator.data_plane.replication.engine import PullBounds
from replicator.testing.cluster import wire_bytes_max
from replicator.testing.damage import spoil_chunk
from replicator.testing.job_accounts import require_accounts
from replicator.testing.mesh import Mesh

MEBIBYTE = 1024 * 1024
SIZE = 12 * MEBIBYTE
HOLDERS = ("a", "b", "c")
SLOW_BYTES_PER_S = 4 * MEBIBYTE
# Of a stream that breaks off, what the gate and the kernel hold, and a chunk that did not come whole.
BROKEN_BYTES_MAX = PullBounds().streams_per_source * MEBIBYTE

Trouble = Callable[[Mesh, str], None]


def kill(mesh: Mesh, name: str) -> None:
    mesh.node(name).kill()


def stall(mesh: Mesh, name: str) -> None:
    mesh.node(name).suspend()


def lie(mesh: Mesh, name: str) -> None:
    mesh.gate(name).twist(1.0)


def cut(mesh: Mesh, name: str) -> None:
    mesh.gate(name).cut()


def put_everywhere(mesh: Mesh, object_id: str, data: bytes) -> None:
    for holder in HOLDERS:
        mesh.put(holder, object_id, data)


@contextmanager
def slowly(mesh: Mesh) -> Iterator[None]:
    """Every source so slow that all of them are needed."""
    for holder in HOLDERS:
        mesh.gate(holder).slow_to(SLOW_BYTES_PER_S)
    yield
    for holder in HOLDERS:
        mesh.gate(holder).slow_to(None)


@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize("trouble", [kill, stall, lie, cut])
def test_the_rest_comes_from_the_others(mesh: Mesh, seed: int, trouble: Trouble, which: str) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    object_id = f"{trouble.__name__}/{which}/{seed}"
    put_everywhere(mesh, object_id, data)
    refs = mesh.refs("a", object_id)
    began = mesh.passed_bytes
    with slowly(mesh):
        gate = mesh.gate(which)
        gate.hold_at(gate.passed_bytes + rng.randrange(MEBIBYTE, 2 * MEBIBYTE))
        job = mesh.submit("migrate", "a", "d", object_id=object_id)
        gate.wait_until_held()
        trouble(mesh, which)
        gate.release()
        ended = mesh.ended(job)
    passed = mesh.passed_bytes - began
    (row,) = require_accounts(mesh, ended)
    assert (row.outcome, row.bytes_transferred) == ("verified", SIZE)
    assert mesh.read("d", object_id) == data
    whole = wire_bytes_max(refs, wanted=refs, attempts=ended.attempts)
    assert SIZE <= passed <= whole + BROKEN_BYTES_MAX
    # Of a connection that is given up, some that has passed is not received any more.
    assert passed - BROKEN_BYTES_MAX <= ended.progress.bytes_wire <= passed


def test_a_damaged_chunk_comes_from_another_and_is_reported(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    # So little that the others are called in only when they are needed.
    data = rng.randbytes(4 * MEBIBYTE)
    object_id = f"damaged/{seed}"
    put_everywhere(mesh, object_id, data)
    refs = mesh.refs("a", object_id)
    spoilt = rng.choice(refs)
    spoil_chunk(mesh.node("a").data_dir, data, refs, spoilt.digest)
    began = mesh.passed_bytes
    ended = mesh.ended(mesh.submit("migrate", "a", "d", object_id=object_id))
    (row,) = require_accounts(mesh, ended)
    assert (row.outcome, row.bytes_transferred) == ("verified", len(data))
    assert mesh.read("d", object_id) == data
    assert mesh.passed_bytes - began <= wire_bytes_max(refs, wanted=refs, attempts=ended.attempts)
    (told,) = mesh.events(ended.id, "source.corrupt")
    assert (told["node"], told["digest"]) == ("a", str(spoilt.digest))


def test_a_damaged_chunk_that_nobody_else_has_fails_its_object_alone(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    prefix = f"alone/{seed}"
    contents = {f"{prefix}/{number}": rng.randbytes(MEBIBYTE) for number in range(4)}
    for object_id, data in contents.items():
        mesh.put("a", object_id, data)
    hurt = rng.choice(sorted(contents))
    refs = mesh.refs("a", hurt)
    spoil_chunk(mesh.node("a").data_dir, contents[hurt], refs, rng.choice(refs).digest)
    ended = mesh.ended(mesh.submit("migrate", "a", "d", prefix=f"{prefix}/"))
    rows = {row.object_id: row for row in require_accounts(mesh, ended)}
    assert ended.status == "partial"
    assert {row.outcome for object_id, row in rows.items() if object_id != hurt} == {"verified"}
    error = rows[hurt].error
    assert error is not None
    assert (error.code, error.error_class) == ("corrupt", "permanent")
    assert [told["node"] for told in mesh.events(ended.id, "source.corrupt")] == ["a"]
    assert mesh.read("d", hurt) is None

    # It is written again at the source, and what failed is tried again.
    mesh.put("a", hurt, contents[hurt])
    began = mesh.passed_bytes
    mesh.order(ended.id, "retry").raise_for_status()
    again = mesh.ended(ended.id)
    assert again.progress.objects_planned == len(contents)
    assert mesh.passed_bytes - began <= wire_bytes_max(refs, wanted=refs, attempts=again.attempts)


def test_chunks_that_a_source_lacks_come_from_those_that_have_them(mesh: Mesh, seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(SIZE)
    object_id = f"lacking/{seed}"
    mesh.put("a", object_id, data)
    mesh.put("b", f"half of {object_id}", data[: SIZE // 2])
    mesh.put("c", f"other half of {object_id}", data[SIZE // 2 :])
    refs = mesh.refs("a", object_id)
    began = {holder: mesh.gate(holder).passed_bytes for holder in HOLDERS}
    with slowly(mesh):
        ended = mesh.ended(mesh.submit("migrate", "a", "d", object_id=object_id))
    passed = {holder: mesh.gate(holder).passed_bytes - began[holder] for holder in HOLDERS}
    (row,) = require_accounts(mesh, ended)
    assert (row.outcome, row.bytes_transferred) == ("verified", SIZE)
    assert mesh.read("d", object_id) == data
    assert sum(passed.values()) <= wire_bytes_max(refs, wanted=refs, attempts=ended.attempts)
    assert min(passed.values()) > MEBIBYTE
    assert ended.progress.bytes_wire == sum(passed.values())
