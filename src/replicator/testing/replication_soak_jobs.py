"""What the soak of replication asks for: random jobs and objects, decided by a seeded generator alone."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from replicator.testing.replication_model import Request

NODES = ("node1", "node2", "node3")
_PREFIXES = ("p0/", "p1/", "p2/", "p3/")
_JOBS_MAX = 3
_PREFIX_SHARE = 0.6
_SIZES = (0, 1, 900, 20_000, 20_000, 150_000, 600_000, 2_500_000)
_EDIT_BYTES = 3000


def choose_requests(rng: random.Random) -> list[Request]:
    """A few jobs, each on a prefix of its own."""
    prefixes = rng.sample(_PREFIXES, rng.randrange(1, _JOBS_MAX + 1))
    return [_choose_request(rng, prefix) for prefix in prefixes]


def narrowed(rng: random.Random, request: Request, held: Iterable[str]) -> Request:
    """The same about a few objects by name, now and then; `held` is what the source has."""
    mine = sorted(each for each in held if request.selects(each))
    if request.kind != "migrate" or not mine or rng.random() < _PREFIX_SHARE:
        return request
    return replace(request, object_ids=rng.sample(mine, rng.randrange(1, len(mine) + 1)))


def new_bytes(rng: random.Random, before: bytes | None) -> bytes:
    """The content of an object: `before` with a few bytes changed, or something else."""
    if not before or rng.random() < 0.5:
        return rng.randbytes(rng.choice(_SIZES))
    at = rng.randrange(len(before))
    return before[:at] + rng.randbytes(_EDIT_BYTES) + before[at + _EDIT_BYTES :]


def _choose_request(rng: random.Random, prefix: str) -> Request:
    source, destination = rng.sample(NODES, 2)
    kind = rng.choices(("migrate", "mirror", "verify"), (5, 3, 1))[0]
    return Request(
        kind=kind,
        source=source,
        destination=destination,
        prefix=prefix,
        move=kind == "migrate" and rng.random() < 0.4,
        delete=kind == "mirror" and rng.random() < 0.7,
        max_deletes=rng.choice((0, 3, 1000)),
    )
