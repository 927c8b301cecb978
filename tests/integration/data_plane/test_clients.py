"""Clients that go away, stall, come in crowds or write at the same time: nobody else is harmed."""

import hashlib
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from replicator.testing.processes import ServerProcess
from replicator.testing.raw_http import RawConnection
from replicator.testing.waiting import wait_until

MEBIBYTE = 1024 * 1024
StartNode = Callable[..., ServerProcess]


@pytest.fixture
def complaints(node: ServerProcess) -> Callable[[], list[object]]:
    """What the node has logged of errors since the test began."""

    def all_complaints() -> list[object]:
        return [*node.stray_output(), *node.events("library.log"), *node.events("request.failed")]

    before = len(all_complaints())
    return lambda: all_complaints()[before:]


def requests_ended(node: ServerProcess, **labels: str) -> float:
    text = httpx.get(f"{node.url}/metrics", trust_env=False).text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "replicator_node_requests_total" and labels.items() <= sample.labels.items()
    )


def test_a_client_that_leaves_in_mid_upload_leaves_nothing(
    node: ServerProcess, client: httpx.Client, complaints: Callable[[], list[object]]
) -> None:
    client.put("/objects/left/kept", content=b"old")
    requests_ended(node)
    files_before = node.open_files()
    for index in range(20):
        for name in (f"new{index}", "kept"):
            connection = RawConnection(node.url)
            connection.send_head("PUT", f"/objects/left/{name}", {"Content-Length": str(8 * MEBIBYTE)})
            connection.send(random.Random(index).randbytes(index * 100_000))
            connection.reset()
    wait_until(lambda: requests_ended(node, method="PUT", status="aborted") == 40, "40 aborted uploads")
    wait_until(lambda: node.open_files() <= files_before, "the descriptors are closed")
    listed = client.get("/objects", params={"prefix": "left/"}).json()["objects"]
    assert [found["object_id"] for found in listed] == ["left/kept"]
    assert client.get("/objects/left/kept").content == b"old"
    assert complaints() == []


def test_a_client_that_leaves_in_chunked_coding_leaves_nothing(node: ServerProcess) -> None:
    before = requests_ended(node, method="PUT")
    for ending in (b"", b"5\r\nab", b"zz\r\n", b"-1\r\n", b"FFFFFFFFFFFFFFFFF\r\n"):
        with RawConnection(node.url) as connection:
            connection.send_head("PUT", "/objects/cut", {"Transfer-Encoding": "chunked"})
            connection.send(b"3\r\nabc\r\n" + ending)
    wait_until(lambda: requests_ended(node, method="PUT") == before + 5, "every upload has ended")
    assert httpx.head(f"{node.url}/objects/cut", trust_env=False).status_code == 404


def test_a_refused_request_whose_client_leaves_is_no_error_of_the_node(
    node: ServerProcess, complaints: Callable[[], list[object]]
) -> None:
    before = requests_ended(node, method="PUT")
    for target in ("/objects/%00", "/chunks/short", "/objects/x"):
        connection = RawConnection(node.url)
        connection.send_head("PUT", target, {"Content-Length": "100", "Content-Encoding": "br"})
        connection.send(b"only a part")
        connection.reset()
    wait_until(lambda: requests_ended(node, method="PUT") == before + 3, "every request has ended")
    assert complaints() == []


def test_a_client_that_leaves_in_mid_download_is_not_read_for(
    node: ServerProcess, client: httpx.Client
) -> None:
    size = 192 * MEBIBYTE
    block = random.Random("download").randbytes(MEBIBYTE)
    client.put("/objects/big", content=(block[index:] + block[:index] for index in range(192)))
    ended, before = requests_ended(node, method="GET"), node.bytes_read()
    connection = RawConnection(node.url)
    connection.send_head("GET", "/objects/big")
    connection.reset()
    wait_until(lambda: requests_ended(node, method="GET") > ended, "the download has ended")
    assert node.bytes_read() - before < size / 4


def test_a_stalled_upload_is_cut_off_and_its_object_absent(start_node: StartNode) -> None:
    node = start_node(settings={"REPLICATOR_NODE_STALL_TIMEOUT_S": "0.3"})
    for length in (1000, 5 * MEBIBYTE):
        with RawConnection(node.url) as connection:
            connection.send_head("PUT", "/objects/stalled", {"Content-Length": str(length)})
            connection.send(b"the beginning")
            answer = connection.answer("PUT")
            assert answer.status == 503
            assert b"0.3 s" in answer.body
            assert connection.is_ended()
    assert httpx.head(f"{node.url}/objects/stalled", trust_env=False).status_code == 404
    assert node.events("library.log") == []


