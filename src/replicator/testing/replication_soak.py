"""Jobs of all kinds between real nodes, under kills, cuts, lies, damage and users' orders, for as long as asked.

In each round a few jobs run at the same time, each on a prefix of its own, while faults strike. When they have
ended and everything runs again, every object of every node is read and held against a model that never saw a node.
The seed decides objects, jobs, faults and their order; what exactly a fault meets is up to the scheduler.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from replicator.testing.job_accounts import require_accounts
from replicator.testing.mesh import Mesh
from replicator.testing.oracle import content_of
from replicator.testing.replication_model import (
    Request,
    Sides,
    after,
    complaints,
    extras_of,
    lacking_at_destination,
    newer_at_destination,
)
from replicator.testing.replication_soak_faults import FAULTS, JobFault, RunningJobs, damage
from replicator.testing.replication_soak_jobs import NODES, choose_requests, narrowed, new_bytes
from replicator.wire.jobs import JobView

_FAULTS_MAX = 4
_KEYS_PER_PREFIX = 30
_RATES = (None, None, 2_000_000, 10_000_000)
_DAMAGE_SHARE = 0.2
_REHEARSED_SHARE = 0.2
_SETTINGS = {"REPLICATOR_NODE_SEGMENT_BYTES_MAX": str(32 * 1024 * 1024)}
_CONTROL_PLANE_SETTINGS = {
    "REPLICATOR_CONTROL_PLANE_SESSION_LEASE_SECONDS": "4",
    "REPLICATOR_CONTROL_PLANE_POLL_SECONDS": "2",
}


@dataclass(frozen=True, slots=True)
class _Begun:
    request: Request
    before: Sides
    job_id: int


class ReplicationSoak:
    """One run. `tally` says what ran how often, also after a violation.

    Args:
        folder: for data and logs; what is left in it after a violation shows what was found.
        say: told what happens, a line at a time.
        faults: what may strike.
    """

    def __init__(
        self, folder: Path, *, seed: int, say: Callable[[str], None], faults: Sequence[JobFault] = FAULTS
    ) -> None:
        self.tally: Counter[str] = Counter()
        self._folder = folder
        self._seed = seed
        self._say = say
        self._faults = faults
        self._rng = random.Random()
        self._held: dict[str, dict[str, str]] = {name: {} for name in NODES}
        self._bytes: dict[str, bytes] = {}

    def run(self, duration_s: float) -> None:
        """Begin rounds until the time is over; at least one.

        Raises:
            AssertionError: a node holds what it should not, or lacks what it should hold, or a job does not add up.
        """
        end = time.monotonic() + duration_s
        with Mesh(
            self._folder, NODES, settings=_SETTINGS, control_plane_settings=_CONTROL_PLANE_SETTINGS
        ) as mesh:
            while True:
                self.tally["rounds"] += 1
                self._rng = random.Random(f"{self._seed}/{self.tally['rounds']}")
                self._round(mesh)
                if time.monotonic() >= end:
                    return

    def _round(self, mesh: Mesh) -> None:
        requests = choose_requests(self._rng)
        for request in requests:
            self._write(mesh, request)
        requests = [narrowed(self._rng, request, self._held[request.source]) for request in requests]
        for request in requests:
            self._rehearse(mesh, request)
        began = mesh.passed_bytes
        for name in NODES:
            mesh.gate(name).slow_to(self._rng.choice(_RATES))
        begun = [self._begin(mesh, request) for request in requests]
        jobs = RunningJobs(
            mesh=mesh, rng=self._rng, tally=self.tally, job_ids=[each.job_id for each in begun]
        )
        counted = self._strike(mesh, jobs, begun)
        self._say(f"round {self.tally['rounds']}: {len(begun)} jobs")
        ended = [mesh.ended(each.job_id) for each in begun]
        mesh.mend()
        for source, destination in itertools.permutations(NODES, 2):
            mesh.limit_link(source, destination, None)
        if jobs.is_falsified:
            ended = [self._retry(mesh, job) for job in ended]
        self._check_jobs(mesh, jobs, begun, ended)
        self._check_wire(mesh.passed_bytes - began, ended, counted)
        self._heal(mesh, jobs)
        mesh.require_calm()
        self._check_contents(mesh)

    def _rehearse(self, mesh: Mesh, request: Request) -> None:
        """Hold what a dry run says against the model, now and then."""
        if request.kind == "verify" or self._rng.random() > _REHEARSED_SHARE:
            return
        sides = Sides(self._held[request.source], self._held[request.destination])
        held = (request.source, request.destination)
        ended = mesh.ended(mesh.submit(request.kind, *held, **request.message(), dry_run=True))
        assert ended.plan is not None, ended
        lacking = lacking_at_destination(request, sides)
        assert ended.plan.objects_to_transfer == len(lacking), (request, ended.plan, lacking)
        assert ended.plan.bytes_logical == sum(len(self._bytes[sides.source[each]]) for each in lacking)
        self.tally["dry run"] += 1

    def _write(self, mesh: Mesh, request: Request) -> None:
        """New objects, edited ones and deletions at the source of a job, and a few at its destination."""
        rng = self._rng
        for _ in range(rng.randrange(1, _KEYS_PER_PREFIX)):
            self._put(mesh, request.source, f"{request.prefix}{rng.randrange(_KEYS_PER_PREFIX)}")
        for name in (request.source, request.destination):
            mine = [each for each in self._held[name] if each.startswith(request.prefix)]
            for object_id in rng.sample(sorted(mine), min(len(mine), rng.randrange(3))):
                mesh.delete(name, object_id)
                del self._held[name][object_id]
        if rng.random() < 0.3:
            self._put(mesh, request.destination, f"{request.prefix}own{rng.randrange(3)}")

    def _put(self, mesh: Mesh, node: str, object_id: str) -> None:
        before = self._held[node].get(object_id)
        data = new_bytes(self._rng, None if before is None else self._bytes[before])
        self._keep(node, object_id, mesh.put(node, object_id, data).version, data)

    def _keep(self, node: str, object_id: str, version: str, data: bytes) -> None:
        self._held[node][object_id] = version
        self._bytes[version] = data

    def _begin(self, mesh: Mesh, request: Request) -> _Begun:
        before = Sides(dict(self._held[request.source]), dict(self._held[request.destination]))
        self.tally[f"{request.kind}{' (move)' if request.move else ''}"] += 1
        asked = request.message()
        if request.kind != "verify":
            asked["bytes_per_second"] = self._rng.choice(_RATES)
        asked["priority"] = self._rng.randrange(-9, 10)
        job_id = mesh.submit(request.kind, request.source, request.destination, **asked)
        return _Begun(request, before, job_id)

    def _strike(self, mesh: Mesh, jobs: RunningJobs, begun: Sequence[_Begun]) -> bool:
        """Let faults happen; whether every byte that passed should have been counted."""
        counted = True
        if self._rng.random() < _DAMAGE_SHARE:
            self._damage(mesh, jobs, self._rng.choice(begun).request)
        for _ in range(self._rng.randrange(_FAULTS_MAX + 1)):
            jobs.let_pass()
            if jobs.have_ended:
                break
            (fault,) = self._rng.choices(self._faults, [fault.weight for fault in self._faults])
            self._say(f"round {self.tally['rounds']}: {fault.name}")
            fault.strike(jobs)
            mesh.wait_connected()
            counted &= fault.keeps_count
            self.tally[f"fault: {fault.name}"] += 1
        return counted

    def _damage(self, mesh: Mesh, jobs: RunningJobs, request: Request) -> None:
        """Turn over a bit of an object that a job is about, at its source."""
        held = self._held[request.source]
        mine = sorted(each for each in held if request.selects(each) and len(self._bytes[held[each]]) > 900)
        if not mine:
            return
        object_id = self._rng.choice(mine)
        # The end of the object is in its last chunk.
        if damage(mesh, request.source, self._bytes[held[object_id]][-900:], self._rng):
            jobs.hurt.add((request.source, object_id))
            self.tally["fault: a damaged chunk at the source"] += 1
            self._say(f"round {self.tally['rounds']}: {object_id} is damaged at {request.source}")

    def _retry(self, mesh: Mesh, job: JobView) -> JobView:
        """A job that failed because its source seemed to lie, when it is over: tried again as its user would."""
        if job.status not in ("partial", "failed") or job.kind == "verify":
            return job
        mesh.order(job.id, "retry").raise_for_status()
        self.tally["retried"] += 1
        return mesh.ended(job.id)

    def _check_jobs(
        self, mesh: Mesh, jobs: RunningJobs, begun: Sequence[_Begun], ended: Sequence[JobView]
    ) -> None:
        for each, job in zip(begun, ended, strict=True):
            self.tally[f"ended: {job.status}"] += 1
            expected = after(each.request, each.before)
            found = Sides(
                *(self._found(mesh, name) for name in (each.request.source, each.request.destination))
            )
            mine = [
                Sides(*map(lambda held: _below(held, each.request.prefix), sides))  # noqa: C417
                for sides in (each.before, expected, found)
            ]
            is_whole = self._is_whole(each, job, jobs)
            wrong = complaints(mine[0], mine[1], mine[2], is_whole=is_whole)
            assert not wrong, f"{each.request} ended {job.status}: {job.error}\n" + "\n".join(wrong)
            self._adopt(each.request, mine[2])
            self._require_adds_up(mesh, each, job)

    def _check_wire(self, passed_bytes: int, ended: Sequence[JobView], counted: bool) -> None:
        """What was received had passed; all that passed was received where nothing broke off."""
        wire_bytes = sum(job.progress.bytes_wire for job in ended)
        assert wire_bytes <= passed_bytes, (wire_bytes, passed_bytes)
        assert not counted or wire_bytes == passed_bytes, (wire_bytes, passed_bytes)

    def _is_whole(self, begun: _Begun, job: JobView, jobs: RunningJobs) -> bool:
        """Whether a job must have done all that it was to do; asserts that it ended as it had reason to."""
        request = begun.request
        if job.id in jobs.cancelled:
            return job.status == "succeeded"
        if any(
            node in (request.source, request.destination) and request.selects(object_id)
            for node, object_id in jobs.hurt
        ):
            return job.status == "succeeded"
        excused = newer_at_destination(request, begun.before) or (
            request.delete and len(extras_of(request, begun.before)) > request.max_deletes
        )
        assert job.status == "succeeded" or request.kind == "verify" or excused, (
            f"{request} ended {job.status}: {job.error}"
        )
        return True

    def _require_adds_up(self, mesh: Mesh, begun: _Begun, job: JobView) -> None:
        if begun.request.kind == "verify":
            same = _below(begun.before.source, begun.request.prefix) == _below(
                begun.before.destination, begun.request.prefix
            )
            assert job.verdict is None or job.verdict.agree == same or job.status != "succeeded", job
            return
        rows = mesh.objects(job.id)
        unchanged = job.progress.objects_skipped - sum(row.outcome == "skipped" for row in rows)
        unchanged_bytes = job.progress.bytes_deduplicated - sum(row.bytes_deduplicated for row in rows)
        assert unchanged >= 0
        require_accounts(mesh, job, unchanged=unchanged, unchanged_bytes=unchanged_bytes)
        self.tally["bytes transferred"] += job.progress.bytes_transferred

    def _heal(self, mesh: Mesh, jobs: RunningJobs) -> None:
        """Write again what was damaged, wherever it is."""
        for _, object_id in sorted(jobs.hurt):
            for name in NODES:
                version = self._held[name].get(object_id)
                if version is not None:
                    data = self._bytes[version]
                    self._keep(name, object_id, mesh.put(name, object_id, data).version, data)

    def _found(self, mesh: Mesh, name: str) -> dict[str, str]:
        return {object_id: info.version for object_id, info in mesh.listing(name).items()}

    def _adopt(self, request: Request, found: Sides) -> None:
        for name, side in ((request.source, found.source), (request.destination, found.destination)):
            others = {
                key: held for key, held in self._held[name].items() if not key.startswith(request.prefix)
            }
            self._held[name] = others | dict(side)

    def _check_contents(self, mesh: Mesh) -> None:
        """Every node holds exactly what the model says, to the byte."""
        for name in NODES:
            found = self._found(mesh, name)
            odd = sorted(each for each, _ in found.items() ^ self._held[name].items())
            assert not odd, f"{name} holds other versions than it should of {odd}"
            for object_id, version in self._held[name].items():
                data = mesh.read(name, object_id)
                assert data == self._bytes[version], (
                    f"{object_id} at {name}: {content_of(data or b'').hex()[:12]}, "
                    f"should be version {version}"
                )
                self.tally["objects verified"] += 1
        kept = {version for held in self._held.values() for version in held.values()}
        self._bytes = {version: data for version, data in self._bytes.items() if version in kept}


def _below(held: object, prefix: str) -> dict[str, str]:
    assert isinstance(held, dict)
    return {object_id: version for object_id, version in held.items() if object_id.startswith(prefix)}
