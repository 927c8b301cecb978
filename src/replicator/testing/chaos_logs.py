"""What replicas said in their logs, over all their lives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from replicator.testing.chaos_ledger import Attempt, ResultName

_EXPECTED_WARNINGS = frozenset(
    {
        "result.refused",
        "result.strangers",
        "scheduler.waits",
        "events.cut",
        "duties.kept",
        "join.failed",
        "source.corrupt",
    }
)
"""Besides those of tasks and jobs, which say what happened at nodes."""
_STORIES = ("task.", "job.", "object.", "session.", "database.")
_SHOWN_MAX = 2000


@dataclass
class Logs:
    """Reads what is new in each of `files` every time it is asked."""

    files: list[Path]
    events: Counter[str] = field(default_factory=Counter)
    refused: Counter[ResultName] = field(default_factory=Counter)
    _read: dict[Path, int] = field(default_factory=dict)

    def look(self) -> list[str]:
        """Count what is new; complaints about what nobody expects."""
        return [f"{file.stem}: {each}" for file in self.files for each in self._look(file)]

    def _look(self, file: Path) -> Iterator[str]:
        if not file.exists():
            return
        with file.open("rb") as log:
            log.seek(self._read.get(file, 0))
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read[file] = self._read.get(file, 0) + len(whole)
        for line in whole.decode(errors="replace").splitlines():
            yield from self._line(line)

    def _line(self, line: str) -> Iterator[str]:
        if "database is locked" in line:
            yield f"a locked database: {line[:_SHOWN_MAX]}"
        try:
            event = json.loads(line)
        except ValueError:
            # A process that was killed in the middle of a line is followed by the next one's first.
            if line and "{" not in line:
                yield f"it is no event: {line[:_SHOWN_MAX]}"
            return
        yield from self._event(event, line)

    def _event(self, event: dict[str, Any], line: str) -> Iterator[str]:
        name, level = str(event.get("event")), event.get("level")
        self.events[name] += 1
        if name == "result.refused":
            self.refused[ResultName(Attempt(event["task"], event["epoch"]), event["boot_id"])] += 1
        if name == "database.outcome":
            how = "had taken effect" if event["committed"] else "had not"
            self.events[f"database: an unknown COMMIT {how}"] += 1
        expected = name in _EXPECTED_WARNINGS or name.startswith(_STORIES) or _is_of_outage(event)
        if level in {"error", "critical"} or "exception" in event or (level == "warning" and not expected):
            yield f"{level}: {line[:_SHOWN_MAX]}"


def _is_of_outage(event: dict[str, Any]) -> bool:
    """A request that found no database, or what the driver could not end in good order on a connection that was cut."""
    refused = event.get("event") == "request.refused" and event.get("code") == "unavailable"
    return refused or (
        event.get("logger") == "psycopg" and "error ignored terminating" in event.get("text", "")
    )
