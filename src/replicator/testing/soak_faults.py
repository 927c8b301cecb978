"""The faults of the soak. A new one is a function and a line in `FAULTS`.

Each finds a node that runs, does its harm under traffic, and leaves the node running again. What is in it is
checked afterwards, for every fault alike.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from replicator.testing.damage import DAMAGES, Unread, read_each, require_nothing_wrong
from replicator.testing.oracle import content_of, read_all
from replicator.testing.processes import node_process
from replicator.testing.soak_stage import MEBIBYTE, SETTINGS, Stage
from replicator.testing.tracing import injecting, injector, strace_missing

ACKNOWLEDGED_MAX = 150
_ANSWERED_ON_FULL_DISK = 60
_ANSWERED_WHILE_FAILING = 300
_DAMAGED = (
    ("segments/*.segment",),
    ("catalog/*.sst", "catalog/*.log", "catalog/MANIFEST-*", "catalog/CURRENT"),
)
_CALLS_OF_WRITING = "pwritev,pwritev2,pwrite64,write,fdatasync,fsync,rename,ftruncate,unlink"
_CALLS_OF_OPENING = "pwrite64,write,fdatasync,fsync,rename,ftruncate,unlink"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens to a node.

    Attributes:
        weight: how often it is chosen, against the others.
        missing: what keeps it from being caused here.
        wants_disk: whether it needs a file system of its own.
    """

    name: str
    weight: int
    strike: Callable[[Stage], None]
    missing: Callable[[], str | None] = lambda: None
    wants_disk: bool = False


def stop(stage: Stage) -> None:
    """The operator stops the node while clients write."""
    with stage.traffic() as traffic:
        traffic.wait_acknowledged(stage.rng.randrange(1, ACKNOWLEDGED_MAX))
        traffic.trouble.set()
        assert stage.node.stop() == 0, f"the node did not end in good order\n{stage.node.log_tail()}"
    stage.node.start()


def kill(stage: Stage) -> None:
    """Kill -9 at a random moment."""
    with stage.traffic() as traffic:
        traffic.wait_acknowledged(stage.rng.randrange(1, ACKNOWLEDGED_MAX))
        traffic.trouble.set()
        stage.node.kill()
    stage.node.start()


def kill_at_call(stage: Stage) -> None:
    """Kill -9 at one system call, of opening or of writing."""
    assert stage.node.stop() == 0
    number = stage.rng.randrange(1, 150)
    stage.node.wrapper = injector(f"{_CALLS_OF_WRITING}:signal=KILL:when={number}")
    if stage.node.try_start():
        with stage.traffic() as traffic:
            traffic.trouble.set()
            traffic.wait_acknowledged(ACKNOWLEDGED_MAX)
            stage.node.kill()
    stage.node.wrapper = ()
    stage.node.start()


def kill_while_opening(stage: Stage) -> None:
    """Kill -9 while it recovers from kill -9."""
    with stage.traffic() as traffic:
        traffic.wait_acknowledged(stage.rng.randrange(1, ACKNOWLEDGED_MAX))
        traffic.trouble.set()
        stage.node.kill()
    for number in stage.rng.sample(range(1, 20), 2):
        stage.node.wrapper = injector(f"{_CALLS_OF_OPENING}:signal=KILL:when={number}")
        stage.node.try_start()
        stage.node.kill()
    stage.node.wrapper = ()
    stage.node.start()


def cut_power(stage: Stage) -> None:
    """The disk loses what was not synced."""
    assert stage.disk is not None
    with stage.traffic() as traffic:
        traffic.wait_acknowledged(stage.rng.randrange(1, ACKNOWLEDGED_MAX))
        traffic.trouble.set()
        traffic.darkness.set()
        stage.disk.cut_power(log_flushed=stage.rng.random() < 0.25)
        traffic.wait_ended()
        stage.node.kill()
    stage.disk.remount()
    stage.node.start()


def fill_disk(stage: Stage) -> None:
    """Somebody else fills the disk, almost or to the last byte, and makes room again."""
    assert stage.disk is not None
    filler = stage.disk.path / "filler"
    with stage.traffic() as traffic:
        traffic.wait_acknowledged(stage.rng.randrange(1, 20))
        traffic.trouble.set()
        left = stage.rng.choice((0, 100_000, 4 * MEBIBYTE, 12 * MEBIBYTE, 20 * MEBIBYTE))
        _fill(filler, left)
        traffic.wait_answered(_ANSWERED_ON_FULL_DISK)
    stage.oracle.look(read_all(stage.node.url))
    filler.unlink()
    if stage.node.events("store.failed"):
        stage.tally["stores failed on a full disk"] += 1
        stage.node.kill()
        stage.node.start()
    _require_write(stage)


