"""Whatever a server does, a call ends in an answer or in an error of the tree that says what to check."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from replicator.client import endpoint
from replicator.client.control_plane import ControlPlaneClient
from replicator.client.endpoint import Deadlines
from replicator.kernel import errors
from replicator.wire.jobs import ChangeJob, MigrateRequest
from replicator.wire.problem import MEDIA_TYPE, problem_of

URL = "http://control.example:8000"
SHORT = Deadlines(connect_s=0.2, answer_s=0.2, stall_s=0.2)


def ask(
    answer: httpx.Response | Callable[[httpx.Request], httpx.Response],
    call: Callable[[ControlPlaneClient], Any] = lambda client: client.job(1),
    deadlines: Deadlines | None = None,
) -> Any:
    transport = httpx.MockTransport(answer if callable(answer) else lambda _: answer)

    async def run() -> Any:
        async with ControlPlaneClient(URL, transport=transport, deadlines=deadlines) as client:
            return await call(client)

    return asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("there is no job 1", job=1),
        errors.Conflict("that key was used for another request"),
        errors.InvalidRequest("src_node and dst_node are the same"),
        errors.Unavailable("the database is busy; try again"),
        errors.PeerUnreachable("node1 does not answer"),
        errors.PreconditionFailed("the object has another entity tag"),
    ],
)
def test_a_problem_becomes_the_error_it_reports(error: errors.ReplicatorError) -> None:
    problem = problem_of(error)
    with pytest.raises(type(error)) as raised:
        ask(httpx.Response(problem.status, json=problem.model_dump(), headers={"Content-Type": MEDIA_TYPE}))
    assert raised.value.message == error.message
    assert raised.value.data == error.data


def test_an_error_page_that_is_no_problem_keeps_its_status_and_its_text() -> None:
    with pytest.raises(
        errors.Unavailable, match=r"http://control\.example:8000 answered 503 .*: down for lunch"
    ):
        ask(httpx.Response(503, text="down for lunch"))


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_page_of_a_proxy_is_told_as_such_and_without_its_markup(status: int) -> None:
    page = "<html><body><h1>503 Service Unavailable</h1>\nNo server is available.\n</body></html>"
    with pytest.raises(errors.ReplicatorError, match=rf"something between.* answered {status} ") as raised:
        ask(httpx.Response(status, text=page, headers={"Content-Type": "text/html"}))
    assert "<" not in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>a router's login page</html>"),
        httpx.Response(200, json={"id": 1}),
        httpx.Response(302, headers={"Location": "http://elsewhere.example/"}),
        httpx.Response(799),
    ],
)
def test_an_answer_that_no_replicator_would_give_is_a_broken_peer(answer: httpx.Response) -> None:
    with pytest.raises(errors.BrokenPeer, match="check that the address is that of a Replicator process"):
        ask(answer)


def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "ANSWER_BYTES_MAX", 1000)
    with pytest.raises(errors.BrokenPeer, match="more than 1000 bytes"):
        ask(httpx.Response(200, content=b" " * 1001))


def test_a_node_is_named_exactly_in_the_path() -> None:
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return httpx.Response(204)

    ask(answer, lambda client: client.remove_node("a/b?c"))
    assert seen == [b"/nodes/a%2Fb%3Fc"]


@pytest.mark.parametrize(
    ("change", "sent"),
    [
        (ChangeJob(priority=5), {"priority": 5}),
        (ChangeJob(bytes_per_second=None), {"bytes_per_second": None}),
    ],
)
def test_a_change_sends_only_what_it_sets(change: ChangeJob, sent: dict[str, Any]) -> None:
    seen: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        return httpx.Response(404)

    with pytest.raises(errors.NotFound):
        ask(answer, lambda client: client.change_job(1, change))
    assert seen == [sent]


def test_values_that_no_header_can_hold_are_refused_before_they_are_sent() -> None:
    from replicator.wire.jobs import MigrateRequest

    wanted = MigrateRequest(src_node="a", dst_node="b", object_id="c")
    with pytest.raises(errors.InvalidRequest):
        ask(httpx.Response(200), lambda client: client.migrate(wanted, idempotency_key="schlüssel"))


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://host?x=1", "http://h:x"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidRequest, match="is not a URL"):
        ControlPlaneClient(url)


def test_a_refused_connection_says_where_and_what_to_check() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}"

        async def run() -> None:
            async with ControlPlaneClient(url) as client:
                await client.job(1)

        with pytest.raises(errors.PeerUnreachable, match=rf"{url}: connection refused; check that it runs"):
            asyncio.run(run())


def test_a_name_server_that_hangs_does_not_outlast_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def hang(*_: object, **__: object) -> list[Any]:
        let_go.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "gave up")

    monkeypatch.setattr(socket, "getaddrinfo", hang)

    async def run() -> None:
        try:
            async with ControlPlaneClient(URL, deadlines=SHORT) as client:
                with pytest.raises(
                    errors.PeerUnreachable, match=r"name resolution included|no answer within"
                ):
                    await client.job(1)
            assert not let_go.is_set()
        finally:
            let_go.set()

    asyncio.run(run())


def test_a_server_that_says_nothing_does_not_outlast_the_deadline(raw_server: Any) -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def run() -> None:
        async with raw_server(silence) as url, ControlPlaneClient(url, deadlines=SHORT) as client:
            await client.job(1)

    with pytest.raises(errors.PeerUnreachable, match=r"no answer within|fell silent"):
        asyncio.run(run())


def test_a_server_that_trickles_does_not_outlast_the_deadline(raw_server: Any) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    async def run() -> None:
        async with raw_server(trickle) as url, ControlPlaneClient(url, deadlines=SHORT) as client:
            await client.job(1)

    with pytest.raises(errors.PeerUnreachable, match="no answer within"):
        asyncio.run(run())


JOB = {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"}


@pytest.mark.parametrize(
    "lost",
    [httpx.ReadError("reset"), httpx.Response(502), httpx.Response(503), httpx.Response(504)],
    ids=repr,
)
def test_a_read_that_was_cut_or_refused_for_now_is_made_again(lost: httpx.Response | Exception) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if len(asked) == 1:
            if isinstance(lost, Exception):
                raise lost
            return lost
        return httpx.Response(200, json={"nodes": [], "next_cursor": None})

    assert ask(answer, lambda client: client.nodes(limit=10)).nodes == []
    assert asked == ["/nodes", "/nodes"]


def test_a_submission_whose_answer_was_lost_is_sent_again_under_the_same_key() -> None:
    keys: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        raise httpx.ReadError("reset")

    with pytest.raises(errors.PeerUnreachable):
        ask(answer, lambda client: client.migrate(MigrateRequest.model_validate(JOB)))
    assert len(keys) > 1
    assert len(set(keys)) == 1


def test_a_server_that_is_slow_to_refuse_is_not_asked_again_and_again() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503)

    deadlines = Deadlines(retries_s=(0.0, 0.0, 0.0), tries_s=-1.0)
    with pytest.raises(errors.Unavailable):
        ask(answer, deadlines=deadlines)
    assert asked == ["/jobs/1"]


def test_what_may_not_be_done_twice_is_asked_once() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(503)

    with pytest.raises(errors.Unavailable):
        ask(answer, lambda client: client.retry_job(1))
    assert asked == ["/jobs/1/retry"]


def test_nobody_there_is_told_at_once() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        raise httpx.ConnectError("refused")

    with pytest.raises(errors.PeerUnreachable):
        ask(answer)
    assert asked == ["/jobs/1"]
