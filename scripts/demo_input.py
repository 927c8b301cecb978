"""What the demo stores: a reproducible tar of real files, and a reproducible change to it."""

from __future__ import annotations

import os
import random
import sysconfig
import tarfile
from pathlib import Path
from typing import NamedTuple

from replicator.cli.units import bytes_text

INPUT_BYTES_MIN = 100_000_000
EXTENT_BYTES = 64 * 1024
CHANGED_FRACTION = 0.01
INSERTS = 8
INSERT_BYTES_MIN, INSERT_BYTES_MAX = 1024, 4096
SEED = 20_020_101


class Change(NamedTuple):
    """What was done to a file, in a sentence and in bytes."""

    text: str
    changed_bytes: int


def input_folders() -> list[Path]:
    """The interpreter's own library and the installed packages."""
    return [Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))]


def input_bytes(folders: list[Path]) -> int:
    """Bytes in the files that `write_tar` takes."""
    return sum(path.lstat().st_size for folder in folders for path in _files_below(folder, others=folders))


def write_tar(target: Path, folders: list[Path]) -> None:
    """The files below `folders` as a tar: sorted, without owners and times, so that it is always the same."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for number, folder in enumerate(folders):
            for path in _files_below(folder, others=folders):
                tar.add(
                    path,
                    arcname=f"{number}/{path.relative_to(folder)}",
                    recursive=False,
                    filter=_without_owner_and_time,
                )


def _files_below(folder: Path, *, others: list[Path]) -> list[Path]:
    found: list[Path] = []
    for parent, folders, names in os.walk(folder):
        # Compiled files differ from run to run; the packages of an outer interpreter are not this one's.
        folders[:] = sorted(
            name
            for name in folders
            if name not in {"__pycache__", "site-packages"} or Path(parent, name) in others
        )
        found += [Path(parent, name) for name in sorted(names)]
    return [path for path in found if path.is_file() or path.is_symlink()]


def _without_owner_and_time(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    return entry


def change(file: Path) -> Change:
    """Overwrite about one percent of `file` in scattered extents and insert a few bytes elsewhere."""
    chance = random.Random(SEED)
    extents = file.stat().st_size // EXTENT_BYTES
    overwritten = max(1, int(extents * CHANGED_FRACTION))
    places = chance.sample(range(extents), overwritten + INSERTS)
    overwrites, inserts = set(places[:overwritten]), set(places[overwritten:])
    changed = file.with_suffix(".changed")
    inserted = 0
    with file.open("rb") as old, changed.open("wb") as new:
        place = 0
        while extent := old.read(EXTENT_BYTES):
            if place in inserts:
                inserted += new.write(chance.randbytes(chance.randint(INSERT_BYTES_MIN, INSERT_BYTES_MAX)))
            new.write(chance.randbytes(len(extent)) if place in overwrites else extent)
            place += 1
    changed.replace(file)
    text = (
        f"{overwritten} extents of 64 KiB overwritten ({bytes_text(overwritten * EXTENT_BYTES)}), "
        f"{INSERTS} inserts ({bytes_text(inserted)})"
    )
    return Change(text, overwritten * EXTENT_BYTES + inserted)
