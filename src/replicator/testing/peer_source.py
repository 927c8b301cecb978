"""A source for tests of peers: a store in memory that can be damaged and held up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from replicator.data_plane.replication.ports import Peer, Wanted
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt
from replicator.kernel.manifest import ChunkRef
from replicator.kernel.names import DEFAULT_BUCKET, NodeName, ObjectId
from replicator.kernel.version import VersionId
from replicator.runtime.clock import SystemClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import TINY_CHUNKING
from replicator.testing.waiting import DEADLINE_S

NODE = NodeName("source-1")
Connect = Callable[[Serving], Peer]


class SourceStore(MemoryStore):
    """A store that can have damage, and whose reads can be held up.

    Attributes:
        damaged: chunks that fail their check when they are read.
        open: reads wait until it is set.
    """

    def __init__(self) -> None:
        super().__init__(clock=SystemClock(), node_name=NODE, chunking=TINY_CHUNKING)
        self.damaged: set[Digest] = set()
        self.open = threading.Event()
        self.open.set()

    def read(self, refs: Sequence[ChunkRef], *, wait: bool = True, gap: int = 0) -> memoryview:
        """See `ChunkReader.read`."""
        self.open.wait(DEADLINE_S)
        for ref in refs:
            if ref.digest in self.damaged:
                raise Corrupt(f"chunk {ref.digest} fails its check", digest=str(ref.digest))
        return super().read(refs, wait=wait, gap=gap)


def wanted(object_id: str, version: VersionId | None = None) -> Wanted:
    """An object of the default bucket."""
    return Wanted(DEFAULT_BUCKET, ObjectId(object_id), version)
