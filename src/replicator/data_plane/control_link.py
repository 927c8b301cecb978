"""The session with the control plane: reports progress and results, takes tasks.

One poll at a time, to whichever replica of the control plane answers; one that is lost is sent again while the session
may still live, so a replica that dies costs a moment and no session. A poll waits at the control plane for something to do; a result that becomes ready meanwhile
interrupts it, which is harmless because the control plane repeats what was not heard. While no control plane
can be reached pulls go on, and their results wait in the outbox.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from replicator import __version__
from replicator.client.sessions import SessionClient
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.runner import TaskRunner
from replicator.data_plane.space_reports import SpaceReports
from replicator.kernel.errors import Conflict, Fenced, NotFound, PeerUnreachable, ReplicatorError
from replicator.runtime.logging import get_logger
from replicator.wire.sessions import (
    RESULTS_MAX,
    TASKS_MAX,
    JoinReply,
    JoinRequest,
    OpenSession,
    Poll,
    SessionOpened,
)

log = get_logger()
PROGRESS_SECONDS = 1.0
RESULTS_BYTES_MAX = 3 * 1024 * 1024
_RETRY_SECONDS_MAX = 15.0
_POLL_RETRY_SECONDS_MAX = 1.0
_SHORT_TASK_SECONDS = 0.03


class ControlLink:
    """Keeps a session with one control plane.

    Args:
        rpc_url: of the gRPC service of this node, if it has one.
        fixed_url: the control plane this node was told to join at its start; no other is accepted.
        pacer: hears the limits that the control plane sets.
        rng: spreads the retries of many nodes.
        labels, zone: what this node says of itself.
        space: when to tell of its disk.
    """

    def __init__(
        self,
        *,
        node: str,
        boot_id: str,
        base_url: str,
        rpc_url: str | None,
        fixed_url: str | None,
        metrics: NodeMetrics,
        pacer: Pacer,
        rng: random.Random,
        labels: Mapping[str, str],
        zone: str | None,
        space: SpaceReports,
    ) -> None:
        self._node = node
        self._boot_id = boot_id
        self._base_url = base_url
        self._rpc_url = rpc_url
        self._fixed_url = fixed_url
        self._metrics = metrics
        self._pacer = pacer
        self._rng = rng
        self._labels = dict(labels)
        self._zone = zone
        self._space = space
        self._url = fixed_url
        self._has_session = False
        # What the pacer has been set to stays true whoever said so, so it outlives sessions.
        self._heard = ""
        self._told = asyncio.Event()
        self._result_ready = asyncio.Event()

    def join(self, request: JoinRequest) -> JoinReply:
        """Open a session with the control plane that `request` names, leaving any other.

        Raises:
            Conflict: this is another node, or it was told at its start which control plane to join.
        """
        if request.node != self._node:
            raise Conflict(
                f"this is node '{self._node}', not '{request.node}': correct the base_url or the name",
                node=self._node,
            )
        url = str(request.control_plane_url).rstrip("/")
        if self._fixed_url is not None and url != self._fixed_url:
            raise Conflict(
                f"node '{self._node}' was started with --control-plane {self._fixed_url} and joins no other",
                node=self._node,
            )
        if url != self._url:
            log.info("session.told", control_plane=url)
        self._url = url
        self._told.set()
        return JoinReply(node=self._node, boot_id=self._boot_id)

    def result_ready(self) -> None:
        """A result waits: report it now rather than with the next poll."""
        self._result_ready.set()

    async def run(self, runner: TaskRunner) -> None:
        """Keep a session until cancelled."""
        failures = 0
        while True:
            if self._url is None:
                await self._told.wait()
            self._told.clear()
            assert self._url is not None
            began = asyncio.get_running_loop().time()
            try:
                async with SessionClient(self._url) as client:
                    await self._hold_session(client, runner)
            except (Fenced, NotFound) as error:
                log.info("session.ended", control_plane=self._url, reason=error.message)
            except ReplicatorError as error:
                # Where there was none yet, as when nodes start before the control plane, nothing is lost.
                event = "session.lost" if self._has_session else "session.waits"
                log.warning(event, control_plane=self._url, reason=error.message)
            except Exception as error:
                # Whatever a control plane answers, this node goes on and listens to the next one.
                log.error("session.broke", control_plane=self._url, exc_info=error)
            finally:
                self._metrics.session.set(0)
                self._has_session = False
            lasted = asyncio.get_running_loop().time() - began
            failures = 0 if lasted > _RETRY_SECONDS_MAX else failures + 1
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        """Wait before the next try, but not once told to join."""
        try:
            async with asyncio.timeout(
                self._rng.uniform(0, min(_RETRY_SECONDS_MAX, 0.5 * 2 ** min(failures, 6)))
            ):
                await self._told.wait()
        except TimeoutError:
            return

    async def _hold_session(self, client: SessionClient, runner: TaskRunner) -> None:
        results = runner.results(RESULTS_MAX, bytes_max=RESULTS_BYTES_MAX)
        space = await asyncio.to_thread(self._space.current)
        session = await client.open(
            OpenSession.model_validate(
                {
                    "node": self._node,
                    "boot_id": self._boot_id,
                    "base_url": self._base_url,
                    "rpc_url": self._rpc_url,
                    "release": __version__,
                    "labels": self._labels,
                    "zone": self._zone,
                    "space": space,
                    "results": results,
                }
            )
        )
        self._space.heard(space)
        runner.serve(session.control_plane)
        runner.acknowledge(session.acknowledged)
        self._metrics.session.set(1)
        self._has_session = True
        log.info("session.opened", control_plane=client.base_url, session=session.session_id)
        url, now = self._url, asyncio.get_running_loop().time
        heard_s, failures = now(), 0
        while self._url == url:
            try:
                if await self._poll(client, session, runner):
                    heard_s, failures = now(), 0
            except (Fenced, NotFound):
                raise
            except ReplicatorError as error:
                # The session lives on in the database, and any replica may answer the next poll.
                failures += 1
                if now() - heard_s > session.lease_seconds:
                    raise
                log.info("poll.lost", control_plane=client.base_url, reason=error.message)
                await asyncio.sleep(
                    self._rng.uniform(0, min(_POLL_RETRY_SECONDS_MAX, 0.05 * 2 ** min(failures, 6)))
                )

    async def _poll(self, client: SessionClient, session: SessionOpened, runner: TaskRunner) -> bool:
        """Whether it was answered, rather than interrupted by a result."""
        self._result_ready.clear()
        running = runner.progress()
        results = runner.results(RESULTS_MAX, bytes_max=RESULTS_BYTES_MAX)
        message = Poll(
            boot_id=self._boot_id,
            wait_seconds=0 if results else PROGRESS_SECONDS if running else session.poll_seconds,
            capacity=min(runner.capacity, TASKS_MAX),
            space=await asyncio.to_thread(self._space.news),
            running=running,
            results=results,
            heard=self._heard,
        )
        polling = asyncio.create_task(client.poll(session.session_id, message))
        interrupted = asyncio.create_task(self._result_ready.wait())
        try:
            silence_s_max = message.wait_seconds + session.lease_seconds / 3
            await asyncio.wait(
                [polling, interrupted], return_when=asyncio.FIRST_COMPLETED, timeout=silence_s_max
            )
            if not polling.done():
                if interrupted.done():
                    return False
                # Whoever has it may have been stopped; the session may yet be renewed elsewhere.
                raise PeerUnreachable(f"no answer to a poll within {silence_s_max:g} s")
            reply = polling.result()
        finally:
            polling.cancel()
            interrupted.cancel()
            await asyncio.wait([polling, interrupted])
        self._space.heard(message.space)
        self._heard = reply.told
        self._pacer.set_limits(reply.limits)
        for ref in reply.cancel:
            runner.cancel(ref)
        for ref in reply.abandon:
            runner.abandon(ref)
        for assignment in reply.tasks:
            runner.start(assignment)
        runner.acknowledge(reply.acknowledged)
        if reply.tasks:
            await self._result_soon()
        return True

    async def _result_soon(self) -> None:
        """A short task's result goes with the next poll, which it would interrupt otherwise."""
        try:
            async with asyncio.timeout(_SHORT_TASK_SECONDS):
                await self._result_ready.wait()
        except TimeoutError:
            return
