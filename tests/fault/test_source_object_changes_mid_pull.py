"""An object changes at the source while it is pulled: what was planned arrives, or a clear error, never a mix."""

import random
from collections.abc import Callable

import pytest

from replicator.testing.job_accounts import require_accounts
from replicator.testing.mesh import Mesh
from replicator.wire.jobs import JobObject
from replicator.wire.objects import ObjectInfo

SIZE = 3 * 1024 * 1024
# Bytes that have passed when the change strikes: before any answer, in the survey or the offer, in the chunks.
POINTS = (1, 700, SIZE // 2, SIZE - 1000)
BY_NAME, BY_PREFIX = "object_id", "prefix"


def overwrite(mesh: Mesh, object_id: str, data: bytes, bucket: str) -> None:
    mesh.put("a", object_id, data, bucket=bucket)


def delete(mesh: Mesh, object_id: str, data: bytes, bucket: str) -> None:
    mesh.delete("a", object_id, bucket=bucket)


def overwrite_and_restart(mesh: Mesh, object_id: str, data: bytes, bucket: str) -> None:
    """What was offered is not kept over a restart."""
    mesh.put("a", object_id, data, bucket=bucket)
    mesh.node("a").kill()
    mesh.node("a").start()


Change = Callable[[Mesh, str, bytes, str], None]


def pull_while(
    mesh: Mesh, rng: random.Random, change: Change, *, point: int, named: str, bucket: str = "default"
) -> tuple[JobObject | None, ObjectInfo]:
    """Change an object when so many bytes have passed; returns its row, if it was found, and its first version."""
    object_id = f"{change.__name__}/{named}/{bucket}/{point}/{rng.randrange(2**32)}"
    contents = [rng.randbytes(SIZE), rng.randbytes(SIZE)]
    first = mesh.put("a", object_id, contents[0], bucket=bucket)
    gate = mesh.gate("a")
    gate.hold_at(gate.passed_bytes + point)
    job = mesh.submit("migrate", "a", "b", **{named: object_id}, bucket=bucket)
    gate.wait_until_held()
    change(mesh, object_id, contents[1], bucket)
    mesh.forget_garbage("a")
    gate.release()
    rows = require_accounts(mesh, mesh.ended(job))
    found = mesh.read("b", object_id, bucket=bucket)
    if not rows:
        assert (found, change, named) == (None, delete, BY_PREFIX)
        return None, first
    (row,) = rows
    if row.outcome == "verified":
        assert found == contents[row.version != first.version]
    else:
        assert found is None
        assert row.error is not None
        assert (row.error.code, row.error.error_class) == ("not-found", "permanent")
    return row, first


@pytest.mark.parametrize("named", [BY_NAME, BY_PREFIX])
@pytest.mark.parametrize("change", [overwrite, delete])
def test_what_was_offered_arrives_whole(mesh: Mesh, seed: int, change: Change, named: str) -> None:
    rng = random.Random(seed)
    for point in POINTS:
        row, first = pull_while(mesh, rng, change, point=point, named=named)
        if point >= SIZE // 2:
            assert row is not None
            assert (row.outcome, row.version) == ("verified", first.version)


def test_a_planned_version_that_is_gone_is_an_error_and_no_other_takes_its_place(
    mesh: Mesh, seed: int
) -> None:
    row, first = pull_while(
        mesh, random.Random(seed), overwrite_and_restart, point=SIZE // 2, named=BY_PREFIX
    )
    assert row is not None
    assert (row.outcome, row.version) == ("failed", first.version)


@pytest.mark.parametrize("change", [overwrite, delete, overwrite_and_restart])
def test_where_versions_are_kept_the_planned_one_arrives(mesh: Mesh, seed: int, change: Change) -> None:
    bucket = "kept"
    mesh.version_bucket("a", bucket)
    point = random.Random(seed).choice(POINTS[2:])
    row, first = pull_while(mesh, random.Random(seed), change, point=point, named=BY_PREFIX, bucket=bucket)
    assert row is not None
    assert row is not None
    assert (row.outcome, row.version) == ("verified", first.version)
