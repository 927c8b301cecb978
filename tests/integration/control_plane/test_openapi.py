"""The description of the API is complete, and its examples are true."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from replicator.control_plane.api.operations import Health, Ready
from replicator.testing.control_plane import ControlPlaneUnderTest
from replicator.wire import explain, jobs, nodes, replicas, sessions, tasks
from replicator.wire.problem import MEDIA_TYPE, Problem

pytestmark = pytest.mark.anyio

WITH_EXAMPLES: list[type[BaseModel]] = [
    jobs.MigrateRequest,
    jobs.MirrorRequest,
    jobs.VerifyRequest,
    jobs.ChangeJob,
    jobs.JobObject,
    jobs.JobObjectPage,
    jobs.JobView,
    jobs.JobPage,
    jobs.DeadLetter,
    jobs.DeadLetterPage,
    nodes.RegisterNode,
    nodes.ChangeNode,
    nodes.NodeView,
    nodes.NodePage,
    nodes.NodeLimits,
    nodes.LinkLimit,
    nodes.LinkView,
    nodes.LinkPage,
    tasks.TaskView,
    tasks.TaskDetail,
    tasks.AttemptView,
    tasks.TaskPage,
    explain.FindingView,
    explain.Explanation,
    sessions.OpenSession,
    sessions.SessionOpened,
    sessions.Poll,
    sessions.PollReply,
    replicas.ReplicasView,
    Health,
    Ready,
    Problem,
]


async def described(plane: ControlPlaneUnderTest) -> dict[str, Any]:
    answer: dict[str, Any] = (await plane.http.get("/openapi.json")).json()
    return answer


async def test_every_operation_is_described(plane: ControlPlaneUnderTest) -> None:
    description = await described(plane)
    operations = [
        (method, path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    assert {f"{method.upper()} {path}" for method, path, _ in operations} == {
        "POST /nodes/register",
        "GET /nodes",
        "GET /nodes/{name}",
        "PATCH /nodes/{name}",
        "DELETE /nodes/{name}",
        "GET /nodes/{name}/explain",
        "GET /nodes/{name}/limits",
        "PUT /nodes/{name}/limits",
        "DELETE /nodes/{name}/limits",
        "GET /links",
        "GET /links/{src_node}/{dst_node}",
        "PUT /links/{src_node}/{dst_node}",
        "DELETE /links/{src_node}/{dst_node}",
        "POST /jobs/migrate",
        "POST /jobs/mirror",
        "POST /jobs/verify",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "PATCH /jobs/{job_id}",
        "POST /jobs/{job_id}/pause",
        "POST /jobs/{job_id}/resume",
        "POST /jobs/{job_id}/retry",
        "POST /jobs/{job_id}/cancel",
        "GET /jobs/{job_id}/objects",
        "GET /jobs/{job_id}/events",
        "GET /jobs/{job_id}/explain",
        "GET /jobs/{job_id}/tasks",
        "GET /dead-letters",
        "GET /tasks/{task_id}",
        "GET /tasks/{task_id}/explain",
        "POST /sessions",
        "POST /sessions/{session_id}/poll",
        "GET /replicas",
        "GET /health",
        "GET /ready",
        "GET /metrics",
    }
    tags = {tag["name"] for tag in description["tags"]}
    for _, path, operation in operations:
        assert operation["summary"], path
        assert operation["description"], path
        assert set(operation["tags"]) <= tags, path
        assert MEDIA_TYPE in operation["responses"]["default"]["content"], path
        assert "422" not in operation["responses"], path


async def test_every_message_of_the_api_has_an_example(plane: ControlPlaneUnderTest) -> None:
    schemas = (await described(plane))["components"]["schemas"]
    parts = {"ErrorInfo", "JobProgress", "TaskAssignment", "TaskProgress", "TaskRef", "TaskResult"}
    parts |= {"TaskSource", "Transfer", "Filter", "PlanView", "Verdict", "Plan", "RateLimits"}
    parts |= {"ObjectItem", "ObjectResult", "CorruptSource", "Survey", "SurveyResult", "Found", "DiskSpace"}
    parts |= {"JsonValue", "DutyView", "ReplicaView"}
    assert set(schemas) - parts == {model.__name__ for model in WITH_EXAMPLES} - {"Problem"}
    assert all("example" in schemas[name] for name in set(schemas) - parts)


@pytest.mark.parametrize("model", [*WITH_EXAMPLES, jobs.JobEvent], ids=lambda model: model.__name__)
def test_examples_are_valid(model: type[BaseModel]) -> None:
    extra = model.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    example = extra["example"]
    told = model.model_validate(example).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert isinstance(example, dict)
    assert told.keys() == example.keys()
