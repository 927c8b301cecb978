from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from replicator.wire import jobs, nodes, objects, sessions
from replicator.wire.problem import Problem

TRANSFER: dict[str, Any] = {}
RESULT: dict[str, Any] = {
    "control_plane": "c81d2e5f9a0b47368d1c5e7f2a4b6093",
    "task_id": 1,
    "epoch": 1,
    "object_id": "demo.bin",
    "boot_id": "5f1c7a90d2e84b36",
    "outcome": "succeeded",
    "transfer": TRANSFER,
}
GOOD: dict[type[BaseModel], dict[str, Any]] = {
    nodes.RegisterNode: {"name": "node1", "base_url": "http://node1:9001"},
    jobs.MigrateRequest: {"src_node": "node1", "dst_node": "node2", "object_id": "demo.bin"},
    sessions.Transfer: TRANSFER,
    sessions.TaskResult: RESULT,
    sessions.ObjectItem: {"row": 1, "object_id": "demo.bin"},
    sessions.ObjectResult: {"row": 1, "outcome": "verified"},
    sessions.ErrorInfo: {"class": "transient", "code": "not-found", "message": "no"},
    sessions.OpenSession: {
        "node": "node2",
        "boot_id": "5f1c7a90d2e84b36",
        "base_url": "http://node2:9002",
        "release": "0.1.0",
    },
    sessions.Poll: {"boot_id": "5f1c7a90d2e84b36", "wait_seconds": 10, "capacity": 4},
    sessions.JoinRequest: {"node": "node1", "control_plane_url": "http://localhost:8000"},
    objects.ChunkEntry: {"digest": "0" * 64, "length": 1},
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_message_survives_the_wire(kind: type[BaseModel]) -> None:
    message = kind.model_validate(GOOD[kind])
    assert kind.model_validate_json(message.model_dump_json(by_alias=True)) == message


BAD: list[tuple[type[BaseModel], str, Any]] = [
    (nodes.RegisterNode, "name", "no spaces"),
    (nodes.RegisterNode, "name", None),
    (nodes.RegisterNode, "base_url", "node1:9001"),
    (nodes.RegisterNode, "base_url", "file:///etc/passwd"),
    (nodes.RegisterNode, "base_url", "http://"),
    (nodes.RegisterNode, "colour", "red"),
    (jobs.MigrateRequest, "src_node", ""),
    (jobs.MigrateRequest, "object_id", "../secret"),
    (jobs.MigrateRequest, "object_id", "x" * 1025),
    (jobs.MigrateRequest, "overwrite", True),
    (sessions.Transfer, "bytes_wire", -1),
    (sessions.Transfer, "bytes_logical", 2**63),
    (sessions.TaskResult, "control_plane", "short"),
    (sessions.ObjectItem, "object_id", "../secret"),
    (sessions.TaskResult, "task_id", 0),
    (sessions.TaskResult, "task_id", 2**63),
    (sessions.TaskResult, "epoch", -1),
    (sessions.TaskResult, "epoch", 2**63),
    (sessions.TaskResult, "outcome", "perhaps"),
    (sessions.TaskResult, "boot_id", ""),
    (sessions.TaskResult, "boot_id", "\ud800"),
    (sessions.ObjectResult, "manifest", "0" * 63),
    (sessions.ObjectResult, "version", "0" * 64),
    (sessions.ErrorInfo, "class", "cosmic"),
    (sessions.ErrorInfo, "message", "x" * 2001),
    (sessions.OpenSession, "boot_id", "short"),
    (sessions.OpenSession, "boot_id", "x" * 65),
    (sessions.OpenSession, "release", "x" * 41),
    (sessions.OpenSession, "results", [RESULT] * (sessions.RESULTS_MAX + 1)),
    (sessions.Poll, "wait_seconds", sessions.POLL_SECONDS_MAX + 1),
    (sessions.Poll, "wait_seconds", -1),
    (sessions.Poll, "wait_seconds", float("nan")),
    (sessions.Poll, "capacity", -1),
    (sessions.Poll, "capacity", sessions.TASKS_MAX + 1),
    (sessions.Poll, "results", [RESULT] * (sessions.RESULTS_MAX + 1)),
    (sessions.JoinRequest, "control_plane_url", "ftp://elsewhere"),
    (objects.ChunkEntry, "length", 0),
]


@pytest.mark.parametrize(("kind", "field", "value"), BAD)
def test_a_bad_field_is_refused_by_its_name(kind: type[BaseModel], field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate({**GOOD[kind], field: value})
    assert caught.value.errors()[0]["loc"][0] == field


def test_an_error_is_storable_whatever_it_quotes() -> None:
    info = sessions.ErrorInfo.model_validate({"class": "permanent", "code": "\udc80", "message": "a\udc80b"})
    assert (info.code + info.message).encode() == b"?a?b"


def messages() -> list[type[BaseModel]]:
    return [
        kind
        for module in (jobs, nodes, objects, sessions)
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ == module.__name__
    ]


@pytest.mark.parametrize("kind", [*messages(), Problem])
def test_the_example_of_a_message_is_one(kind: type[BaseModel]) -> None:
    example = kind.model_json_schema().get("example")
    if example is not None:
        kind.model_validate_json(json.dumps(example))
