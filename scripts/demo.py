"""`make demo`: the main job on real input, from nothing to a proven copy.

Stores a tar of this interpreter's library and its installed packages on one node, migrates it to another,
proves the copy, changes about one percent, asks what a migration would move, and does it again. Leaves
nothing behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import http.client
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from demo_input import INPUT_BYTES_MIN, Change, change, input_bytes, input_folders, write_tar
from local_cluster import ClusterError, LocalCluster, Ports, prepare_terminal
from rich.console import Console
from rich.table import Table
from walkthrough import migration, post, register_all

from replicator.cli.following import follow
from replicator.cli.job_text import plan_lines, seconds_of, summary
from replicator.cli.progress import ByteCounter, progress_display
from replicator.cli.units import bytes_text, rate_text
from replicator.client.control_plane import ControlPlaneClient
from replicator.client.files import blocks_from, open_source
from replicator.client.node import NodeClient, Upload, counted
from replicator.kernel.errors import ReplicatorError
from replicator.kernel.names import ObjectId
from replicator.wire.jobs import JobView

OBJECT_ID = ObjectId("demo.bin")
DISK_BYTES_PER_INPUT_BYTE = 5
"""The input and its changed copy, what two nodes store of them, and room to spare."""
READ_BLOCK_BYTES = 1024 * 1024
READ_SECONDS_MAX = 60.0
"""For the next byte."""
WATCH_SECONDS = 0.5
"""How often the processes are looked at while a job runs."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the closing table. Bytes and seconds; `wire` counts everything that was received."""

    step: str
    logical: int
    sent: int
    wire: int
    deduplicated: int
    seconds: float


