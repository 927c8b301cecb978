"""`replicator store …`: what it asks of a node, what it prints, and what it hands over to the offline tool."""

import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import typer.testing
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner, Result

from replicator.cli.main import app
from replicator.cli.store import scrub_text
from replicator.data_plane.api.rest import make_rest
from replicator.data_plane.metrics import NodeMetrics
from replicator.kernel.errors import Unavailable
from replicator.testing.clock import FrozenClock
from replicator.testing.fake_upkeep import KNOWN, SEGMENTS, STATS, VERSION, FakeUpkeep
from replicator.testing.memory_store import MemoryStore
from replicator.wire.sessions import JoinReply, JoinRequest
from replicator.wire.upkeep import ScrubView

Run = Callable[..., Result]


class _Server(uvicorn.Server):
    def __init__(self, application: FastAPI) -> None:
        super().__init__(uvicorn.Config(application, port=0, log_config=None, lifespan="off", ws="none"))
        self.listening = threading.Event()

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets)  # type: ignore[arg-type]
        self.listening.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture
def upkeep() -> Iterator[FakeUpkeep]:
    upkeep = FakeUpkeep()
    yield upkeep
    upkeep.scrub_may_end.set()


@pytest.fixture
def store(upkeep: FakeUpkeep) -> Iterator[Run]:
    """Runs `replicator store COMMAND NODE …` against a node whose upkeep is a fake."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    def join(_: JoinRequest) -> JoinReply:
        raise Unavailable("it joins nobody")

    server = _Server(
        make_rest(
            name="node1",
            store=MemoryStore(clock=FrozenClock()),
            metrics=NodeMetrics(),
            join=join,
            lifespan=lifespan,
            upkeep=upkeep,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    assert server.listening.wait(60)

    def run(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["store", command, server.url, *arguments], catch_exceptions=False)

    yield run
    server.should_exit = True
    thread.join()


def rows(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_stats_in_a_pipe_are_exact(store: Run) -> None:
    assert rows(store("stats")) == [[name, str(value)] for name, value in STATS._asdict().items()]
    assert json.loads(store("stats", "--json").stdout) == STATS._asdict()


def test_segments_are_listed(store: Run) -> None:
    assert rows(store("segments")) == [[str(value) for value in each] for each in SEGMENTS]
    assert json.loads(store("segments", "--json").stdout)["segments"][0] == SEGMENTS[0]._asdict()


def test_garbage_is_collected_or_only_counted(store: Run, upkeep: FakeUpkeep) -> None:
    assert store("gc").stdout.startswith("dropped 1 manifests; 700 B")
    assert store("gc", "--grace-s", "0", "--dry-run").stdout.startswith("would drop 1 manifests; 700 B")
    assert json.loads(store("gc", "--json").stdout) == {"manifests": 1, "dead_bytes": 700, "dry_run": False}
    assert upkeep.asked == [("collect", None), ("collect", 0.0), ("collect", None)]


def test_space_is_given_back_or_only_counted(store: Run) -> None:
    assert "1.5 kB given back" in store("compact").stdout
    assert store("compact", "--dry-run").stdout.startswith("would rewrite 1 segments: 500 B")
    assert json.loads(store("compact", "--json").stdout)["bytes_reclaimed"] == 1500


def test_a_chunk_is_explained(store: Run) -> None:
    told = rows(store("explain", str(KNOWN)))
    assert ["references", "2"] in told
    assert told[-2:] == [["default/a/b", str(VERSION)], ["read of 'a/b'", "-"]]
    assert json.loads(store("explain", str(KNOWN), "--json").stdout)["holds"] == ["read of 'a/b'"]
    assert store("explain", "no-digest").exit_code == 2


def test_on_a_terminal_a_chunks_references_are_called_manifests(
    store: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(typer.testing._NamedTextIOWrapper, "isatty", lambda _: True)
    shown = store("explain", str(KNOWN)).stdout
    assert "manifests that refer to it" in shown
    assert "references" not in shown


def test_a_chunk_that_is_not_here_is_not_found(store: Run) -> None:
    absent = store("explain", "0" * 64)
    assert (absent.exit_code, absent.stdout) == (3, "")
    assert absent.stderr == "replicator: no chunk of that digest on this node\n"
    as_json = store("explain", "0" * 64, "--json")
    assert (as_json.exit_code, json.loads(as_json.stderr)["code"]) == (3, "not-found")


def test_a_scrub_is_told_in_a_sentence() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    view = ScrubView(
        asked=True,
        round=4,
        segment=1,
        offset=64,
        bytes_done=1000,
        bytes_total=5000,
        damaged=1,
        began_at=moment,
        last_completed_at=moment,
        last_damaged=0,
    )
    ended = moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    assert scrub_text(view) == (
        "the scrub that was asked for has read 1.0 kB of 5.0 kB in round 5 and found 1 damaged record; "
        f"the last round ended {ended} and found no damage"
    )


def test_a_scrub_is_shown_and_begun(store: Run) -> None:
    assert store("scrub").stdout == (
        "the scrub has read 1.0 kB of 5.0 kB in round 1 and found no damage; no round has ended yet\n"
    )
    shown = json.loads(store("scrub", "--json").stdout)
    assert (shown["asked"], shown["bytes_done"], shown["last_completed_at"]) == (False, 1000, None)
    assert datetime.fromisoformat(shown["began_at"]).year == 2023
    assert json.loads(store("scrub", "--now", "--json").stdout)["asked"] is True
    again = store("scrub", "--now")
    assert (again.exit_code, "'replicator store scrub NODE' shows" in again.stderr) == (4, True)


def test_a_backup_is_made(store: Run) -> None:
    assert "/backups/monday" in store("backup", "monday").stdout
    again = store("backup", "monday", "--json")
    assert (again.exit_code, json.loads(again.stderr)["code"]) == (4, "conflict")


@pytest.mark.parametrize(
    ("given", "handed_over"),
    [
        (["check", "--data-dir", "d", "--read-data"], ["check", "--data-dir", "d", "--read-data"]),
        (["rebuild-catalog", "--data-dir", "d"], ["rebuild-catalog", "--data-dir", "d"]),
        (["restore", "backup", "d"], ["restore", "backup", "d"]),
        (["check", "--help"], ["check", "--help"]),
        (["check", "-h"], ["check", "-h"]),
    ],
)
def test_what_is_done_offline_is_handed_over(
    monkeypatch: pytest.MonkeyPatch, given: list[str], handed_over: list[str]
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: became.append(arguments))
    CliRunner().invoke(app, ["store", *given])
    assert became == [[sys.executable, "-m", "replicator.data_plane.offline", *handed_over]]
