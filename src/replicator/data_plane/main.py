"""`replicator node`: the composition root of a data-plane process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from fastapi import FastAPI

from replicator.data_plane.api.app import NodeApp
from replicator.data_plane.api.replication import replication_routes
from replicator.data_plane.api.rest import make_rest
from replicator.data_plane.api.rpc import RpcServer
from replicator.data_plane.api.stall import Patience, StallWatch
from replicator.data_plane.control_link import ControlLink
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.objects.blocks import BlockBudget
from replicator.data_plane.objects.service import ObjectService
from replicator.data_plane.ports import Store
from replicator.data_plane.replication.engine import Engine, PullBounds
from replicator.data_plane.replication.links import Links
from replicator.data_plane.replication.opening import peer_opener
from replicator.data_plane.replication.pull import Pull
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.removal import RemoveRun
from replicator.data_plane.replication.runner import TaskRunner
from replicator.data_plane.replication.serving import Serving
from replicator.data_plane.replication.survey import SurveyRun
from replicator.data_plane.replication.work import BeginWork
from replicator.data_plane.settings import NodeSettings
from replicator.data_plane.settling import LoopSettler
from replicator.data_plane.space_reports import SpaceReports
from replicator.data_plane.storage import files
from replicator.data_plane.storage.backup import Backups
from replicator.data_plane.storage.codec import ChunkCompressor
from replicator.data_plane.storage.rocks_catalog import RocksCatalog
from replicator.data_plane.storage.scrub import Scrubber, ScrubPolicy
from replicator.data_plane.storage.store import OpenedStore, open_store
from replicator.data_plane.storage.upkeep import StoreUpkeep, UpkeepPolicy
from replicator.data_plane.upkeep import Upkeep
from replicator.kernel.chunker import require_native_chunker
from replicator.kernel.errors import ReplicatorError, StoreFailed, Unavailable
from replicator.kernel.names import NodeName
from replicator.runtime.admission import Admission, ConnectionLimits
from replicator.runtime.bootstrap import raise_open_files_limit, tune_collector, tune_malloc
from replicator.runtime.clock import SystemClock
from replicator.runtime.logging import configure_logging, get_logger
from replicator.runtime.server import bind, serve
from replicator.runtime.settings_command import settings_command
from replicator.wire.sessions import DiskSpace, JoinReply, JoinRequest, RateLimits

log = get_logger()


class Node:
    """What lives on the event loop of the process: the object service, the tasks, the session."""

    def __init__(self, settings: NodeSettings, store: Store, upkeep: Upkeep, metrics: NodeMetrics) -> None:
        self._settings = settings
        self._store = store
        self._metrics = metrics
        self._link: ControlLink | None = None
        self._pacer = Pacer(SystemClock())
        self._serving = Serving(store, node=NodeName(settings.name), clock=SystemClock())
        self.rpc = _rpc(settings, self._serving, self._pacer, metrics)
        self.failed = False
        self._budget = BlockBudget(settings.buffer_bytes_max, wait_s=settings.transfer_wait_s)
        self._stalls = StallWatch(_patience(settings))
        rest = make_rest(
            name=settings.name,
            store=store,
            upkeep=upkeep,
            metrics=metrics,
            join=self._join,
            lifespan=self._lifespan,
        )
        self.app = NodeApp(
            rest,
            metrics=metrics,
            requests_max=settings.requests_max,
            stalls=self._stalls,
            budget=self._budget,
        )

    def _join(self, request: JoinRequest) -> JoinReply:
        if self._link is None:
            raise Unavailable("this node is starting; retry shortly")
        return self._link.join(request)

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        settings = self._settings
        boot_id = secrets.token_hex(8)
        self._link = ControlLink(
            node=settings.name,
            boot_id=boot_id,
            base_url=settings.reachable_at,
            rpc_url=settings.rpc_reachable_at,
            fixed_url=str(settings.control_plane_url).rstrip("/") if settings.control_plane_url else None,
            metrics=self._metrics,
            pacer=self._pacer,
            rng=random.Random(),  # noqa: S311  (spreads retries)
            labels=settings.own_labels,
            zone=settings.zone,
            space=SpaceReports(lambda: _disk_space(str(settings.data_dir)), SystemClock()),
        )
        runner = TaskRunner(
            self._store,
            boot_id=boot_id,
            begin=self._work(),
            tasks_max=settings.pulls_max,
            metrics=self._metrics,
            on_result=self._link.result_ready,
        )
        with (
            concurrent.futures.ThreadPoolExecutor(settings.threads, "store") as threads,
            self._attached(threads),
        ):
            async with asyncio.TaskGroup() as group:
                background = [
                    group.create_task(self._watched(self._link.run(runner))),
                    group.create_task(self._watched(self._stalls.run())),
                    group.create_task(self._watched(self._serving.pins.run())),
                ]
                log.info(
                    "node.ready",
                    url=settings.reachable_at,
                    rpc_url=settings.rpc_reachable_at,
                    boot_id=boot_id,
                )
                try:
                    yield
                finally:
                    for task in background:
                        task.cancel()
                    await runner.close()

    def _work(self) -> BeginWork:
        engine = _engine(self._settings, self._serving, self._pacer)
        self._metrics.watch_links(engine.links)
        folder = str(self._settings.data_dir)
        return {
            "pull": lambda task: Pull(task, engine),
            "survey": lambda task: SurveyRun(task, engine, own=self._serving, folder=folder),
            "remove": lambda task: RemoveRun(task, engine),
        }

    @contextmanager
    def _attached(self, threads: concurrent.futures.Executor) -> Iterator[None]:
        """Serve clients and, unless they are to use gRPC, other nodes."""
        settler = LoopSettler(asyncio.get_running_loop())
        service = ObjectService(self._store, settler, threads, self._budget)
        with replication_routes(self._serving, service, pacer=self._pacer) as other_nodes:
            self.app.attach(service, None if self._settings.serve == "grpc" else other_nodes)
            yield

    def stopping(self) -> None:
        """Requests in progress end soon from here on."""
        self._pacer.set_limits(RateLimits())
        if self.rpc is not None:
            self.rpc.begin_stop()

    async def _watched(self, duty: Coroutine[Any, Any, None]) -> None:
        try:
            await duty
        except Exception as error:  # noqa: BLE001  (it ends the process)
            self.broke(error)

    def broke(self, error: Exception) -> None:
        """Without that part a node only seems to work, so the whole process ends. From any thread."""
        log.critical("node.broke", exc_info=error)
        self.failed = True
        signal.raise_signal(signal.SIGTERM)


def run(settings: NodeSettings) -> None:
    """Run the node until a signal ends it.

    Raises:
        ReplicatorError: it could not start; the message says why.
    """
    tune_malloc()
    open_files_max = raise_open_files_limit()
    require_native_chunker()
    configure_logging(level=settings.log_level, style=settings.log_format, process="node", node=settings.name)
    listener = bind(settings.host, settings.port)
    rpc_listener = _bind_rpc(settings)
    settings = settings.model_copy(
        update={
            "port": listener.getsockname()[1],
            "rpc_port": rpc_listener and rpc_listener.getsockname()[1],
        }
    )
    metrics = NodeMetrics()
    opened = _open(settings, metrics)
    tune_collector()

    def broke(error: Exception) -> None:
        node.broke(error)

    upkeep = _upkeep(settings, opened, metrics, on_broken=broke)
    metrics.watch_space(upkeep.space)
    node = Node(settings, opened.store, upkeep, metrics)
    upkeep.start(on_broken=broke)
    try:
        if node.rpc is not None and rpc_listener is not None:
            node.rpc.start(rpc_listener)
        admission = _admission(settings, open_files_max, metrics)
        serve(node.app, listener, admission=admission, on_stop=node.stopping)
    finally:
        node.stopping()
        if node.rpc is not None:
            node.rpc.close()
        upkeep.stop()
        opened.close()
    log.info("node.stopped")
    if node.failed:
        raise ReplicatorError("a part of the node broke; the log says why")


def _disk_space(folder: str) -> DiskSpace:
    return DiskSpace(bytes_total=files.total_bytes(folder), bytes_free=files.free_bytes(folder))


def _bind_rpc(settings: NodeSettings) -> socket.socket | None:
    port = settings.rpc_listens_on
    return None if port is None else bind(settings.host, port, option="--rpc-port")


def _rpc(settings: NodeSettings, serving: Serving, pacer: Pacer, metrics: NodeMetrics) -> RpcServer | None:
    if settings.rpc_listens_on is None:
        return None
    return RpcServer(
        serving,
        patience=_patience(settings),
        requests_max=settings.rpc_requests_max,
        pacer=pacer,
        metrics=metrics,
        clock=SystemClock(),
    )


def _patience(settings: NodeSettings) -> Patience:
    return Patience(timeout_s=settings.stall_timeout_s, body_bytes_per_s_min=settings.body_bytes_per_s_min)


def _engine(settings: NodeSettings, serving: Serving, pacer: Pacer) -> Engine:
    clock = SystemClock()
    rng = random.Random()  # noqa: S311  (spreads retries)
    return Engine(
        store=serving.store,
        open_peer=peer_opener(settings.transport, timeout_s=settings.peer_timeout_s, clock=clock),
        pacer=pacer,
        links=Links(
            clock,
            rng,
            failures_max=settings.link_failures_max,
            open_s_max=settings.link_open_s_max,
            compress_below_bytes_per_s=settings.compress_below_bytes_per_s,
        ),
        clock=clock,
        rng=rng,
        reliance=serving.reliance,
        bounds=PullBounds(
            streams_per_source=settings.streams_per_source,
            streams_max=settings.streams_max,
            bytes_in_flight_max=settings.bytes_in_flight_max,
            silence_s=settings.peer_timeout_s,
        ),
    )


def _admission(settings: NodeSettings, open_files_max: int, metrics: NodeMetrics) -> Admission:
    limits = ConnectionLimits(connections=settings.connections_max).within(open_files_max)
    if limits.connections < settings.connections_max:
        log.warning(
            "node.connections-limited", connections_max=limits.connections, open_files_max=open_files_max
        )
    return Admission(limits, on_refused=metrics.connections_refused.inc)


def _upkeep(
    settings: NodeSettings,
    opened: OpenedStore,
    metrics: NodeMetrics,
    *,
    on_broken: Callable[[Exception], None],
) -> StoreUpkeep:
    parts = opened.store.parts
    scrubber = Scrubber(
        parts,
        policy=ScrubPolicy(period_s=settings.scrub_period_s, bytes_per_s_max=settings.scrub_bytes_per_s_max),
        on_read=metrics.scrubbed_bytes.inc,
        on_damage=lambda family: metrics.scrub_damage.labels(family).inc(),
        on_broken=on_broken,
    )
    policy = UpkeepPolicy(
        gc_grace_s=settings.gc_grace_s,
        space_overhead_max=settings.space_overhead_max,
        compaction_bytes_per_s_max=settings.compaction_bytes_per_s_max,
    )
    backups = Backups(parts, settings.backup_dir)
    return StoreUpkeep(parts, policy=policy, scrubber=scrubber, backup=backups.make)


def _open(settings: NodeSettings, metrics: NodeMetrics) -> OpenedStore:
    def on_failure(failure: StoreFailed) -> None:
        metrics.store_failed.set(1)
        log.critical("store.failed", reason=failure.message)

    opened = open_store(
        str(settings.data_dir),
        node_name=settings.name,
        open_catalog=lambda path: RocksCatalog(path, cache_bytes=settings.catalog_cache_bytes),
        clock=SystemClock(),
        segment_bytes_max=settings.segment_bytes_max,
        reserve_bytes=settings.disk_reserve_bytes,
        on_failure=on_failure,
        compressor=ChunkCompressor() if settings.compression == "zstd" else None,
    )
    log.info(
        "store.opened",
        path=str(settings.data_dir),
        chunks_recovered=opened.recovered.chunks,
        bytes_cut=opened.recovered.bytes_cut,
    )
    return opened


def main() -> None:
    """The process."""
    settings_command(
        NodeSettings,
        run,
        name="node",
        summary="Run a data-plane node: one store, an object API, and pulls from other nodes.",
        examples="replicator node --name node1 --data-dir ./node1 --port 9001   |   "
        "replicator node --name node2 --data-dir ./node2 --port 9002 --control-plane http://localhost:8000",
    )(prog_name="replicator node")


if __name__ == "__main__":
    main()
