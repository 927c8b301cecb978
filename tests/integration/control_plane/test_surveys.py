"""Jobs whose objects are found by surveys: prefixes, mirrors, verifications, dry runs."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.control_plane.domain.spec import FOUND_MAX
from replicator.control_plane.domain.steps import LIVE_TASKS_MAX
from replicator.control_plane.scheduler.planner import ROWS_MAX
from replicator.testing.control_plane import ControlPlaneUnderTest, FakeNode, arrivals, control_plane_in
from replicator.wire.sessions import TaskAssignment

pytestmark = pytest.mark.anyio

ROOT, OTHER_ROOT = "a" * 64, "b" * 64


def found(number: int, finding: str = "absent", size: int = 100) -> dict[str, Any]:
    return {
        "finding": finding,
        "bucket": "default",
        "object_id": f"object-{number:06}",
        "version": f"{number:032x}",
        "manifest": f"{number:064x}",
        "size": size,
    }


def survey(*findings: dict[str, Any], cursor: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"cursor": cursor, "compared": len(findings), "found": list(findings), **fields}


async def surveying(
    plane: ControlPlaneUnderTest, kind: str = "migrate", **request: Any
) -> tuple[FakeNode, TaskAssignment]:
    """A job whose survey node2 has in hand."""
    await plane.register("node1", "node2")
    node = await plane.connect("node2")
    await plane.submit(kind, **request)
    return node, await node.claim()


async def tell(plane: ControlPlaneUnderTest, node: FakeNode, task: TaskAssignment, said: Any) -> None:
    """The survey's result; what follows is planned."""
    await node.poll(capacity=0, results=[node.result(task, survey=said)])
    await plane.settle()


async def test_a_prefix_is_surveyed_and_what_is_found_is_pulled(plane: ControlPlaneUnderTest) -> None:
    node, task = await surveying(plane, prefix="photos/", filter={"include": ["**.jpg"]}, mode="move")
    assert (task.kind, task.items, task.move) == ("survey", [], False)
    assert task.survey is not None
    assert (task.survey.prefix, task.survey.filter.include) == ("photos/", ["**.jpg"])
    assert (task.survey.cursor, task.survey.extras, task.survey.roots) == (None, False, False)
    assert (await plane.job()).status == "planning"
    said = survey(found(1), found(2, "differs"), cursor="on", unchanged=5, unchanged_bytes=50)
    await tell(plane, node, task, said | {"compared": 7})
    view = await plane.job()
    assert (view.status, view.compared, view.progress.objects_skipped) == ("running", 7, 5)
    assert view.progress.objects_planned == 7
    pull, second = (await node.poll()).tasks
    assert (pull.kind, pull.move, [item.row for item in pull.items]) == ("pull", True, [1, 2])
    assert (pull.items[0].version, pull.items[0].size) == (f"{1:032x}", 100)
    assert second.survey is not None
    assert second.survey.cursor == "on"
    await tell(plane, node, second, survey(found(3)))
    await node.poll(capacity=0, results=[node.result(pull)])
    assert (await plane.job()).status == "running"
    last = (await node.poll()).tasks[0]
    await node.poll(results=[node.result(last)])
    view = await plane.job()
    assert (view.status, view.progress.objects_planned, view.progress.objects_verified) == ("succeeded", 8, 3)
    assert (view.progress.bytes_logical, view.progress.bytes_deduplicated) == (50, 50)
    names = [event.name for event in await plane.events()]
    assert names[:4] == ["job.queued", "job.planning", "survey.advanced", "job.running"]


@pytest.mark.parametrize(
    ("kind", "outcome", "code"),
    [("migrate", "skipped", None), ("mirror", "failed", "conflict"), ("verify", "failed", "differs")],
)
async def test_a_newer_version_at_the_destination_is_left_there(
    plane: ControlPlaneUnderTest, kind: str, outcome: str, code: str | None
) -> None:
    node, task = await surveying(plane, kind, prefix="photos/")
    await tell(plane, node, task, survey(found(1, "newer"), source_root=ROOT, destination_root=OTHER_ROOT))
    assert (await node.poll()).tasks == []
    (row,) = await plane.objects()
    assert (row.outcome, row.error and row.error.code) == (outcome, code)
    assert (await plane.job()).status == ("succeeded" if code is None else "failed")