def test_a_stalled_download_is_cut_off(start_node: StartNode) -> None:
    node = start_node(settings={"REPLICATOR_NODE_STALL_TIMEOUT_S": "0.3"})
    block = random.Random("stall").randbytes(MEBIBYTE)
    httpx.put(f"{node.url}/objects/big", content=iter([block] * 64), trust_env=False, timeout=60)
    with RawConnection(node.url) as connection:
        connection.send_head("GET", "/objects/big")
        wait_until(lambda: requests_ended(node, method="GET") == 1, "the node gives up on the client")
        assert not connection.answer("GET").whole
    assert len(node.events("response.cut_short")) == 1


def test_a_download_that_is_taken_too_slowly_is_cut_off(start_node: StartNode) -> None:
    node = start_node(settings={"REPLICATOR_NODE_STALL_TIMEOUT_S": "1"})
    size = 256 * MEBIBYTE
    block = random.Random("slow").randbytes(MEBIBYTE)
    httpx.put(f"{node.url}/objects/big", content=iter([block] * 256), trust_env=False, timeout=60)
    node.stop()
    # No client is fast enough now, and this one never lets a block wait for long.
    node.settings["REPLICATOR_NODE_BODY_BYTES_PER_S_MIN"] = str(10**12)
    node.start()
    with RawConnection(node.url) as connection:
        connection.send_head("GET", "/objects/big")
        taken = sum(map(len, connection.read_slowly(pause_s=0.005)))
    assert taken < size
    (cut,) = node.events("response.cut_short")
    assert "took" in cut["reason"]
    assert "bytes a second" in cut["reason"]


def test_more_requests_than_allowed_are_503_with_retry_after(start_node: StartNode) -> None:
    node = start_node(settings={"REPLICATOR_NODE_REQUESTS_MAX": "3"})
    waiting = [RawConnection(node.url) for _ in range(3)]
    for index, connection in enumerate(waiting):
        connection.send_head("PUT", f"/objects/{index}", {"Content-Length": "2", "Expect": "100-continue"})
        assert connection.answer_continue()
    with httpx.Client(base_url=node.url, trust_env=False) as client:
        refused = client.put("/objects/one-too-many", content=b"x")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/health").status_code == 200
        for connection in waiting:
            connection.send(b"ok")
            assert connection.answer("PUT").status == 201
        assert client.put("/objects/now", content=b"x").status_code == 201
        assert client.head("/objects/one-too-many").status_code == 404
    for connection in waiting:
        connection.close()


def test_concurrent_puts_of_one_id_never_mix(node: ServerProcess) -> None:
    bodies = [random.Random(index).randbytes(1_000_000 + index) for index in range(8)]
    known = {hashlib.sha256(body).digest() for body in bodies}
    done = threading.Event()
    seen: list[bytes] = []

    def put(body: bytes) -> int:
        return httpx.put(f"{node.url}/objects/contested", content=body, trust_env=False).status_code

    def read() -> None:
        with httpx.Client(base_url=node.url, trust_env=False) as client:
            while not done.is_set():
                answer = client.get("/objects/contested")
                if answer.status_code == 200:
                    seen.append(hashlib.sha256(answer.content).digest())

    with ThreadPoolExecutor(9) as threads:
        reading = threads.submit(read)
        statuses = list(threads.map(put, bodies * 2))
        done.set()
        reading.result()
    assert sorted(set(statuses)) == [200, 201]
    assert statuses.count(201) == 1
    assert set(seen) <= known
    final = httpx.get(f"{node.url}/objects/contested", trust_env=False).content
    assert hashlib.sha256(final).digest() in known


def test_only_one_of_many_creators_wins(node: ServerProcess) -> None:

    def create(index: int) -> tuple[int, int]:
        answer = httpx.put(
            f"{node.url}/objects/once",
            content=b"%d" % index,
            headers={"If-None-Match": "*"},
            trust_env=False,
        )
        return answer.status_code, index

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(create, range(24)))
    winners = [index for status, index in answers if status == 201]
    assert len(winners) == 1
    assert {status for status, _ in answers} == {201, 412}
    assert httpx.get(f"{node.url}/objects/once", trust_env=False).content == b"%d" % winners[0]


def test_the_same_content_by_many_at_once_is_stored_once(start_node: StartNode) -> None:
    node = start_node()
    body = random.Random("shared").randbytes(6_000_000)

    def put(index: int) -> int:
        answer = httpx.put(f"{node.url}/objects/copy{index}", content=body, trust_env=False, timeout=60)
        return int(answer.json()["bytes_new"])

    with ThreadPoolExecutor(8) as threads:
        new = list(threads.map(put, range(8)))
    assert sum(new) == len(body)
    stored = sum(file.stat().st_size for file in (node.data_dir / "segments").iterdir())
    assert stored < len(body) * 1.1
    for index in (0, 7):
        assert httpx.get(f"{node.url}/objects/copy{index}", trust_env=False).content == body
