"""A copy of the store as it is at one moment, made while it is in use, and a store made from such a copy.

A backup is a folder of the backup folder that holds what a data folder does: `segments` and `catalog`. The log's
lock is held while it is made, so nothing is appended meanwhile: the active segment is ended, all segments get a
second name in the backup, and RocksDB makes a checkpoint, which is second names again. So it takes a moment and
no room at first; what compaction removes later stays for as long as the backup does. A group that was
appended and is not in the catalog yet is in the segments, and whoever opens the copy finds it there.

A backup is made under another name, synced, and then named: what has its name is complete. Segments of a backup are
the files of the store itself and may not be written to, so a restored store is always a copy of them. The file
`BACKUP` says so: no store is opened in a folder that has it, and nothing else is restored from. Besides, a store
does not append to a file that has a second name, nor cuts it (`segment`).
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from replicator.data_plane.storage import files
from replicator.data_plane.storage.parts import StoreParts
from replicator.kernel.errors import Conflict, InvalidRequest, QuotaExceeded, ReplicatorError, Unavailable
from replicator.runtime.logging import get_logger

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PARTIAL = ".partial"
_MARKER = "BACKUP"
_RESTORING = "restoring"
_COPY_BYTES = 8 * 1024 * 1024
# More than the write buffers of the catalog (`rocks_catalog`).
_FREE_BYTES_MIN = 64 * 1024 * 1024
_MARKER_TEXT = """A backup of a Replicator store. Never start a node on it: its files may be those of a store in use.
Make a data folder from it: replicator store restore THIS_FOLDER NEW_DATA_DIR
"""

log = get_logger()


class Backups:
    """Makes backups of one open store.

    Args:
        folder: where they go, on the disk of the data folder, may be that of other nodes too; None where none is set.

    Raises:
        InvalidRequest: the folder is on another disk.
    """

    def __init__(self, parts: StoreParts, folder: Path | None) -> None:
        self._parts = parts
        self._folder = None if folder is None else folder.absolute()
        if self._folder is not None:
            _require_same_disk(self._folder, parts.segments.folder)
            for left in self._folder.glob(f"*{_PARTIAL}"):
                _remove_half_made(left)

    def make(self, name: str) -> str:
        """Make a backup; returns its path. Nothing may be collected or compacted meanwhile.

        Raises:
            InvalidRequest: no backup folder is set, or `name` is not a plain name.
            Conflict: there is one of that name, or another node makes one.
            QuotaExceeded: the disk is nearly full.
            Unavailable: the folder is on another disk, or cannot be written.
            StoreFailed: the store takes no more writes.
        """
        if self._folder is None:
            raise InvalidRequest("this node has no backup folder; start it with --backup-dir")
        if not _NAME.fullmatch(name) or name.endswith(_PARTIAL):
            raise InvalidRequest(
                "the name of a backup has 1 to 128 letters, digits, '.', '_' or '-', "
                f"begins with a letter or digit, and does not end with '{_PARTIAL}'",
                name=name[:200],
            )
        self._require_room()
        path = self._folder / name
        if path.exists():
            raise Conflict(f"there is a backup '{name}' already", name=name)
        partial = self._folder / f"{name}{_PARTIAL}"
        try:
            files.make_folder(str(partial))
            lock = files.lock_folder(str(partial))
        except OSError as error:
            raise Unavailable(f"the backup '{name}' could not be made: {error}", name=name) from error
        except Conflict as error:
            raise Conflict(f"another node makes a backup '{name}' just now", name=name) from error
        try:
            self._make(partial)
            os.rename(partial, path)
            os.unlink(path / "LOCK")
            files.sync_folder(str(self._folder))
        except OSError as error:
            _discard(partial)
            raise Unavailable(f"the backup '{name}' could not be made: {error}", name=name) from error
        except ReplicatorError:
            _discard(partial)
            raise
        finally:
            os.close(lock)
        log.info("backup.made", path=str(path))
        return str(path)

    def _require_room(self) -> None:
        """Raises `QuotaExceeded` where the catalog could not write out what it has in memory: that would end it."""
        if self._parts.segments.free_bytes() < _FREE_BYTES_MIN:
            raise QuotaExceeded(
                f"a backup needs {_FREE_BYTES_MIN} free bytes on the disk of this node: free space, then retry"
            )

    def _make(self, partial: Path) -> None:
        segments = partial / "segments"
        files.make_folder(str(segments))
        parts = self._parts
        with parts.chunks.standstill() as sealed:
            parts.segments.link_to(str(segments), sealed)
            parts.catalog.copy_to(str(partial / "catalog"))
        _sync_files(partial / "catalog")
        (partial / _MARKER).write_text(_MARKER_TEXT)
        _sync_files(partial)


def refuse_backup(path: str) -> None:
    """Raises `InvalidRequest` where the folder is a backup, whose segments may be files of a store in use."""
    if os.path.lexists(os.path.join(path, _MARKER)):
        raise InvalidRequest(
            f"'{path}' is a backup, and no node may be started on it: make a data folder from it by "
            f"replicator store restore {path} NEW_DATA_DIR",
            path=path,
        )


def restore(backup: Path, data_dir: Path) -> None:
    """Copy a backup into an empty data folder, durably. A process that dies leaves a folder to restore to again.

    Raises:
        InvalidRequest: `backup` is no complete backup, such as the data folder of a node.
        Conflict: the data folder is not empty, or in use.
        Unavailable: it cannot be read or written.
    """
    if backup.name.endswith(_PARTIAL) or not all(
        (backup / name).exists() for name in ("segments", "catalog", _MARKER)
    ):
        raise InvalidRequest(
            f"'{backup}' is no complete backup: one has the folders 'segments' and 'catalog' and the file "
            f"'{_MARKER}', and is made by replicator store backup",
            path=str(backup),
        )
    restoring = data_dir / _RESTORING
    try:
        files.make_folder(str(data_dir))
        lock = files.lock_folder(str(data_dir))
        try:
            if (restoring / "catalog").is_dir() and not (restoring / "segments").exists():
                # The process that made it died between the two renames.
                _discard(data_dir / "segments")
            _require_empty(data_dir)
            _discard(restoring)
            for name in ("segments", "catalog"):
                _copy_folder(backup / name, restoring / name)
            # A data folder with segments alone says so when it is opened; one with a catalog alone would be lost.
            for name in ("segments", "catalog"):
                os.rename(restoring / name, data_dir / name)
                files.sync_folder(str(data_dir))
            os.rmdir(restoring)
        finally:
            os.close(lock)
    except OSError as error:
        raise Unavailable(f"the backup could not be restored: {error}", path=str(data_dir)) from error


def _require_empty(data_dir: Path) -> None:
    held = sorted(set(os.listdir(data_dir)) - {_RESTORING, "LOCK"})
    if held:
        raise Conflict(
            f"'{data_dir}' is not empty: a backup is restored to a new folder",
            path=str(data_dir),
            holds=held[0],
        )


def _copy_folder(source: Path, target: Path) -> None:
    files.make_folder(str(target))
    for name in sorted(os.listdir(source)):
        # Not `copy_file_range`: a copy that shares blocks with the backup would share their damage.
        with (source / name).open("rb") as reader, (target / name).open("xb") as writer:
            while block := reader.read(_COPY_BYTES):
                writer.write(block)
    _sync_files(target)


def _require_same_disk(folder: Path, data: str) -> None:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if there.stat().st_dev != os.stat(data).st_dev:
        raise InvalidRequest(
            f"the backup folder '{folder}' is on another disk than the data folder, and a backup is made of second "
            "names of its files: choose one on the same disk, and copy backups elsewhere from there",
            path=str(folder),
        )


def _remove_half_made(partial: Path) -> None:
    try:
        lock = files.lock_folder(str(partial))
    except (Conflict, FileNotFoundError):
        return  # another node makes it just now, or has made it
    try:
        log.info("backup.removed_half_made", path=str(partial))
        shutil.rmtree(partial)
    finally:
        os.close(lock)


def _sync_files(folder: Path) -> None:
    for entry in os.scandir(folder):
        if entry.is_file():
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                files.sync_data(descriptor)
            finally:
                os.close(descriptor)
    files.sync_folder(str(folder))


def _discard(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
