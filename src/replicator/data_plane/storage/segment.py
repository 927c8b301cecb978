"""The segments of one store: files that only ever grow, one of them active.

Not thread-safe for appending: `chunk_log` serialises it. Reading is positional and needs no lock. Nothing
here is durable before `sync` has returned.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from replicator.data_plane.storage import files
from replicator.data_plane.storage.record import (
    RECORD_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    check_record,
    check_segment_header,
    encode_record_header,
    encode_segment_header,
)
from replicator.data_plane.storage.rows import Location
from replicator.kernel.digest import Digest
from replicator.kernel.errors import Corrupt, QuotaExceeded

if TYPE_CHECKING:
    from typing_extensions import Buffer

WRITE_BACK_BYTES = 8 * 1024 * 1024
_FILE_NAME = re.compile(r"(\d{8})\.segment")


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
        self._descriptors: dict[int, int] = {}
        self._active = 0
        self._end = 0
        self._write_back_from = 0
        self._unsynced: dict[int, int] = {}
        for name in sorted(os.listdir(folder)):
            if match := _FILE_NAME.fullmatch(name):
                self._active = int(match[1])
                self._descriptors[self._active] = files.open_file(os.path.join(folder, name))
        if self._active:
            self._end = self.length(self._active)

    @property
    def numbers(self) -> list[int]:
        """Every segment, oldest first."""
        return sorted(self._descriptors)

    def length(self, number: int) -> int:
        """Bytes in the file of a segment."""
        return os.fstat(self._descriptors[number]).st_size

    def append(self, chunks: Sequence[tuple[Digest, Buffer]]) -> list[Location]:
        """Write a record for each chunk; returns where they are.

        Raises:
            QuotaExceeded: no room; none of the chunks is stored.
            StoreFailed: the write failed.
        """
        if self._end >= self._segment_bytes_max or not self._active:
            self._roll()
        buffers: list[Buffer] = []
        locations = []
        offset = self._end
        for digest, payload in chunks:
            length = len(memoryview(payload))
            buffers += (encode_record_header(digest, payload), payload)
            locations.append(Location(self._active, offset, length))
            offset += RECORD_HEADER_BYTES + length
        self._require_room(offset)
        files.write_at(self._descriptors[self._active], buffers, self._end)
        self._end = offset
        self._unsynced[self._active] = offset
        self._start_write_back()
        return locations

    def unsynced(self) -> dict[int, int]:
        """Segment number to length, for those that have grown since the last call."""
        lengths, self._unsynced = self._unsynced, {}
        return lengths

    def sync(self, numbers: Sequence[int]) -> None:
        """Make those segments durable; raises `StoreFailed`."""
        for number in numbers:
            files.sync_data(self._descriptors[number])

    def read(self, wanted: Sequence[tuple[Digest, Location]], *, wait: bool, gap: int) -> memoryview:
        """The payloads one after the other, each behind `gap` zero bytes, every record checked.

        Records that touch are read together.

        Raises:
            Corrupt: a record fails its check.
            BlockingIOError: `wait` is false and something is not in the page cache.
        """
        block = memoryview(bytearray(sum(gap + location.length for _, location in wanted)))
        headers = memoryview(bytearray(RECORD_HEADER_BYTES * len(wanted)))
        run: list[tuple[Digest, Location]] = []
        parts: list[memoryview] = []
        at = 0
        for index, (digest, location) in enumerate(wanted):
            if run and not _touch(run[-1][1], location):
                self._read_run(run, parts, wait=wait)
                run, parts = [], []
            run.append((digest, location))
            parts.append(headers[index * RECORD_HEADER_BYTES : (index + 1) * RECORD_HEADER_BYTES])
            parts.append(block[at + gap : at + gap + location.length])
            at += gap + location.length
        if run:
            self._read_run(run, parts, wait=wait)
        return block

    def _read_run(
        self, run: Sequence[tuple[Digest, Location]], parts: Sequence[memoryview], *, wait: bool
    ) -> None:
        first = run[0][1]
        descriptor = self._descriptors.get(first.segment)
        if descriptor is None:
            raise Corrupt(f"segment {first.segment} is missing", digest=str(run[0][0]), segment=first.segment)
        try:
            files.read_at(descriptor, parts, first.offset, wait=wait)
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
        for index, (digest, _) in enumerate(run):
            check_record(parts[2 * index], parts[2 * index + 1], digest)

    def is_blank(self, number: int) -> bool:
        """Whether the header of a segment never reached the disk."""
        header = self.read_raw(number, 0, SEGMENT_HEADER_BYTES)
        return len(header) < SEGMENT_HEADER_BYTES or not any(header)

    def check_header(self, number: int) -> None:
        """Raises `Corrupt` unless the file begins with the header of that segment of this store."""
        header = bytearray(SEGMENT_HEADER_BYTES)
        files.read_at(self._descriptors[number], [header], 0)
        check_segment_header(header, number, self._store_id)

    def read_raw(self, number: int, offset: int, length: int) -> bytearray:
        """At most `length` bytes of a segment as they are; for recovery."""
        data = bytearray(length)
        del data[files.read_at(self._descriptors[number], [data], offset) :]
        return data

    def truncate(self, number: int, length: int) -> None:
        """Cut a segment's tail off, durably; for recovery."""
        os.ftruncate(self._descriptors[number], length)
        files.sync_data(self._descriptors[number])
        if number == self._active:
            self._end = self._write_back_from = length

    def remove(self, number: int) -> None:
        """Delete a segment that holds nothing; for recovery."""
        os.close(self._descriptors.pop(number))
        os.unlink(self._path(number))
        files.sync_folder(self._folder)
        self._active = max(self._descriptors, default=0)
        self._end = self.length(self._active) if self._active else 0

    def close(self) -> None:
        """Close every file."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _roll(self) -> None:
        self._require_room(self._end + SEGMENT_HEADER_BYTES)
        number = self._active + 1
        descriptor = files.create_file(self._path(number))
        try:
            files.write_at(descriptor, [encode_segment_header(number, self._store_id)], 0)
            files.sync_folder(self._folder)
        except QuotaExceeded:
            os.close(descriptor)
            os.unlink(self._path(number))
            raise
        self._descriptors[number] = descriptor
        self._active, self._end, self._write_back_from = number, SEGMENT_HEADER_BYTES, 0

    def free_bytes(self) -> int:
        """Bytes that may still be written to the disk."""
        return files.free_bytes(self._folder)

    def _require_room(self, end: int) -> None:
        if self.free_bytes() - (end - self._end) < self._reserve_bytes:
            raise QuotaExceeded(
                f"less than {self._reserve_bytes} bytes would be left on this node's disk: "
                "free space or give it another disk, then retry"
            )

    def _start_write_back(self) -> None:
        length = self._end - self._write_back_from
        if length >= WRITE_BACK_BYTES:
            files.start_write_back(self._descriptors[self._active], self._write_back_from, length)
            self._write_back_from = self._end

    def _path(self, number: int) -> str:
        return os.path.join(self._folder, f"{number:08d}.segment")


def _touch(one: Location, other: Location) -> bool:
    return one.segment == other.segment and one.offset + RECORD_HEADER_BYTES + one.length == other.offset
