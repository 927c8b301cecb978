"""Text and numbers that a database cannot keep are refused or mended, and never hold up what else is said."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import httpx
import pytest

from replicator.control_plane.ports import Unit
from replicator.kernel.errors import InvalidRequest
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode
from replicator.wire.sessions import OpenSession, Poll, TaskAssignment, TaskResult

pytestmark = pytest.mark.anyio

NUL = "\x00"
ERROR = {"class": "permanent", "code": "not-found", "message": "it is gone"}
DIGEST, VERSION = "0" * 64, "0" * 32
FOUND = {
    "finding": "differs",
    "bucket": "default",
    "object_id": "a",
    "version": VERSION,
    "manifest": DIGEST,
    "size": 1,
}
PLAN = {
    "objects_to_transfer": 1,
    "objects_unchanged": 1,
    "objects_to_delete": 0,
    "bytes_logical": 1,
    "bytes_lacking": 1,
    "bytes_deduplicated": 0,
    "estimate_bytes_saved": 0,
    "estimate_seconds": 1.5,
    "link_bytes_per_second": 2.5,
}
SURVEYED = {
    "cursor": None,
    "compared": 2,
    "unchanged": 1,
    "unchanged_bytes": 1,
    "found": [FOUND],
    "unknown": ["b"],
    "plan": PLAN,
    "source_root": DIGEST,
    "destination_root": DIGEST,
}
SPACE = {"bytes_total": 2, "bytes_free": 1}
CHOICE = {"include": ["a*"], "exclude": ["b*"], "size_bytes_min": 1, "age_seconds_min": 1}
TIMES = {"start_at": "2099-01-01T00:00:00Z", "deadline_at": "2099-01-02T00:00:00Z"}
NODES = {"src_node": "node1", "dst_node": "node2"}
COMMON = {**NODES, **TIMES, "priority": 1, "tasks_max": 5}
JOBS = {
    "migrate": {**COMMON, "prefix": "a/", "bucket": "default", "filter": CHOICE},
    "mirror": {**COMMON, "prefix": "a/", "bucket": "default", "filter": CHOICE},
    "verify": {**COMMON, "prefix": "a/", "bucket": "default"},
}
OTHERS = [
    ("POST", "/jobs/migrate", {**NODES, "object_ids": ["a", "b"], "bytes_per_second": 99999}),
    ("POST", "/jobs/migrate", {**NODES, "object_id": "a", "versions": "latest", "mode": "copy"}),
    (
        "PATCH",
        "/jobs/1",
        {"priority": 1, "bytes_per_second": 99999, "tasks_max": 2, "deadline_at": "2099-01-02T00:00:00Z"},
    ),
    ("POST", "/nodes/register", {"name": "n", "base_url": "http://n:1/p", "labels": {"a": "b"}, "zone": "z"}),
    ("PATCH", "/nodes/node1", {"labels": {"a": "b"}, "zone": "z", "maintenance": False}),
    ("PUT", "/nodes/node1/limits", {"ingress_bytes_per_second": 99999, "tasks_max": 2, "serves_max": 3}),
    ("PUT", "/links/node1/node2", {"bytes_per_second": 99999, "tasks_max": 3}),
]
ASKED = [
    *(f"/{what}?cursor=%00" for what in ("jobs", "nodes", "links", "dead-letters")),
    *(f"/nodes?{what}=a%00" for what in ("zone", "label", "status")),
    "/nodes/a%00b",
    "/nodes/a%00b/explain",
    "/jobs/%00",
    "/jobs/1/objects?outcome=%00",
    "/tasks/%00",
]


def spoiled(message: Any) -> Iterator[Any]:
    """`message` with one of its texts holding a NUL, or one of its numbers being none, for each of them."""
    if isinstance(message, str):
        yield message[:1] + NUL + message[1:]
    elif isinstance(message, int | float) and not isinstance(message, bool):
        yield math.nan
        yield math.inf
    elif isinstance(message, list):
        for index, value in enumerate(message):
            for bad in spoiled(value):
                yield [*message[:index], bad, *message[index + 1 :]]
    elif isinstance(message, dict):
        for key, value in message.items():
            for bad in spoiled(value):
                yield {**message, key: bad}


def result_of(node: FakeNode, task: TaskAssignment) -> dict[str, Any]:
    """A result of `task` in which every field says something."""
    objects = [
        {
            "row": item.row,
            "outcome": "failed",
            "version": VERSION,
            "manifest": DIGEST,
            "size": 1,
            "bytes_transferred": 0,
            "bytes_deduplicated": 0,
            "bytes_saved": 0,
            "error": ERROR,
        }
        for item in task.items
    ]
    return {
        **task.ref.model_dump(),
        "boot_id": node.boot_id,
        "outcome": "succeeded" if task.kind == "survey" else "failed",
        "transfer": {"objects_failed": 1, "bytes_wire": 1},
        "objects": objects,
        "survey": SURVEYED if task.kind == "survey" else None,
        "corrupt": [{"node": "node1", "digest": DIGEST}],
        "error": None if task.kind == "survey" else ERROR,
    }


async def send(http: httpx.AsyncClient, method: str, path: str, message: Any) -> httpx.Response:
    """`message` as it is: the client would not send what is no number."""
    headers = {"Content-Type": "application/json"}
    return await http.request(method, path, content=json.dumps(message), headers=headers)


async def claimed(plane: ControlPlaneUnderTest, node: FakeNode, request: dict[str, Any]) -> TaskAssignment:
    """The first task of a new job."""
    await plane.submit("migrate", **request)
    return await node.claim()


def everything_is_said(message: dict[str, Any]) -> bool:
    """Whether a result names each field that there is."""
    parsed = TaskResult.model_validate(message)
    return parsed.model_fields_set == set(TaskResult.model_fields)


@pytest.mark.parametrize(
    "request_", [{"object_id": "a"}, {"all": True, "dry_run": True}], ids=["pull", "survey"]
)
async def test_a_result_that_cannot_be_kept_holds_up_nothing(
    plane: ControlPlaneUnderTest, request_: dict[str, Any]
) -> None:
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    task = await claimed(plane, node, request_)
    whole = result_of(node, task)
    assert everything_is_said(whole)
    for index in range(sum(1 for _ in spoiled(whole))):
        said = result_of(node, task)
        bad = deepcopy(list(spoiled(said))[index])
        poll = {"boot_id": node.boot_id, "capacity": 0, "results": [bad]}
        answer = await send(plane.http, "POST", f"/sessions/{node.session_id}/poll", poll)
        assert answer.status_code < 500, (bad, answer.text)
        after = await node.poll(capacity=0, results=[said])
        assert [ref.task_id for ref in after.acknowledged] == [task.task_id]
        if answer.status_code == 200 and NUL in json.dumps(bad):
            assert NUL not in (await plane.http.get(f"/jobs/{task.job_id}")).text
        task = await claimed(plane, node, request_)


async def test_no_session_message_is_answered_as_a_fault(plane: ControlPlaneUnderTest) -> None:
    node = FakeNode(plane.http, "node2")
    opening = {
        "node": "node2",
        "boot_id": node.boot_id,
        "base_url": "http://node2:9002/p?q",
        "rpc_url": "http://node2:9003",
        "release": "0.1.0",
        "labels": {"a": "b"},
        "zone": "z",
        "space": SPACE,
        "results": [],
    }
    assert OpenSession.model_validate(opening).model_fields_set == set(OpenSession.model_fields)
    for bad in spoiled(opening):
        assert (await send(plane.http, "POST", "/sessions", bad)).status_code < 500, bad
    await plane.register("node1", "node2")
    await node.open()
    task = await claimed(plane, node, {"object_id": "a"})
    poll = {
        "boot_id": node.boot_id,
        "wait_seconds": 0.0,
        "capacity": 1,
        "space": SPACE,
        "running": [node.progress(task, bytes_wire=1)],
        "results": [],
        "heard": "ab",
    }
    assert Poll.model_validate(poll).model_fields_set == set(Poll.model_fields)
    for bad in spoiled(poll):
        answer = await send(plane.http, "POST", f"/sessions/{node.session_id}/poll", bad)
        assert answer.status_code < 500, (bad, answer.text)
    await node.poll(results=[node.result(task)])
    assert (await plane.job()).status == "succeeded"


async def test_no_request_of_a_user_is_answered_as_a_fault(plane: ControlPlaneUnderTest) -> None:
    await plane.register("node1", "node2")
    await plane.submit("migrate", object_id="a")
    sent = [*OTHERS, *(("POST", f"/jobs/{kind}", message) for kind, message in JOBS.items())]
    for method, path, message in sent:
        first = await send(plane.http, method, path, message)
        assert first.status_code < 300, (path, first.text)
        for bad in spoiled(message):
            answer = await send(plane.http, method, path, bad)
            taken = answer.status_code < 300 and NUL.encode() not in answer.content
            assert 400 <= answer.status_code < 500 or taken, (path, bad, answer.text)
    for path in ASKED:
        assert 400 <= (await plane.http.get(path)).status_code < 500, path
    key = {b"Idempotency-Key": b"a\x00b"}
    answer = await plane.http.post("/jobs/migrate", json={**NODES, "object_id": "a"}, headers=key)
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("field", ["prefix", "include", "exclude"])
async def test_a_selection_with_a_nul_is_refused_and_told_why(
    plane: ControlPlaneUnderTest, field: str
) -> None:
    await plane.register("node1", "node2")
    selection = {"prefix": "a\x00"} if field == "prefix" else {"prefix": "a", "filter": {field: ["a\x00*"]}}
    answer = await plane.http.post("/jobs/migrate", json={**NODES, **selection})
    assert answer.status_code == 422
    assert "U+0000" in answer.text


async def test_what_a_database_cannot_keep_is_the_fault_of_the_request(plane: ControlPlaneUnderTest) -> None:
    """The belt: should a field let it through all the same, the caller is not told to try again."""

    def work(unit: Unit) -> None:
        unit.events.append(1, "a\x00b", {})

    await plane.register("node1", "node2")
    await plane.submit("migrate", object_id="a")
    shared = plane.parts.database.writer is not None
    with pytest.raises(InvalidRequest, match="cannot keep") if shared else nullcontext():
        await plane.parts.database.transact(work)
    assert (await plane.job()).status == "running"
