"""Files of a store rot while it is closed: it gives the right bytes or an error, or says why it does not open.

Regions are chosen by where they are, not by what a format puts there, so that every byte of it can be met.
"""

import os
import random
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from replicator.data_plane.ports import Version
from replicator.data_plane.storage.store import NodeStore
from replicator.kernel.errors import ReplicatorError
from replicator.testing.crash_session import contents, store_folder
from replicator.testing.damage import DAMAGES, Damage, Unread, flip_bit, require_nothing_wrong
from replicator.testing.objects import LongObject, commit, listed, noise, read_all, upload
from replicator.testing.oracle import Content, content_of

STRIDE = "REPLICATOR_TEST_STRIDE"
CHOSEN = 6
EDGE_STRIDE, MIDDLE_STRIDE = 5, 499  # on top of the stride: an opening for every byte would take days
EDGE_BYTES = 256

Region = Callable[[int], range]
REGIONS: Sequence[tuple[str, Region]] = (
    ("start", lambda length: range(min(EDGE_BYTES, length))),
    ("middle", lambda length: range(EDGE_BYTES, max(EDGE_BYTES, length - EDGE_BYTES))),
    ("end", lambda length: range(max(EDGE_BYTES, length - EDGE_BYTES), length)),
)
FILES = (
    "segments/*.segment", "catalog/*.sst", "catalog/*.log", "catalog/MANIFEST-*", "catalog/CURRENT",
    "catalog/IDENTITY", "catalog/OPTIONS-*",
)  # fmt: skip


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A store as kill -9 leaves it, with rows in tables and in the log of its catalog, and what is in it."""
    path = tmp_path_factory.mktemp("intact") / "store"
    killed = path.with_name("killed")
    for life in range(3):
        with store_folder(path).opened() as store:
            upload(store, f"large/{life}", noise(life, 90_000))
            upload(store, f"small/{life}", noise(10 + life, 300))
            if life == 1:
                long = LongObject(20)
                commit(store, long.new_version("long", number=long.stage(store)))
            expected = contents(store)
            if life == 2:
                shutil.copytree(path, killed)
    (killed / "BALLAST").unlink(missing_ok=True)
    return killed, expected


def read_damaged(path: Path) -> dict[str, Content | Unread] | None:
    """What a damaged store gives for every object that it lists; None where it refuses, by a typed error."""
    try:
        with store_folder(path).opened() as store:
            return {each.object_id: read_one(store, each) for each in listed(store)}
    except ReplicatorError:
        return None


def read_one(store: NodeStore, version: Version) -> Content | Unread:
    try:
        return content_of(read_all(store, store.manifest(version.manifest)))
    except ReplicatorError as error:
        return Unread(str(error))


def harm_and_read(
    intact: tuple[Path, dict[str, bytes]], folder: Path, file: str, harm: Callable[[Path], str]
) -> str:
    path, expected = intact
    copy = folder / "store"
    shutil.copytree(path, copy)
    done = harm(copy / file)
    found = read_damaged(copy)
    shutil.rmtree(copy)
    if found is None:
        return "refused"
    try:
        return "read with errors" if require_nothing_wrong(expected, found) else "unharmed"
    except AssertionError as error:
        raise AssertionError(f"{file}, {done}:\n{error}") from error


def files_of(path: Path, pattern: str) -> list[str]:
    found = [str(file.relative_to(path)) for file in sorted(path.glob(pattern)) if file.stat().st_size]
    if not found:
        pytest.skip(f"this store has no {pattern} with anything in it")
    return found


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize(("where", "region"), REGIONS, ids=[name for name, _ in REGIONS])
def test_a_bit_flips(
    intact: tuple[Path, dict[str, bytes]],
    tmp_path: Path,
    seed: int,
    rounds: int,
    pattern: str,
    where: str,
    region: Region,
) -> None:
    rng = random.Random(seed)
    places = [
        (file, offset)
        for file in files_of(intact[0], pattern)
        for offset in region((intact[0] / file).stat().st_size)
    ]
    stride = MIDDLE_STRIDE if where == "middle" else EDGE_STRIDE
    for file, offset in chosen(places, rng, rounds, stride):
        harm_and_read(intact, tmp_path, file, partial(flip_bit, offset=offset, bit=rng.randrange(8)))


def chosen(
    places: Sequence[tuple[str, int]], rng: random.Random, rounds: int, stride: int
) -> Sequence[tuple[str, int]]:
    stride *= int(os.environ.get(STRIDE) or 0)
    if stride:
        return places[rng.randrange(stride) :: stride]
    return rng.sample(places, min(CHOSEN * rounds, len(places)))


@pytest.mark.parametrize("pattern", FILES)
@pytest.mark.parametrize("damage", DAMAGES, ids=[damage.name for damage in DAMAGES])
def test_worse_than_a_bit(
    intact: tuple[Path, dict[str, bytes]],
    tmp_path: Path,
    seed: int,
    rounds: int,
    pattern: str,
    damage: Damage,
) -> None:
    rng = random.Random(seed)
    for _ in range(3 * rounds):
        file = rng.choice(files_of(intact[0], pattern))
        harm_and_read(intact, tmp_path, file, lambda path: damage.strike(path, rng))
