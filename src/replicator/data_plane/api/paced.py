"""Sending at the rate at which a node may give bytes to others."""

from __future__ import annotations

from replicator.data_plane.api.exchange import Exchange
from replicator.data_plane.objects.blocks import BLOCK_BYTES_MAX
from replicator.data_plane.replication.rate import Pacer

# A block of chunks has hardly more; a delta or a listing can be many mebibytes.
PART_BYTES_MAX = 2 * BLOCK_BYTES_MAX


async def send_paced(exchange: Exchange, content: bytes | memoryview, pacer: Pacer, *, more: bool) -> None:
    """Send a part of the response's body in pieces, each as soon as it may go: nobody takes the wait for silence.

    Args:
        more: whether another part follows.

    Raises:
        Cancelled, Unavailable: see `Exchange.send`.
    """
    view = memoryview(content)
    while True:
        step = pacer.egress_part_bytes(PART_BYTES_MAX)
        piece, view = view[:step], view[step:]
        await pacer.take_egress(len(piece))
        await exchange.send(piece, more=more or len(view) > 0)
        if not view:
            return
