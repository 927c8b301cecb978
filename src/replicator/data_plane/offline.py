"""`replicator store check | rebuild-catalog | restore`: the composition root of work on a store that is closed."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
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
from replicator.kernel.errors import Conflict, InvalidRequest, ReplicatorError, StoreFailed, Unavailable
from replicator.runtime.bootstrap import raise_open_files_limit
from replicator.runtime.clock import SystemClock
from replicator.wire.problem import problem_of

CACHE_BYTES = 64 * 1024 * 1024
OK, WRONG = 0, 1
# As the commands that ask a node exit.
_CODES: tuple[tuple[type[ReplicatorError], int], ...] = ((InvalidRequest, 2), (Conflict, 4), (Unavailable, 5))
_HELP = "Work on the data folder of a node that is stopped. Exits with 1 where something is wrong."

DataDir = Annotated[Path, typer.Option("--data-dir", help="Data folder of the node.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

app = typer.Typer(
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Report:
    """Prints findings as they come, and what it all came to: lines for people, or one JSON document."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.findings = 0

    def tell(self, finding: Finding) -> None:
        """Print a finding."""
        self.findings += 1
        if self._as_json:
            _print("," if self.findings > 1 else '{"findings": [')
            _print(json.dumps(finding._asdict(), ensure_ascii=False) + "\n")
        else:
            _print(f"{finding.kind}: {finding.message}\n")

    def end(self, summary: dict[str, Any], text: str) -> None:
        """Print the summary, and leave with the code that tells whether anything is wrong."""
        if self._as_json:
            _print("]," if self.findings else '{"findings": [],')
            _print(f' "summary": {json.dumps(summary, ensure_ascii=False)}}}\n')
        else:
            _print(text + "\n")
        sys.exit(WRONG if self.findings else OK)


@app.command()
def check(
    data_dir: DataDir,
    read_data: Annotated[
        bool, typer.Option("--read-data", help="Read and prove every record as well.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that a store agrees with itself. Nothing in it is changed."""
    with _errors(as_json=as_json):
        report = Report(as_json=as_json)
        done = check_store(
            str(data_dir), open_catalog=_open_catalog, on_finding=report.tell, read_data=read_data
        )
        report.end(dataclasses.asdict(done), _checked_text(done))


@app.command("rebuild-catalog")
def rebuild(data_dir: DataDir, as_json: Json = False) -> None:
    """Make the catalog of a store anew from its segments. The former one is kept beside it."""
    with _errors(as_json=as_json):
        report = Report(as_json=as_json)
        done = rebuild_catalog(str(data_dir), open_catalog=_open_catalog, on_finding=report.tell)
        report.end(dataclasses.asdict(done), _rebuilt_text(done))


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
        _bring_up_to_date(data_dir)
        done = check_store(str(data_dir), open_catalog=_open_catalog, on_finding=report.tell, read_data=True)
        report.end(dataclasses.asdict(done), f"restored to {data_dir}: {_checked_text(done)}")


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
    return (
        f"{_count(done.findings, 'thing')} wrong: {held}{late}"
        if done.findings
        else f"all well: {held}{late}"
    )


def _rebuilt_text(done: Rebuilt) -> str:
    former = f"; the former catalog is {done.former}" if done.former else ""
    lost = f", {_count(done.lost, 'version')} lost" if done.lost else ""
    return (
        f"the catalog is made anew from {done.records:,} records in {done.segments:,} segments: "
        f"{_count(done.versions, 'version')}{lost}{former}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextlib.contextmanager
def _errors(*, as_json: bool) -> Iterator[None]:
    raise_open_files_limit()
    try:
        yield
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
