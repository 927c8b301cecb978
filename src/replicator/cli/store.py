"""What `store stats`, `segments`, `gc`, `compact`, `explain`, `scrub` and `backup` do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import BaseModel

from replicator.cli.output import local_time, print_json, print_rows
from replicator.cli.place import Place
from replicator.cli.tables import Column
from replicator.cli.units import bytes_text
from replicator.client.endpoint import Deadlines
from replicator.kernel.digest import Digest
from replicator.kernel.errors import NotFound
from replicator.wire.upkeep import CollectRequest, CompactRequest, ReferrerView, ScrubView

_DAY_S = 24 * 3600.0
# Collection, compaction and backup answer when they are done, which takes as long as the store is large.
_WORK = Deadlines(answer_s=_DAY_S, stall_s=_DAY_S)


async def stats(place: Place) -> None:
    """Show what the store holds."""
    async with place.connected() as node:
        found = await node.upkeep.stats()
    _print_fields(place, found)


async def segments(place: Place) -> None:
    """List segments."""
    async with place.connected() as node:
        found = await node.upkeep.segments()
    if place.json_output:
        print_json(found)
    else:
        print_rows(found.segments, _SEGMENT_COLUMNS)


async def gc(place: Place, *, grace_s: float | None, dry_run: bool) -> None:
    """Collect garbage."""
    async with place.connected(_WORK) as node:
        done = await node.upkeep.collect(CollectRequest(grace_s=grace_s, dry_run=dry_run))
    if place.json_output:
        print_json(done)
        return
    verb = "would drop" if done.dry_run else "dropped"
    print(f"{verb} {done.manifests:,} manifests; {bytes_text(done.dead_bytes)} of records are dead by that")


async def compact(place: Place, *, dry_run: bool) -> None:
    """Give space back."""
    async with place.connected(_WORK) as node:
        done = await node.upkeep.compact(CompactRequest(dry_run=dry_run))
    if place.json_output:
        print_json(done)
        return
    verb = "would rewrite" if done.dry_run else "rewrote"
    print(
        f"{verb} {done.segments:,} segments: {bytes_text(done.bytes_copied)} copied, "
        f"{bytes_text(done.bytes_reclaimed)} given back"
    )


async def explain(place: Place, digest: str) -> None:
    """Say what keeps a chunk."""
    async with place.connected() as node:
        found = await node.upkeep.explain(Digest.parse(digest))
    if found.segment is None and not found.references and not found.holds:
        raise NotFound("no chunk of that digest on this node", digest=digest)
    if place.json_output:
        print_json(found)
        return
    _print_fields(place, found, leave_out={"referrers", "holds"})
    print_rows([*found.referrers, *found.holds], _KEEPER_COLUMNS)


async def scrub(place: Place, *, now: bool) -> None:
    """Show how far the scrub is, or begin one."""
    async with place.connected() as node:
        found = await (node.upkeep.start_scrub() if now else node.upkeep.scrub_status())
    if place.json_output:
        print_json(found)
    else:
        print(scrub_text(found))


def scrub_text(found: ScrubView) -> str:
    """How far the scrub is, in a sentence."""
    last = (
        f"the last round ended {local_time(found.last_completed_at)} and found {_damage(found.last_damaged)}"
        if found.last_completed_at is not None
        else "no round has ended yet"
    )
    return (
        f"{'the scrub that was asked for' if found.asked else 'the scrub'} has read "
        f"{bytes_text(found.bytes_done)} of {bytes_text(found.bytes_total)} in round {found.round + 1} and found "
        f"{_damage(found.damaged)}; {last}"
    )


def _damage(records: int | None) -> str:
    return f"{records:,} damaged record{'' if records == 1 else 's'}" if records else "no damage"


async def backup(place: Place, name: str) -> None:
    """Make a backup."""
    async with place.connected(_WORK) as node:
        made = await node.upkeep.backup(name)
    if place.json_output:
        print_json(made)
    else:
        print(f"made backup {made.name} in {made.path} on the node's machine")


def _print_fields(place: Place, found: BaseModel, *, leave_out: Iterable[str] = ()) -> None:
    if place.json_output:
        print_json(found)
        return
    fields = [_Field(name, value) for name, value in found if name not in leave_out]
    print_rows(fields, _FIELD_COLUMNS)


class _Field(NamedTuple):
    name: str
    value: Any

    @property
    def exact(self) -> Any:
        """Moments and numbers as they are in a pipe; on a terminal a byte count reads better with its unit."""
        counts_bytes = self.name.endswith("bytes") or self.name.startswith("bytes_")
        return _ByteCount(self.value) if counts_bytes and self.value is not None else self.value


class _ByteCount(int):
    """A number of bytes."""


def _text(value: Any) -> str:
    if isinstance(value, _ByteCount):
        return bytes_text(value)
    return local_time(value) if isinstance(value, datetime) else str(value)


def _keeper(item: ReferrerView | str) -> str:
    return item if isinstance(item, str) else f"{item.bucket}/{item.object_id}"


# What a name alone does not tell people; in a pipe names are those of the JSON.
_LABELS = {
    "references": "manifests that refer to it",
    "staged": "of these, staged",
    "retiring": "of these, retiring",
}
_FIELD_COLUMNS = (
    Column("field", lambda field: field.name, lambda name: _LABELS.get(name, name)),
    Column("value", lambda field: field.exact, _text, right=True),
)
_SEGMENT_COLUMNS = (
    Column("segment", lambda item: item.number, right=True),
    Column("bytes", lambda item: item.bytes, bytes_text, right=True),
    Column("live", lambda item: item.live_bytes, bytes_text, right=True),
)
_KEEPER_COLUMNS = (
    Column("kept by", _keeper),
    Column("version", lambda item: None if isinstance(item, str) else item.version),
)
