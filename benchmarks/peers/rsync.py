"""rsync: a daemon at the source, the command at the destination."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from socket import create_connection

from benchmarks.peers.system import Contender, Data, run, server, sha256_of_file
from benchmarks.places import Places
from replicator.kernel.errors import Unavailable

_PORT = 8730
_START_SECONDS = 20.0


def contender(places: Places, *, compress: bool) -> Contender:
    """rsync as it comes, or with its compression."""
    options = ("-z",) if compress else ()
    return Contender(
        name="rsync -z" if compress else "rsync",
        durable=False,
        missing=None if shutil.which("rsync") else "rsync is not installed (Debian: apt install rsync)",
        run=lambda folder: _running(folder, places, options),
    )


class _Rsync:
    def __init__(self, folder: Path, places: Places, options: Sequence[str]) -> None:
        self._source, self._destination = folder / "source", folder / "destination"
        self._wrapper = places.destination.wrapper
        self._url = f"rsync://{places.source.peer_host}:{_PORT}/all"
        self._options = options
        self._source.mkdir()
        self._destination.mkdir()

    def store(self, data: Data) -> None:
        copy = shutil.copytree if data.path.is_dir() else shutil.copyfile
        copy(data.path, self._source / data.name)

    def transfer(self, data: Data) -> None:
        end = "/" if data.path.is_dir() else ""
        # Files that change within a second and keep their size would be taken for unchanged.
        options = ["-a", "--modify-window=-1", *self._options]
        target = self._destination / data.name
        run([*self._wrapper, "rsync", *options, f"{self._url}/{data.name}{end}", f"{target}{end}"])

    def sha256(self, name: str) -> str:
        return sha256_of_file(self._destination / name)


@contextmanager
def _running(folder: Path, places: Places, options: Sequence[str]) -> Iterator[_Rsync]:
    system = _Rsync(folder, places, options)
    config = folder / "rsyncd.conf"
    config.write_text(
        f"use chroot = no\nuid = root\ngid = root\n[all]\npath = {folder / 'source'}\nread only = yes\n"
    )
    command = [*places.source.wrapper, "rsync", "--daemon", "--no-detach", f"--config={config}"]
    command += [f"--address={places.source.bind}", f"--port={_PORT}"]
    with server(command, folder / "rsync.log"):
        _await_listening(places.source.host)
        yield system


def _await_listening(host: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            with closing(create_connection((host, _PORT), 1.0)):
                return
        except OSError:
            time.sleep(0.05)
    raise Unavailable(f"rsync did not listen within {_START_SECONDS:g} s")
