"""Nodes of a chaos run that are real processes, with small objects: every name has one content, wherever it is."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from random import Random

import httpx

from replicator.testing.processes import ServerProcess, node_process

OBJECTS = tuple(f"small-{number:02}" for number in range(16))
_BYTES_MAX = 150_000
_ANSWER_SECONDS_MAX = 30.0


def real_nodes(folder: Path, count: int, *, control_plane: str) -> Sequence[ServerProcess]:
    """`count` of them, started; blocks until they serve."""
    nodes = [
        node_process(f"real{number}", folder, control_plane=control_plane) for number in range(1, count + 1)
    ]
    for node in nodes:
        node.start()
    return nodes


def content_of(object_id: str) -> bytes:
    """The bytes of an object: some of them are in others too."""
    random = Random(object_id)
    shared = Random(0).randbytes(_BYTES_MAX)
    length = random.randrange(1, _BYTES_MAX)
    return shared[: length // 2] + random.randbytes(length - length // 2)


def fill(nodes: Sequence[ServerProcess], random: Random) -> None:
    """Each node gets some of the objects; blocks."""
    with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS_MAX) as client:
        for node in nodes:
            for object_id in random.sample(OBJECTS, len(OBJECTS) // 2):
                url = f"{node.url}/objects/{object_id}"
                client.put(url, content=content_of(object_id)).raise_for_status()


def wrong_objects(nodes: Sequence[ServerProcess]) -> list[str]:
    """Complaints about bytes that are not those of their name; blocks."""
    found = []
    with httpx.Client(trust_env=False, timeout=_ANSWER_SECONDS_MAX) as client:
        for node in nodes:
            for object_id in OBJECTS:
                answer = client.get(f"{node.url}/objects/{object_id}")
                if answer.status_code == httpx.codes.NOT_FOUND:
                    continue
                if not answer.is_success or answer.content != content_of(object_id):
                    digest = sha256(answer.content).hexdigest()[:12]
                    found.append(f"{object_id} at {node.name} is {answer.status_code} {digest}")
    return found
