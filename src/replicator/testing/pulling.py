"""Pulls between stores of one process, without a network."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from replicator.data_plane.ports import Store
from replicator.data_plane.replication.engine import Engine, PullBounds
from replicator.data_plane.replication.links import Links
from replicator.data_plane.replication.ports import Peer
from replicator.data_plane.replication.pull import Pull
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.replication.work import WorkDone
from replicator.kernel.clock import Clock
from replicator.kernel.errors import PeerUnreachable
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import NodeName
from replicator.runtime.clock import SystemClock
from replicator.testing.memory_peer import MemoryPeer
from replicator.wire.sessions import ObjectItem, ObjectResult, TaskAssignment, TaskSource, Transfer

SOURCE = NodeName("source")


@dataclass
class Pulled:
    """How a pull ended."""

    done: WorkDone
    transfer: Transfer

    @property
    def only(self) -> ObjectResult:
        """The result of a pull of one object."""
        (result,) = self.done.objects
        return result

    @property
    def outcomes(self) -> list[str]:
        """In the order of the items."""
        return [result.outcome for result in sorted(self.done.objects, key=lambda result: result.row)]


@dataclass
class PullingNode:
    """A destination, and the nodes it can reach.

    Attributes:
        here: its store.
        nodes: the others, by what they say they are called. One that is to be lied about is in `urls`.
        urls: what answers at a URL, where that is not the node of that name.
        make_peer: how a node is spoken to, for tests that break it.
        peers: those that were opened, by the node that was meant, in order.
    """

    here: Store
    nodes: Mapping[str, Store]
    urls: dict[str, str] = field(default_factory=dict)
    make_peer: Callable[[Serving, NodeName], Peer] = lambda serving, _: MemoryPeer(serving)
    clock: Clock = field(default_factory=SystemClock)
    bounds: PullBounds = field(default_factory=PullBounds)
    peers: list[tuple[NodeName, Peer]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = random.Random(1)
        self._servings = {
            name: Serving(store, node=NodeName(name), clock=self.clock) for name, store in self.nodes.items()
        }
        self.engine = Engine(
            store=self.here,
            open_peer=self._open,
            pacer=Pacer(self.clock),
            links=Links(self.clock, rng),
            clock=self.clock,
            rng=rng,
            bounds=self.bounds,
        )

    def work(
        self,
        items: Sequence[ObjectItem],
        *,
        others: Sequence[str] = (),
        move: bool = False,
        all_versions: bool = False,
        source: str = SOURCE,
    ) -> Pull:
        """A pull that has not begun."""
        task = TaskAssignment(
            control_plane="the-test",
            task_id=1,
            epoch=1,
            job_id=1,
            attempt=1,
            source=task_source(source),
            others=[task_source(other) for other in others],
            items=list(items),
            move=move,
            all_versions=all_versions,
        )
        return Pull(task, self.engine)

    def pull(self, *object_ids: str, others: Sequence[str] = (), move: bool = False) -> Pulled:
        """Bring the latest version of objects of the bucket `default`."""
        items = [ObjectItem(row=row, object_id=object_id) for row, object_id in enumerate(object_ids, 1)]
        return self.run(self.work(items, others=others, move=move))

    def run(self, work: Pull) -> Pulled:
        """Carry it out here."""
        return Pulled(work.run(), work.transfer)

    def fetched(self, node: str = SOURCE) -> list[ChunkRef]:
        """The chunks that were asked of a node so far."""
        peers = [peer for name, peer in self.peers if name == node and isinstance(peer, MemoryPeer)]
        return [ref for peer in peers for piece in peer.fetched for ref in piece.chunks]

    def _open(self, source: TaskSource) -> Peer:
        name = NodeName(self.urls.get(source.node, source.node))
        if name not in self._servings:
            raise PeerUnreachable(f"nobody is at {source.base_url}")
        peer = self.make_peer(self._servings[name], name)
        self.peers.append((NodeName(source.node), peer))
        return peer


def task_source(node: str) -> TaskSource:
    """How a task names a node."""
    return TaskSource(node=node, base_url=f"http://{node}")
