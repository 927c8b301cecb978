"""What an operator sees: health, metrics, OpenAPI, starting, stopping, and a store that has failed."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from replicator.testing.processes import HOST, ServerProcess, node_process
from replicator.testing.raw_http import RawConnection
from replicator.testing.tracing import injecting, require_strace
from replicator.testing.waiting import wait_until

StartNode = Callable[..., ServerProcess]


@pytest.mark.parametrize("path", ["/health", "/ready"])
def test_a_node_that_serves_is_healthy_and_ready(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["name"] == "node1"


def test_metrics_parse_and_count_what_happened(client: httpx.Client) -> None:
    client.put("/objects/counted", content=b"x" * 1000)
    client.put("/objects/counted-again", content=b"x" * 1000)
    text = client.get("/metrics").text
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in parse_prometheus(text)
        for sample in family.samples
    }
    assert samples["replicator_node_ingested_bytes_total", "new"] == 1000
    assert samples["replicator_node_ingested_bytes_total", "duplicate"] == 1000
    assert samples["replicator_node_requests_total", "2xx", "PUT"] == 2
    assert samples["replicator_node_request_seconds_count", "PUT"] == 2
    assert samples[("replicator_node_store_failed",)] == 0
    assert samples[("replicator_node_corrupt_chunks_total",)] == 0
    open_text = client.get("/metrics", headers={"Accept": "application/openmetrics-text"}).text
    assert open_text.endswith("# EOF\n")
    assert 'replicator_node_requests_total{method="PUT",status="2xx"} 2.0' in open_text


def test_an_unusual_method_does_not_become_a_label(client: httpx.Client) -> None:
    assert client.request("PROPFIND", "/objects/x").status_code == 405
    assert "PROPFIND" not in client.get("/metrics").text


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for path, item in schema["paths"].items():
        for method in ("get", "put", "post", "delete", "head", "patch"):
            if method in item:
                yield f"{method} {path}", item, item[method]


@pytest.fixture
def schema(client: httpx.Client) -> dict[str, Any]:
    document = client.get("/openapi.json").json()
    assert isinstance(document, dict)
    return document


def test_openapi_names_every_operation(schema: dict[str, Any]) -> None:
    assert schema["openapi"].startswith("3.1")
    assert {name for name, _, _ in operations(schema)} == {
        "put /objects/{object_id}",
        "get /objects/{object_id}",
        "head /objects/{object_id}",
        "delete /objects/{object_id}",
        "get /objects",
        "get /versions",
        "get /versions/{object_id}",
        "post /copies",
        "get /buckets",
        "get /buckets/{name}",
        "put /buckets/{name}",
        "delete /buckets/{name}",
        "get /store/stats",
        "get /store/segments",
        "get /store/chunks/{digest}",
        "get /store/scrub",
        "post /store/scrub",
        "post /store/gc",
        "post /store/compact",
        "post /store/backups",
        "get /manifests/{object_id}",
        "get /pages/{digest}/{index}",
        "get /chunks/{digest}",
        "head /chunks/{digest}",
        "put /chunks/{digest}",
        "post /replication/hello",
        "post /replication/buckets",
        "post /replication/list",
        "post /replication/offers",
        "post /replication/page",
        "post /replication/missing",
        "post /replication/fetch",
        "post /replication/prove",
        "post /replication/remove",
        "post /control/join",
        "get /health",
        "get /ready",
        "get /metrics",
    }


def test_every_operation_is_described_whole(schema: dict[str, Any]) -> None:
    for name, item, operation in operations(schema):
        assert operation["summary"], name
        assert operation["tags"], name
        assert any(status.startswith("2") for status in operation["responses"]), name
        assert "default" in operation["responses"], name
        assert all(answer["description"] for answer in operation["responses"].values()), name
        declared = [*item.get("parameters", []), *operation.get("parameters", [])]
        in_path = {each["name"] for each in declared if each["in"] == "path"}
        assert in_path == {part[1:-1] for part in name.split("/") if part.startswith("{")}, name
        assert all(each["required"] for each in declared if each["in"] == "path"), name


def test_every_reference_of_openapi_leads_somewhere(schema: dict[str, Any]) -> None:
    references = [part.split('"')[0] for part in json.dumps(schema).split('"$ref": "')[1:]]
    assert references
    for reference in references:
        target: Any = schema
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]


def test_a_stopped_node_ends_what_it_is_doing_and_keeps_it(start_node: StartNode) -> None:
    node = start_node()
    with RawConnection(node.url) as connection:
        connection.send_head("PUT", "/objects/late", {"Content-Length": "4", "Expect": "100-continue"})
        assert connection.answer_continue()
        node.terminate()
        wait_until(lambda: not is_listening(node.port), "it takes no more connections")
        connection.send(b"late")
        assert connection.answer("PUT").status == 201
    assert node.wait() == 0
    assert node.events("node.stopped")
    assert node.stray_output() == []
    node.start()
    assert httpx.get(f"{node.url}/objects/late", trust_env=False).content == b"late"


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        second = node_process("node1", tmp_path, port=port)
        second.launch()
        assert second.wait() == 1
    said = " ".join(second.stray_output())
    assert str(port) in said
    assert "--port" in said
    assert "Traceback" not in said


def test_a_data_folder_in_use_is_named_with_its_holder(start_node: StartNode, node: ServerProcess) -> None:
    second = node_process("node1", node.data_dir.parent, log_name="second")
    second.launch()
    assert second.wait() == 1
    said = " ".join(second.stray_output())
    assert str(node.data_dir) in said
    assert str(node.pid) in said
    assert "--data-dir" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--name", "not a name"], "--name"),
        (["--port", "70000"], "--port"),
        (["--control-plane", "ftp://x"], "--control-plane"),
        (["--log-level", "loud"], "--log-level"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, arguments: list[str], named: str) -> None:
    node = node_process("node1", tmp_path, arguments=arguments)
    node.launch()
    assert node.wait() == 2
    said = " ".join(node.stray_output())
    assert named in said
    assert "Traceback" not in said


def test_after_a_failed_sync_nothing_is_acknowledged_and_reads_go_on(start_node: StartNode) -> None:
    require_strace()
    node = start_node()
    with httpx.Client(base_url=node.url, trust_env=False) as client:
        client.put("/objects/before", content=b"before")
        with injecting(node, "fdatasync,fsync:error=EIO"):
            failed = client.put("/objects/during", content=b"during")
            assert (failed.status_code, failed.json()["code"]) == (503, "store-failed")
        for path in ("/objects/after", "/objects/before"):
            refused = client.put(path, content=b"after")
            assert (refused.status_code, refused.json()["code"]) == (503, "store-failed")
        assert client.delete("/objects/before").status_code == 503
        assert client.get("/objects/before").content == b"before"
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["code"]) == (503, "store-failed")
        assert client.get("/health").status_code == 200
        assert "replicator_node_store_failed 1.0" in client.get("/metrics").text
    assert len(node.events("store.failed")) == 1
    node.stop()
    node.start()
    with httpx.Client(base_url=node.url, trust_env=False) as client:
        assert client.get("/objects/before").content == b"before"
        during = client.get("/objects/during")
        assert during.status_code == 404 or during.content == b"during", "absent or whole"
        assert client.put("/objects/after", content=b"after").status_code == 201
