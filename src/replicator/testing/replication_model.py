"""What nodes must hold after a job, kept outside of them. Pure: versions by object id, before and after.

Version ids grow with time and travel with their objects, so the newer of two is known by its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

Held = Mapping[str, str]
"""The latest version of each object that a node has, by its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A job as the model understands it: `object_ids` where there are any, else all below `prefix`."""

    kind: str
    source: str
    destination: str
    prefix: str
    object_ids: Sequence[str] = ()
    move: bool = False
    delete: bool = False
    max_deletes: int = 0

    def selects(self, object_id: str) -> bool:
        """Whether the job is about that object."""
        return object_id in self.object_ids if self.object_ids else object_id.startswith(self.prefix)

    def message(self) -> dict[str, Any]:
        """What to submit beside the nodes."""
        if self.kind == "mirror":
            return {"prefix": self.prefix, "delete": self.delete, "max_deletes": self.max_deletes}
        if self.kind == "verify":
            return {"prefix": self.prefix, "read_data": True}
        return {**self._which(), "mode": "move" if self.move else "copy"}

    def _which(self) -> dict[str, Any]:
        if len(self.object_ids) == 1:
            return {"object_id": self.object_ids[0]}
        return {"object_ids": list(self.object_ids)} if self.object_ids else {"prefix": self.prefix}


class Sides(NamedTuple):
    """What source and destination hold."""

    source: Held
    destination: Held


def after(request: Request, before: Sides) -> Sides:
    """What both sides hold when the job has succeeded, or failed only for objects that are newer here."""
    source, destination = dict(before.source), dict(before.destination)
    if request.kind == "verify":
        return before
    for object_id, version in before.source.items():
        if not request.selects(object_id):
            continue
        destination[object_id] = max(version, destination.get(object_id, ""))
        if request.move and destination[object_id] == version:
            del source[object_id]
    extras = extras_of(request, before)
    if request.delete and len(extras) <= request.max_deletes:
        for object_id in extras:
            del destination[object_id]
    return Sides(source, destination)


def extras_of(request: Request, sides: Sides) -> list[str]:
    """The objects that the destination alone has."""
    return [each for each in sides.destination if request.selects(each) and each not in sides.source]


def lacking_at_destination(request: Request, sides: Sides) -> list[str]:
    """The objects of which the destination has no version, or an older one."""
    return [
        object_id
        for object_id, version in sides.source.items()
        if request.selects(object_id) and sides.destination.get(object_id, "") < version
    ]


def newer_at_destination(request: Request, sides: Sides) -> list[str]:
    """The objects of which the destination has a newer version than the source."""
    return [
        object_id
        for object_id, version in sides.source.items()
        if request.selects(object_id) and sides.destination.get(object_id, "") > version
    ]


def complaints(before: Sides, expected: Sides, found: Sides, *, is_whole: bool) -> list[str]:
    """What is wrong with `found`, in words.

    Args:
        is_whole: the job came to its end; otherwise each object may be as before or as expected.
    """
    wrong = []
    for object_id in sorted({*before.source, *before.destination, *found.source, *found.destination}):
        for side in ("source", "destination"):
            was, wanted, has = (getattr(each, side).get(object_id) for each in (before, expected, found))
            if has != wanted and (is_whole or has != was):
                wrong.append(f"{object_id} at the {side}: {has}, was {was}, should be {wanted}")
        lost = before.source.get(object_id)
        is_here = object_id in found.source or found.destination.get(object_id, "") >= (lost or "")
        if lost is not None and not is_here:
            wrong.append(f"{object_id}: version {lost} is lost from both sides")
    return wrong
