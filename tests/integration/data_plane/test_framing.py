"""Where a body ends: a request that does not say so, or says it in another protocol, stores nothing."""

from __future__ import annotations

import contextlib

import httpx
import pytest

from replicator.testing.processes import ServerProcess
from replicator.testing.raw_http import RawConnection

UPGRADE = {
    "Connection": "Upgrade, HTTP2-Settings",
    "Upgrade": "h2c",
    "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
}


@pytest.mark.parametrize("length", [5, 100_000, 3_000_000])
def test_a_body_that_comes_with_an_upgrade_is_refused_and_nothing_replaced(
    node: ServerProcess, client: httpx.Client, length: int
) -> None:
    client.put("/objects/upgraded", content=b"the old one")
    with RawConnection(node.url) as connection:
        connection.send_head("PUT", "/objects/upgraded", {**UPGRADE, "Content-Length": str(length)})
        # The node closes as soon as it has refused, so a long body may meet a closed connection.
        with contextlib.suppress(ConnectionError):
            connection.send(b"x" * length)
            answer = connection.answer("PUT")
            assert answer.status == 400
            assert b"HTTP/1.1" in answer.body
    assert client.get("/objects/upgraded").content == b"the old one"


def test_a_chunked_body_that_comes_with_an_upgrade_is_refused(
    node: ServerProcess, client: httpx.Client
) -> None:
    with RawConnection(node.url) as connection:
        connection.send_head("PUT", "/objects/chunked-upgrade", {**UPGRADE, "Transfer-Encoding": "chunked"})
        connection.send(b"3\r\nabc\r\n0\r\n\r\n")
        assert connection.answer("PUT").status == 400
    assert client.head("/objects/chunked-upgrade").status_code == 404


def test_a_read_that_offers_an_upgrade_is_answered_and_the_connection_goes_on(
    node: ServerProcess, client: httpx.Client
) -> None:
    client.put("/objects/read", content=b"bytes")
    with RawConnection(node.url) as connection:
        connection.send_head("GET", "/objects/read", UPGRADE)
        assert connection.answer("GET").body == b"bytes"
        connection.send_head("GET", "/objects/read")
        assert connection.answer("GET").body == b"bytes"


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "gzip, chunked"}])
def test_a_body_whose_end_is_not_known_is_refused(
    node: ServerProcess, client: httpx.Client, headers: dict[str, str]
) -> None:
    with RawConnection(node.url) as connection:
        connection.send_head("PUT", "/objects/endless", headers)
        assert connection.answer("PUT").status == 400
    assert client.head("/objects/endless").status_code == 404


def test_what_is_not_http_is_a_problem_too(node: ServerProcess) -> None:
    with RawConnection(node.url) as connection:
        connection.send(b"NONSENSE\r\n\r\n")
        answer = connection.answer("GET")
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
