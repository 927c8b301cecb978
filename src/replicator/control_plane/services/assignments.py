"""What a node is told about the tasks that it is given, and how fast it may work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def assignment(unit: Unit, task: Task) -> TaskAssignment:
    """`task` as its node is told of it; the same each time, but for what other nodes there are."""
    job = known_job(unit, task.job_id)
    rows = unit.objects.pending_of(task)
    surveys = task.kind is TaskKind.SURVEY
    return TaskAssignment(
        **ref_of(unit, task).model_dump(),
        job_id=task.job_id,
        attempt=task.attempt,
        kind=task.kind.value,
        source=_source(require_node(unit, task.src_node)),
        others=_others(unit, task, rows) if task.kind is TaskKind.PULL else [],
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
        links={link.src_node: link.bytes_per_s for link in links},
        jobs=dict(unit.jobs.limits_to(node, limit=LIMITED_MAX)),
    )


def _moves(job: Job, task: Task) -> bool:
    return job.spec.move and task.kind is TaskKind.PULL


def _others(unit: Unit, task: Task, rows: Sequence[ObjectRow]) -> list[TaskSource]:
    """Connected nodes besides the two: first those that have been brought the same, then any."""
    manifests = [row.manifest for row in rows if row.manifest is not None][:_MANIFESTS_ASKED_MAX]
    likely = unit.objects.holders(manifests, limit=SOURCES_MAX + 2) if manifests else []
    known = unit.nodes.get_many(frozenset(likely))
    found = [node for name in likely if (node := known.get(name)) is not None and node.session_id is not None]
    found.extend(unit.nodes.connected(limit=2 * SOURCES_MAX))
    return [_source(node) for node in _distinct(found, but={task.src_node, task.dst_node})][:SOURCES_MAX]


def _distinct(nodes: Iterable[Node], *, but: set[NodeName]) -> list[Node]:
    return list({node.name: node for node in nodes if node.name not in but}.values())


def _source(node: Node) -> TaskSource:
    return TaskSource(node=node.name, base_url=node.base_url, rpc_url=node.rpc_url)


def _item(row: ObjectRow) -> ObjectItem:
    return ObjectItem(
        row=row.id,
        bucket=row.bucket,
        object_id=row.object_id,
        version=row.version,
        manifest=row.manifest,
        size=row.size,
    )
