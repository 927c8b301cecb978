"""Sessions: what nodes and the control plane say to each other. Synchronous work inside a unit.

Any message may be lost, late, or come twice, so all of this can be repeated: a result that counted before
is stale the second time and acknowledged again; a task that was leased in a reply that never arrived is
assigned again under the same epoch, because the next poll does not name it as running.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from replicator.control_plane.domain import lease as leases
from replicator.control_plane.domain import node as nodes
from replicator.control_plane.domain import task as tasks
from replicator.control_plane.domain.lease import Lease, Session
from replicator.control_plane.domain.node import Node, Space
from replicator.control_plane.domain.policy import RetryPolicy
from replicator.control_plane.domain.task import Task, TaskState
from replicator.control_plane.ports import Event, Unit, source_topic
from replicator.control_plane.services import claiming, outcomes
from replicator.control_plane.services.assignments import assignments, limits_of, ref_of
from replicator.control_plane.services.registry import address, disconnect
from replicator.kernel.names import NodeName
from replicator.wire.sessions import OpenSession, Poll, PollReply, TaskRef

PARKED_RELEASED_MAX = 1000
"""More tasks than that which wait for one node come back by their own backoff."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which sessions are granted."""

    lease_ms: int
    policy: RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """The reply so far, whose poll it was, and the topics that may bring more."""

    node: NodeName
    reply: PollReply
    topics: Sequence[str]


def open_session(unit: Unit, request: OpenSession, *, session_id: str, terms: Terms) -> Session:
    """A session for the node's process, in the place of any that the node had.

    The outbox of the node's earlier life counts first, under the fencing rule. Tasks in hand stay with the
    process that has them while their lease lasts; those of another process are ready again.
    """
    name = NodeName(request.node)
    known = unit.nodes.get(name)
    for result in request.results:
        outcomes.apply_result(unit, name, result, terms.policy)
    _end_earlier_session(unit, known)
    node = nodes.connect(
        known,
        name=name,
        session_id=session_id,
        base_url=address(request.base_url),
        rpc_url=None if request.rpc_url is None else address(request.rpc_url),
        labels=request.labels,
        zone=request.zone,
        now_ms=unit.now_ms,
    )
    unit.nodes.put(nodes.measured(node, _space(request)))
    session = Session(
        id=session_id,
        node=name,
        boot_id=request.boot_id,
        release=request.release,
        epoch=node.session_epoch,
        opened_at_ms=unit.now_ms,
        renewed_at_ms=unit.now_ms,
        expires_at_ms=unit.now_ms + terms.lease_ms,
    )
    unit.sessions.put(session)
    _release_parked(unit, name)
    _hand_over(unit, session, terms.policy)
    fields = {"node": name, "boot_id": session.boot_id, "epoch": session.epoch, "release": session.release}
    unit.note(Event(name="session.opened", fields=fields))
    return session


def poll(unit: Unit, session_id: str, request: Poll, *, terms: Terms) -> Polled:
    """Renew the session, take the news, and say what is wanted.

    Raises:
        Fenced: the session is not live, or not that process's.
    """
    session = unit.sessions.get(session_id)
    session = leases.require_live(session, boot_id=request.boot_id, now_ms=unit.now_ms)
    session = leases.renewed(session, lease_ms=terms.lease_ms, now_ms=unit.now_ms)
    unit.sessions.put(session)
    _measure(unit, session.node, request)
    # Asked for before the results count, so that they find their tasks known.
    in_hand = unit.tasks.in_hand(session.node)
    left: Counter[NodeName] = Counter()
    for results in outcomes.in_groups(request.results):
        outcomes.read_ahead(unit, results)
        for result in results:
            source = outcomes.apply_result(unit, session.node, result, terms.policy)
            left.update([] if source is None else [source])
    held = [task for task in _as_they_are_now(unit, in_hand) if _is_of(task, session)]
    reply = PollReply(
        acknowledged=[result.ref for result in request.results],
        abandon=_not_held(unit, request, held),
        limits=limits_of(unit, session.node),
    )
    _tend(unit, session, held, request, reply)
    claimed = claiming.claim(
        unit, session, limit=request.capacity - len(reply.tasks), left=left, policy=terms.policy
    )
    reply.tasks.extend(claimed.tasks)
    topics = (session.node, *(source_topic(source) for source in sorted(claimed.full)))
    return Polled(node=session.node, reply=reply, topics=topics)


