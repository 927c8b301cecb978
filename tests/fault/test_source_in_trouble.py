"""A source in trouble: the attempt ends in time, to be made again, and what the source says is not overrated.

The cases that wait run side by side.
"""

import json
from dataclasses import replace

import pytest

from replicator.testing.forgery import Forgery
from replicator.testing.lies import Lie, Line, respond, steps
from replicator.testing.lying_source import LyingSource, Step
from replicator.testing.pull_stage import PullStage, honest


def problem(status: str, code: str) -> bytes:
    body = {"title": "x", "status": int(status[:3]), "detail": "as the source says", "code": code}
    return respond(json.dumps(body).encode(), [("Content-Type", "application/problem+json")], status=status)


# What may pass: the same request may work later.
PASSING: dict[str, Lie] = {
    "silence before the answer": Line.stall,
    "silence in the middle": steps(lambda line: line.send(line.answer[:-100]), Line.stall),
    "a body cut short": lambda line: line.send(line.answer[:-100]),
    "a head cut short": lambda line: line.send(line.answer[:20]),
    "no answer": lambda line: None,
    "a reset before the answer": Line.reset,
    "a reset in the middle": steps(lambda line: line.send(line.answer[:-100]), Line.reset),
    "a body that drips": steps(lambda line: line.send(line.head), lambda line: line.drip(line.body)),
    "a head that drips": lambda line: line.drip(line.answer),
    "interim answers without end": lambda line: line.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
    "500 without a reason": lambda line: line.send(respond(b"oops", status="500 Internal Server Error")),
    "502 of a proxy": lambda line: line.send(respond(b"<html>", status="502 Bad Gateway")),
    "500 with a reason": lambda line: line.send(problem("500 Internal Server Error", "internal")),
    "503 with a reason": lambda line: line.send(problem("503 Service Unavailable", "unavailable")),
    "an error that drips": steps(
        lambda line: line.send(respond(b"", status="500 Internal Server Error", length=50_000)),
        lambda line: line.drip(b"x" * 50_000),
    ),
}
STEPS: tuple[Step, ...] = ("offers", "fetch")


def troubled(case: str, step: Step) -> tuple[str, Forgery]:
    # A drip is given up when it falls below the least rate, so the less is asked for the sooner. Each source has a
    # name of its own, or after a few of these it would be left alone.
    name = f"{case}, {step}"
    return name, replace(honest(name, 15_000), node=f"source-{list(PASSING).index(case)}-{step}")


@pytest.fixture(scope="module")
def troubles(stage: PullStage) -> dict[str, int]:
    """The tasks of all cases below, begun together."""
    begun = {}
    for case, lie in PASSING.items():
        for step in STEPS:
            name, forgery = troubled(case, step)
            begun[name] = stage.begin(name, forgery, {step: lie})
    return begun


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("case", PASSING)
def test_a_source_in_trouble_fails_the_attempt_for_now(
    stage: PullStage, troubles: dict[str, int], case: str, step: Step
) -> None:
    name, forgery = troubled(case, step)
    result = stage.ended(troubles[name], name, forgery)
    assert result.outcome == "failed"
    assert result.error is not None
    assert result.error.error_class == "transient", result.error


@pytest.mark.parametrize(
    "code", ["cancelled", "fenced", "store-failed", "peer-unreachable", "quota-exceeded"]
)
def test_a_source_cannot_speak_for_the_destination(stage: PullStage, code: str) -> None:
    def lie(line: Line) -> None:
        line.send(problem("503 Service Unavailable", code))

    result = stage.pull(f"says {code}", honest(code), {"fetch": lie})
    assert result.outcome == "failed"
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("transient", "unavailable")


def test_a_source_that_is_not_there_is_down(stage: PullStage) -> None:
    with LyingSource() as gone:
        url = gone.url
    result = stage.desk.result(stage.desk.assign("anything", url))
    assert result.error is not None
    assert (result.outcome, result.error.error_class) == ("failed", "node-down")


def test_an_object_that_is_not_there_fails_for_good(stage: PullStage) -> None:
    def lie(line: Line) -> None:
        line.send(problem("404 Not Found", "not-found"))

    result = stage.pull("absent", honest("absent"), {"offers": lie})
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == ("permanent", "not-found")
    assert "as the source says" in result.error.message