@pytest.mark.parametrize("others", [0, ROWS_MAX])
async def test_what_a_mirror_left_newer_is_not_pulled_by_a_retry(
    plane: ControlPlaneUnderTest, others: int
) -> None:
    node, task = await surveying(plane, "mirror", prefix="photos/")
    newer = [found(number, "newer") for number in range(1, others + 2)]
    await tell(plane, node, task, survey(*newer, found(others + 2)))
    pull = await node.claim()
    await node.poll(capacity=0, results=[node.failure(pull, "permanent")])
    assert (await plane.ask(1, "retry")).status == "running"
    await plane.settle()
    again = await node.claim()
    assert [item.row for item in again.items] == [others + 2]
    await node.poll(capacity=0, results=[node.result(again)])
    view = await plane.job()
    assert (view.status, view.progress.objects_failed) == ("partial", others + 1)
    assert {row.error and row.error.code for row in await plane.objects() if row.finding == "newer"} == {
        "conflict"
    }


async def test_ids_that_the_source_does_not_have_fail(plane: ControlPlaneUnderTest) -> None:
    node, task = await surveying(plane, object_ids=["here", "nowhere"], versions="all")
    await tell(plane, node, task, survey(unchanged=1, unknown=["nowhere"]))
    (row,) = await plane.objects()
    assert (row.object_id, row.outcome, row.error and row.error.code) == ("nowhere", "failed", "not-found")
    assert (await plane.job()).status in {"partial", "failed"}


@pytest.mark.parametrize("selection", [{"object_id": "object-000001"}, {"prefix": ""}])
async def test_a_move_takes_up_what_both_sides_have(
    plane: ControlPlaneUnderTest, selection: dict[str, str]
) -> None:
    node, task = await surveying(plane, mode="move", **selection)
    assert task.survey is not None
    assert task.survey.same
    await tell(plane, node, task, survey(found(1, "same")))
    pull = await node.claim()
    assert (pull.kind, pull.move, pull.items[0].version) == ("pull", True, f"{1:032x}")


async def test_nothing_to_do_is_a_success(plane: ControlPlaneUnderTest) -> None:
    node, task = await surveying(plane, all=True)
    assert task.survey is not None
    assert task.survey.bucket is None
    await tell(plane, node, task, survey(unchanged=3, unchanged_bytes=9))
    view = await plane.job()
    assert (view.status, view.progress.objects_planned, view.selection) == ("succeeded", 3, "every object")


async def test_a_large_job_holds_few_tasks_and_plans_as_they_end(plane: ControlPlaneUnderTest) -> None:
    node, task = await surveying(plane, prefix="")
    size = 40 * 1024 * 1024
    await tell(plane, node, task, survey(*(found(n, size=size) for n in range(FOUND_MAX)), cursor="on"))
    view = await plane.job()
    assert view.progress.objects_planned == FOUND_MAX
    rows = await plane.objects()
    assert sum(row.task_id is not None for row in rows) == LIVE_TASKS_MAX
    done = (await node.poll(capacity=20)).tasks
    assert {len(task.items) for task in done} == {1}
    await node.poll(capacity=0, results=[node.result(task) for task in done])
    await plane.settle()
    rows = await plane.objects()
    assert sum(row.task_id is not None for row in rows) == LIVE_TASKS_MAX + 20
    assert (await plane.job()).progress.objects_planned == FOUND_MAX


@pytest.mark.parametrize("said", [None, survey(cursor="on")])
async def test_a_survey_that_says_nothing_is_tried_again_and_then_fails(data_dir: str, said: Any) -> None:
    async with control_plane_in(data_dir, attempts_max=1) as plane:
        node, task = await surveying(plane, prefix="")
        if said is not None:
            await tell(plane, node, task, survey(found(1), cursor="on"))
            pull, task = (await node.poll()).tasks
            await node.poll(capacity=0, results=[node.result(pull)], running=[node.progress(task)])
        await tell(plane, node, task, said)
        view = await plane.job()
        assert view.status == ("failed" if said is None else "partial")
        assert view.error is not None
        assert view.error.code == "broken-peer"
        assert (await plane.ask(1, "retry")).status == "running"
        again = await node.claim()
        assert again.survey is not None
        assert again.survey.cursor == (None if said is None else "on")
        await tell(plane, node, again, survey())
        assert (await plane.job()).status == "succeeded"


