"""A node's HTTP server in the same process, as a source of pulls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from replicator.data_plane.api.app import NodeApp
from replicator.data_plane.api.exchange import ASGIApp, Receive, Scope, Send
from replicator.data_plane.api.replication import replication_routes
from replicator.data_plane.api.stall import Patience, StallWatch
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.objects.blocks import BlockBudget
from replicator.data_plane.objects.service import ObjectService
from replicator.data_plane.replication.messages import requests
from replicator.data_plane.replication.messages.fields import parse_message
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.settling import LoopSettler
from replicator.runtime.clock import SystemClock
from replicator.runtime.server import bind
from replicator.testing.processes import HOST
from replicator.testing.twisted_source import TwistedServing
from replicator.testing.waiting import DEADLINE_S, wait_until
from replicator.wire.frames import encode_frame
from replicator.wire.pb import replication_pb2 as pb

_THREADS = 4
_BUFFER_BYTES = 64 * 1024 * 1024


@contextmanager
def http_source(serving: Serving) -> Iterator[int]:
    """Serves `serving` on a free port, which it gives."""
    listener = bind(HOST, 0)
    server = uvicorn.Server(
        uvicorn.Config(
            _app(serving) if not isinstance(serving, TwistedServing) else _twisted(serving),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
    )
    thread = threading.Thread(target=server.run, args=([listener],), name="http-source", daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive(), "the source serves")
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)
        listener.close()


def _app(serving: Serving) -> NodeApp:
    metrics = NodeMetrics()
    budget = BlockBudget(_BUFFER_BYTES, wait_s=DEADLINE_S)
    stalls = StallWatch(Patience(timeout_s=DEADLINE_S, body_bytes_per_s_min=0))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with ThreadPoolExecutor(_THREADS) as threads:
            settler = LoopSettler(asyncio.get_running_loop())
            service = ObjectService(serving.store, settler, threads, budget)
            with replication_routes(serving, service, pacer=Pacer(SystemClock())) as other_nodes:
                app.attach(service, other_nodes)
                yield

    app = NodeApp(FastAPI(lifespan=lifespan), metrics=metrics, requests_max=64, stalls=stalls, budget=budget)
    return app


def _twisted(serving: TwistedServing) -> ASGIApp:
    """The application, but for fetches while their answer is twisted: a node would not send such frames."""
    honest = _app(serving)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") == "/replication/fetch" and serving.frames is not None:
            await _send_twisted(serving, receive, send)
        else:
            await honest(scope, receive, send)

    return app


async def _send_twisted(serving: TwistedServing, receive: Receive, send: Send) -> None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    asked = requests.decode_fetch(parse_message(pb.FetchRequest, body))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    left = asyncio.ensure_future(receive())
    twisted = serving.fetch(asked)
    while not left.done() and (frame := await asyncio.to_thread(next, twisted, None)) is not None:
        head = encode_frame(frame.digest, frame.status, len(frame.payload), frame.codec)
        await send({"type": "http.response.body", "body": head + bytes(frame.payload), "more_body": True})
    left.cancel()
    await send({"type": "http.response.body", "body": b""})
