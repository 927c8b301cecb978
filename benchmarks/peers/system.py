"""What every system that copies data from one host to another is measured by."""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from benchmarks.places import Address
from replicator.kernel.errors import BrokenPeer, Unavailable

DEADLINE_SECONDS = 600.0
START_SECONDS = 60.0
START_POLL_SECONDS = 0.2
_POLL_SECONDS = 0.01
_STOP_SECONDS = 20.0
_BLOCK_BYTES = 1 << 20
_LOG_BYTES_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Data:
    """A file, or a folder of files without folders, and what a system is to call it."""

    name: str
    path: Path

    @property
    def files(self) -> list[Path]:
        """The file, or the folder's files in order."""
        return sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]

    @property
    def last_name(self) -> str:
        """What the last of them is called."""
        return f"{self.name}/{self.files[-1].name}" if self.path.is_dir() else self.name

    @property
    def size(self) -> int:
        """Bytes of all."""
        return sum(each.stat().st_size for each in self.files)


class System(Protocol):
    """Two running ends of a system, each with what it keeps on a host of its own."""

    def store(self, data: Data) -> None:
        """Give the source the present content of `data`; what it had under that name is replaced."""
        ...

    def transfer(self, data: Data) -> None:
        """Bring what the source has to the destination; returns once it is there in full."""
        ...

    def sha256(self, name: str) -> str:
        """Of a file at the destination."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A system that can be run.

    Attributes:
        durable: whether what it says is there has been synced to the disk.
        notices_no_change: it is told of changes, so an unchanged transfer does not exist.
        missing: what keeps it from being run here; None where nothing does.
        run: its two ends while the context lasts.
    """

    name: str
    durable: bool
    notices_no_change: bool = True
    missing: str | None
    run: Callable[[Path], AbstractContextManager[System]]


@contextmanager
def server(
    command: list[str], log: Path, *, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended by its id; its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(os.environ) | dict(environment or {}),
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def run(command: list[str], *, environment: Mapping[str, str] | None = None) -> None:
    """Run a command to its end; raises `Unavailable` with the end of its output if it fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        env=dict(os.environ) | dict(environment or {}),
        check=False,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout)[-_LOG_BYTES_SHOWN:].decode(errors="replace")
        raise Unavailable(f"{' '.join(command)} ended with {done.returncode}: {said}")


def wait_for(
    condition: Callable[[], bool],
    what: str,
    *,
    seconds_max: float = DEADLINE_SECONDS,
    poll_seconds: float = _POLL_SECONDS,
) -> None:
    """Look until `condition` holds; errors of a server that does not answer yet are taken for no."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(poll_seconds)
    raise Unavailable(f"this did not happen within {seconds_max:g} s: {what}")


def put_files(address: Address, data: Data, prefix: str, *, headers: Mapping[str, str] | None = None) -> None:
    """PUT every file of `data` below `prefix`, one after the other, over one connection."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=DEADLINE_SECONDS)
    try:
        for file in data.files:
            name = f"{data.name}/{file.name}" if data.path.is_dir() else data.name
            with file.open("rb") as body:
                size = str(file.stat().st_size)
                connection.request(
                    "PUT", f"{prefix}{name}", body, {"Content-Length": size, **(headers or {})}
                )
                answer = connection.getresponse()
                said = answer.read()
                if answer.status >= 300:
                    raise BrokenPeer(f"PUT {prefix}{name} was answered {answer.status}: {said[:500]!r}")
    finally:
        connection.close()


def sha256_of_url(url: str) -> str:
    """Of what `url` holds."""
    digest = hashlib.sha256()
    with httpx.stream("GET", url, timeout=DEADLINE_SECONDS, trust_env=False) as answer:
        for block in answer.raise_for_status().iter_bytes(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def sha256_of_file(path: Path) -> str:
    """Of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
