"""How a command ends: its exit code, and one clear line about what went wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import threading
from enum import IntEnum
from typing import NoReturn
from urllib.parse import unquote

from replicator.kernel import errors


class ExitCode(IntEnum):
    """What scripts can branch on; `--help` shows the same table."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    UNAVAILABLE = 5
    JOB_NOT_SUCCEEDED = 6
    INTERRUPTED = 130
    READER_GONE = 141
    TERMINATED = 143


EXIT_CODES_HELP = "\n".join(
    [
        "[bold]Exit codes[/bold]",
        "  0  done",
        "  1  an error that none of the others names",
        "  2  wrong usage, or a value that can never be right",
        "  3  there is no such object, version, chunk, node or job",
        "  4  a conflict, or a condition that did not hold",
        "  5  unavailable; it may work later",
        "  6  the job failed, was cancelled or is partial",
        "130  interrupted",
        "141  the reader of standard output went away",
        "143  terminated",
    ]
)

# Most specific first.
_CODES: tuple[tuple[type[errors.ReplicatorError], ExitCode], ...] = (
    (errors.DigestMismatch, ExitCode.ERROR),
    (errors.InvalidRequest, ExitCode.USAGE),
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.Conflict, ExitCode.CONFLICT),
    (errors.PreconditionFailed, ExitCode.CONFLICT),
    (errors.Fenced, ExitCode.CONFLICT),
    (errors.Unavailable, ExitCode.UNAVAILABLE),
)


def exit_code_of(error: errors.ReplicatorError) -> ExitCode:
    """The code that reports `error`."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ExitCode.ERROR)


def report(error: errors.ReplicatorError | OSError, *, json_output: bool) -> ExitCode:
    """Say on standard error what went wrong: a line, or a problem (RFC 9457) as JSON."""
    if isinstance(error, OSError):
        error = errors.ReplicatorError(
            f"{error.filename or 'the local file'}: {error.strerror}", errno=error.errno
        )
    if json_output:
        from replicator.wire.problem import problem_of

        text = json.dumps(problem_of(error).model_dump(), ensure_ascii=False, default=str)
    else:
        text = f"replicator: {with_commands(error.message)}"
    print(text, file=sys.stderr)
    return exit_code_of(error)


_REQUEST = re.compile(
    r"(?P<plain>GET /nodes|POST /nodes/register|GET /store/scrub)\b"
    r"|GET /versions(?:/(?P<object>[\w.~/%-]+))?(?:\?bucket=(?P<bucket>[a-z0-9.-]+))?"
    r"|POST /jobs/(?P<job>\d+)/(?P<act>pause|resume|retry|cancel)\b"
    r"|GET /jobs/(?P<listed>\d+)/objects\?outcome=failed"
    r"|PATCH /jobs/(?P<changed>\d+)\b"
    r"|PUT /nodes/(?P<limited>[\w.-]+)/limits|PUT /links/(?P<src>[\w.-]+)/(?P<dst>[\w-][\w.-]*[\w-])"
    r"|PATCH /nodes/(?P<node>[\w.-]+) \{\"maintenance\": (?P<switch>true|false)\}"
)
_COMMANDS = {
    "GET /nodes": "replicator nodes",
    "POST /nodes/register": "replicator nodes register",
    "GET /store/scrub": "replicator store scrub NODE",
}


def with_commands(text: str) -> str:
    """`text` of a server, with the commands that do what the requests it names do."""
    return _REQUEST.sub(lambda found: f"'{_command(found)}'", text)


def _command(found: re.Match[str]) -> str:
    if found["plain"]:
        return _COMMANDS[found["plain"]]
    if found["job"]:
        return f"replicator job {found['job']} --{found['act']}"
    if found["listed"]:
        return f"replicator job {found['listed']} --objects --outcome failed"
    if found["changed"]:
        return f"replicator job {found['changed']} --priority N"
    if found["limited"]:
        return f"replicator limits node {found['limited']}"
    if found["src"]:
        return f"replicator limits link {found['src']} {found['dst']}"
    if found["node"]:
        return f"replicator nodes maintenance {found['node']} {'on' if found['switch'] == 'true' else 'off'}"
    words = ["replicator", "versions", "NODE"]
    if found["object"]:
        words.append(unquote(found["object"]))
    if found["bucket"]:
        words += ["--bucket", found["bucket"]]
    return shlex.join(words)


def leave(code: int) -> NoReturn:
    """End the process with `code`, without waiting for threads.

    A thread may be blocked in reading a terminal or in a name server's silence, and the interpreter would
    wait for it; the deadline has passed or the user has pressed Ctrl-C by then.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = code or ExitCode.READER_GONE
        os._exit(code)
    if threading.active_count() > 1:
        os._exit(code)
    sys.exit(code)
