"""What a node is told about the tasks that it is given, and how fast it may work."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.control_plane.domain import spec as specs
from replicator.control_plane.domain.job import Job
from replicator.control_plane.domain.node import Node
from replicator.control_plane.domain.object_row import ObjectRow
from replicator.control_plane.domain.task import Task, TaskKind
from replicator.control_plane.ports import Unit
from replicator.control_plane.services.outcomes import known_job
from replicator.control_plane.services.registry import require_node
from replicator.kernel.names import NodeName
from replicator.wire.sessions import (
    SOURCES_MAX,
    ObjectItem,
    RateLimits,
    TaskAssignment,
    TaskRef,
    TaskSource,
)

LIMITED_MAX = 1000
"""Links of one node, and jobs to it, that can be limited at a time."""
_MANIFESTS_ASKED_MAX = 16


def assignments(unit: Unit, tasks: Sequence[Task]) -> list[TaskAssignment]:
    """`tasks` as their node is told of them; the same each time, but for what other nodes there are."""
    rows = unit.objects.pending_of_many(tasks)
    unit.jobs.get_many(frozenset(task.job_id for task in tasks))
    pulls = [row for task in tasks if task.kind is TaskKind.PULL for row in _telling(rows[task.id])]
    brought = unit.objects.brought(frozenset(row.manifest for row in pulls if row.manifest is not None))
    sources = _Sources(unit)
    return [_assignment(unit, task, rows[task.id], brought, sources) for task in tasks]


class _Sources:
    """Nodes as the tasks of one reply name them, each made once."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._made: dict[NodeName, TaskSource] = {}
        self._connected: list[TaskSource] | None = None

    def of(self, node: Node) -> TaskSource:
        """The node as a source."""
        made = self._made.get(node.name)
        if made is None:
            made = TaskSource(node=node.name, base_url=node.base_url, rpc_url=node.rpc_url)
            self._made[node.name] = made
        return made

    def connected(self) -> list[TaskSource]:
        """A few nodes that have a session."""
        if self._connected is None:
            self._connected = [self.of(node) for node in self._unit.nodes.connected(limit=2 * SOURCES_MAX)]
        return self._connected

    def likely(self, manifests: Sequence[str]) -> list[TaskSource]:
        """Nodes that have a session and have been brought one of `manifests`."""
        names = self._unit.objects.holders(manifests, limit=SOURCES_MAX + 2) if manifests else []
        known = self._unit.nodes.get_many(frozenset(names))
        found = [known[name] for name in names if name in known]
        return [self.of(node) for node in found if node.session_id is not None]


def _assignment(
    unit: Unit, task: Task, rows: Sequence[ObjectRow], brought: frozenset[str], sources: _Sources
) -> TaskAssignment:
    job = known_job(unit, task.job_id)
    surveys = task.kind is TaskKind.SURVEY
    return TaskAssignment(
        control_plane=unit.control_plane,
        task_id=task.id,
        epoch=task.epoch,
        job_id=task.job_id,
        attempt=task.attempt,
        kind=task.kind.value,
        source=sources.of(require_node(unit, task.src_node)),
        others=_others(task, rows, brought, sources) if task.kind is TaskKind.PULL else [],
        items=[_item(row) for row in rows],
        survey=specs.survey_of(job.spec, cursor=job.planning.cursor) if surveys else None,
        all_versions=job.spec.all_versions,
        move=_moves(job, task),
    )


def ref_of(unit: Unit, task: Task) -> TaskRef:
    """The latest attempt of `task`, named."""
    return TaskRef(control_plane=unit.control_plane, task_id=task.id, epoch=task.epoch)


def limits_of(unit: Unit, node: NodeName) -> RateLimits:
    """What `node` is held to from now on."""
    own = unit.limits.of_node(node)
    links = unit.limits.links_to(node, limit=LIMITED_MAX)
    return RateLimits(
        ingress_bytes_per_s=own.ingress_bytes_per_s,
        egress_bytes_per_s=own.egress_bytes_per_s,
        links={link.src_node: link.bytes_per_s for link in links if link.bytes_per_s is not None},
        jobs=dict(unit.jobs.limits_to(node, limit=LIMITED_MAX)),
    )


def _moves(job: Job, task: Task) -> bool:
    return job.spec.move and task.kind is TaskKind.PULL


def _telling(rows: Sequence[ObjectRow]) -> Sequence[ObjectRow]:
    """Those of a task's rows whose other holders are asked for."""
    return [row for row in rows if row.manifest is not None][:_MANIFESTS_ASKED_MAX]


def _others(
    task: Task, rows: Sequence[ObjectRow], brought: frozenset[str], sources: _Sources
) -> list[TaskSource]:
    """Connected nodes besides the two: first those that have been brought the same, then any."""
    manifests = [row.manifest for row in _telling(rows) if row.manifest in brought]
    found = [*sources.likely(manifests), *sources.connected()]
    but = {task.src_node, task.dst_node}
    distinct = {source.node: source for source in found if source.node not in but}
    return list(distinct.values())[:SOURCES_MAX]


def _item(row: ObjectRow) -> ObjectItem:
    return ObjectItem(
        row=row.id,
        bucket=row.bucket,
        object_id=row.object_id,
        version=row.version,
        manifest=row.manifest,
        size=row.size,
    )
