"""`replicator store check | rebuild-catalog | restore`: the composition root of work on a store that is closed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Any

import typer

from replicator.data_plane.storage.backup import restore as restore_backup
from replicator.data_plane.storage.check import Checked, check_store
from replicator.data_plane.storage.findings import Finding
from replicator.data_plane.storage.rebuild import rebuild_catalog
from replicator.data_plane.storage.refill import Rebuilt
from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.data_plane.storage.store import open_store
from replicator.kernel.errors import (
    Conflict,
    Corrupt,
    InvalidRequest,
    ReplicatorError,
    StoreFailed,
    Unavailable,
)
from replicator.runtime.bootstrap import raise_open_files_limit
from replicator.runtime.clock import SystemClock
from replicator.wire.problem import problem_of

CACHE_BYTES = 64 * 1024 * 1024
OK, WRONG = 0, 1
# As the commands that ask a node exit.
_CODES: tuple[tuple[type[ReplicatorError], int], ...] = ((InvalidRequest, 2), (Conflict, 4), (Unavailable, 5))
_OF_SEGMENTS = frozenset({"missing-segment", "short-segment"})
# Where another copy helps, not another catalog.
_OF_CONTENT = frozenset(
    {
        "damaged-region",
        "damaged-record",
        "damaged-chunk",
        "lost-chunk",
        "lost-manifest",
        "lost-page",
        "lost-version",
        "lost-bucket",
        "replaced",
    }
)
_HELP = "Work on the data folder of a node that is stopped. Exits with 1 where something is wrong."

DataDir = Annotated[Path, typer.Option("--data-dir", help="Data folder of the node.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)


class Report:
    """Prints findings as they come, and what it all came to: lines for people, or one JSON document."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.findings = 0
        self._kinds: set[str] = set()

    def tell(self, finding: Finding) -> None:
        """Print a finding."""
        self.findings += 1
        self._kinds.add(finding.kind)
        if self._as_json:
            _print("," if self.findings > 1 else '{"findings": [')
            _print(json.dumps(finding._asdict(), ensure_ascii=False) + "\n")
        else:
            _print(f"{finding.kind}: {finding.message}\n")

    def end(self, data_dir: Path, summary: dict[str, Any], text: str) -> None:
        """Print the summary and what to do, and leave with the code that tells whether anything is wrong."""
        steps = next_steps(self._kinds, data_dir)
        if self._as_json:
            _print("]," if self.findings else '{"findings": [],')
            _print(f' "summary": {json.dumps(summary | {"next": steps}, ensure_ascii=False)}}}\n')
        else:
            _print(text + "\n")
            for step in steps:
                _print(f"next: {step}\n")
        sys.exit(WRONG if self.findings else OK)


