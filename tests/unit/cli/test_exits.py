"""Scripts branch on exit codes, so each kind of failure keeps its own."""

import json
import os

import pytest

from replicator.cli.exits import EXIT_CODES_HELP, ExitCode, exit_code_of, report, with_commands
from replicator.kernel import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ReplicatorError("x"), 1),
        (errors.Corrupt("x"), 1),
        (errors.BrokenPeer("x"), 1),
        (errors.QuotaExceeded("x"), 1),
        (errors.DigestMismatch("x"), 1),
        (errors.InvalidRequest("x"), 2),
        (errors.NotFound("x"), 3),
        (errors.Conflict("x"), 4),
        (errors.PreconditionFailed("x"), 4),
        (errors.Unavailable("x"), 5),
        (errors.PeerUnreachable("x"), 5),
    ],
)
def test_each_error_has_its_code(error: errors.ReplicatorError, code: int) -> None:
    assert exit_code_of(error) == code


def test_every_code_is_in_the_help() -> None:
    listed = {int(line.split()[0]) for line in EXIT_CODES_HELP.splitlines()[1:]}
    assert listed == {int(code) for code in ExitCode}


def test_an_error_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(errors.NotFound("there is no job 7"), json_output=False) == ExitCode.NOT_FOUND
    assert capsys.readouterr() == ("", "replicator: there is no job 7\n")


def test_an_error_as_json_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.NotFound("there is no job 7", job=7), json_output=True)
    output = capsys.readouterr()
    assert output.out == ""
    assert json.loads(output.err).items() >= {
        ("status", 404),
        ("code", "not-found"),
        ("detail", "there is no job 7"),
        ("job", 7),
    }


def test_a_local_failure_names_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(28, os.strerror(28), "/data/x")
    assert report(error, json_output=False) == ExitCode.ERROR
    assert capsys.readouterr().err == "replicator: /data/x: No space left on device\n"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("GET /versions/notes.txt lists them", "'replicator versions NODE notes.txt' lists them"),
        (
            "GET /versions/a%20b/c?bucket=photos lists them",
            "'replicator versions NODE 'a b/c' --bucket photos' lists them",
        ),
        ("GET /versions?bucket=photos lists", "'replicator versions NODE --bucket photos' lists"),
        ("GET /nodes lists those", "'replicator nodes' lists those"),
        ("POST /nodes/register adds one", "'replicator nodes register' adds one"),
        ("resume it: POST /jobs/5/resume", "resume it: 'replicator job 5 --resume'"),
        (
            "POST /jobs/5/retry; GET /jobs/5/objects?outcome=failed lists them",
            "'replicator job 5 --retry'; 'replicator job 5 --objects --outcome failed' lists them",
        ),
        ("a higher priority: PATCH /jobs/5", "a higher priority: 'replicator job 5 --priority N'"),
        ("PUT /nodes/node-1/limits", "'replicator limits node node-1'"),
        ("PUT /links/node1/node.2", "'replicator limits link node1 node.2'"),
        ('PATCH /nodes/node1 {"maintenance": false}', "'replicator nodes maintenance node1 off'"),
        ("there is no object 'GET'", "there is no object 'GET'"),
    ],
)
def test_a_command_names_commands_where_a_server_names_requests(
    said: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_commands(said) == told
    report(errors.NotFound(said), json_output=False)
    assert capsys.readouterr().err == f"replicator: {told}\n"
    report(errors.NotFound(said), json_output=True)
    assert json.loads(capsys.readouterr().err)["detail"] == said
