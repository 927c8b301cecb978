"""Bytes and objects in numbers, as tasks, attempts and jobs keep them. Pure.

`wire.sessions.Transfer` is the same at the edge, where it is checked. This one is made several times for each task that
ends, so it is a tuple.
"""

from __future__ import annotations

from typing import NamedTuple

from replicator.wire import sessions as wire


class Transfer(NamedTuple):
    """What was done, each number at least 0 and at most `BYTES_MAX`; see `wire.sessions.Transfer` for what they count."""

    objects_planned: int = 0
    objects_verified: int = 0
    objects_skipped: int = 0
    objects_failed: int = 0
    bytes_logical: int = 0
    bytes_transferred: int = 0
    bytes_deduplicated: int = 0
    bytes_saved: int = 0
    bytes_wire: int = 0
    objects_deleted: int = 0


NOTHING = Transfer()


def of_wire(told: wire.Transfer) -> Transfer:
    """What a node has told."""
    return Transfer(**vars(told))


def to_wire(transfer: Transfer) -> wire.Transfer:
    """As users see it."""
    return wire.Transfer(**transfer._asdict())
