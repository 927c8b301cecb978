"""A control plane reduced to its desk: hands tasks to one node and takes its results, as they come."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from pydantic import BaseModel

from replicator.testing.processes import HOST
from replicator.testing.waiting import DEADLINE_S
from replicator.wire.sessions import (
    ObjectItem,
    OpenSession,
    Poll,
    PollReply,
    SessionOpened,
    TaskAssignment,
    TaskRef,
    TaskResult,
    TaskSource,
)

_POLL_SECONDS = 5.0


class TaskDesk:
    """Speaks the session protocol on a port of its own. A context manager."""

    def __init__(self, control_plane: str = "the-desk") -> None:
        self._control_plane = control_plane
        self._changed = threading.Condition()
        self._assigned: dict[int, TaskAssignment] = {}
        self._results: dict[int, TaskResult] = {}
        self._server = _Server((HOST, 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join(DEADLINE_S)
        self._server.server_close()

    @property
    def url(self) -> str:
        """What the node is told to join."""
        return f"http://{HOST}:{self._server.server_port}"

    def assign(
        self, object_id: str, source_url: str, *, node: str = "source", others: Sequence[str] = ()
    ) -> int:
        """Have the node pull an object; returns the task's id.

        Args:
            node: what the source is called.
            others: more sources, which are called other1, other2 …
        """
        return self.give(
            source=TaskSource(node=node, base_url=source_url),
            others=[TaskSource(node=f"other{number}", base_url=url) for number, url in enumerate(others, 1)],
            items=[ObjectItem(row=1, object_id=object_id)],
        )

    def give(self, **what: Any) -> int:
        """Have the node carry out a task of any kind; `what` are fields of a `TaskAssignment`."""
        with self._changed:
            task_id = len(self._assigned) + 1
            self._assigned[task_id] = TaskAssignment(
                control_plane=self._control_plane,
                task_id=task_id,
                job_id=task_id,
                epoch=1,
                attempt=1,
                **what,
            )
            self._changed.notify_all()
            return task_id

    def result(self, task_id: int) -> TaskResult:
        """How the task ended; waits for it."""
        with self._changed:
            if not self._changed.wait_for(lambda: task_id in self._results, DEADLINE_S):
                raise TimeoutError(f"task {task_id} had no result within {DEADLINE_S:g} s")
            return self._results[task_id]

    def open(self, request: OpenSession) -> SessionOpened:
        """Answer to `POST /sessions`."""
        return SessionOpened(
            session_id="desk",
            control_plane=self._control_plane,
            lease_seconds=3 * _POLL_SECONDS,
            poll_seconds=_POLL_SECONDS,
            acknowledged=self._take(request.results),
        )

    def poll(self, request: Poll) -> PollReply:
        """Answer to a poll: at once if there is something to say."""
        taken = self._take(request.results)
        running = {progress.task_id for progress in request.running}
        with self._changed:
            self._changed.wait_for(lambda: taken or self._waiting(running), request.wait_seconds)
            return PollReply(tasks=self._waiting(running)[: request.capacity], acknowledged=taken)

    def _waiting(self, running: set[int]) -> list[TaskAssignment]:
        done = running | self._results.keys()
        return [task for task_id, task in self._assigned.items() if task_id not in done]

    def _take(self, results: list[TaskResult]) -> list[TaskRef]:
        with self._changed:
            self._results |= {result.task_id: result for result in results}
            self._changed.notify_all()
        return [result.ref for result in results]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A node may go at any time; anything else is worth a trace."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _handler_for(desk: TaskDesk) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/sessions":
                self._reply(desk.open(OpenSession.model_validate_json(body)))
            else:
                self._reply(desk.poll(Poll.model_validate_json(body)))

        def _reply(self, message: BaseModel) -> None:
            payload = message.model_dump_json(by_alias=True).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)
            except ConnectionError:
                # The node does not wait for an answer once it has a result to report.
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
