"""The end of a move: what is durable here is proven, then deleted at the source."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from replicator.data_plane.ports import Store, Version
from replicator.data_plane.replication.asking import Asking
from replicator.data_plane.replication.goal import Goal
from replicator.data_plane.replication.ports import Wanted
from replicator.data_plane.replication.proving import prove
from replicator.data_plane.replication.reliance import Named, Reliance
from replicator.kernel.errors import Cancelled, Corrupt, NotFound, ReplicatorError, Unavailable


class Moving:
    """Deletes at the source what was brought. Belongs to the thread of the pull."""

    def __init__(
        self, store: Store, asking: Asking, *, reliance: Reliance, cancelled: threading.Event
    ) -> None:
        self._store = store
        self._reliance = reliance
        self._asking = asking
        self._cancelled = cancelled

    def was_moved(self, goal: Goal) -> bool:
        """Whether exactly the planned version is here: where it is gone at the source, an earlier attempt moved it."""
        if goal.version is None:
            return False
        here = self._store.version(goal.bucket, goal.object_id, goal.version)
        if not isinstance(here, Version) or goal.manifest not in (None, here.manifest):
            return False
        goal.manifest, goal.size = here.manifest, here.size
        goal.has_left = True
        return True

    def finish(self, goals: Sequence[Goal]) -> None:
        """Delete the version of each of `goals`, which are durable here. One that cannot be deleted has failed.

        Raises:
            Cancelled: the pull was stopped; some may not have been deleted.
        """
        with self._reliance.relying([_named(goal) for goal in goals]) as relied:
            for goal in goals:
                if _named(goal) not in relied:
                    goal.fail(Unavailable(f"'{goal.object_id}' is just being moved from here"))
            self._delete_proven([goal for goal in goals if _named(goal) in relied])

    def _delete_proven(self, goals: Sequence[Goal]) -> None:
        proven = [goal for goal in goals if self._is_whole(goal)]
        if not proven:
            return
        try:
            # A base URL may lead elsewhere by now, and nothing is deleted at any other node.
            self._asking.require_source(self._asking.ask(lambda peer: peer.hello()))
            answers = self._asking.ask(lambda peer: peer.remove([goal.removal for goal in proven]))
        except Cancelled:
            raise
        except ReplicatorError as error:
            for goal in proven:
                goal.fail(error)
            return
        for goal, refusal in zip(proven, answers, strict=True):
            # What is gone already is what was asked for.
            goal.has_left = refusal is None or isinstance(refusal, NotFound)
            if not goal.has_left and refusal is not None:
                goal.fail(refusal)

    def _is_whole(self, goal: Goal) -> bool:
        wanted = Wanted(goal.bucket, goal.object_id, goal.version)
        try:
            if prove(self._store, wanted, stopped=self._cancelled) == goal.manifest:
                return True
            goal.fail(Corrupt(f"'{goal.object_id}' has other content here than was brought"))
        except Cancelled:
            raise
        except ReplicatorError as error:
            # The next attempt finds the damage, and brings what is damaged again.
            goal.fail(Unavailable(f"not deleted at the source, for it is not whole here: {error.message}"))
        return False


def _named(goal: Goal) -> Named:
    assert goal.version is not None
    return Named(goal.bucket, goal.object_id, goal.version)
