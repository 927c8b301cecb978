"""Gives every system every case, and counts seconds and bytes the same way for all."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.cases import Case
from benchmarks.peers.system import Contender, System, sha256_of_file
from benchmarks.places import Places
from replicator.kernel.errors import Corrupt, Unavailable

_QUIET_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """Of one case in one round; `link_bytes` both ways, headers included."""

    seconds: float
    link_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """The rounds of one case with one system."""

    rounds: list[Transfer] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(each.seconds for each in self.rounds)

    @property
    def link_bytes(self) -> float:
        """The median."""
        return statistics.median(each.link_bytes for each in self.rounds)


Outcomes = dict[str, dict[str, Outcome]]
"""By the name of the system, then of the case."""


class Measurement:
    """One run over all systems and cases, in `folder`."""

    def __init__(
        self, places: Places, cases: Sequence[Case], folder: Path, say: Callable[[str], None]
    ) -> None:
        assert places.link_bytes is not None
        self._link_bytes = places.link_bytes
        self._cases = cases
        self._folder = folder
        self._say = say
        self.outcomes: Outcomes = {}

    def measure(self, contender: Contender, number: int) -> None:
        """A round: the system begins empty, and what it kept is removed in the end."""
        folder = self._folder / f"{contender.name}-{number}".replace(" ", "-")
        folder.mkdir()
        try:
            running: AbstractContextManager[System] = contender.run(folder)
            with running as system:
                for case in self._cases:
                    if case.changed or contender.notices_no_change:
                        self._say(f"{contender.name}, round {number}: {case.name}")
                        self._keep(contender, case, self._transfer(system, case))
        finally:
            shutil.rmtree(folder)

    def _keep(self, contender: Contender, case: Case, transfer: Transfer) -> None:
        cases = self.outcomes.setdefault(contender.name, {})
        cases.setdefault(case.name, Outcome()).rounds.append(transfer)

    def _transfer(self, system: System, case: Case) -> Transfer:
        if case.before is not None:
            system.store(case.before)
            system.transfer(case.before)
        if case.changed:
            system.store(case.data)
        # What is still to be written, or said after the transfer before, is not of this one.
        os.sync()
        time.sleep(_QUIET_SECONDS)
        passed_before, started = self._link_bytes(), time.perf_counter()
        system.transfer(case.data)
        seconds, passed = time.perf_counter() - started, self._link_bytes() - passed_before
        name = case.data.last_name
        if system.sha256(name) != sha256_of_file(case.data.files[-1]):
            raise Corrupt(f"the copy of {name} has other bytes than its source")
        return Transfer(seconds, passed)


def require_counted(places: Places, missing: str | None) -> None:
    """Raise `Unavailable` where nobody counts the bytes between the places."""
    if places.link_bytes is None:
        raise Unavailable(f"nothing was measured: this {missing}")
