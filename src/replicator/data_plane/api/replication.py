"""`POST /replication/…`: what other nodes ask of this one (proto/replicator/v1, over HTTP). On bare ASGI."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus

from replicator.data_plane.api.exchange import Exchange, HeaderList
from replicator.data_plane.api.fetches import FetchAnswers
from replicator.data_plane.api.paced import send_paced
from replicator.data_plane.objects.service import ObjectService
from replicator.data_plane.replication.answers import answers_of
from replicator.data_plane.replication.messages import replies, requests
from replicator.data_plane.replication.messages.fields import parse_message
from replicator.data_plane.replication.ports import Wanted
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.threads import Threads, abandoned
from replicator.kernel.errors import NotFound
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.replication import MEDIA_TYPE, REQUEST_BYTES_MAX

PREFIX = b"/replication/"
ENCODERS = 2
PROVERS = 1
_SIGN_OF_LIFE_S = 2.0
_ON_LOOP = frozenset({b"hello"})
_MESSAGE: HeaderList = [(b"content-type", MEDIA_TYPE.encode())]


@contextmanager
def replication_routes(
    serving: Serving, service: ObjectService, *, pacer: Pacer
) -> Iterator[ReplicationRoutes]:
    """The routes, with threads of their own: work for other nodes must not keep clients waiting."""
    with (
        ThreadPoolExecutor(ENCODERS, "encoder") as encoders,
        ThreadPoolExecutor(PROVERS, "prover") as provers,
    ):
        yield ReplicationRoutes(
            serving, service, encoders=Threads(encoders), provers=Threads(provers), pacer=pacer
        )


class ReplicationRoutes:
    """Answers requests below `/replication/`.

    Args:
        service: has the threads for whatever is answered at once, and the budget of transfers.
        encoders: make deltas and compress; each thread may hold two times `DELTA_BYTES_MAX` and as much again.
        provers: read whole versions.
        pacer: says when the next bytes may go out.
    """

    def __init__(
        self,
        serving: Serving,
        service: ObjectService,
        *,
        encoders: Threads,
        provers: Threads,
        pacer: Pacer,
    ) -> None:
        self._serving = serving
        self._service = service
        self._fetches = FetchAnswers(serving, service, encoders=encoders, pacer=pacer)
        self._provers = provers
        self._pacer = pacer
        self._answers = {name.lower().encode(): answer for name, answer in answers_of(serving).items()}

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request; errors of the tree travel to the caller."""
        method = exchange.path[len(PREFIX) :]
        if method not in self._answers and method not in {b"fetch", b"prove"}:
            raise NotFound(f"other nodes ask for nothing at {exchange.path.decode('ascii', 'replace')}")
        if exchange.method != "POST":
            await exchange.respond_method_not_allowed("POST")
            return
        body = await exchange.short_body(REQUEST_BYTES_MAX)
        if method == b"fetch":
            await self._fetches.answer(exchange, requests.decode_fetch(parse_message(pb.FetchRequest, body)))
        elif method == b"prove":
            await self._prove(exchange, requests.decode_prove(parse_message(pb.ProveRequest, body)))
        else:
            await self._answer(exchange, method, body)

    async def _answer(self, exchange: Exchange, method: bytes, body: bytes) -> None:
        def answer() -> bytes:
            return self._answers[method](body).SerializeToString()

        if method in _ON_LOOP:
            await exchange.respond(HTTPStatus.OK, answer(), _MESSAGE)
            return
        async with self._service.budget.transfer(None):
            reply = await self._service.threads.run(answer)
            length = (b"content-length", b"%d" % len(reply))
            await exchange.start(HTTPStatus.OK, [*_MESSAGE, length])
            exchange.watch_client()
            await send_paced(exchange, reply, self._pacer, more=False)

    async def _prove(self, exchange: Exchange, wanted: Sequence[Wanted]) -> None:
        """Each proof as soon as there is one.

        Messages of protobuf that follow each other are one, whose lists are theirs in a row: so the reply can go
        out in parts, and one without proofs says that the node is still at work, or that others come first.
        """
        await exchange.start(HTTPStatus.OK, _MESSAGE)
        exchange.watch_client()
        sign_of_life = pb.ProveReply(alive=True).SerializeToString()
        stopped = threading.Event()
        prove = functools.partial(self._serving.prove, stopped=stopped)
        for each in wanted:
            proving = self._provers.start(prove, [each])
            try:
                while not (await asyncio.wait([proving], timeout=_SIGN_OF_LIFE_S))[0]:
                    await exchange.send(sign_of_life, more=True)
            finally:
                if not proving.done():
                    stopped.set()
                    await abandoned(proving)
            proof = replies.encode_prove(self._serving.node, proving.result())
            await exchange.send(proof.SerializeToString(), more=True)
        await exchange.send(b"", more=False)
