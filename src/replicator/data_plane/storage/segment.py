"""The segments of one store: files that only ever grow, one of them active.

Not thread-safe for appending: `chunk_log` serialises it. Reading is positional and needs no lock. Nothing
here is durable before `sync` has returned; a segment is synced before the next one is begun, so only the
active one can end in records that are not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from replicator.data_plane.storage import files
from replicator.data_plane.storage.codec import decode
from replicator.data_plane.storage.record import (
    CODEC_NONE,
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    check_record,
    check_segment_header,
    encode_segment_header,
)
from replicator.data_plane.storage.rows import Location, Place
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, QuotaExceeded

if TYPE_CHECKING:
    from typing_extensions import Buffer

WRITE_BACK_BYTES = 8 * 1024 * 1024
_DECODED_AT_ONCE_MAX = 64 * 1024
_FILE_NAME = re.compile(r"(\d{8})\.segment")


class SegmentGone(Corrupt):
    """A segment is not there: compaction has moved what it held, or it is lost."""


class SegmentFile:
    """An open segment file. It is closed when the last one who reads from it has let go of it."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class Segments:
    """All segment files of a store.

    Args:
        folder: holds nothing else.
        segment_bytes_max: a segment that has reached it is followed by a new one.
        reserve_bytes: refuse to append when the disk would be left with less.
    """

    def __init__(self, folder: str, *, store_id: bytes, segment_bytes_max: int, reserve_bytes: int) -> None:
        self._folder = folder
        self._store_id = store_id
        self._segment_bytes_max = segment_bytes_max
        self._reserve_bytes = reserve_bytes
        self._files: dict[int, SegmentFile] = {}
        self._active = 0
        self._end = 0
        self._write_back_from = 0
        self._has_unsynced = False
        self._ended: dict[int, int] = {}
        for name in sorted(os.listdir(folder)):
            if match := _FILE_NAME.fullmatch(name):
                self._active = int(match[1])
                self._files[self._active] = SegmentFile(files.open_file(os.path.join(folder, name)))
        # Opening a store checks every header: asked for together, they take a fraction of the disk's time.
        for segment in self._files.values():
            files.start_reading(segment.descriptor, 0, SEGMENT_HEADER_BYTES)
        if self._active:
            self._end = self.length(self._active)

    @property
    def folder(self) -> str:
        """Where the files are."""
        return self._folder

    @property
    def numbers(self) -> list[int]:
        """Every segment, oldest first."""
        return sorted(self._files)

    def lengths(self) -> dict[int, int]:
        """Bytes in each file, oldest first; any thread may ask."""
        return {
            number: os.fstat(each.descriptor).st_size for number, each in sorted(self._files.copy().items())
        }

    def length(self, number: int) -> int:
        """Bytes in the file of a segment."""
        return os.fstat(self._files[number].descriptor).st_size

    def modified_ms(self, number: int) -> int:
        """When the segment grew last, in milliseconds since the Unix epoch."""
        return os.fstat(self._files[number].descriptor).st_mtime_ns // 1_000_000

    def holds(self, number: int) -> bool:
        """Whether there is a segment of that number."""
        return number in self._files

    @property
    def active(self) -> int:
        """The segment that grows; 0 where there is none yet."""
        return self._active

    @property
    def end(self) -> Place:
        """Where the log ends; segment 0 where there is none yet."""
        return Place(self._active, self._end)

    def take_ends(self) -> dict[int, int]:
        """Where each segment ends that has ended or grown since the last call, and the active one."""
        ends, self._ended = self._ended, {}
        return ends | ({self._active: self._end} if self._active else {})

    def begin(self) -> Place:
        """Where the next record will be, after a roll where the active segment is full or a backup has it too.

        Raises:
            QuotaExceeded, StoreFailed: there is no room for another segment, or the roll failed.
        """
        if self._end >= self._segment_bytes_max or not self._active or self._is_shared(self._active):
            self.roll()
        return Place(self._active, self._end)

    def write(self, buffers: Sequence[Buffer], length: int) -> None:
        """Append `buffers`, `length` bytes together.

        Raises:
            QuotaExceeded: no room; none of it counts.
            StoreFailed: the write failed.
        """
        files.write_at(self._files[self._active].descriptor, buffers, self._end)
        self._end += length
        self._has_unsynced = True
        self._start_write_back()

    def require_room(self, length: int) -> None:
        """Raises `QuotaExceeded` where `length` bytes more would not leave the reserve."""
        if self.free_bytes() - length < self._reserve_bytes:
            raise QuotaExceeded(
                f"less than {self._reserve_bytes} bytes would be left on this node's disk: "
                "free space or give it another disk, then retry"
            )

    def sync(self, number: int) -> None:
        """Make a segment durable; raises `StoreFailed`."""
        segment = self._files.get(number)
        if segment is not None:
            files.sync_data(segment.descriptor)

    def read(self, wanted: Sequence[tuple[Digest, Location]], *, wait: bool, gap: int) -> memoryview:
        """The payloads one after the other, each behind `gap` zero bytes, every record checked.

        Records that touch are read together.

        Raises:
            Corrupt: a record fails its check.
            SegmentGone: a segment is not there, or no longer.
            BlockingIOError: `wait` is false and something is not in the page cache, or takes long to decode.
        """
        if not wait and _encoded_bytes(wanted) > _DECODED_AT_ONCE_MAX:
            raise BlockingIOError("decoding takes long")
        block = memoryview(bytearray(sum(gap + location.raw_length for _, location in wanted)))
        headers = memoryview(bytearray(RECORD_HEADER_BYTES * len(wanted)))
        run: list[tuple[Digest, Location]] = []
        parts: list[memoryview] = []
        encoded: list[tuple[Digest, Location, memoryview, memoryview]] = []
        at = 0
        for index, (digest, location) in enumerate(wanted):
            if run and not _touch(run[-1][1], location):
                self._read_run(run, parts, wait=wait)
                run, parts = [], []
            run.append((digest, location))
            parts.append(headers[index * RECORD_HEADER_BYTES : (index + 1) * RECORD_HEADER_BYTES])
            target = block[at + gap : at + gap + location.raw_length]
            if location.codec == CODEC_NONE:
                parts.append(target)
            else:
                parts.append(memoryview(bytearray(location.stored_length)))
                encoded.append((digest, location, parts[-1], target))
            at += gap + location.raw_length
        if run:
            self._read_run(run, parts, wait=wait)
        for digest, location, stored, target in encoded:
            decode(stored, codec=location.codec, digest=digest, into=target)
        return block

    def _read_run(
        self, run: Sequence[tuple[Digest, Location]], parts: Sequence[memoryview], *, wait: bool
    ) -> None:
        first = run[0][1]
        segment = self._files.get(first.segment)
        if segment is None:
            raise SegmentGone(
                f"segment {first.segment} is missing", digest=str(run[0][0]), segment=first.segment
            )
        try:
            files.read_at(segment.descriptor, parts, first.offset, wait=wait)
        except BlockingIOError:
            raise
        except OSError as error:
            if len(run) > 1:
                # One by one, to name the record that cannot be read and to spare the others the blame.
                for index in range(len(run)):
                    self._read_run(run[index : index + 1], parts[2 * index : 2 * index + 2], wait=wait)
                return
            raise Corrupt(
                f"segment {first.segment} cannot be read: {error.strerror}",
                digest=str(run[0][0]),
                segment=first.segment,
            ) from error
        for index, (digest, location) in enumerate(run):
            check_record(parts[2 * index], parts[2 * index + 1], digest, codec=location.codec)

    def is_blank(self, number: int) -> bool:
        """Whether the header of a segment never reached the disk."""
        header = self.read_raw(number, 0, SEGMENT_HEADER_BYTES)
        return len(header) < SEGMENT_HEADER_BYTES or not any(header)

    def check_header(self, number: int) -> None:
        """Raises `Corrupt` unless the file begins with the header of that segment of this store."""
        header = bytearray(SEGMENT_HEADER_BYTES)
        files.read_at(self._files[number].descriptor, [header], 0)
        check_segment_header(header, number, self._store_id)

    def read_raw(self, number: int, offset: int, length: int) -> bytearray:
        """At most `length` bytes of a segment as they are; for recovery."""
        data = bytearray(length)
        del data[files.read_at(self._files[number].descriptor, [data], offset) :]
        return data

    def rewrite(self, number: int, start: int, end: int) -> None:
        """Write the bytes from `start` to `end` once more as they are, and make them durable; for recovery.

        What a failed sync left behind may be in the page cache alone and pass for written; another sync would
        say that all is well, and not write it.
        """
        for offset in range(start, end, WRITE_BACK_BYTES):
            data = self.read_raw(number, offset, min(WRITE_BACK_BYTES, end - offset))
            files.write_at(self._files[number].descriptor, [data], offset)
        self.sync(number)

    def reader(self, number: int) -> Callable[[int, int], bytearray]:
        """Reads a segment as it is, from an offset on, at most so many bytes.

        It raises `SegmentGone` once the segment is removed, and `OSError` where the disk does not give the bytes.
        """

        def read(offset: int, length: int) -> bytearray:
            data = bytearray(length)
            del data[files.read_at(self._file(number).descriptor, [data], offset) :]
            return data

        return read

    def forget_cached(self, number: int, offset: int, length: int) -> None:
        """Let the next read of these bytes come from the disk; raises `SegmentGone`."""
        files.forget_cached(self._file(number).descriptor, offset, length)

    def write_header(self, number: int, store_id: bytes) -> None:
        """Write the header of a segment again, durably; for the rebuilding of a catalog."""
        files.write_at(self._files[number].descriptor, [encode_segment_header(number, store_id)], 0)
        files.sync_data(self._files[number].descriptor)

    def truncate(self, number: int, length: int) -> None:
        """Cut a segment's tail off, durably; for recovery. Raises `Corrupt` where another store would lose it too."""
        if length < self.length(number) and self._is_shared(number):
            raise Corrupt(
                f"segment {number} ends in bytes that do not count, and its file has a second name, as in a "
                "backup, that would be cut with it; nothing was changed. Put a copy of the file in its place",
                segment=number,
            )
        files.truncate(self._files[number].descriptor, length)
        files.sync_data(self._files[number].descriptor)
        if number == self._active:
            self._end = self._write_back_from = length

    def remove(self, number: int) -> None:
        """Delete a segment, durably. Who reads from it goes on; its space is free when they have ended."""
        del self._files[number]
        files.unlink(self._path(number))
        files.sync_folder(self._folder)
        if number == self._active:
            self._active = max(self._files, default=0)
            self._end = self._write_back_from = self.length(self._active) if self._active else 0

    def link_to(self, folder: str, numbers: Sequence[int]) -> None:
        """Give those segments a second name in `folder`, durably; they may not grow any more.

        The active one may be among them while it holds nothing: it goes on to grow, so it is made there anew.
        """
        for number in numbers:
            path = os.path.join(folder, os.path.basename(self._path(number)))
            if number == self._active:
                self._copy_header(number, path)
            else:
                files.link(self._path(number), path)
        files.sync_folder(folder)

    def close(self) -> None:
        """Close every file that nobody reads from."""
        self._files.clear()

    def roll(self) -> None:
        """Begin another segment; the one before is durable and does not grow any more."""
        if self._active and self.length(self._active) > self._end:
            # What a failed write left behind would look like damage: the segment ends where it counts.
            files.truncate(self._files[self._active].descriptor, self._end)
            self._has_unsynced = True
        if self._has_unsynced:
            self.sync(self._active)
            self._ended[self._active] = self._end
        number = self._active + 1
        descriptor = files.create_file(self._path(number))
        segment = SegmentFile(descriptor)
        try:
            files.write_at(descriptor, [encode_segment_header(number, self._store_id)], 0)
            files.sync_folder(self._folder)
        except QuotaExceeded:
            files.unlink(self._path(number))
            raise
        self._files[number] = segment
        self._active, self._end, self._write_back_from = number, SEGMENT_HEADER_BYTES, 0
        self._has_unsynced = True

    def free_bytes(self) -> int:
        """Bytes that may still be written to the disk."""
        return files.free_bytes(self._folder)

    def _copy_header(self, number: int, path: str) -> None:
        copy = SegmentFile(files.create_file(path))
        files.write_at(copy.descriptor, [encode_segment_header(number, self._store_id)], 0)
        files.sync_data(copy.descriptor)

    def _is_shared(self, number: int) -> bool:
        return os.fstat(self._files[number].descriptor).st_nlink > 1

    def _file(self, number: int) -> SegmentFile:
        segment = self._files.get(number)
        if segment is None:
            raise SegmentGone(f"segment {number} is missing", segment=number)
        return segment

    def _start_write_back(self) -> None:
        length = self._end - self._write_back_from
        if length >= WRITE_BACK_BYTES:
            files.start_write_back(self._files[self._active].descriptor, self._write_back_from, length)
            self._write_back_from = self._end

    def _path(self, number: int) -> str:
        return os.path.join(self._folder, f"{number:08d}.segment")


def _encoded_bytes(wanted: Sequence[tuple[Digest, Location]]) -> int:
    return sum(location.raw_length for _, location in wanted if location.codec != CODEC_NONE)


def _touch(one: Location, other: Location) -> bool:
    return one.segment == other.segment and one.offset + one.record_bytes == other.offset
