"""A copy of the store as it is at one moment, made while it is in use, and a store made from such a copy.

A backup is a folder of the backup folder that holds what a data folder does: `segments` and `catalog`. The log's
lock is held while it is made, so nothing is appended meanwhile: the active segment is ended, all segments get a
second name in the backup, and RocksDB makes a checkpoint, which is second names again. So it takes a moment and
no room at first; what compaction removes later stays for as long as the backup does. A group that was
appended and is not in the catalog yet is in the segments, and whoever opens the copy finds it there.

A backup is made under another name, synced, and then named: what has its name is complete. Segments of a backup are
the files of the store itself and may not be written to, so a restored store is always a copy of them.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from replicator.data_plane.storage import files
from replicator.data_plane.storage.parts import StoreParts
from replicator.kernel.errors import Conflict, InvalidRequest, ReplicatorError, Unavailable
from replicator.runtime.logging import get_logger

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_PARTIAL = ".partial"
_RESTORING = "restoring"
_COPY_BYTES = 8 * 1024 * 1024

log = get_logger()


class Backups:
    """Makes backups of one open store.

    Args:
        folder: where they go, on the disk of the data folder; None where none is set.
    """

    def __init__(self, parts: StoreParts, folder: Path | None) -> None:
        self._parts = parts
        self._folder = folder
        if folder is not None and folder.is_dir():
            for left in folder.glob(f"*{_PARTIAL}"):
                log.info("backup.removed_half_made", path=str(left))
                shutil.rmtree(left)

    def make(self, name: str) -> str:
        """Make a backup; returns its path. Nothing may be collected or compacted meanwhile.

        Raises:
            InvalidRequest: no backup folder is set, or `name` is not a plain name.
            Conflict: there is one of that name.
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
        path = self._folder / name
        if path.exists():
            raise Conflict(f"there is a backup '{name}' already", name=name)
        partial = self._folder / f"{name}{_PARTIAL}"
        try:
            files.make_folder(str(self._folder))
            self._make(partial)
            os.rename(partial, path)
            files.sync_folder(str(self._folder))
        except OSError as error:
            _discard(partial)
            raise Unavailable(f"the backup '{name}' could not be made: {error}", name=name) from error
        except ReplicatorError:
            _discard(partial)
            raise
        log.info("backup.made", path=str(path))
        return str(path)

    def _make(self, partial: Path) -> None:
        segments = partial / "segments"
        files.make_folder(str(segments))
        parts = self._parts
        with parts.chunks.standstill() as sealed:
            parts.segments.link_to(str(segments), sealed)
            parts.catalog.copy_to(str(partial / "catalog"))
        for folder in (partial / "catalog", partial):
            _sync_files(folder)


def restore(backup: Path, data_dir: Path) -> None:
    """Copy a backup into an empty data folder, durably. A process that dies leaves a folder to restore to again.

    Raises:
        InvalidRequest: `backup` is no complete backup.
        Conflict: the data folder is not empty, or in use.
        Unavailable: it cannot be read or written.
    """
    if (
        backup.name.endswith(_PARTIAL)
        or not (backup / "segments").is_dir()
        or not (backup / "catalog").is_dir()
    ):
        raise InvalidRequest(f"'{backup}' is no complete backup", path=str(backup))
    restoring = data_dir / _RESTORING
    try:
        files.make_folder(str(data_dir))
        lock = files.lock_folder(str(data_dir))
        try:
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
