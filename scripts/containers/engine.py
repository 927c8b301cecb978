"""A container engine of the run's own: started by hand, its state in one folder, gone with its namespace."""

from __future__ import annotations

import contextlib
import os
import re
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
# Others' images, as far as docker-compose.yml uses them: Debian's packages behind the same names and variables.
_POSTGRES = """\
FROM others-system
COPY postgres.sh /postgres.sh
STOPSIGNAL SIGINT
ENTRYPOINT ["sh", "/postgres.sh"]
"""
_POSTGRES_SH = """\
set -e
data=/var/lib/postgresql/data
bin=$(echo /usr/lib/postgresql/*/bin)
as="setpriv --reuid postgres --regid postgres --clear-groups"
if [ ! -s $data/PG_VERSION ]; then
    chown postgres $data
    echo "$POSTGRES_PASSWORD" >/tmp/password
    $as $bin/initdb -D $data -U "$POSTGRES_USER" --pwfile /tmp/password -E UTF8 --locale C.UTF-8 -A trust
    echo "host all all all scram-sha-256" >>$data/pg_hba.conf
    echo "CREATE DATABASE $POSTGRES_DB" | $as $bin/postgres --single -D $data postgres
fi
install -d -o postgres /var/run/postgresql
exec $as $bin/postgres -D $data -c listen_addresses='*'
"""
_HAPROXY = """\
FROM others-system
RUN mkdir -p /usr/local/etc/haproxy
USER haproxy
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
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
    if artefacts.others is not None:
        _build_others(engine, artefacts.others, (repository / "docker-compose.yml").read_text())


def _build_others(engine: Engine, system: Path, compose: str) -> None:
    """Stand-ins for the official images of Postgres and HAProxy, under the names that users' engines fetch them by."""
    engine.docker("import", "-", "others-system", stdin=system, timeout_s=_BUILD_TIMEOUT_S)
    context = engine.folder / "others"
    context.mkdir()
    (context / "postgres.sh").write_text(_POSTGRES_SH)
    for name, dockerfile in (("postgres", _POSTGRES), ("haproxy", _HAPROXY)):
        (context / "Dockerfile").write_text(dockerfile)
        tag = re.search(rf"image: ({name}:\S+)", compose)
        if tag is None:
            raise StepFailed(f"docker-compose.yml names no image of {name}")
        _build(engine, context, tag=tag[1])


def _build(engine: Engine, context: Path, *options: str | Path, tag: str) -> None:
    try:
        engine.docker("build", *options, "--tag", tag, context, timeout_s=_BUILD_TIMEOUT_S)
    except StepFailed as error:
        raise StepFailed(f"the image {tag} cannot be built: {error}") from error
