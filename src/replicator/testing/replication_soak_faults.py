"""What happens to nodes, links and jobs in the soak of replication. A new one is a function and a line in `FAULTS`.

Each strikes while jobs run, and leaves everything running again.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from replicator.testing.damage import flip_bit
from replicator.testing.mesh import Mesh
from replicator.testing.processes import ServerProcess
from replicator.testing.waiting import wait_until
from replicator.wire.jobs import TERMINAL_STATUSES

_PAUSE_S_MAX = 1.5
_SUSPENDED_S_MAX = 6.0
_PASSED_BYTES_MAX = 3 * 1024 * 1024


@dataclass(kw_only=True)
class RunningJobs:
    """Jobs under way, and what was done to them that their outcome has to be judged by.

    Attributes:
        cancelled: jobs that a user cancelled.
        hurt: bytes of which objects were damaged on disk, by node.
        is_falsified: bytes were changed on their way, for which a source that is the only one is to blame.
    """

    mesh: Mesh
    rng: random.Random
    tally: Counter[str]
    job_ids: Sequence[int]
    cancelled: set[int] = field(default_factory=set)
    hurt: set[tuple[str, str]] = field(default_factory=set)
    is_falsified: bool = False

    @property
    def have_ended(self) -> bool:
        """Whether no job goes on."""
        return all(self.mesh.job(job_id).status in TERMINAL_STATUSES for job_id in self.job_ids)

    def let_pass(self) -> None:
        """Wait until some bytes have passed, or the jobs have ended or wait for something."""
        target = self.mesh.passed_bytes + self.rng.randrange(1, _PASSED_BYTES_MAX)
        deadline_s = time.monotonic() + _PAUSE_S_MAX
        wait_until(
            lambda: self.mesh.passed_bytes >= target or time.monotonic() > deadline_s or self.have_ended,
            "something has passed",
        )

    def choose_node(self) -> str:
        """Any node."""
        return self.rng.choice(sorted(self.mesh.members))


def kill_node(jobs: RunningJobs) -> None:
    """Kill -9, and back at once or later."""
    _kill(jobs, jobs.mesh.node(jobs.choose_node()))


def kill_control_plane(jobs: RunningJobs) -> None:
    """Kill -9 of what decides; pulls go on."""
    jobs.mesh.control_plane.kill()
    time.sleep(jobs.rng.choice((0, _PAUSE_S_MAX)))
    jobs.mesh.control_plane.start()


def kill_everything(jobs: RunningJobs) -> None:
    """The power goes, and comes back."""
    for process in jobs.mesh.processes:
        process.kill()
    for process in jobs.mesh.processes:
        process.start()


def suspend_node(jobs: RunningJobs) -> None:
    """It stands still, for so long that its session may expire, and goes on as if nothing had been."""
    node = jobs.mesh.node(jobs.choose_node())
    node.suspend()
    time.sleep(jobs.rng.uniform(0, _SUSPENDED_S_MAX))
    node.resume()


def cut_links(jobs: RunningJobs) -> None:
    """Every connection to a node breaks."""
    jobs.mesh.gate(jobs.choose_node()).cut()


def hold_link(jobs: RunningJobs) -> None:
    """Nothing comes from a node for some time."""
    gate = jobs.mesh.gate(jobs.choose_node())
    gate.hold_at(gate.passed_bytes)
    time.sleep(jobs.rng.uniform(0, 2 * _PAUSE_S_MAX))
    gate.release()


def falsify(jobs: RunningJobs) -> None:
    """Bytes change on their way."""
    gate = jobs.mesh.gate(jobs.choose_node())
    jobs.is_falsified = True
    gate.twist(0.2)
    jobs.let_pass()
    gate.twist(0.0)


def pause_and_resume(jobs: RunningJobs) -> None:
    """A user pauses a job, and lets it go on."""
    job_id = jobs.rng.choice(jobs.job_ids)
    jobs.mesh.order(job_id, "pause")
    jobs.let_pass()
    jobs.mesh.order(job_id, "resume")


def cancel(jobs: RunningJobs) -> None:
    """A user cancels a job."""
    job_id = jobs.rng.choice(jobs.job_ids)
    if jobs.mesh.order(job_id, "cancel").is_success:
        jobs.cancelled.add(job_id)


def limit(jobs: RunningJobs) -> None:
    """An operator limits a link while it is used."""
    source, destination = jobs.rng.sample(sorted(jobs.mesh.members), 2)
    jobs.mesh.limit_link(source, destination, jobs.rng.choice((None, 500_000, 5_000_000)))


def _kill(jobs: RunningJobs, process: ServerProcess) -> None:
    process.kill()
    if jobs.rng.random() < 0.5:
        jobs.let_pass()
    process.start()


@dataclass(frozen=True, slots=True)
class JobFault:
    """Something that happens while jobs run.

    Attributes:
        weight: how often it is chosen, against the others.
        keeps_count: whether every byte that passes is still received and counted by whom it was meant for.
    """

    name: str
    weight: int
    strike: Callable[[RunningJobs], None]
    keeps_count: bool = False


FAULTS: Sequence[JobFault] = (
    JobFault("kill -9 of a node", 6, kill_node),
    JobFault("kill -9 of the control plane", 3, kill_control_plane),
    JobFault("kill -9 of everything", 1, kill_everything),
    JobFault("a node stands still", 2, suspend_node),
    JobFault("connections break", 3, cut_links),
    JobFault("a link stands still", 2, hold_link),
    JobFault("falsified bytes", 2, falsify),
    JobFault("pause and resume", 2, pause_and_resume),
    JobFault("cancel", 1, cancel),
    JobFault("a limit", 2, limit, keeps_count=True),
)


def damage(mesh: Mesh, node: str, chunk: bytes, rng: random.Random) -> bool:
    """Turn a bit over of `chunk` in the segments of a node; whether it was found there."""
    found = False
    for segment in sorted((mesh.node(node).data_dir / "segments").iterdir()):
        at = segment.read_bytes().find(chunk)
        if at >= 0:
            flip_bit(segment, offset=at + rng.randrange(len(chunk)), bit=rng.randrange(8))
            found = True
    return found
