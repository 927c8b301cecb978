"""Users of a chaos run: they submit with keys, again and elsewhere when they do not hear, and change their minds."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from random import Random
from typing import Any, Self

import httpx

from replicator.testing.chaos_ledger import Ledger, SlotLimits, Submission
from replicator.testing.chaos_nodes import POISON

_ANSWER_SECONDS_MAX = 6.0
_OBJECTS_MAX = 6
_TRIES_MAX = 4
_REFUSED = HTTPStatus.BAD_REQUEST


class Users:
    """They speak to any of `urls`: the proxy, and the replicas behind it. An async context manager.

    Args:
        node_groups: jobs go between nodes of one group; what objects there are is known by the first node.
        now_ms: database time.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        node_groups: Sequence[tuple[Sequence[str], Sequence[str]]],
        ledger: Ledger,
        random: Random,
        tally: Counter[str],
        now_ms: Callable[[], int],
    ) -> None:
        self._urls = urls
        self._groups = node_groups
        self._ledger = ledger
        self._random = random
        self._tally = tally
        self._now_ms = now_ms
        self._number = 0

    async def __aenter__(self) -> Self:
        self._client = httpx.AsyncClient(timeout=_ANSWER_SECONDS_MAX, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def submit(self) -> None:
        """A new job: sent once or to several at once, and again after an error whose outcome nobody knows."""
        self._number += 1
        kind, body = self._request()
        submission = self._ledger.submission(
            f"key-{self._random.getrandbits(32):08x}-{self._number}", kind, body
        )
        copies = self._random.choice([1, 1, 1, 2, 3])
        for _ in range(_TRIES_MAX):
            async with asyncio.TaskGroup() as group:
                for _ in range(copies):
                    group.create_task(self._send(submission))
            if submission.job_ids or not submission.unanswered or self._random.random() < 0.3:
                return
            copies = 1
            await asyncio.sleep(self._random.uniform(0, 1))

    async def submit_again(self) -> None:
        """A request of before under its key, whatever became of it."""
        if self._ledger.submissions:
            known = self._random.choice(list(self._ledger.submissions.values()))
            self._tally["submissions repeated"] += 1
            await self._send(known)

    async def meddle(self, live: Sequence[int], failed: Sequence[int]) -> None:
        """Somebody changes their mind about a job, or several at once do."""
        what = self._random.choices(["cancel", "pause", "resume", "change", "retry"], [2, 3, 4, 4, 4])[0]
        jobs = failed if what == "retry" else live
        if not jobs:
            return
        job_id = self._random.choice(list(jobs))
        async with asyncio.TaskGroup() as group:
            for _ in range(self._random.choice([1, 1, 2])):
                group.create_task(self._order(job_id, what))

    async def read(self, jobs: Sequence[int]) -> None:
        """Somebody looks."""
        if not jobs:
            return
        job_id = self._random.choice(list(jobs))
        path = self._random.choice(
            [
                *(f"/jobs/{job_id}{part}" for part in _PARTS),
                "/jobs?limit=5",
                "/nodes",
                "/dead-letters",
                "/replicas",
            ]
        )
        answer = await self._call("GET", path)
        if answer is not None and answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            assert answer.is_success, f"{path}: {answer.text}"
            self._tally["user: reads"] += 1
            if path == f"/jobs/{job_id}":
                self._ledger.seen[job_id].add(answer.json()["status"])

    async def resume_all(self, jobs: Sequence[int]) -> None:
        """Nothing is to stay paused."""
        for job_id in jobs:
            await self._order(job_id, "resume")

    async def limit(self, node: str, *, tasks_max: int | None, serves_max: int | None) -> None:
        """A node is held to so many tasks from now on."""
        self._ledger.limits.pop(node, None)
        answer = await self._call(
            "PUT", f"/nodes/{node}/limits", json={"tasks_max": tasks_max, "serves_max": serves_max}
        )
        if answer is not None and answer.is_success:
            now_ms = await asyncio.to_thread(self._now_ms)
            self._ledger.limits[node] = SlotLimits(tasks_max, now_ms, serves_max)
            self._tally["user: limits of nodes"] += 1

    async def limit_link(self, source: str, destination: str, *, tasks_max: int) -> None:
        """A link is held to so many tasks from now on."""
        self._ledger.link_limits.pop((source, destination), None)
        answer = await self._call("PUT", f"/links/{source}/{destination}", json={"tasks_max": tasks_max})
        if answer is not None and answer.is_success:
            now_ms = await asyncio.to_thread(self._now_ms)
            self._ledger.link_limits[source, destination] = SlotLimits(tasks_max, now_ms)
            self._tally["user: limits of links"] += 1

    async def maintain(self, node: str, *, on: bool) -> bool:
        """A node goes into maintenance or comes back; whether that is so."""
        self._ledger.maintenance_since_ms.pop(node, None)
        answer = await self._call("PATCH", f"/nodes/{node}", json={"maintenance": on})
        if answer is None or not answer.is_success:
            return False
        if on:
            self._ledger.maintenance_since_ms[node] = await asyncio.to_thread(self._now_ms)
        self._tally[f"user: maintenance {'on' if on else 'off'}"] += 1
        return True

    async def _send(self, submission: Submission) -> None:
        submission.unanswered += 1
        answer = await self._call(
            "POST",
            f"/jobs/{submission.kind}",
            json=submission.body,
            headers={"Idempotency-Key": submission.key},
        )
        if answer is None or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return
        submission.unanswered -= 1
        if answer.status_code >= _REFUSED:
            submission.refused += 1
            # None has got through, and now it is too late for one.
            too_late = "deadline_at" in submission.body and "is over" in answer.text
            assert too_late, f"{submission} was refused: {answer.text}"
            return
        job = answer.json()
        submission.job_ids.add(int(job["id"]))
        self._ledger.seen[job["id"]].add(job["status"])
        submission.created += answer.status_code == HTTPStatus.CREATED
        self._tally["user: submissions answered"] += 1

    async def _order(self, job_id: int, what: str) -> None:
        retries = what == "retry"
        if retries:
            self._ledger.retries_unanswered[job_id] += 1
        if what == "change":
            answer = await self._call(
                "PATCH", f"/jobs/{job_id}", json={"priority": self._random.randrange(-9, 10)}
            )
        else:
            answer = await self._call("POST", f"/jobs/{job_id}/{what}")
        if answer is None or answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._tally[f"user: {what} unanswered"] += 1
            return
        assert answer.is_success or answer.status_code == HTTPStatus.CONFLICT, answer.text
        self._tally[f"user: {what}{'' if answer.is_success else ' refused'}"] += 1
        if answer.is_success:
            self._ledger.seen[job_id].add(answer.json()["status"])
        if retries:
            self._ledger.retries_unanswered[job_id] -= 1
            self._ledger.retries[job_id] += answer.is_success

    async def _call(self, method: str, path: str, **parts: Any) -> httpx.Response | None:
        """The answer of any of those that may answer; None where the outcome is unknown."""
        url = self._random.choice(self._urls)
        try:
            answer = await self._client.request(method, url + path, **parts)
        except httpx.HTTPError as error:
            self._tally[f"user: calls lost: {type(error).__name__}"] += 1
            return None
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            self._tally[f"user: calls answered {answer.status_code}"] += 1
            assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE, answer.text
        return answer

    def _request(self) -> tuple[str, dict[str, Any]]:
        random = self._random
        nodes, names = random.choice(list(self._groups))
        src, dst = random.sample(list(nodes), 2)
        body: dict[str, Any] = {
            "src_node": src,
            "dst_node": dst,
            "priority": random.choice([0, 0, -9, -1, 3, 9]),
        }
        kind = random.choices(["direct", "prefix", "move", "mirror", "verify", "dry", "poison"], _MIX)[0]
        some = random.sample(list(names), random.randint(1, min(_OBJECTS_MAX, len(names))))
        match kind:
            case "direct":
                body |= {"object_ids": some} if len(some) > 1 else {"object_id": some[0]}
            case "prefix":
                body |= {"prefix": ""}
            case "move":
                body |= {"object_ids": some, "mode": "move"}
            case "dry":
                body |= {"prefix": "", "dry_run": True}
            case "poison":
                body |= {"object_id": POISON}
            case "mirror":
                body |= {
                    "delete": True,
                    "max_deletes": random.choice([0, 2, 100]),
                    "allow_empty_source": True,
                }
        if kind in {"direct", "prefix", "move"} and random.random() < 0.4:
            body |= self._terms()
        return {"mirror": "mirror", "verify": "verify"}.get(kind, "migrate"), body

    def _terms(self) -> dict[str, Any]:
        random = self._random
        return random.choice(
            [
                {"bytes_per_second": 50_000},
                {"tasks_max": random.randint(1, 3)},
                {"start_at": _in(random.uniform(0, 5))},
                {"deadline_at": _in(random.uniform(2, 20))},
            ]
        )


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


_PARTS = ("", "", "", "/explain", "/tasks", "/objects")
_MIX = (60, 12, 8, 8, 6, 4, 1)
