from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from typing import Any

DEADLINE_S = 30


def logged(program: str) -> str:
    """What a process that runs `program` writes to standard error."""
    preamble = "import logging\nfrom replicator.runtime.logging import configure_logging, get_logger\n"
    ended = subprocess.run(
        [sys.executable, "-c", preamble + program],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert ended.stdout == ""
    return ended.stderr


def events(program: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in logged(program).splitlines()]


FAILURE = """
def open_store(password):
    raise OSError("no space")
try:
    open_store("hunter2")
except OSError as error:
    get_logger().error("store.failed", exc_info=error)
"""


def test_an_event_is_one_json_object_a_line_with_its_fields() -> None:
    (event,) = events(
        "configure_logging(process='node', node='node1')\n"
        "get_logger().info('chunk.pulled', digest='00ff', bytes=4096, text='two\\nlines ü')\n"
    )
    assert datetime.fromisoformat(event.pop("time")).utcoffset() is not None
    assert event == {
        "event": "chunk.pulled",
        "level": "info",
        "process": "node",
        "node": "node1",
        "digest": "00ff",
        "bytes": 4096,
        "text": "two\nlines ü",
    }


def test_events_below_the_level_are_left_out() -> None:
    found = events(
        "configure_logging(level='warning')\n"
        "get_logger().info('quiet')\nget_logger().warning('heard')\nget_logger().error('heard')\n"
    )
    assert [event["level"] for event in found] == ["warning", "error"]


def test_a_module_may_ask_for_its_logger_before_logging_is_configured() -> None:
    (event,) = events("log = get_logger()\nconfigure_logging(node='node1')\nlog.info('job.created', job=1)\n")
    assert (event["event"], event["job"], event["node"]) == ("job.created", 1, "node1")


def test_a_failure_carries_its_traceback_in_the_same_line() -> None:
    (event,) = events("configure_logging()\n" + FAILURE)
    assert event["event"] == "store.failed"
    assert "OSError: no space" in event["exception"]
    assert "open_store" in event["exception"]


def test_no_style_prints_local_variables() -> None:
    for style in ("json", "text"):
        text = logged(
            f"configure_logging(style='{style}')\n" + FAILURE.replace('"hunter2"', '"hunter" + "2"')
        )
        assert "OSError: no space" in text
        assert "hunter2" not in text


def test_what_libraries_log_comes_in_the_same_stream() -> None:
    found = events(
        "configure_logging()\n"
        "library = logging.getLogger('some.library')\n"
        "library.info('chatter')\n"
        "library.warning('retry %d of %s', 1, 'x')\n"
        "library.log(35, 'a level of its own')\n"
        "library.log(99, 'higher than any')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    library.exception('broken')\n"
    )
    assert [(event["event"], event["logger"], event["level"], event["text"]) for event in found] == [
        ("library.log", "some.library", "warning", "retry 1 of x"),
        ("library.log", "some.library", "warning", "a level of its own"),
        ("library.log", "some.library", "critical", "higher than any"),
        ("library.log", "some.library", "error", "broken"),
    ]
    assert "ZeroDivisionError" in found[-1]["exception"]
