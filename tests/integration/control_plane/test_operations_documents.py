"""What docs/operations tells an operator is so: metrics and alerts are all there, and commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from replicator.testing.control_plane import ControlPlaneUnderTest
from replicator.testing.postgres import missing_for_postgres
from replicator.testing.postgres_databases import empty_database, migrated_database
from replicator.testing.processes import control_plane_process

REPOSITORY = Path(__file__).resolve().parents[3]
OPERATIONS = REPOSITORY / "docs" / "operations"
ALERTS = (REPOSITORY / "docker" / "alerts.yml").read_text()
SAMPLE = re.compile(r"replicator_\w+")
# Where the test has them; the process under test keeps its data in `control-plane`.
PATHS = {
    "/var/lib/replicator-restored": "/restored/control-plane",
    "/var/lib/replicator": "/first/control-plane",
    "/backups": "/backups",
}


def watched() -> list[tuple[str, str, str]]:
    """The rows of the table: metric, meaning, alert."""
    lines = (OPERATIONS / "watch.md").read_text().splitlines()
    cells = [
        tuple(cell.strip() for cell in line.strip("|").split(" | "))
        for line in lines
        if line.startswith("| `replicator_")
    ]
    return [(row[0].strip("`"), row[1], row[2] if len(row) > 2 else "") for row in cells]


@pytest.mark.anyio
async def test_every_metric_is_documented_and_none_is_invented(plane: ControlPlaneUnderTest) -> None:
    text = (await plane.http.get("/metrics")).text
    shown = set(re.findall(r"^# TYPE (replicator_\w+)", text, re.MULTILINE))
    shown = {name for name in shown if not name.endswith("_created")}
    assert [name for name, *_ in watched()] == list(dict.fromkeys(name for name, *_ in watched()))
    assert {name for name, *_ in watched()} == shown


@pytest.mark.anyio
async def test_alerts_are_about_metrics_that_exist(plane: ControlPlaneUnderTest) -> None:
    text = (await plane.http.get("/metrics")).text
    shown = set(re.findall(r"^# TYPE (replicator_\w+)", text, re.MULTILINE))
    for expression in re.findall(r"^ +expr: (.+)$", ALERTS, re.MULTILINE):
        if expression.startswith("up{"):
            continue  # Prometheus's own
        (name,) = set(SAMPLE.findall(expression))
        assert name.removesuffix("_bucket") in shown
        assert all(expression.count(a) == expression.count(b) for a, b in ("()", "{}", "[]"))
        for label, value in re.findall(r'(\w+)="(\w+)"', expression):
            series = rf'^{name}{{.*{label}="{value}"' if "event=" not in expression else rf"^# TYPE {name}"
            assert re.search(series, text, re.MULTILINE) or name.endswith("_bucket"), expression


def test_the_alerts_that_are_named_are_those_that_there_are() -> None:
    rules = re.findall(
        r"^      - alert: (\w+)\n        expr: .+\n(?:        for: \d+m\n)?        labels: \{severity: \w+\}\n"
        r"        annotations:\n          summary: .+\n",
        ALERTS,
        re.MULTILINE,
    )
    assert len(rules) == ALERTS.count("alert:"), "every rule has the form that Prometheus reads"
    rows = [line for line in (OPERATIONS / "watch.md").read_text().splitlines() if line.startswith("|")]
    named = [found for row in rows for found in re.findall(r"`(Replicator\w+)`", row)]
    assert sorted(named) == sorted(rules)


def recipe(section: str, start: str) -> list[str]:
    """The commands of the block in a section of backup.md that begins with `start`."""
    text = (OPERATIONS / "backup.md").read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"(?:^    .+\n)+", text, re.MULTILINE)
    (block,) = [block for block in blocks if block.strip().startswith(start)]
    return [line.strip() for line in block.splitlines()]


@pytest.fixture
def folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def run(line: str, folder: str, replaced: dict[str, str] | None = None) -> None:
    for old, new in PATHS.items():
        line = line.replace(old, folder + new)
    for old, new in (replaced or {}).items():
        line = line.replace(old, new)
    path = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run(
        shlex.split(line), env=os.environ | path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, (line, done.stdout, done.stderr)


def test_an_sqlite_database_is_backed_up_while_it_is_used_and_restored(folder: str) -> None:
    for name in ("backups", "first", "restored"):
        os.mkdir(f"{folder}/{name}")
    with control_plane_process(Path(folder) / "first") as plane:
        register(plane.url, "node1")
        (line,) = recipe("SQLite", "replicator database backup")
        run(line, folder)
        register(plane.url, "too-late")
    *lines, start = recipe("SQLite", "mkdir")
    for line in lines:
        run(line, folder)
    assert start == "replicator control-plane --data-dir /var/lib/replicator-restored"
    with control_plane_process(Path(folder) / "restored") as plane:
        nodes = httpx.get(f"{plane.url}/nodes", trust_env=False, timeout=30).json()["nodes"]
        assert [node["name"] for node in nodes] == ["node1"]


def register(url: str, name: str) -> None:
    message = {"name": name, "base_url": "http://127.0.0.1:9"}
    httpx.post(f"{url}/nodes/register", json=message, trust_env=False, timeout=30).raise_for_status()


def test_a_postgres_database_is_dumped_and_restored(folder: str) -> None:
    missing = missing_for_postgres()
    if missing is not None:
        pytest.skip(missing)
    os.makedirs(f"{folder}/backups")
    with migrated_database() as live, empty_database() as restored:
        (dump,) = recipe("Postgres", "pg_dump")
        _, restore, identity, start = recipe("Postgres", "createdb")
        assert start.startswith("replicator control-plane --database-url")
        urls = {
            "postgresql://replicator@db/replicator": live,
            "postgresql://replicator@db/restored": restored,
        }
        for line in (dump, restore, identity):
            run(line, folder, urls)


def test_the_identity_of_a_database_that_is_used_is_not_changed_unless_that_is_insisted_on(
    folder: str,
) -> None:
    missing = missing_for_postgres()
    if missing is not None:
        pytest.skip(missing)
    with migrated_database() as live:
        command = [
            sys.executable,
            "-m",
            "replicator.control_plane.offline",
            "new-identity",
            "--database-url",
            live,
        ]
        settings = {"REPLICATOR_CONTROL_PLANE_DATABASE_URL": live}
        with control_plane_process(Path(folder), settings=settings) as plane:
            ready = f"{plane.url}/replicas"
            name = httpx.get(ready, trust_env=False, timeout=30).json()["answered_by"]
            refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (refused.returncode, name in refused.stderr) == (4, True), refused.stderr
        forced = subprocess.run([*command, "--force"], capture_output=True, text=True, timeout=60)
        assert forced.returncode == 0, forced.stderr


def test_the_identity_of_a_file_that_is_used_is_not_changed(folder: str) -> None:
    with control_plane_process(Path(folder)):
        command = [sys.executable, "-m", "replicator.control_plane.offline", "new-identity"]
        command += ["--data-dir", f"{folder}/control-plane", "--force"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 4, refused.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["backup", "there", "--data-dir", "nowhere"], 3, "there is no database"),
        (["new-identity", "--data-dir", "nowhere"], 3, "there is no database"),
        (["backup", "there", "--database-url", "postgresql://host/name"], 2, "pg_dump"),
        (["new-identity", "--database-url", "nonsense"], 2, "not a database URL"),
    ],
)
def test_what_cannot_be_done_is_said(folder: str, arguments: list[str], code: int, said: str) -> None:
    command = [sys.executable, "-m", "replicator.control_plane.offline", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=folder)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert os.listdir(folder) == []