def _as_they_are_now(unit: Unit, tasks: Sequence[Task]) -> list[Task]:
    found = unit.tasks.get_many(frozenset(task.id for task in tasks)) if tasks else {}
    return [found[task.id] for task in tasks]


def _measure(unit: Unit, name: NodeName, request: Poll) -> None:
    node = None if request.space is None else unit.nodes.get(name)
    if node is not None and (measured := nodes.measured(node, _space(request))) is not node:
        unit.nodes.put(measured)


def _space(request: OpenSession | Poll) -> Space | None:
    told = request.space
    return None if told is None else Space(told.bytes_total, told.bytes_free)


def _not_held(unit: Unit, request: Poll, held: list[Task]) -> list[TaskRef]:
    names = {_name(unit, task) for task in held}
    return [progress.ref for progress in request.running if _name_in(progress) not in names]


def _end_earlier_session(unit: Unit, known: Node | None) -> None:
    if known is None:
        return
    earlier = None if known.session_id is None else unit.sessions.get(known.session_id)
    if earlier is not None:
        disconnect(unit, earlier, reason="replaced")
    unit.sessions.forget_ended(known.name)


def _hand_over(unit: Unit, session: Session, policy: RetryPolicy) -> None:
    for task in unit.tasks.in_hand(session.node):
        assert task.lease is not None
        if task.lease.boot_id == session.boot_id and task.lease.expires_at_ms > unit.now_ms:
            _renew(unit, task, session)
        else:
            outcomes.take_back(
                unit,
                task,
                message=f"{session.node} lost its session during the attempt",
                at_once=True,
                ended=task.lease.boot_id != session.boot_id,
                policy=policy,
            )


def _release_parked(unit: Unit, name: NodeName) -> None:
    for task in unit.tasks.parked_for(name, limit=PARKED_RELEASED_MAX):
        outcomes.move(unit, tasks.unpark(task, now_ms=unit.now_ms))


def _tend(unit: Unit, session: Session, held: list[Task], request: Poll, reply: PollReply) -> None:
    """Renew what the node has in hand, and say again what it seems not to have heard."""
    running = {_name_in(progress): progress for progress in request.running}
    unheard: list[Task] = []
    for task in held:
        progress = running.get(_name(unit, task))
        if progress is not None:
            _renew(unit, outcomes.record_progress(unit, task, progress), session)
        if task.state is TaskState.CANCELLING or task.stop_asked:
            _tend_stopping(unit, task, running=progress is not None, reply=reply)
        elif progress is None and outcomes.fail_without_source(unit, task):
            continue
        elif progress is None and len(unheard) < request.capacity:
            unheard.append(_renew(unit, task, session))
    reply.tasks.extend(assignments(unit, unheard))


def _tend_stopping(unit: Unit, task: Task, *, running: bool, reply: PollReply) -> None:
    if running:
        reply.cancel.append(ref_of(unit, task))
    else:
        outcomes.stopped(unit, task)


def _renew(unit: Unit, task: Task, session: Session) -> Task:
    renewed = tasks.renew(task, _lease(session))
    unit.tasks.put(renewed)
    return renewed


def _name(unit: Unit, task: Task) -> tuple[str, int, int]:
    """What `ref_of` says, as a tuple: a node may have very many tasks in hand."""
    return unit.control_plane, task.id, task.epoch


def _name_in(ref: TaskRef) -> tuple[str, int, int]:
    return ref.control_plane, ref.task_id, ref.epoch


def _lease(session: Session) -> Lease:
    return Lease(session_id=session.id, boot_id=session.boot_id, expires_at_ms=session.expires_at_ms)


def _is_of(task: Task, session: Session) -> bool:
    return task.lease is not None and task.lease.session_id == session.id
