"""One script of operations, run again and again, each time with a fault at another call.

A run costs little: the store is a copy of a prepared one, and the process is forked from one that has imported
everything. Its notes outlive it, and are the oracle's record. After the run the store is opened here, held
against the record, and written to once more.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import structlog

from replicator.testing import crash_scripts
from replicator.testing.crash_calls import CallFault, Calls, Mode
from replicator.testing.crash_journal import Journal
from replicator.testing.crash_scripts import SCRIPTS, Script
from replicator.testing.crash_session import contents, store_folder
from replicator.testing.objects import upload
from replicator.testing.oracle import Oracle, content_of
from replicator.testing.power import LoopDisk
from replicator.testing.tracing import counting, injecting_into

RUN_SECONDS_MAX = 60.0
_NONE = CallFault("kill", 0)
_CALL = re.compile(r"(\d+) (\w+)\(")
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: whether the fault struck, how many calls there were, and what was refused."""

    struck: bool
    calls: int
    notes: list[list[Any]]

    @property
    def refusals(self) -> list[str]:
        """What the store said where it did not do what it was asked."""
        refused = ("unanswered", "not repaired", "not opened", "refused work", "not closed")
        return [str(note[-1]) for note in self.notes if note[0] in refused]


class CrashPoints:
    """Runs of one script.

    Args:
        folder: for stores and notes.
        disk: where stores are while the script runs, so that its power can be cut.
    """

    def __init__(self, folder: Path, script: Script, *, disk: LoopDisk | None = None) -> None:
        self._folder = folder
        self._disk = disk
        self._script = script
        self._template = folder / "template"
        self._template.mkdir(parents=True)
        prepared = self._child(self._template, "prepare", _NONE)
        assert prepared.refusals == []
        script.harm(self._template)
        brought = [["acknowledged", key, content.hex()] for key, content in script.brings.items()]
        self._prepared = [*prepared.notes, *brought]

    def calls(self) -> int:
        """How many calls a run makes where no fault strikes it."""
        outcome = self.run("kill", 0)
        assert outcome.refusals == []
        return outcome.calls

    def run(self, mode: Mode, number: int) -> Outcome:
        """Run with a fault at call `number` of `os`.

        Raises:
            AssertionError: something that was acknowledged is lost, or something else is there.
        """
        fault = CallFault(mode, number, str(self._disk.path) if self._disk else "")
        with self._copy() as store:
            outcome = self._child(store, "work", fault)
            if self._disk:
                self._disk.remount()
            self._verify(store, outcome)
        return outcome

    def run_traced(self, fault: str) -> Outcome:
        """The same with a fault of `strace`, `fdatasync:signal=KILL:when=3`; RocksDB's calls are met too."""
        with self._copy() as store:
            outcome = self._child(store, "work", _NONE, tracer=lambda pid: injecting_into(pid, fault))
            self._verify(store, outcome)
        return outcome

    def traced_calls(self, calls: str) -> list[tuple[str, int]]:
        """Each of `calls` that a run makes, with its number: as `strace` counts, by call and by thread."""
        log = self._folder / "calls"
        with self._copy() as store:
            outcome = self._child(store, "work", _NONE, tracer=lambda pid: counting(pid, calls, log))
            assert outcome.refusals == []
        made = Counter(
            found.groups() for line in log.read_text().splitlines() if (found := _CALL.match(line))
        )
        most = {call: max(made[each] for each in made if each[1] == call) for _, call in made}
        return [(call, number) for call in sorted(most) for number in range(1, most[call] + 1)]

    @contextmanager
    def _copy(self) -> Iterator[Path]:
        store = (self._disk.path if self._disk else self._folder) / "store"
        shutil.copytree(self._template, store)
        if self._disk:
            # All that was copied is on the disk now.
            self._disk.remount()
        yield store
        shutil.rmtree(store)

    def _child(
        self, store: Path, part: str, fault: CallFault, *, tracer: Callable[[int], Any] | None = None
    ) -> Outcome:
        path = self._folder / "journal"
        journal = Journal.create(path)
        here, there = _context.Pipe()
        child = _context.Process(
            target=_run, args=(there, str(path), str(store), self._script.name, part, fault)
        )
        try:
            child.start()
            there.close()
            if tracer is None:
                _finish(here, child)
            else:
                with tracer(_pid(child)):
                    _finish(here, child)
            notes = list(journal.notes())
        finally:
            here.close()
            journal.close()
        broken = [note[1] for note in notes if note[0] == "broke"]
        assert not broken, broken[0]
        ended = [note[1] for note in notes if note[0] == "ended"]
        struck = any(note[0] == "struck" for note in notes) or child.exitcode == -signal.SIGKILL
        return Outcome(struck=struck, calls=ended[0] if ended else 0, notes=notes)

    def _verify(self, path: Path, outcome: Outcome) -> None:
        oracle = Oracle()
        _replay(oracle, [*self._prepared, *outcome.notes])
        with store_folder(path).opened() as store:
            oracle.check(contents(store))
            upload(store, "afterwards", b"it goes on")
            oracle.trying("afterwards", content_of(b"it goes on"))
            oracle.check(contents(store))


def _replay(oracle: Oracle, notes: list[list[Any]]) -> None:
    """Tell the oracle what a run noted; nobody heard what came after the power was cut."""
    dark = False
    for kind, *details in notes:
        content = None if kind == "found" or len(details) < 2 or details[1] is None else str(details[1])
        match kind:
            case "struck":
                dark = dark or details[0].startswith("power")
            case "trying":
                oracle.trying(details[0], _bytes(content))
            case "acknowledged" if not dark:
                oracle.acknowledged(details[0], _bytes(content))
            case "refused" if not dark:
                oracle.refused(details[0], _bytes(content))
            case "found":
                oracle.look({object_id: bytes.fromhex(each) for object_id, each in details[0].items()})


def _bytes(content: str | None) -> bytes | None:
    return None if content is None else bytes.fromhex(content)


def _pid(child: ForkServerProcess) -> int:
    assert child.pid is not None
    return child.pid


def _finish(connection: Connection, child: ForkServerProcess) -> None:
    """Let the child begin, and wait for its end."""
    try:
        connection.send("go")
        child.join(RUN_SECONDS_MAX)
    finally:
        if child.exitcode is None:
            child.kill()
            child.join()
            raise TimeoutError(f"a run took more than {RUN_SECONDS_MAX:g} s")


def _run(
    connection: Connection, journal_path: str, store: str, script: str, part: str, fault: CallFault
) -> None:
    """What the child does, once it is told to."""
    # What it logs is not what the faults are for.
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    journal = Journal(Path(journal_path))
    (chosen,) = [each for each in SCRIPTS if each.name == script]
    connection.recv()
    try:
        if part == "prepare":
            crash_scripts.run(Path(store), chosen.prepare, journal, dies=chosen.dies)
        else:
            calls = Calls(fault, lambda name: journal.note("struck", fault.mode, name))
            calls.install()
            crash_scripts.run(Path(store), chosen.work, journal, repair=chosen.repair)
            journal.note("ended", calls.count)
    except BaseException:  # noqa: BLE001  (the parent raises it)
        journal.note("broke", traceback.format_exc())
    finally:
        # Not an orderly exit: what the wrapped calls of a closing interpreter meet is no part of the run.
        os._exit(0)
