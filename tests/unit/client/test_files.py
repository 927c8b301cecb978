"""A download is under its name whole, or not there at all."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from replicator.client.files import blocks_from, open_source, refuse_existing, save
from replicator.kernel.errors import Conflict, InvalidRequest


async def blocks_of(*blocks: bytes, then: BaseException | None = None) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block
    if then is not None:
        raise then


def test_a_saved_file_is_all_that_is_in_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "x"
    asyncio.run(save(str(target), blocks_of(b"ab", b"", b"cd")))
    assert target.read_bytes() == b"abcd"
    assert os.listdir(tmp_path) == ["x"]


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="lost"):
        asyncio.run(save(str(tmp_path / "x"), blocks_of(b"ab", then=OSError("lost"))))
    assert os.listdir(tmp_path) == []


def test_a_failed_download_leaves_the_file_that_was_there(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(OSError, match="lost"):
        asyncio.run(save(str(target), blocks_of(b"new", then=OSError("lost"))))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_cancelled_download_leaves_nothing(tmp_path: Path) -> None:
    async def endless(began: asyncio.Event) -> AsyncIterator[bytes]:
        yield b"ab"
        began.set()
        await asyncio.Event().wait()

    async def run() -> None:
        began = asyncio.Event()
        saving = asyncio.create_task(save(str(tmp_path / "x"), endless(began)))
        await began.wait()
        saving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await saving

    asyncio.run(run())
    assert os.listdir(tmp_path) == []


def test_a_device_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        asyncio.run(save(str(fifo), blocks_of(b"abc")))
        assert os.read(reader, 10) == b"abc"
        assert fifo.is_fifo()
    finally:
        os.close(reader)


def test_what_a_link_names_is_replaced_and_not_the_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    asyncio.run(save(str(link), blocks_of(b"new")))
    assert real.read_bytes() == b"new"
    assert link.is_symlink()


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    target = tmp_path / "x"
    refuse_existing(str(target), overwrite=False)
    target.touch()
    refuse_existing(str(target), overwrite=True)
    with pytest.raises(Conflict, match="--force"):
        refuse_existing(str(target), overwrite=False)
    with pytest.raises(InvalidRequest, match="no folder"):
        refuse_existing(str(tmp_path / "nowhere" / "x"), overwrite=False)


def test_a_file_is_read_whole_and_its_length_is_known(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(os.urandom(3_000_001))
    descriptor, size = open_source(str(source))

    async def read() -> bytes:
        return b"".join([block async for block in blocks_from(descriptor)])

    try:
        assert size == 3_000_001
        assert asyncio.run(read()) == source.read_bytes()
    finally:
        os.close(descriptor)


def test_what_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"missing.*No such file"):
        open_source(str(tmp_path / "missing"))
    with pytest.raises(InvalidRequest, match="it is a folder"):
        open_source(str(tmp_path))
