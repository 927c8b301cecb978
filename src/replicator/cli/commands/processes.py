"""`replicator control-plane`, `replicator node` and `replicator database`: become that process."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import typer

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""For Typer: every argument, `--help` too, belongs to the process."""


def control_plane(context: typer.Context) -> None:
    """Run the control plane: what decides, on port 8000. See its own --help."""
    become("replicator.control_plane.main", context.args)


def node(context: typer.Context) -> None:
    """Run a node: one process, one store, on port 9001. See its own --help."""
    become("replicator.data_plane.main", context.args)


def database(context: typer.Context) -> None:
    """Look after the database of a control plane: backup, new-identity. See its own --help."""
    become("replicator.control_plane.offline", context.args)


def become(module: str, arguments: list[str]) -> NoReturn:
    """Become the process that `module` is, with these arguments."""
    # The same process id, so that signals and supervisors reach the server itself.
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
