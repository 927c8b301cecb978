"""The services of docker-compose.yml, driven as a user drives them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from containers.command import wait_until
from containers.engine import Engine
from containers.outcome import Hopeless

SERVICES = ("control-plane", "node1", "node2")
_HEALTHY_TIMEOUT_S = 120.0
_RESTARTS_MAX = 3
_COMPOSE_TIMEOUT_S = 180.0
LOG_LINES = 150
_PROJECT = "replicator"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """`docker compose` in `repository`, on `engine`."""

    engine: Engine
    repository: Path
    profile: str | None = None

    def up(self, *services: str) -> None:
        """Start `services` and what they need, or all; wait until the health checks of `services` pass."""
        self._compose("up", "--detach", "--no-build", "--pull", "never", *services)
        for service in services or SERVICES:
            self.wait_healthy(service)

    def down(self) -> None:
        """Remove the containers and their network; the volumes stay."""
        self._compose("down", "--timeout", "30")

    def kill(self, service: str) -> None:
        """kill -9."""
        self._compose("kill", "--signal", "KILL", service)

    def start(self, service: str) -> None:
        """Start a service that was stopped or killed."""
        self._compose("start", service)

    def restart(self, service: str) -> None:
        """Stop a service in order, and start it again."""
        self._compose("restart", service)

    def execute(self, service: str, *command: str) -> str:
        """What `command` prints inside the service's container."""
        return self.engine.docker("exec", _container(service), *command)

    def limit_cpus(self, service: str, cpus: float) -> None:
        """Give a service `cpus` processors' worth of time."""
        self.engine.docker("update", "--cpus", f"{cpus:g}", _container(service))

    def wait_healthy(self, service: str) -> None:
        """Wait until the engine reports the service healthy."""
        wait_until(f"{service} is healthy", lambda: self._healthy(service), timeout_s=_HEALTHY_TIMEOUT_S)

    def user_ids(self, service: str) -> set[int]:
        """Real, effective, saved and file-system user id of the service's process, as the kernel says."""
        pid = self._inspect(service)["State"]["Pid"]
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("Uid:"))
        return {int(uid) for uid in line.split()[1:]}

    def volume(self, service: str) -> Path:
        """Where the volume of `service` is on this machine."""
        mounts = self._inspect(service)["Mounts"]
        return Path(next(mount["Source"] for mount in mounts if mount["Destination"] == "/data"))

    def logs(self) -> str:
        """What every service wrote last."""
        return self._compose("logs", "--no-color", "--tail", str(LOG_LINES))

    def _healthy(self, service: str) -> bool:
        container = self._inspect(service)
        if container["RestartCount"] >= _RESTARTS_MAX:
            raise Hopeless(f"{service} ends again and again")
        return bool(container["State"]["Health"]["Status"] == "healthy")

    def _inspect(self, service: str) -> Any:
        return json.loads(self.engine.docker("inspect", _container(service)))[0]

    def _compose(self, *arguments: str) -> str:
        profile = () if self.profile is None else ("--profile", self.profile)
        return self.engine.docker(
            "compose", *profile, *arguments, timeout_s=_COMPOSE_TIMEOUT_S, cwd=self.repository
        )


def _container(service: str) -> str:
    return f"{_PROJECT}-{service}-1"


def bytes_below(folder: Path) -> int:
    """Length of all files below `folder`, in bytes."""
    return sum(
        os.stat(os.path.join(parent, name)).st_size for parent, _, names in os.walk(folder) for name in names
    )
