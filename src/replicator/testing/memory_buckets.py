"""Buckets and version histories in memory: the rules of the `Store` port about them, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from replicator.data_plane.ports import (
    Bucket,
    Condition,
    Deleted,
    DeleteMarker,
    Listing,
    Scanned,
    Version,
    Versioning,
)
from replicator.kernel.errors import Conflict, NotFound
from replicator.kernel.names import DEFAULT_BUCKET, BucketName, ObjectId
from replicator.kernel.version import VersionId

Entry = Version | DeleteMarker


class MemoryBuckets:
    """What every bucket holds. Not thread-safe.

    Args:
        wall_ms: the time, for buckets.
    """

    def __init__(self, wall_ms: Callable[[], int]) -> None:
        self._wall_ms = wall_ms
        self._buckets: dict[BucketName, Bucket] = {}
        self._histories: dict[BucketName, dict[ObjectId, list[Entry]]] = {}
        self.set(DEFAULT_BUCKET, Versioning.OFF)

    def bucket(self, name: BucketName) -> Bucket:
        """See `Store.bucket`."""
        if name not in self._buckets:
            raise NotFound(f"there is no bucket '{name}'", bucket=str(name))
        return self._buckets[name]

    def after(self, name: BucketName | None, limit: int) -> list[Bucket]:
        """See `Store.buckets`."""
        return [self._buckets[each] for each in sorted(self._buckets) if name is None or each > name][:limit]

    def set(self, name: BucketName, versioning: Versioning) -> Bucket:
        """See `Store.set_bucket`."""
        known = self._buckets.get(name)
        if versioning is Versioning.OFF and known is not None and known.versioning is not Versioning.OFF:
            raise Conflict(f"bucket '{name}' has kept versions: suspend it instead", bucket=str(name))
        created_ms = self._wall_ms() if known is None else known.created_ms
        self._buckets[name] = Bucket(name, versioning, created_ms)
        self._histories.setdefault(name, {})
        return self._buckets[name]

    def remove(self, name: BucketName) -> None:
        """See `Store.remove_bucket`."""
        self.bucket(name)
        if name == DEFAULT_BUCKET:
            raise Conflict("the bucket 'default' cannot be removed", bucket=str(name))
        if self._histories[name]:
            raise Conflict(f"bucket '{name}' is not empty", bucket=str(name))
        del self._buckets[name], self._histories[name]

    def history(self, bucket: BucketName, object_id: ObjectId) -> list[Entry]:
        """Versions and delete markers of one object, newest first."""
        return list(self._histories.get(bucket, {}).get(object_id, ()))

    def all_versions(
        self, bucket: BucketName, prefix: str, after: tuple[ObjectId, VersionId] | None
    ) -> list[Entry]:
        """See `Store.bucket_versions`."""
        self.bucket(bucket)
        ids = sorted((each for each in self._histories[bucket] if each.startswith(prefix)), key=str.encode)
        every = [entry for object_id in ids for entry in self.history(bucket, object_id)]
        return [each for each in every if after is None or _follows(each, *after)]

    def scan(
        self, bucket: BucketName, prefix: str, *, after: str, until: str, all_versions: bool
    ) -> list[Scanned]:
        """See `Store.scan`."""
        found = self.all_versions(bucket, prefix, None)
        if not all_versions:
            found = [each for each in found if each == self.head(bucket, each.object_id)]
        within = (each for each in found if each.object_id > after and (not until or each.object_id <= until))
        return [_scanned(each) for each in within]

    def head(self, bucket: BucketName, object_id: ObjectId) -> Version | None:
        """See `Store.head`."""
        newest = next(iter(self.history(bucket, object_id)), None)
        return newest if isinstance(newest, Version) else None

    def find(self, bucket: BucketName, object_id: ObjectId, version: VersionId) -> Entry | None:
        """See `Store.version`."""
        return next((each for each in self.history(bucket, object_id) if each.version == version), None)

    def place(self, entry: Entry) -> Entry | None:
        """Put an entry where its id orders it; returns the null version or marker that it replaced.

        Raises:
            Conflict: it is a null version, and older than the one that is here.
        """
        history = self.history(entry.bucket, entry.object_id)
        replaced = next((each for each in history if each.null), None) if entry.null else None
        if replaced is not None and replaced.version > entry.version:
            raise Conflict(
                f"a newer version of '{entry.object_id}' is here",
                object_id=str(entry.object_id),
                version=str(replaced.version),
            )
        self._keep(entry.bucket, entry.object_id, [*(each for each in history if each != replaced), entry])
        return replaced

    def delete(
        self,
        bucket: BucketName,
        object_id: ObjectId,
        condition: Condition,
        new_id: Callable[[], VersionId],
    ) -> Deleted:
        """See `Store.delete`, without a version."""
        versioning = self.bucket(bucket).versioning
        head = self.head(bucket, object_id)
        if head is None:
            raise NotFound(f"there is no object '{object_id}'", object_id=str(object_id))
        condition.check(head)
        if versioning is Versioning.OFF:
            self._drop(head)
            return Deleted(head, None)
        suspended = versioning is Versioning.SUSPENDED
        marker = DeleteMarker(bucket=bucket, object_id=object_id, version=new_id(), null=suspended)
        return Deleted(self.place(marker), marker)

    def delete_version(
        self, bucket: BucketName, object_id: ObjectId, condition: Condition, version: VersionId
    ) -> Deleted:
        """See `Store.delete`, with a version."""
        self.bucket(bucket)
        found = self.find(bucket, object_id, version)
        if found is None:
            raise NotFound(f"'{object_id}' has no version {version}", object_id=str(object_id))
        condition.check(found if isinstance(found, Version) else None)
        self._drop(found)
        return Deleted(found, None)

    def list_objects(
        self, bucket: BucketName, prefix: str, delimiter: str, after: str | None, limit: int
    ) -> Listing:
        """See `Store.list_objects`."""
        self.bucket(bucket)
        versions: list[Version] = []
        prefixes: list[str] = []
        last: str | None = None
        for name, grouped, version in self._listed(bucket, prefix, delimiter, after):
            if name == last:
                continue
            if len(versions) + len(prefixes) == limit:
                return Listing(versions, prefixes, last)
            last = name
            if grouped:
                prefixes.append(name)
            else:
                versions.append(version)
        return Listing(versions, prefixes, None)

    def _listed(
        self, bucket: BucketName, prefix: str, delimiter: str, after: str | None
    ) -> Iterator[tuple[str, bool, Version]]:
        """Latest versions behind `after`: (group, True, version), or (id, False, version) of those in none."""
        done = None if after is None else _group(after, prefix, delimiter)
        for object_id in sorted(self._histories[bucket], key=str.encode):
            version = self.head(bucket, object_id)
            if version is None or not object_id.startswith(prefix):
                continue
            group = _group(object_id, prefix, delimiter)
            if after is None or (object_id.encode() > after.encode() and (group is None or group != done)):
                yield group or str(object_id), group is not None, version

    def _drop(self, entry: Entry) -> None:
        rest = [each for each in self.history(entry.bucket, entry.object_id) if each != entry]
        self._keep(entry.bucket, entry.object_id, rest)

    def _keep(self, bucket: BucketName, object_id: ObjectId, history: list[Entry]) -> None:
        if history:
            newest_first = sorted(history, key=lambda each: each.version, reverse=True)
            self._histories[bucket][object_id] = newest_first
        else:
            del self._histories[bucket][object_id]


def _scanned(entry: Entry) -> Scanned:
    if isinstance(entry, DeleteMarker):
        return Scanned(entry.object_id, entry.version, b"", 0)
    return Scanned(entry.object_id, entry.version, entry.manifest, entry.size)


def _follows(entry: Entry, object_id: ObjectId, version: VersionId) -> bool:
    if entry.object_id == object_id:
        return entry.version < version
    return entry.object_id.encode() > object_id.encode()


def _group(object_id: str, prefix: str, delimiter: str) -> str | None:
    """What an id has in common with others up to and with the delimiter behind the prefix, if it has one."""
    at = object_id.find(delimiter, len(prefix)) if delimiter and object_id.startswith(prefix) else -1
    return None if at < 0 else object_id[: at + len(delimiter)]
