"""A chunk rots that nobody reads: the scrub finds it, it is never served, and another node's copy heals it."""

from __future__ import annotations

import random
from pathlib import Path

import httpx

from replicator.testing.cluster import PullCluster
from replicator.testing.damage import flip_bit
from replicator.testing.waiting import wait_until


def scrub(client: httpx.Client, url: str) -> int:
    """Have the whole store read once; returns how many records in use were damaged."""
    rounds = client.get(f"{url}/store/scrub").json()["round"]
    client.post(f"{url}/store/scrub").raise_for_status()

    def ended() -> dict[str, int] | None:
        status: dict[str, int] = client.get(f"{url}/store/scrub").json()
        return status if status["round"] > rounds and not status["asked"] else None

    return wait_until(ended, "the scrub has ended")["last_damaged"]


def rot(segment: Path, chunk: bytes, rng: random.Random) -> str:
    at = segment.read_bytes().index(chunk)
    return flip_bit(segment, offset=at + rng.randrange(len(chunk)), bit=rng.randrange(8))


def test_a_chunk_rots_unread(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = rng.randbytes(900_000)
    with PullCluster(tmp_path) as cluster, httpx.Client(trust_env=False, timeout=30) as client:
        refs = cluster.put("precious", data)
        assert cluster.ended(cluster.migrate("precious")).status == "succeeded"
        url = cluster.destination.url
        assert scrub(client, url) == 0

        (segment,) = (cluster.destination.data_dir / "segments").iterdir()
        hit = rng.randrange(len(refs))
        start = sum(ref.length for ref in refs[:hit])
        rot(segment, data[start : start + refs[hit].length], rng)
        assert scrub(client, url) == 1
        assert 'replicator_node_scrub_damage_total{family="chunks"} 1.0' in client.get(f"{url}/metrics").text
        assert client.get(f"{url}/chunks/{refs[hit].digest}").json()["code"] == "corrupt"

        cluster.destination.kill()
        cluster.destination.start()
        job = cluster.ended(cluster.migrate("precious"))
        assert job.status == "succeeded"
        assert cluster.read("precious") == data
        assert scrub(client, url) == 0
        assert client.get(f"{url}/store/stats").json()["damaged_chunks"] == 0
