"""One object of a pull, and how far it has come. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from replicator.data_plane.ports import NewVersion
from replicator.data_plane.replication.ports import Entry, Offer, Removal, Wanted
from replicator.data_plane.replication.reporting import describe
from replicator.data_plane.replication.runs import Part
from replicator.kernel.digest import Digest
from replicator.kernel.errors import BrokenPeer, NotFound, ReplicatorError
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.sessions import ObjectItem, ObjectResult

VERSION_AHEAD_MS_MAX = 10 * 366 * 24 * 3600 * 1000

Outcome = Literal["verified", "skipped", "failed"]


@dataclass(slots=True, eq=False)
class Goal:
    """An object to bring here.

    Attributes:
        version: the planned one, and once it is known the one that is brought.
        manifest: what that version must be, where it was planned.
        offer: what the source has; None before it has been asked, and where there is no need of it.
        here_bytes: of the object, what was here before.
        parts: how far its fetching has come; of a long manifest, the pages of the moment.
        outcome: None while it is open.
        has_left: whether it is known to be gone at the source, where it is moved.
    """

    row: int
    bucket: BucketName
    object_id: ObjectId
    version: VersionId | None
    manifest: Digest | None
    size: int = 0
    offer: Offer | None = None
    here_bytes: int = 0
    parts: list[Part] = field(default_factory=list)
    outcome: Outcome | None = None
    has_left: bool = False
    error: ReplicatorError | None = None
    _arrived: int = 0
    _transferred: int = 0
    _saved: int = 0

    @property
    def offered(self) -> Offer:
        """The offer of a goal that has one."""
        assert self.offer is not None
        return self.offer

    @property
    def wanted(self) -> Wanted:
        """What to ask the source for, or to keep for longer once it has offered it."""
        offered = None if self.offer is None else self.offer.manifest.digest
        return Wanted(self.bucket, self.object_id, self.version, offered)

    @property
    def entry(self) -> Entry:
        """What is brought, as listings have it."""
        return Entry(self.object_id, self.offered.version, self.offered.manifest.digest, self.size)

    @property
    def removal(self) -> Removal:
        """What to delete at the source once it is here."""
        assert self.version is not None
        assert self.manifest is not None
        return Removal(self.bucket, self.object_id, self.version, self.manifest)

    @property
    def transferred_bytes(self) -> int:
        """What travelled for it and was kept."""
        return self._transferred + sum(part.transferred for part in self.parts)

    @property
    def saved_bytes(self) -> int:
        """Of that, what delta and compression kept off the wire."""
        return self._saved + sum(part.saved for part in self.parts)

    @property
    def deduplicated_bytes(self) -> int:
        """What was here already, or came once and is used again."""
        if self.outcome in ("verified", "skipped"):
            return self.size - self.transferred_bytes
        arrived = self._arrived + sum(part.arrived for part in self.parts)
        return self.here_bytes + arrived - self.transferred_bytes

    def new_version(self, *, manifest_number: int | None = None, shares: bool = False) -> NewVersion:
        """What to commit."""
        return NewVersion(
            object_id=self.object_id,
            bucket=self.bucket,
            manifest=self.offered.manifest,
            content_type=self.offered.content_type,
            manifest_number=manifest_number,
            version=self.offered.version,
            shares=shares,
        )

    def take(self, offer: Offer, *, now_ms: int) -> None:
        """The source has it.

        Raises:
            BrokenPeer: the offer is not of the version planned, or not to be believed.
        """
        if self.version not in (None, offer.version) or self.manifest not in (None, offer.manifest.digest):
            raise BrokenPeer(
                f"the source offers another version of '{self.object_id}' than {self.version}, which was planned"
            )
        if offer.version.wall_ms - now_ms > VERSION_AHEAD_MS_MAX:
            raise BrokenPeer(
                "the source offers a version from more than ten years ahead; set the clocks of both nodes"
            )
        self.offer = offer
        self.version = offer.version
        self.manifest = offer.manifest.digest
        self.size = offer.manifest.size

    def fold(self, part: Part) -> None:
        """A part is over: keep its sums alone."""
        self.parts.remove(part)
        self._arrived += part.arrived
        self._transferred += part.transferred
        self._saved += part.saved

    def end(self, outcome: Outcome) -> None:
        """It is here."""
        self.outcome = outcome

    def fail(self, error: ReplicatorError) -> None:
        """It is not, or the move of it did not end. An earlier error stays."""
        if self.error is None:
            self.outcome, self.error = "failed", error

    def result(self) -> ObjectResult:
        """What to report of a goal that has ended."""
        assert self.outcome is not None
        return ObjectResult(
            row=self.row,
            outcome=self.outcome,
            version=None if self.version is None else str(self.version),
            manifest=None if self.manifest is None else str(self.manifest),
            size=self.size,
            bytes_transferred=self.transferred_bytes,
            bytes_deduplicated=self.deduplicated_bytes,
            bytes_saved=self.saved_bytes,
            error=None if self.error is None else describe(self.error),
        )


def goal_of(item: ObjectItem) -> Goal:
    """The goal that an item of a task sets."""
    return Goal(
        row=item.row,
        bucket=BucketName(item.bucket),
        object_id=ObjectId(item.object_id),
        version=None if item.version is None else VersionId.parse(item.version),
        manifest=None if item.manifest is None else Digest.parse(item.manifest),
        size=item.size or 0,
    )


def gone(goal: Goal, error: ReplicatorError) -> ReplicatorError:
    """What to report where the source refused a goal: of a planned version, that it is that one which is gone."""
    if goal.version is None or type(error) is not NotFound:
        return error
    return NotFound(
        f"version {goal.version} of '{goal.object_id}', which was planned, is gone at the source: {error.message}",
        object_id=str(goal.object_id),
        version=str(goal.version),
    )
