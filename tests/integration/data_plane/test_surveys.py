"""Two real nodes, of which one is told to compare itself with the other, over each transport."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from replicator.testing.objects import noise
from replicator.testing.processes import ServerProcess, node_process
from replicator.testing.task_desk import TaskDesk
from replicator.wire.sessions import ObjectItem, Survey, SurveyResult, TaskResult, TaskSource, Transfer

CHUNK = 300 * 1024


@dataclass(frozen=True)
class Stage:
    source: ServerProcess
    destination: ServerProcess
    desk: TaskDesk
    origin: TaskSource

    def put(self, node: ServerProcess, object_id: str, data: bytes) -> None:
        httpx.put(f"{node.url}/objects/{object_id}", content=data, trust_env=False).raise_for_status()

    def keys(self, node: ServerProcess) -> list[str]:
        listed = httpx.get(f"{node.url}/objects", trust_env=False).raise_for_status().json()
        return [each["object_id"] for each in listed["objects"]]

    def task(self, **what: Any) -> TaskResult:
        return self.desk.result(self.desk.give(source=self.origin, **what))

    def survey(self, **asked: Any) -> SurveyResult:
        result = self.task(kind="survey", survey=Survey(**{"bucket": "default", **asked}))
        assert result.outcome == "succeeded", result.error
        assert result.survey is not None
        return result.survey

    def bring(self, *object_ids: str) -> Transfer:
        """Copy objects, with their versions, as a migration does."""
        items = [ObjectItem(row=row, object_id=object_id) for row, object_id in enumerate(object_ids, 1)]
        result = self.task(kind="pull", items=items)
        assert [each.outcome for each in result.objects] == ["verified"] * len(items), result
        return result.transfer


@pytest.fixture(params=["http", "grpc"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    with (
        TaskDesk() as desk,
        node_process("source", tmp_path, arguments=["--serve", request.param]) as source,
        node_process("destination", tmp_path, control_plane=desk.url) as destination,
    ):
        rpc_url = source.events("node.ready")[-1]["rpc_url"]
        origin = TaskSource(node="source", base_url=source.url, rpc_url=rpc_url)
        yield Stage(source, destination, desk, origin)
        assert source.stray_output() == destination.stray_output() == []


def found_in(result: SurveyResult) -> dict[str, str]:
    return {found.object_id: found.finding for found in result.found}


def test_a_mirror_from_the_first_look_to_the_last_deletion(stage: Stage) -> None:
    for object_id in ("a/1", "a/2", "b"):
        stage.put(stage.source, object_id, noise(ord(object_id[-1]), 2 * CHUNK))
    stage.put(stage.source, "c", noise(ord("b"), 2 * CHUNK))
    stage.put(stage.destination, "extra", b"too much")

    planned = stage.survey(extras=True, dry_run=True)
    assert planned.plan is not None
    assert (planned.plan.objects_to_transfer, planned.plan.objects_to_delete) == (4, 1)
    assert planned.plan.bytes_logical == 8 * CHUNK
    assert planned.plan.bytes_lacking == 6 * CHUNK
    assert stage.keys(stage.destination) == ["extra"]

    differing = stage.survey(extras=True, roots=True)
    assert found_in(differing) == {
        "a/1": "absent",
        "a/2": "absent",
        "b": "absent",
        "c": "absent",
        "extra": "extra",
    }
    assert differing.source_root != differing.destination_root

    brought = stage.bring("a/1", "a/2", "b", "c")
    assert brought.bytes_transferred == planned.plan.bytes_lacking
    assert brought.bytes_deduplicated == planned.plan.bytes_deduplicated
    extra = next(found for found in differing.found if found.finding == "extra")
    item = ObjectItem(row=1, **extra.model_dump(exclude={"finding"}))
    removed = stage.task(kind="remove", items=[item])
    assert [each.outcome for each in removed.objects] == ["deleted"], removed.error

    agreeing = stage.survey(bucket=None, extras=True, roots=True, read_data=True)
    assert (agreeing.found, agreeing.compared, agreeing.unchanged) == ([], 4, 4)
    assert agreeing.source_root == agreeing.destination_root
