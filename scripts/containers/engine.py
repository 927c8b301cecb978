"""A container engine of the run's own: started by hand, its state in one folder, gone with its namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from containers.artefacts import Artefacts
from containers.command import run, wait_until
from containers.outcome import Hopeless, StepFailed

IMAGE = "replicator:local"
_BASE_IMAGE = "python:3.11-slim"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 60.0
_BUILD_TIMEOUT_S = 600.0
_COMMAND_TIMEOUT_S = 120.0
LOG_LINES = 30

# The base image's users never see this: a container built here finds its packages in the image below it.
_STAND_IN = """\
FROM base-system
COPY wheels /opt/wheels
COPY pip.conf /etc/pip.conf
"""
_PIP_CONF = """\
[global]
no-index = true
find-links = /opt/wheels
"""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A running engine. All its files are in `folder`."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment of its clients, with nothing from the caller's that could lead elsewhere."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "DOCKER_CONFIG": str(self.folder / "config"),
            # Debian's engine comes without the BuildKit plugin of the client.
            "DOCKER_BUILDKIT": "0",
        }

    def docker(
        self,
        *arguments: str | Path,
        timeout_s: float = _COMMAND_TIMEOUT_S,
        cwd: Path | None = None,
        stdin: Path | None = None,
    ) -> str:
        """Standard output of `docker` with `arguments`; raises `StepFailed`."""
        return run(["docker", *arguments], timeout_s=timeout_s, env=self.env, cwd=cwd, stdin=stdin)

    def log_tail(self) -> str:
        """The last warnings and errors that the engine wrote."""
        lines = (self.folder / "dockerd.log").read_text().splitlines()
        return "\n".join([line for line in lines if "level=info" not in line][-LOG_LINES:])


@contextlib.contextmanager
def started_engine(folder: Path, *, cgroup: str, compose_plugin: Path) -> Iterator[Engine]:
    """An engine with its files in `folder`, stopped on the way out. Call it in namespaces of its own."""
    folder.mkdir()
    _isolate(folder, compose_plugin)
    engine = Engine(folder=folder)
    with (folder / "dockerd.log").open("wb") as log:
        # In a session of its own, so that a signal to the run does not stop it before its containers.
        process = subprocess.Popen(
            _dockerd(folder, cgroup), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until("the engine answers", lambda: _answers(engine, process), timeout_s=_START_TIMEOUT_S)
        yield engine
    finally:
        _stop(process)


def _isolate(folder: Path, compose_plugin: Path) -> None:
    """Give the engine what it would otherwise share with another one on this machine."""
    run(["ip", "link", "set", "lo", "up"], timeout_s=_COMMAND_TIMEOUT_S)
    for shared in (Path("/run/containerd"), Path("/run/docker"), Path("/etc/docker")):
        shared.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "tmpfs", shared], timeout_s=_COMMAND_TIMEOUT_S)
    plugins = folder / "config" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(compose_plugin)


def _dockerd(folder: Path, cgroup: str) -> Sequence[str]:
    return [
        *("dockerd", "--log-level", "warn"),
        *("--storage-driver", "overlay2", "--exec-opt", "native.cgroupdriver=cgroupfs"),
        *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        *("--cgroup-parent", cgroup),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
        *("--pidfile", f"{folder}/dockerd.pid", "--host", f"unix://{folder}/docker.sock"),
    ]


def _answers(engine: Engine, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise Hopeless(f"the engine ended with code {process.returncode}\n{engine.log_tail()}")
    return bool(engine.docker("version", "--format", "{{.Server.Version}}").strip())


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_TIMEOUT_S)


def build_images(engine: Engine, *, repository: Path, artefacts: Artefacts) -> None:
    """A stand-in for the official base image, then Replicator's image from the Dockerfile that users get."""
    engine.docker("import", "-", "base-system", stdin=artefacts.base_system, timeout_s=_BUILD_TIMEOUT_S)
    context = engine.folder / "base"
    shutil.copytree(artefacts.wheels, context / "wheels")
    (context / "Dockerfile").write_text(_STAND_IN)
    (context / "pip.conf").write_text(_PIP_CONF)
    _build(engine, context, tag=_BASE_IMAGE)
    _build(engine, repository, "--file", repository / "docker" / "Dockerfile", tag=IMAGE)


def _build(engine: Engine, context: Path, *options: str | Path, tag: str) -> None:
    try:
        engine.docker("build", *options, "--tag", tag, context, timeout_s=_BUILD_TIMEOUT_S)
    except StepFailed as error:
        raise StepFailed(f"the image {tag} cannot be built: {error}") from error