@dataclass
class Demo:
    """The cluster, the file that stands for the user's data, and what was measured so far."""

    cluster: LocalCluster
    file: Path
    rows: list[Row] = field(default_factory=list)

    async def upload(self, label: str) -> None:
        """Store the file on node1."""
        url = self.cluster.node_urls["node1"]
        print(f"  $ curl -T {self.file.name} {url}/objects/{OBJECT_ID}")
        descriptor, size = open_source(str(self.file))
        began = time.monotonic()
        try:
            async with NodeClient(url, name="node1") as node:
                with progress_display("  upload") as display:
                    blocks = counted(blocks_from(descriptor), ByteCounter(display, total=size))
                    result = await node.put(OBJECT_ID, Upload(blocks=blocks, size=size))
        finally:
            os.close(descriptor)
        seconds = time.monotonic() - began
        print(
            f"  durable on node1: {bytes_text(result.size)} in {result.chunks:,} chunks, of which "
            f"{result.chunks_new:,} ({bytes_text(result.bytes_new)}) were new"
        )
        self.rows.append(
            Row(
                step=f"{label}: upload",
                logical=result.size,
                sent=result.size,
                wire=result.size,
                deduplicated=result.size - result.bytes_new,
                seconds=seconds,
            )
        )

    async def plan(self) -> None:
        """Ask what a migration would move."""
        job = await self._ended(post(*migration(self.cluster.control_plane_url, OBJECT_ID, dry_run=True)))
        for line in plan_lines(job):
            print(f"  {line}")

    async def migrate(self, label: str, changed: Change | None) -> None:
        """Copy the object to node2."""
        job = await self._ended(post(*migration(self.cluster.control_plane_url, OBJECT_ID)))
        moved = job.progress
        print(f"  {moved.bytes_wire / moved.bytes_logical:.1%} of its bytes travelled, everything counted")
        if changed is not None:
            print(f"  {delta_line(changed, job)}")
        self.rows.append(
            Row(
                step=f"{label}: migrate",
                logical=moved.bytes_logical,
                sent=moved.bytes_transferred,
                wire=moved.bytes_wire,
                deduplicated=moved.bytes_deduplicated,
                seconds=seconds_of(job) or 0.0,
            )
        )

    async def _ended(self, created: dict[str, Any]) -> JobView:
        """The job once it has succeeded; the demo ends if it does not, or if a process dies that it needs."""
        job = JobView.model_validate(created)
        base = self.cluster.control_plane_url
        print(f"  $ curl {base}/jobs/{job.id}")
        try:
            async with ControlPlaneClient(base) as client, asyncio.TaskGroup() as group:
                with progress_display(f"  job {job.id}") as display:
                    following = group.create_task(follow(client, job, display))
                    while not following.done():
                        self.cluster.watch()
                        await asyncio.wait([following], timeout=WATCH_SECONDS)
        except* (ClusterError, ReplicatorError) as errors:
            raise errors.exceptions[0] from None
        job = following.result()
        print(f"  {summary(job)}")
        if job.status != "succeeded":
            raise ClusterError(f"the job did not succeed: {summary(job)}")
        return job

    def prove(self, label: str) -> None:
        """Read the object back from node2 and compare SHA-256 with the file's."""
        url = f"{self.cluster.node_urls['node2']}/objects/{OBJECT_ID}"
        print(f"  $ curl {url} | sha256sum")
        with self.file.open("rb") as source:
            expected = hashlib.file_digest(source, "sha256").hexdigest()
        began = time.monotonic()
        found, size = sha256_of(url)
        seconds = time.monotonic() - began
        if found != expected:
            raise ClusterError(f"node2 has {found}, the file is {expected}")
        print(f"  sha256 {expected}: the copy on node2 is the file, byte for byte")
        step = f"{label}: read back"
        self.rows.append(Row(step=step, logical=size, sent=size, wire=size, deduplicated=0, seconds=seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    Ports.add_options(parser)
    parser.add_argument(
        "--dir", type=Path, help="where the temporary folder is made (default: $TMPDIR or /tmp)"
    )
    options = parser.parse_args()
    prepare_terminal()
    began = time.monotonic()
    try:
        run(options.dir, Ports.chosen(options))
    except (ClusterError, ReplicatorError, httpx.HTTPError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; everything was stopped and removed", file=sys.stderr)
        return 130
    print(
        f"\nDone in {time.monotonic() - began:.0f} s. Nothing is left running; 'make up' keeps the cluster."
    )
    return 0


def run(parent: Path | None, ports: Ports) -> None:
    """The whole demonstration."""
    ports.refuse_taken("demo")
    with temporary_folder(parent) as folder:
        heading("A control plane and two nodes, each a process of its own")
        with LocalCluster(folder, ports) as cluster:
            heading("The nodes are registered")
            register_all(cluster.control_plane_url, cluster.node_urls)
            demo = Demo(cluster, folder / OBJECT_ID)
            heading("Real input: a tar of this interpreter's library and its installed packages")
            prepare(demo.file)
            store(demo, "first")
            move_and_prove(demo, "first")
            heading("About 1 % of the file changes: scattered overwrites and a few inserts")
            changed = change(demo.file)
            print(f"  {changed.text}")
            store(demo, "changed")
            heading("A dry run: what would a migration move?")
            asyncio.run(demo.plan())
            move_and_prove(demo, "changed", changed)
            heading("What it took")
            print_table(demo.rows)


def store(demo: Demo, label: str) -> None:
    """Upload the file as it is now."""
    heading(f"Store it on node1 ({label} version)")
    asyncio.run(demo.upload(label))


def move_and_prove(demo: Demo, label: str, changed: Change | None = None) -> None:
    """Migrate it and read it back; `changed` is what was done to it since the last time."""
    heading(f"Migrate it from node1 to node2 ({label} version)")
    asyncio.run(demo.migrate(label, changed))
    heading(f"Read it back from node2 ({label} version)")
    demo.prove(label)


def delta_line(changed: Change, job: JobView) -> str:
    """What delta and compression saved."""
    moved = job.progress
    return (
        f"{bytes_text(changed.changed_bytes)} had changed, in chunks of {bytes_text(moved.bytes_transferred)}; "
        f"delta and compression saved {bytes_text(moved.bytes_saved)} of these: "
        f"{bytes_text(moved.bytes_wire)} were received, everything counted"
    )


def sha256_of(url: str) -> tuple[str, int]:
    """The SHA-256 and the length in bytes of what `url` answers."""
    hashed, size = hashlib.sha256(), 0
    block = memoryview(bytearray(READ_BLOCK_BYTES))
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=READ_SECONDS_MAX)
    with contextlib.closing(connection):
        connection.request("GET", where.path)
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK:
            raise ClusterError(f"GET {url} answered {answer.status}")
        while count := answer.readinto(block):
            hashed.update(block[:count])
            size += count
    return hashed.hexdigest(), size


def prepare(file: Path) -> None:
    """Make the input."""
    folders = input_folders()
    write_tar(file, folders)
    size = file.stat().st_size
    if size < INPUT_BYTES_MIN:
        raise ClusterError(f"the input has only {bytes_text(size)}: is this a complete Python?")
    print(f"  {file.name}: {bytes_text(size)} from {', '.join(str(folder) for folder in folders)}")


@contextlib.contextmanager
def temporary_folder(parent: Path | None) -> Iterator[Path]:
    """A fresh folder with room enough, removed at the end whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="replicator-demo-", dir=parent))
    try:
        free = shutil.disk_usage(folder).free
        needed = DISK_BYTES_PER_INPUT_BYTE * input_bytes(input_folders())
        if free < needed:
            raise ClusterError(
                f"{folder.parent} has {bytes_text(free)} free and the demo wants {bytes_text(needed)}; "
                "choose another place: make demo TMPDIR=/elsewhere"
            )
        yield folder
    finally:
        shutil.rmtree(folder)


def heading(text: str) -> None:
    """Begin a step."""
    print(f"\n== {text}", flush=True)


def print_table(rows: list[Row]) -> None:
    """What each step took."""
    table = Table()
    table.add_column("step", no_wrap=True)
    for title in ("bytes logical", "sent", "on the wire", "deduplicated", "seconds", "rate"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row.step,
            f"{row.logical:,}",
            bytes_text(row.sent),
            bytes_text(row.wire),
            bytes_text(row.deduplicated),
            f"{row.seconds:.2f}",
            rate_text(row.logical / row.seconds) if row.seconds else "",
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)


if __name__ == "__main__":
    sys.exit(main())