@app.command()
def check(
    data_dir: DataDir,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read and prove every record as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that a store agrees with itself. No record and no row in it is changed."""
    with _errors(as_json=as_json):
        report = Report(as_json=as_json)
        done = check_store(
            str(data_dir),
            open_catalog=_open_catalog,
            read_catalog=_read_catalog,
            on_finding=report.tell,
            read_data=read_data,
        )
        report.end(data_dir, dataclasses.asdict(done), _checked_text(done))


@app.command("rebuild-catalog")
def rebuild(data_dir: DataDir, as_json: Json = False) -> None:
    """Make the catalog of a store anew from its segments. The former one is kept beside it."""
    with _errors(as_json=as_json):
        report = Report(as_json=as_json)
        done = rebuild_catalog(
            str(data_dir), open_catalog=_open_catalog, read_catalog=_read_catalog, on_finding=report.tell
        )
        report.end(data_dir, dataclasses.asdict(done), _rebuilt_text(done))


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="Folder of the backup.")],
    data_dir: Annotated[Path, typer.Argument(help="Data folder to make; it must not hold anything yet.")],
    as_json: Json = False,
) -> None:
    """Copy a backup into a new data folder, and check it, data included."""
    with _errors(as_json=as_json):
        report = Report(as_json=as_json)
        restore_backup(backup, data_dir)
        try:
            _bring_up_to_date(data_dir)
        except (Corrupt, Unavailable) as error:
            report.tell(Finding("store", f"what was restored does not open: {error.message}", {}))
            report.end(data_dir, {}, f"{data_dir} holds a whole copy of the backup, which is as it was")
        done = check_store(
            str(data_dir),
            open_catalog=_open_catalog,
            read_catalog=_read_catalog,
            on_finding=report.tell,
            read_data=True,
        )
        report.end(data_dir, dataclasses.asdict(done), f"restored to {data_dir}: {_checked_text(done)}")


def _bring_up_to_date(data_dir: Path) -> None:
    """Open and close: the catalog of a backup may lack the last changes, which are in its segments."""

    def on_failure(failure: StoreFailed) -> None:
        sys.stderr.write(f"replicator: {failure.message}\n")

    open_store(
        str(data_dir),
        node_name="restore",
        open_catalog=_open_catalog,
        clock=SystemClock(),
        segment_bytes_max=CACHE_BYTES,
        reserve_bytes=0,
        on_failure=on_failure,
    ).close()


def _open_catalog(path: str) -> RocksCatalog:
    return RocksCatalog(path, cache_bytes=CACHE_BYTES)


def _read_catalog(path: str) -> RocksCatalog:
    return RocksCatalog(path, cache_bytes=CACHE_BYTES, read_only=True)


def next_steps(kinds: AbstractSet[str], data_dir: Path) -> list[str]:
    """What to do about findings of those kinds."""
    steps = []
    if not kinds.isdisjoint(_OF_SEGMENTS):
        steps.append(
            "put the files of those segments back, if you have them, before a node is started, or restore a backup "
            "to a new folder: replicator store restore BACKUP NEW_DATA_DIR; then, or to save what the other segments "
            f"hold: replicator store rebuild-catalog --data-dir {data_dir}"
        )
    if any(kind not in _OF_SEGMENTS | _OF_CONTENT for kind in kinds):
        steps.append(
            "make the catalog anew, from what the segments hold: "
            f"replicator store rebuild-catalog --data-dir {data_dir}"
        )
    if not kinds.isdisjoint(_OF_CONTENT):
        steps.append(
            "bring what is damaged or lost again while the node runs: migrate it from a node that has it, or upload "
            "it; replicator store explain NODE DIGEST tells which objects have a chunk"
        )
    return steps


def _checked_text(done: Checked) -> str:
    read = f", {done.records:,} records of {done.record_bytes:,} bytes read" if done.records else ""
    held = (
        f"{done.versions:,} versions, {done.manifests:,} manifests, {done.chunks:,} chunks in "
        f"{done.segments:,} segments{read}"
    )
    late = (
        f"; the catalog has yet to take in {done.unabsorbed_bytes:,} bytes of the log, at the next start"
        if done.unabsorbed_bytes
        else ""
    )
    spent = (
        f"; {_count(done.spent_regions, 'damaged region')} in which nothing is in use any more"
        if done.spent_regions
        else ""
    )
    found = f"{_count(done.findings, 'thing')} wrong" if done.findings else "all well"
    return f"{found}: {held}{late}{spent}"


def _rebuilt_text(done: Rebuilt) -> str:
    former = f"; the former catalog is {done.former}" if done.former else ""
    lost = f", {_count(done.lost, 'version')} lost" if done.lost else ""
    unknown = (
        ""
        if done.compared
        else "\nno former catalog could be read: what was in missing segments alone, if any are, is not known"
    )
    return (
        f"the catalog is made anew from {done.records:,} records in {done.segments:,} segments: "
        f"{_count(done.versions, 'version')}{lost}{former}{unknown}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def _errors(*, as_json: bool) -> Iterator[None]:
    raise_open_files_limit()
    try:
        try:
            yield
        except OSError as error:
            raise Unavailable(f"{error.strerror or error}: {error.filename or 'the data folder'}") from error
    except ReplicatorError as error:
        text = (
            json.dumps(problem_of(error).model_dump(), ensure_ascii=False, default=str)
            if as_json
            else f"replicator: {error.message}"
        )
        sys.stderr.write(text + "\n")
        sys.exit(next((code for kind, code in _CODES if isinstance(error, kind)), WRONG))


def _print(text: str) -> None:
    sys.stdout.write(text)


def main() -> None:
    """The process."""
    command: Callable[..., None] = typer.main.get_command(app)
    command(prog_name="replicator store")


if __name__ == "__main__":
    main()
