"""Nodes that are only a connection each: they poll a control plane over HTTP and report at once that all went well."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from benchmarks.places import Address
from replicator.kernel.errors import BrokenPeer

Message = dict[str, Any]


class Talk:
    """One kept-alive connection. `close` it in the end."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Message:
        """What is at `path`; raises `BrokenPeer` where it is not a success."""
        return await self._ask("GET", path, b"")

    async def post(self, path: str, message: Message) -> Message:
        """The answer; raises `BrokenPeer` where it is not a success."""
        return await self._ask("POST", path, json.dumps(message).encode())

    async def _ask(self, method: str, path: str, body: bytes) -> Message:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=1 << 24)
        reader, writer = self._streams
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in answer.lower().split(b"\r\n")
            if line.startswith(b"content-length")
        )
        content = await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 2"):
            raise BrokenPeer(f"an unexpected answer: {answer[:100]!r} {content[:400]!r}")
        found: Message = json.loads(content)
        return found

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()


class SimulatedNode:
    """A node called `name`.

    Args:
        survey: what it finds when it is to survey: the result of a survey by its cursor.
    """

    def __init__(
        self, address: Address, name: str, *, survey: Callable[[str | None], Message] | None = None
    ) -> None:
        self.name = name
        self._talk = Talk(address)
        self._boot_id = f"{name}-boot-1"
        self._survey = survey
        self._session = ""
        self._results: list[Message] = []

    async def open(self) -> None:
        """Open a session; that registers it, too."""
        told = {
            "node": self.name,
            "boot_id": self._boot_id,
            "base_url": f"http://{self.name}:9000",
            "release": "0.1.0",
        }
        self._session = (await self._talk.post("/sessions", told))["session_id"]

    async def poll(self, *, wait_seconds: float, capacity: int = 1) -> tuple[int, float]:
        """How many tasks it was given, and in how many seconds; they have ended well by the next poll."""
        told = {
            "boot_id": self._boot_id,
            "wait_seconds": wait_seconds,
            "capacity": capacity,
            "results": self._results,
        }
        started = time.perf_counter()
        reply = await self._talk.post(f"/sessions/{self._session}/poll", told)
        seconds = time.perf_counter() - started
        self._results = [self._result(task) for task in reply["tasks"]]
        return len(self._results), seconds

    def close(self) -> None:
        """Hang up."""
        self._talk.close()

    def _result(self, task: Message) -> Message:
        result = {name: task[name] for name in ("control_plane", "task_id", "epoch")}
        result |= {"boot_id": self._boot_id, "outcome": "succeeded", "transfer": {}}
        if task["kind"] == "survey" and self._survey is not None:
            return result | {"survey": self._survey(task["survey"]["cursor"])}
        objects = [
            {
                "row": item["row"],
                "outcome": "verified",
                "version": item["version"],
                "manifest": item["manifest"],
                "size": item["size"] or 0,
                "bytes_transferred": item["size"] or 0,
            }
            for item in task["items"]
        ]
        moved = sum(each["size"] for each in objects)
        return result | {
            "objects": objects,
            "transfer": {"bytes_logical": moved, "bytes_transferred": moved, "bytes_wire": moved},
        }
