"""Polls of a node are cut, or answered by a proxy that has nobody to ask: the session goes on with the next one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from replicator.testing.processes import node_process
from replicator.testing.waiting import wait_until
from replicator.wire.sessions import PollReply, SessionOpened

OPENED = SessionOpened(
    session_id="the-session",
    control_plane="control-plane-1",
    lease_seconds=60,
    poll_seconds=0.05,
    acknowledged=[],
)
TROUBLE = (None, 502, 503, 504)
"""What becomes of the first polls; None: the connection is cut."""


class Desk(ThreadingHTTPServer):
    """A control plane that opens sessions, and has trouble with its first polls."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.opened = 0
        self.polls: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Desk
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/sessions":
            self.server.opened += 1
            self._answer(200, OPENED.model_dump_json())
            return
        self.server.polls.append(message["heard"])
        trouble = TROUBLE[len(self.server.polls) - 1] if len(self.server.polls) <= len(TROUBLE) else 200
        if trouble is None:
            self.close_connection = True
        else:
            self._answer(trouble, PollReply(told=f"reply-{len(self.server.polls)}").model_dump_json())

    def log_message(self, *_: object) -> None:
        """Nothing: the test says what it saw."""

    def _answer(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


@pytest.fixture
def desk() -> Iterator[Desk]:
    with Desk() as desk:
        serving = threading.Thread(target=desk.serve_forever)
        serving.start()
        yield desk
        desk.shutdown()
        serving.join()


def test_a_node_keeps_its_session_over_lost_polls(tmp_path: Path, desk: Desk) -> None:
    url = f"http://127.0.0.1:{desk.server_address[1]}"
    with node_process("node1", tmp_path, control_plane=url) as node:
        wait_until(lambda: len(desk.polls) > len(TROUBLE) + 1, "polls are answered again")
        assert desk.opened == 1
        assert desk.polls[len(TROUBLE) + 1] == f"reply-{len(TROUBLE) + 1}"
        assert len(node.events("poll.lost")) == len(TROUBLE)