async def mirrored(plane: ControlPlaneUnderTest, *findings: dict[str, Any], **request: Any) -> FakeNode:
    """A mirror after its survey, of which no task is in hand."""
    node, task = await surveying(plane, "mirror", **request)
    assert task.survey is not None
    assert task.survey.extras == request.get("delete", False)
    await tell(plane, node, task, survey(*findings))
    return node


async def test_a_mirror_deletes_after_its_walk_what_the_source_lacks(plane: ControlPlaneUnderTest) -> None:
    node = await mirrored(plane, found(1), found(2, "extra"), delete=True, max_deletes=1)
    pull, remove = (await node.poll()).tasks
    assert (remove.kind, [item.row for item in remove.items], remove.others) == ("remove", [2], [])
    objects = [{"row": 2, "outcome": "deleted"}]
    await node.poll(results=[node.result(pull), node.result(remove, objects=objects)])
    view = await plane.job()
    assert (view.status, view.progress.objects_planned, view.progress.objects_deleted) == ("succeeded", 1, 1)


async def test_a_mirror_that_would_delete_too_much_deletes_nothing(plane: ControlPlaneUnderTest) -> None:
    extras = [found(number, "extra") for number in range(3)]
    node = await mirrored(plane, *extras, delete=True, max_deletes=2, allow_empty_source=True)
    assert (await node.poll()).tasks == []
    view = await plane.job()
    assert (view.status, view.progress.objects_failed) == ("failed", 3)
    rows = await plane.objects()
    assert {row.error and row.error.code for row in rows} == {"max-deletes-exceeded"}
    assert await plane.ask(1, "retry")
    assert (await plane.job()).status == "failed"


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_source_that_has_nothing_empties_no_mirror(
    plane: ControlPlaneUnderTest, allowed: bool
) -> None:
    extras = [found(number, "extra") for number in range(3)]
    node = await mirrored(plane, *extras, delete=True, allow_empty_source=allowed)
    tasks = (await node.poll()).tasks
    if allowed:
        assert [task.kind for task in tasks] == ["remove"]
        return
    assert tasks == []
    assert (await plane.job()).status == "failed"
    assert {row.error and row.error.code for row in await plane.objects()} == {"source-empty"}
    error = (await plane.job()).error
    assert error is not None
    assert error.code == "source-empty"


async def test_a_mirror_without_delete_leaves_extras(plane: ControlPlaneUnderTest) -> None:
    await mirrored(plane, found(2, "extra"))
    assert (await plane.job()).status == "succeeded"
    assert await plane.objects() == []


async def test_a_mirror_whose_walk_fails_deletes_nothing(data_dir: str) -> None:
    async with control_plane_in(data_dir, attempts_max=1) as plane:
        node, task = await surveying(plane, "mirror", delete=True, allow_empty_source=True)
        await tell(plane, node, task, survey(found(1, "extra"), cursor="on"))
        await tell(plane, node, await node.claim(), None)
        assert (await plane.job()).status == "failed"
        (row,) = await plane.objects()
        assert row.error is not None
        assert row.error.code == "survey-failed"
        await plane.ask(1, "retry")
        await tell(plane, node, await node.claim(), survey())
        assert (await node.claim()).kind == "remove"


@pytest.mark.parametrize("agree", [True, False])
async def test_a_verification_has_a_verdict(plane: ControlPlaneUnderTest, agree: bool) -> None:
    node, task = await surveying(plane, "verify", prefix="p/", read_data=True, all_versions=True)
    assert task.survey is not None
    assert (task.survey.roots, task.survey.extras, task.survey.read_data) == (True, True, True)
    findings = [] if agree else [found(1, "differs"), found(2, "extra"), found(3, "corrupt-at-source")]
    roots = {"source_root": ROOT, "destination_root": ROOT if agree else OTHER_ROOT}
    await tell(plane, node, task, survey(*findings, unchanged=4, unchanged_bytes=4, **roots))
    view = await plane.job()
    assert view.status == ("succeeded" if agree else "partial")
    assert view.verdict is not None
    assert (view.verdict.agree, view.verdict.differences) == (agree, len(findings))
    rows = await plane.objects()
    assert [row.error and row.error.code for row in rows] == (
        [] if agree else ["differs", "not-found", "corrupt"]
    )
    assert {str(row.action) for row in rows} <= {"verify"}
    assert (await plane.http.post("/jobs/1/retry")).status_code == 409


