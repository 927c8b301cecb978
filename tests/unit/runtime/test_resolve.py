from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from replicator.kernel.errors import PeerUnreachable
from replicator.runtime.resolve import LOOKUPS_MAX, resolve

DEADLINE_S = 30
AT_ONCE_S = 0.01
FOUND = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 9001, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 9001)),
]


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Names that end in `.stuck` are not answered before this is called."""
    gate = threading.Event()

    def fake(host: str, port: int, **_: object) -> object:
        if host.endswith(".stuck"):
            gate.wait(DEADLINE_S)
        return FOUND

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    yield gate.set
    gate.set()


def test_addresses_come_numeric_and_in_order(release: Callable[[], None]) -> None:
    assert resolve("node1", 9001, timeout_s=DEADLINE_S) == [("2001:db8::1", 9001), ("192.0.2.7", 9001)]


def test_the_loopback_address_resolves() -> None:
    assert resolve("127.0.0.1", 9001, timeout_s=DEADLINE_S) == [("127.0.0.1", 9001)]


def test_a_name_that_hangs_is_given_up_at_the_deadline(release: Callable[[], None]) -> None:
    with pytest.raises(PeerUnreachable, match=r"'node1.stuck' was not resolved within 0.01 s") as caught:
        resolve("node1.stuck", 9001, timeout_s=AT_ONCE_S)
    assert caught.value.data == {"host": "node1.stuck"}


def test_many_names_that_hang_do_not_hold_others_for_ever(release: Callable[[], None]) -> None:
    for number in range(LOOKUPS_MAX):
        with pytest.raises(PeerUnreachable):
            resolve(f"node{number}.stuck", 9001, timeout_s=AT_ONCE_S)
    with pytest.raises(PeerUnreachable, match="was not resolved within"):
        resolve("node1", 9001, timeout_s=AT_ONCE_S)
    release()
    assert len(resolve("node1", 9001, timeout_s=DEADLINE_S)) == 2


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "\ud800"])
def test_a_name_that_cannot_be_one_is_unreachable(host: str) -> None:
    with pytest.raises(PeerUnreachable, match="is not a valid host name"):
        resolve(host, 9001, timeout_s=DEADLINE_S)


def test_a_name_that_does_not_exist_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(PeerUnreachable, match="'node1' cannot be resolved: Name or service not known"):
        resolve("node1", 9001, timeout_s=DEADLINE_S)


def test_a_name_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = (
        "import socket, time\n"
        "from replicator.runtime.resolve import resolve\n"
        "socket.getaddrinfo = lambda *_, **__: time.sleep(3600)\n"
        "resolve('node1', 9001, timeout_s=0.01)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=DEADLINE_S
    )
    assert "PeerUnreachable" in ended.stderr