def fail_sync(stage: Stage) -> None:
    """The disk does not sync: the node acknowledges nothing more, and reads go on."""
    _fail_call(stage, f"fdatasync:error=EIO:when={stage.rng.randrange(1, 20)}")


def fail_write(stage: Stage) -> None:
    """The disk takes no write."""
    error = stage.rng.choice(("EIO", "ENOSPC"))
    _fail_call(stage, f"pwritev,pwritev2,pwrite64:error={error}:when={stage.rng.randrange(1, 40)}")


def _fail_call(stage: Stage, fault: str) -> None:
    with stage.traffic() as traffic:
        traffic.trouble.set()
        with injecting(stage.node, fault):
            traffic.wait_answered(_ANSWERED_WHILE_FAILING)
    stage.oracle.look(read_all(stage.node.url))
    failed = bool(stage.node.events("store.failed"))
    ready = httpx.get(f"{stage.node.url}/ready", trust_env=False, timeout=30).status_code
    assert ready == (503 if failed else 200), f"/ready says {ready}\n{stage.node.log_tail()}"
    stage.node.kill()
    stage.node.start()


def damage(stage: Stage) -> None:
    """A copy of the store rots: a node on it gives the right bytes or an error, or says why it does not start."""
    with stage.traffic() as traffic:
        traffic.wait_acknowledged(stage.rng.randrange(1, ACKNOWLEDGED_MAX))
    assert stage.node.stop() == 0
    copy = stage.node.log.parent / "damaged"
    shutil.copytree(stage.data_dir, copy)
    stage.node.start()
    expected = read_all(stage.node.url)
    done = []
    # Never both at once: each is what the other is mended from.
    patterns = stage.rng.choice(_DAMAGED)
    for _ in range(stage.rng.randrange(1, 4)):
        files = [file for each in patterns for file in sorted(copy.glob(each)) if file.stat().st_size]
        file, how = stage.rng.choice(files), stage.rng.choice(DAMAGES)
        done.append(f"{file.name}: {how.name}, {how.strike(file, stage.rng)}")
        stage.tally[f"damage: {how.name}"] += 1
    _read_damaged(stage, expected, str(copy), "; ".join(done))
    shutil.rmtree(copy)


def _read_damaged(stage: Stage, expected: dict[str, bytes], data_dir: str, done: str) -> None:
    log_name = f"{stage.node.log.stem}-damaged"
    with closing(
        node_process(
            "node1",
            stage.node.log.parent,
            settings=SETTINGS,
            arguments=["--data-dir", data_dir],
            log_name=log_name,
        )
    ) as node:
        if not node.try_start():
            assert not any("Traceback" in line for line in node.stray_output()), f"{done}\n{node.log_tail()}"
            assert node.wait() > 0, f"{done}\n{node.log_tail()}"
            stage.tally["damage refused at the start"] += 1
            return
        try:
            refused = require_nothing_wrong(expected, read_each(node.url))
        except Unread:
            stage.tally["damage refused by the listing"] += 1
            return
        except AssertionError as error:
            raise AssertionError(f"{done}\n{error}") from error
        stage.tally["damage refused by reads" if refused else "damage of nothing that is read"] += 1


def _fill(filler: Path, left: int) -> None:
    """Take all but `left` bytes of the disk, while others write to it."""
    usage = os.statvfs(filler.parent)
    length = max(1, usage.f_bavail * usage.f_frsize - left)
    with filler.open("wb") as file:
        while length:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), length)
                file.seek(length, os.SEEK_CUR)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            length = length // 2 if left == 0 else 0


def _require_write(stage: Stage) -> None:
    data = stage.rng.randbytes(50_000)
    stage.oracle.trying("room", content_of(data))
    answer = httpx.put(f"{stage.node.url}/objects/room", content=data, trust_env=False, timeout=30)
    assert answer.is_success, f"there is room again, but: {answer.text}"
    stage.oracle.acknowledged("room", content_of(data))


FAULTS: Sequence[Fault] = (
    Fault("stop in good order", 1, stop),
    Fault("kill -9", 4, kill),
    Fault("kill -9 at a system call", 3, kill_at_call, strace_missing),
    Fault("kill -9 while it recovers", 3, kill_while_opening, strace_missing),
    Fault("power cut", 6, cut_power, wants_disk=True),
    Fault("full disk", 2, fill_disk, wants_disk=True),
    Fault("a sync that fails", 2, fail_sync, strace_missing),
    Fault("a write that fails", 2, fail_write, strace_missing),
    Fault("damaged files", 2, damage),
)
