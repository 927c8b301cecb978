"""Small requests by wrk (a client in C), or by the one in `load` where wrk is not installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import Request, run_load, until_deadline
from benchmarks.places import Address
from replicator.kernel.errors import BrokenPeer, Unavailable

CLIENT_NOTICE = (
    "wrk is not installed: small requests came from a client in Python, which takes its share of the cores "
    "and is part of what is measured; install wrk for figures of the node"
)
_FOLDER = Path(__file__).parent
_MARK = "RESULT "
_GRACE_SECONDS = 60.0


class SmallLoad:
    """PUTs and GETs of small objects for a while, on a number of connections."""

    def __init__(self, *, connections: int, seconds: float, body_bytes: int) -> None:
        self._connections = connections
        self._seconds = seconds
        self._body_bytes = body_bytes
        self._wrk = shutil.which("wrk")

    @property
    def client(self) -> str:
        """Who sends the requests."""
        return "wrk" if self._wrk else "Python"

    def puts_per_second(self, address: Address, prefix: str) -> float:
        """Every PUT stores another object, `{prefix}/1` and so on, with another body."""
        if self._wrk:
            return self._by_wrk(self._wrk, address, "small_put.lua", prefix, str(self._body_bytes))
        return self._by_load(address, self._puts(prefix))

    def gets_per_second(self, address: Address, prefix: str, count: int) -> float:
        """Each GET reads one of `{prefix}/1` to `{prefix}/{count}`."""
        if self._wrk:
            return self._by_wrk(self._wrk, address, "small_get.lua", prefix, str(count))
        return self._by_load(address, _gets(prefix, count))

    def _by_load(self, address: Address, requests: Iterator[Request]) -> float:
        wanted = until_deadline(requests, self._seconds)
        return run_load(address, wanted, connections=self._connections).per_second

    def _puts(self, prefix: str) -> Iterator[Request]:
        number = 0
        while True:
            number += 1
            body = f"{prefix}/{number} ".encode().ljust(self._body_bytes, b".")
            yield Request("PUT", f"/objects/{prefix}/{number}", body)

    def _by_wrk(self, wrk: str, address: Address, script: str, *arguments: str) -> float:
        load = ["-t1", f"-c{self._connections}", f"-d{max(1, round(self._seconds))}s"]
        command = [wrk, *load, "-s", str(_FOLDER / script), address.url, "--", *arguments]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=self._seconds + _GRACE_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"wrk did not end: {' '.join(command)}") from error
        report = next((line for line in done.stdout.splitlines() if line.startswith(_MARK)), None)
        if done.returncode or report is None:
            raise Unavailable(f"wrk failed: {done.stderr or done.stdout}")
        result = json.loads(report.removeprefix(_MARK))
        if result["errors"] or not result["requests"]:
            raise BrokenPeer(f"requests failed: {report}")
        return float(result["requests"] / result["seconds"])


def _gets(prefix: str, count: int) -> Iterator[Request]:
    while True:
        for number in range(1, count + 1):
            yield Request("GET", f"/objects/{prefix}/{number}")
