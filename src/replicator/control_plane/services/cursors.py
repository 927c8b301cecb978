"""Opaque cursors: where a list goes on."""

from __future__ import annotations

import base64
import binascii

from replicator.kernel.errors import InvalidRequest
from replicator.kernel.names import NodeName
from replicator.wire.sessions import INTEGER_MAX

_NODES, _JOBS, _ROWS, _LINKS, _TASKS = "1n:", "1j:", "1o:", "1l:", "1t:"
_LENGTH_MAX = 200


def of_name(name: NodeName) -> str:
    """After the node called `name`."""
    return _encode(_NODES + name)


def after_name(cursor: str) -> NodeName:
    """The name in `cursor`; raises `InvalidRequest`."""
    try:
        return NodeName.parse(_decode(cursor, _NODES))
    except InvalidRequest as error:
        raise _bad() from error


def of_job(job_id: int) -> str:
    """After the job `job_id`, which is to say at smaller ids."""
    return _encode(_JOBS + str(job_id))


def before_job(cursor: str) -> int:
    """The id in `cursor`; raises `InvalidRequest`."""
    return _number(_decode(cursor, _JOBS))


def of_row(row: int) -> str:
    """After the object in `row` of a job."""
    return _encode(_ROWS + str(row))


def after_row(cursor: str) -> int:
    """The row in `cursor`; raises `InvalidRequest`."""
    return _number(_decode(cursor, _ROWS))


def of_task(task_id: int) -> str:
    """After the task `task_id`."""
    return _encode(_TASKS + str(task_id))


def after_task(cursor: str) -> int:
    """The id in `cursor`; raises `InvalidRequest`."""
    return _number(_decode(cursor, _TASKS))


def of_link(source: NodeName, destination: NodeName) -> str:
    """After the link from `source` to `destination`."""
    return _encode(f"{_LINKS}{source}/{destination}")


def after_link(cursor: str) -> tuple[NodeName, NodeName]:
    """Source and destination in `cursor`; raises `InvalidRequest`."""
    source, _, destination = _decode(cursor, _LINKS).partition("/")
    try:
        return NodeName.parse(source), NodeName.parse(destination)
    except InvalidRequest as error:
        raise _bad() from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= INTEGER_MAX):
        raise _bad()
    return int(text)


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, kind: str) -> str:
    if len(cursor) > _LENGTH_MAX:
        raise _bad()
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error) as error:
        raise _bad() from error
    if not text.startswith(kind):
        raise _bad()
    return text.removeprefix(kind)


def _bad() -> InvalidRequest:
    return InvalidRequest("this cursor is not one that the list has given; begin again without it")