async def test_a_run_is_held_against_its_dry_run(plane: ControlPlaneUnderTest) -> None:
    node, task = await surveying(plane, object_id="object-000001", dry_run=True, priority=2)
    assert task.survey is not None
    assert (task.survey.dry_run, task.survey.object_ids) == (True, ["object-000001"])
    plan = {"objects_to_transfer": 1, "bytes_logical": 100, "bytes_lacking": 60, "bytes_deduplicated": 40}
    await tell(plane, node, task, survey(found(1), plan=plan))
    dry = await plane.job()
    assert (dry.status, dry.dry_run, dry.plan and dry.plan.bytes_lacking) == ("succeeded", True, 60)
    assert [str(row.outcome) for row in await plane.objects()] == ["planned"]
    assert dry.progress.objects_planned == 0
    run = await plane.migrate("object-000001")
    view = await plane.job(run)
    assert view.plan is not None
    assert (view.plan.job_id, view.plan.bytes_lacking, view.plan.bytes_lacking_error) == (1, 60, None)
    pull = await node.claim()
    moved = {"bytes_transferred": 63, "bytes_deduplicated": 37, "bytes_logical": 100}
    await node.poll(results=[node.result(pull, objects=arrivals(pull, **moved), transfer=moved)])
    view = await plane.job(run)
    assert view.plan is not None
    assert (view.status, view.plan.bytes_lacking_error) == ("succeeded", 3)
    other = await plane.migrate("object-000002")
    assert (await plane.job(other)).plan is None


@pytest.mark.parametrize("unknown", [["nowhere"], []])
async def test_a_dry_run_stays_dry_when_it_is_tried_again(data_dir: str, unknown: list[str]) -> None:
    async with control_plane_in(data_dir, attempts_max=1) as plane:
        node, task = await surveying(plane, object_ids=["here", "nowhere"], mode="move", dry_run=True)
        said = survey(found(1), unknown=unknown, plan={"objects_to_transfer": 1})
        await tell(plane, node, task, said if unknown else None)
        retried = await plane.http.post("/jobs/1/retry")
        await plane.settle()
        if unknown:
            # An id that is not there now will not be there for a survey that has ended.
            assert retried.status_code == 409
            assert "submit a new one" in retried.json()["detail"]
            assert (await node.poll()).tasks == []
            return
        again = await node.claim()
        assert again.survey is not None
        assert (again.survey.dry_run, again.survey.same, again.move) == (True, False, False)
        await tell(plane, node, again, said)
        view = await plane.job()
        assert (view.status, view.plan and view.plan.objects_to_transfer) == ("succeeded", 1)
        assert (await node.poll()).tasks == []


async def test_a_dry_run_of_a_verification_lists_and_counts_and_proves_nothing(
    plane: ControlPlaneUnderTest,
) -> None:
    node, task = await surveying(plane, "verify", prefix="p/", read_data=True, dry_run=True)
    assert task.survey is not None
    asked = task.survey
    assert (asked.dry_run, asked.extras, asked.roots, asked.read_data) == (True, True, False, False)
    plan = {"objects_to_transfer": 1, "bytes_lacking": 100, "objects_to_delete": 1}
    await tell(plane, node, task, survey(found(1), found(2, "extra"), plan=plan))
    view = await plane.job()
    assert (view.status, view.dry_run, view.verdict) == ("succeeded", True, None)
    assert view.plan is not None
    assert (view.plan.bytes_lacking, view.plan.objects_to_delete) == (100, 0)
    assert [(str(row.action), str(row.outcome)) for row in await plane.objects()] == [
        ("verify", "planned"),
        ("verify", "planned"),
    ]
    run = await plane.submit("verify", prefix="p/", read_data=True)
    assert (await plane.job(run)).plan is None


async def test_a_job_is_cancelled_while_it_is_surveyed(plane: ControlPlaneUnderTest) -> None:
    node, task = await surveying(plane, "mirror", delete=True)
    await tell(plane, node, task, survey(found(1, "extra"), cursor="on"))
    second = await node.claim()
    assert (await plane.ask(1, "cancel")).status == "cancelling"
    await tell(plane, node, second, survey(found(2)))
    assert (await plane.job()).status == "cancelled"
    assert [str(row.outcome) for row in await plane.objects()] == ["cancelled"]
