"""What each system is given to copy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.payload import Body, Payload
from benchmarks.peers.system import Data
from benchmarks.releases import make_releases

_BLOCK_BYTES = 1 << 20
UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One transfer that is timed.

    Attributes:
        before: what both sides are given first, under the same name; None for nothing more than they have.
        data: what the destination has to have in the end.
        changed: whether the source is given `data`, or has it already.
        new_bytes: of `data`, those that the destination has nowhere.
    """

    name: str
    before: Data | None = None
    data: Data
    changed: bool = True
    new_bytes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of what."""

    object_bytes: int
    many_count: int
    many_bytes: int


def make_cases(folder: Path, sizes: Sizes, say: Callable[[str], None]) -> tuple[list[Case], str]:
    """The data in `folder`, and what the releases are made of."""
    payload = Payload(sizes.object_bytes)
    payload.fill(seed=1)
    say("writing the data")
    original, v2a, v2b = payload.original(), payload.overwritten(), payload.inserted()
    first, overwritten, inserted = (
        _write(payload, body, folder / f"big-{number}") for number, body in enumerate((original, v2a, v2b))
    )
    many = _write_many(payload, sizes, folder / "many")
    releases = make_releases(folder)
    whole, small, update = Data("big.bin", first), Data("many", many), Data("p.tar", releases.newer)
    cases = [
        Case(name=_label(sizes.object_bytes), data=whole, new_bytes=whole.size),
        Case(name=UNCHANGED, data=whole, changed=False, new_bytes=0),
        Case(name="v2a", data=Data("big.bin", overwritten), new_bytes=v2a.bytes_changed),
        Case(
            name="v2b",
            before=Data("again.bin", first),
            data=Data("again.bin", inserted),
            new_bytes=v2b.bytes_changed,
        ),
        Case(name=f"{sizes.many_count:,} x {sizes.many_bytes // 1024} KiB", data=small, new_bytes=small.size),
        Case(name="release", before=Data("p.tar", releases.older), data=update, new_bytes=update.size),
    ]
    return cases, releases.made_of


def _label(size: int) -> str:
    return f"{size / (1 << 30):g} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"


def _write(payload: Payload, body: Body, path: Path) -> Path:
    with path.open("wb") as file:
        for block in payload.blocks(body, _BLOCK_BYTES):
            file.write(block)
    return path


def _write_many(payload: Payload, sizes: Sizes, folder: Path) -> Path:
    folder.mkdir()
    payload.fill(seed=2)
    for number in range(sizes.many_count):
        start = number * sizes.many_bytes % len(payload.view)
        content = payload.view[start : start + sizes.many_bytes]
        # Where there is more of these than of the payload, each is still another.
        (folder / f"{number:06}").write_bytes(number.to_bytes(8) + bytes(content[8:]))
    os.sync()
    return folder
