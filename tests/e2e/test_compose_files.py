"""What users of the containers rely on, checked where no engine runs; `scripts/compose_e2e` checks the rest."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from replicator.wire.jobs import HEARTBEAT_SECONDS
from replicator.wire.sessions import POLL_SECONDS_MAX

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"
COMPOSE = REPOSITORY / "docker-compose.yml"
SKIPPED = 77


def locked_packages(lock: Path) -> dict[str, frozenset[str]]:
    """Hashes by `name==version`."""
    found = re.finditer(r"^(\S+==\S+)[^\n]*\n((?:    --hash=\S+.*\n?)+)", lock.read_text(), re.MULTILINE)
    return {match[1]: frozenset(re.findall(r"sha256:\w{64}", match[2])) for match in found}


def compose_service(name: str) -> str:
    """The lines of one service."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE.read_text(), re.MULTILINE)
    assert found, f"docker-compose.yml has no service {name}"
    return found[1]


def test_the_image_runs_as_a_user_other_than_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)

    assert users
    assert users[-1] not in {"root", "0"}


def test_the_image_installs_nothing_without_a_hash() -> None:
    commands = DOCKERFILE.read_text().replace("\\\n", " ").splitlines()
    steps = [step for line in commands for step in re.split(r"&&|\bRUN\b", line) if "pip" in step]
    installing = [step for step in steps if re.search(r"\b(install|wheel)\b", step)]

    assert installing
    for step in installing:
        assert "--require-hashes" in step or "--no-index" in step, step


def test_the_image_is_built_by_builders_without_extensions() -> None:
    text = DOCKERFILE.read_text()

    assert not re.search(r"^#\s*syntax\s*=", text, re.MULTILINE | re.IGNORECASE)
    assert "RUN --mount" not in text


def test_the_build_tools_are_the_ones_of_the_development_lock() -> None:
    build = locked_packages(REPOSITORY / "docker" / "requirements-build.lock")
    development = locked_packages(REPOSITORY / "requirements-dev.lock")

    assert any(package.startswith("hatchling==") for package in build)
    assert build.items() <= development.items()


def test_what_the_image_copies_is_in_the_build_context() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.MULTILINE)
    let_in = re.findall(r"^!(\S+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)

    for source in " ".join(copied).split():
        assert (REPOSITORY / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in let_in), source


@pytest.mark.parametrize(("service", "port"), [("control-plane", 8000), ("node1", 9001), ("node2", 9002)])
def test_a_service_is_published_checked_kept_and_scraped(service: str, port: int) -> None:
    text = compose_service(service)

    assert f"--port {port} " in text
    assert f':{port}"]' in text
    assert f'healthcheck.py, "{port}"]' in text
    assert f'"{service}-data:/data"' in text
    assert f'"{service}:{port}"' in (REPOSITORY / "docker" / "prometheus.yml").read_text()


HA = ("postgres", "control-plane1", "control-plane2", "proxy", "ha-node1", "ha-node2", "ha-node3")


def compose_anchor(name: str) -> str:
    """The lines that services share under a name."""
    found = re.search(rf"^x-{name}: &{name}\n((?:  .*\n)+)", COMPOSE.read_text(), re.MULTILINE)
    assert found, f"docker-compose.yml has no anchor {name}"
    return found[1]


def in_full(name: str) -> str:
    """The lines of a service with those that it takes from anchors."""
    line = re.search(rf"^  {name}: \*(\S+)$", COMPOSE.read_text(), re.MULTILINE)
    own = compose_anchor(line[1]) if line else compose_service(name)
    return own + "".join(compose_anchor(each) for each in re.findall(r"<<: \*(ha-\S+)", own))


@pytest.mark.parametrize("service", HA)
def test_what_is_for_several_replicas_is_started_with_its_profile_only(service: str) -> None:
    assert "profiles: [ha]" in in_full(service)


def test_without_a_profile_there_are_a_control_plane_and_two_nodes() -> None:
    services = COMPOSE.read_text().split("\nservices:\n")[1].split("\nvolumes:\n")[0]
    names = re.findall(r"^  (\S+):", services, re.MULTILINE)

    assert [name for name in names if "profiles:" not in in_full(name)] == ["control-plane", "node1", "node2"]


def test_prometheus_loads_the_alerts_and_scrapes_every_replica_and_its_nodes() -> None:
    config = (REPOSITORY / "docker" / "prometheus.yml").read_text()
    ports = {f"ha-node{number}": 9010 + number for number in (1, 2, 3)}

    assert "rule_files: [alerts.yml]" in config
    assert "./docker/alerts.yml:/etc/prometheus/alerts.yml:ro" in compose_service("prometheus")
    assert "names: [control-plane1, control-plane2]" in config
    for name, port in ports.items():
        assert f"names: [{name}], type: A, port: {port}," in config
        assert f"--port {port} " in compose_service(name)


def test_images_of_others_are_pinned() -> None:
    images = set(re.findall(r"image: (\S+)", COMPOSE.read_text())) - {"replicator:local"}

    assert images
    assert all(re.search(r":v?\d+\.\d+", image) for image in images), images


def test_the_proxy_asks_the_replicas_whether_they_are_ready_and_outwaits_polls() -> None:
    config = (REPOSITORY / "docker" / "haproxy.cfg").read_text()
    servers = re.findall(r"^    server \S+ (\S+):8000$", config, re.MULTILINE)
    (timeout_s,) = {int(found) for found in re.findall(r"timeout (?:client|server) (\d+)s", config)}

    assert servers == ["control-plane1", "control-plane2"]
    assert "uri /ready" in config
    assert timeout_s > POLL_SECONDS_MAX
    assert timeout_s > HEARTBEAT_SECONDS
    assert "haproxy.cfg:ro" in compose_service("proxy")


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_node_of_several_replicas_reaches_them_by_the_proxy(number: int) -> None:
    text = compose_service(f"ha-node{number}")

    assert "REPLICATOR_CONTROL_PLANE_URL: http://proxy:8000" in text
    assert f"--name ha-node{number} " in text
    assert f'"ha-node{number}-data:/data"' in text


def test_the_health_check_says_what_is_wrong() -> None:
    check = REPOSITORY / "docker" / "healthcheck.py"
    done = subprocess.run([sys.executable, check, "1"], capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert "port 1 does not answer" in done.stderr


def test_the_container_run_says_loudly_what_it_lacks() -> None:
    program = REPOSITORY / "scripts" / "compose_e2e"
    nothing_installed = {**os.environ, "PATH": "/nonexistent"}
    done = subprocess.run(
        [sys.executable, program], env=nothing_installed, capture_output=True, text=True, timeout=30
    )

    assert done.returncode == SKIPPED
    assert "SKIPPED" in done.stderr
    assert "dockerd" in done.stderr
