"""What became of each object of a job, as pages and as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from replicator.control_plane.domain.object_row import Action, ObjectRow, Outcome
from replicator.testing.control_plane import ControlPlaneUnderTest, control_plane_in
from replicator.wire.jobs import JobObject
from replicator.wire.sessions import ErrorInfo

pytestmark = pytest.mark.anyio

ERROR = ErrorInfo.model_validate(
    {"class": "permanent", "code": "not-found", "message": 'node1 has no "such", object\n☃'}
)


def row(number: int, **changes: Any) -> ObjectRow:
    failed = number % 3 == 0
    told: dict[str, Any] = {
        "id": number,
        "job_id": 1,
        "bucket": "default",
        "object_id": f'a, "{number}"/☃',
        "version": None if failed else f"{number:032x}",
        "manifest": None if failed else f"{number:064x}",
        "size": None if failed else number * 1000,
        "action": Action.TRANSFER,
        "outcome": Outcome.FAILED if failed else Outcome.VERIFIED,
        "bytes_transferred": 0 if failed else number,
        "attempts": number,
        "error": ERROR if failed else None,
    }
    return ObjectRow(**(told | changes))


async def fill(plane: ControlPlaneUnderTest, rows: int) -> None:
    await plane.register("node1", "node2")
    message = {"src_node": "node1", "dst_node": "node2", "prefix": "a"}
    (await plane.http.post("/jobs/migrate", json=message)).raise_for_status()
    added = [row(number) for number in range(1, rows + 1)]
    await plane.parts.services.database.transact(lambda unit: unit.objects.add_many(added))


async def listed(plane: ControlPlaneUnderTest, **params: Any) -> list[JobObject]:
    found: list[JobObject] = []
    while True:
        page = (await plane.http.get("/jobs/1/objects", params=params)).raise_for_status().json()
        found += [JobObject.model_validate(item) for item in page["objects"]]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_objects_are_paged_in_the_order_they_were_found(plane: ControlPlaneUnderTest) -> None:
    await fill(plane, 7)
    found = await listed(plane, limit=3)
    assert [item.row for item in found] == [1, 2, 3, 4, 5, 6, 7]
    assert found[0].object_id == 'a, "1"/☃'
    assert (found[0].size, found[0].bytes_transferred, found[0].error) == (1000, 1, None)
    assert (found[2].outcome, found[2].error) == ("failed", ERROR)


async def test_only_objects_of_one_outcome_are_listed(plane: ControlPlaneUnderTest) -> None:
    await fill(plane, 7)
    assert [item.row for item in await listed(plane, limit=1, outcome="failed")] == [3, 6]
    assert await listed(plane, outcome="skipped") == []


@pytest.mark.parametrize(
    ("params", "accept"),
    [({"format": "csv"}, "*/*"), ({"format": "csv"}, "application/json"), ({}, "text/csv;q=0.9")],
)
async def test_a_csv_has_every_row_with_all_that_the_pages_say(
    data_dir: str, params: dict[str, str], accept: str
) -> None:
    async with control_plane_in(data_dir, page_items_max=2) as plane:
        await fill(plane, 7)
        answer = await plane.http.get("/jobs/1/objects", params=params, headers={"Accept": accept})
        assert answer.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
        assert [shown(item) for item in await listed(plane)] == rows


def shown(item: JobObject) -> dict[str, str]:
    fields = item.model_dump(exclude={"error"})
    error = item.error
    fields |= {
        "error_class": error and error.error_class,
        "error_code": error and error.code,
        "error_message": error and error.message,
    }
    return {name: "" if value is None else str(value) for name, value in fields.items()}


@pytest.mark.parametrize("object_id", ["=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-2+3"])
async def test_a_csv_holds_no_formula(plane: ControlPlaneUnderTest, object_id: str) -> None:
    await fill(plane, 0)
    await plane.parts.services.database.transact(
        lambda unit: unit.objects.add_many([row(1, object_id=object_id)])
    )
    text = (await plane.http.get("/jobs/1/objects", params={"format": "csv"})).text
    (line,) = csv.DictReader(io.StringIO(text, newline=""))
    assert line["object_id"] == f"'{object_id}"


async def test_a_csv_of_one_outcome_goes_on_behind_a_cursor(plane: ControlPlaneUnderTest) -> None:
    await fill(plane, 9)
    page = (await plane.http.get("/jobs/1/objects", params={"limit": 1, "outcome": "failed"})).json()
    params = {"format": "csv", "outcome": "failed", "cursor": page["next_cursor"]}
    text = (await plane.http.get("/jobs/1/objects", params=params)).text
    assert [line["row"] for line in csv.DictReader(io.StringIO(text, newline=""))] == ["6", "9"]


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"outcome": "lost"}, 422),
        ({"format": "xml"}, 422),
        ({"limit": 0}, 422),
        ({"cursor": "x"}, 400),
        ({"format": "csv", "limit": 5}, 400),
    ],
)
async def test_what_cannot_be_listed_is_refused(
    plane: ControlPlaneUnderTest, params: dict[str, Any], status: int
) -> None:
    await fill(plane, 1)
    answer = await plane.http.get("/jobs/1/objects", params=params)
    assert (answer.status_code, answer.json()["code"]) == (status, "invalid-request")


@pytest.mark.parametrize("form", ["json", "csv"])
async def test_a_job_that_is_not_there_has_no_objects(plane: ControlPlaneUnderTest, form: str) -> None:
    answer = await plane.http.get("/jobs/1/objects", params={"format": form})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
