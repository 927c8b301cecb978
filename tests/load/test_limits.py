"""Past its set limits a node says 503 with `Retry-After`; who abuses it is cut off, and nobody else is harmed."""

import re
import shutil
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Protocol

import httpx
import pytest

from replicator.runtime.admission import ConnectionLimits
from replicator.runtime.http_protocol import PIPELINED_MAX
from replicator.testing.bulk import put_blocks
from replicator.testing.idle_connections import connections_possible, idle_connections
from replicator.testing.processes import ServerProcess
from replicator.testing.raw_http import RawConnection
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
IDLE_BYTES_MAX = 40 * 1024
StartNode = Callable[..., ServerProcess]


class Form(Protocol):
    idle: int


def is_healthy(node: ServerProcess) -> bool:
    try:
        return httpx.get(f"{node.url}/health", trust_env=False, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def test_one_connection_too_many_is_503_until_another_is_closed(start_node: StartNode) -> None:
    node = start_node(settings={"REPLICATOR_NODE_CONNECTIONS_MAX": "8"})
    with ExitStack() as held:
        first = held.enter_context(RawConnection(node.url))
        for _ in range(7):
            held.enter_context(RawConnection(node.url)).send(HEALTH)
        with RawConnection(node.url) as refused:
            refused.send_head("PUT", "/objects/refused", {"Content-Length": str(8 * MEBIBYTE)})
            answer = refused.answer("PUT")
            assert (answer.status, b'"unavailable"' in answer.body) == (503, True)
            assert int(answer.headers["retry-after"]) >= 1
            assert refused.is_ended()
        first.send(HEALTH)
        assert first.answer().status == 200
        first.close()
        wait_until(lambda: is_healthy(node), "a connection takes the place of the one that was closed")
        metrics = httpx.get(f"{node.url}/metrics", trust_env=False).text
    assert "replicator_node_connections_refused_total 0.0" not in metrics
    assert httpx.head(f"{node.url}/objects/refused", trust_env=False).status_code == 404


def test_silent_connections_beyond_the_limit_hold_few_descriptors(start_node: StartNode) -> None:
    node = start_node(settings={"REPLICATOR_NODE_CONNECTIONS_MAX": "8"})
    before, refusals_max = node.open_files(), ConnectionLimits().refusals
    with idle_or_refused(node, 8 + 3 * refusals_max):
        assert node.open_files() <= before + 8 + refusals_max + 16
    wait_until(lambda: is_healthy(node), "the node serves again")


def idle_or_refused(node: ServerProcess, count: int) -> ExitStack:
    """`count` silent connections, whatever becomes of them."""
    with ExitStack() as held:
        for _ in range(count):
            held.enter_context(RawConnection(node.url))
        return held.pop_all()


def test_connections_leave_the_store_its_descriptors(start_node: StartNode) -> None:
    if shutil.which("sh") is None:
        pytest.skip("the number of open files is limited by sh")
    node = start_node(
        wrapper=("sh", "-c", 'ulimit -n 256 && exec "$@"', "sh"),
        settings={"REPLICATOR_NODE_SEGMENT_BYTES_MAX": str(MEBIBYTE)},
    )
    assert node.events("node.connections-limited")[0]["connections_max"] < 256
    kept_alive = httpx.Limits(keepalive_expiry=None)
    with httpx.Client(base_url=node.url, trust_env=False, timeout=30, limits=kept_alive) as client:
        assert client.get("/health").status_code == 200
        with idle_or_refused(node, 200):
            for number in range(20):
                data = number.to_bytes(8) * (MEBIBYTE // 8)
                assert client.put(f"/objects/{number}", content=data).status_code == 201
            assert client.get("/ready").status_code == 200
    wait_until(lambda: is_healthy(node), "the node serves again")
    assert node.events("store.failed") == []
    assert node.events("library.log") == []


def test_a_transfer_beyond_the_buffers_waits_and_is_then_told_to_come_back(start_node: StartNode) -> None:
    node = start_node(
        settings={
            "REPLICATOR_NODE_BUFFER_BYTES_MAX": str(MEBIBYTE),
            "REPLICATOR_NODE_TRANSFER_WAIT_S": "0.2",
        }
    )
    data = bytes(range(256)) * 1024
    with ExitStack() as held, httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client:
        transfers = [held.enter_context(RawConnection(node.url)) for _ in range(2)]
        for number, transfer in enumerate(transfers):
            transfer.send_head(
                "PUT", f"/objects/{number}", {"Content-Length": str(len(data)), "Expect": "100-continue"}
            )
            assert transfer.answer_continue()
        refused = put_blocks(node.url, "refused", [data] * 100, size=100 * len(data))
        assert (refused.status, refused.retry_after) == (503, "1")
        listing = client.get("/objects")
        assert (listing.status_code, listing.headers["Retry-After"]) == (503, "1")
        assert client.put("/objects/small", content=b"x" * 1000).status_code == 201
        assert client.get("/objects/small").status_code == 200
        assert client.get("/ready").status_code == 200
        for transfer in transfers:
            transfer.send(data)
            assert transfer.answer("PUT").status == 201
        assert put_blocks(node.url, "later", [data], size=len(data)).status == 201
        assert client.get("/objects/later").content == data


def test_a_body_that_drips_is_cut_off(start_node: StartNode) -> None:
    node = start_node(
        settings={
            "REPLICATOR_NODE_STALL_TIMEOUT_S": "0.5",
            "REPLICATOR_NODE_BODY_BYTES_PER_S_MIN": "100000",
        }
    )
    for length in (1000, 5 * MEBIBYTE):
        with RawConnection(node.url) as connection:
            connection.send_head("PUT", "/objects/dripping", {"Content-Length": str(length)})
            # The pace of this client, not a wait for the node: each byte comes well within the stall timeout.
            with suppress(ConnectionError):
                for _ in range(600):
                    connection.send(b"x")
                    if connection.has_answer(within_s=0.05):
                        break
            answer = connection.answer("PUT")
            assert (answer.status, b"bytes a second" in answer.body) == (503, True)
            assert connection.is_ended()
    assert httpx.head(f"{node.url}/objects/dripping", trust_env=False).status_code == 404


def test_pipelined_requests_are_answered_in_order(start_node: StartNode) -> None:
    node = start_node()
    with RawConnection(node.url) as connection:
        connection.send(b"".join(head(f"/objects/absent{number}") for number in range(PIPELINED_MAX)))
        connection.send(head("/objects/last", "Connection: close\r\n"))
        answers = connection.read_to_end()
    absent = [*(f"absent{number}" for number in range(PIPELINED_MAX)), "last"]
    assert re.findall(rb'"object_id": "(.+?)"', answers) == [each.encode() for each in absent]


def head(target: str, more: str = "") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode()


def test_a_flood_of_pipelined_requests_is_cut_off(start_node: StartNode) -> None:
    node = start_node()
    before = node.peak_memory_bytes()
    for _ in range(20):
        with RawConnection(node.url) as connection, suppress(ConnectionError):
            connection.send(HEALTH * 50_000)
            while not connection.is_ended():
                pass
    assert is_healthy(node)
    assert node.peak_memory_bytes() - before < 32 * MEBIBYTE
    assert node.events("request.failed") == []


def test_answers_that_nobody_reads_are_given_up(start_node: StartNode) -> None:
    node = start_node(settings={"REPLICATOR_NODE_STALL_TIMEOUT_S": "0.5"})
    with httpx.Client(base_url=node.url, trust_env=False, timeout=60) as client:
        data = bytes(range(256)) * 4096
        client.put("/objects/wanted", content=iter([data] * 32))
        with ExitStack() as held:
            for _ in range(20):
                connection = held.enter_context(RawConnection(node.url))
                connection.send(head("/objects/wanted"))
            wait_until(lambda: len(node.events("response.cut_short")) == 20, "all of them are given up")
        assert client.get("/objects/wanted").content == data * 32


@pytest.mark.timeout(600)
def test_idle_connections_harm_nobody(start_node: StartNode, form: Form) -> None:
    if connections_possible() < form.idle:
        pytest.skip(f"only {connections_possible()} connections may be open here")
    node = start_node()
    before = node.peak_memory_bytes()
    data = bytes(range(256)) * 4096
    with idle_connections(node.port, form.idle) as idle:
        with httpx.Client(base_url=node.url, trust_env=False, timeout=30) as client:
            for number in range(50):
                assert client.put(f"/objects/{number}", content=data + bytes([number])).status_code == 201
                assert client.get(f"/objects/{number}").content == data + bytes([number])
        print(f"{idle.count_open()} idle, {(node.peak_memory_bytes() - before) / form.idle:.0f} bytes each")
        assert node.peak_memory_bytes() - before < form.idle * IDLE_BYTES_MAX + 64 * MEBIBYTE
    wait_until(lambda: node.open_files() < 100, "their descriptors are closed")
    assert is_healthy(node)
