"""What `explain job`, `explain task` and `explain node` do."""

from __future__ import annotations

from collections.abc import Iterator

from replicator.cli.exits import with_commands
from replicator.cli.output import print_json, with_local_times
from replicator.client.control_plane import ControlPlaneClient
from replicator.kernel.names import NodeName
from replicator.wire.explain import Explanation

_DONE = {"succeeded": "has succeeded", "failed": "has failed"}


async def job(control_plane: str, job_id: int, *, json_output: bool) -> None:
    """Explain a job."""
    async with ControlPlaneClient(control_plane) as client:
        _print(await client.explain_job(job_id), json_output=json_output)


async def task(control_plane: str, task_id: int, *, json_output: bool) -> None:
    """Explain a task."""
    async with ControlPlaneClient(control_plane) as client:
        _print(await client.explain_task(task_id), json_output=json_output)


async def node(control_plane: str, name: str, *, json_output: bool) -> None:
    """Explain a node."""
    async with ControlPlaneClient(control_plane) as client:
        _print(await client.explain_node(NodeName.parse(name)), json_output=json_output)


def lines(explanation: Explanation) -> Iterator[str]:
    """The explanation in sentences, with the commands that do what its requests do."""
    state = _DONE.get(explanation.state, f"is {explanation.state}")
    yield f"{explanation.subject} {explanation.id} {state}"
    for finding in explanation.findings:
        yield f"  - {_said(finding.because)}"
        if finding.would_change is not None:
            yield f"    what would change it: {_said(finding.would_change)}"


def _said(text: str) -> str:
    return with_local_times(with_commands(text))


def _print(explanation: Explanation, *, json_output: bool) -> None:
    if json_output:
        print_json(explanation)
        return
    for line in lines(explanation):
        print(line)
