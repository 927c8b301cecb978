"""A command whose options come from a settings model."""

import pytest
from typer.testing import CliRunner

from replicator.data_plane.offline import app as offline
from replicator.data_plane.settings import NodeSettings
from replicator.runtime.settings_command import settings_command


def run_nothing(_: NodeSettings) -> None:
    """Stands for the process."""


NODE = settings_command(NodeSettings, run_nothing, name="node", summary="Run a node.", examples="none")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_values_that_a_setting_may_have(flag: str) -> None:
    shown = CliRunner().invoke(NODE, [flag], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "--compression off|zstd" in " ".join(shown.stdout.split())
    assert "--log-level debug|info|warning|error" in " ".join(shown.stdout.split())


def test_help_of_what_is_done_offline_is_short_too() -> None:
    for command in ([], ["check"], ["restore"], ["rebuild-catalog"]):
        shown = CliRunner().invoke(offline, [*command, "-h"])
        assert (shown.exit_code, "--help" in shown.stdout) == (0, True), shown.output


def test_a_value_that_is_none_of_them_is_refused() -> None:
    given = ["--name", "node1", "--data-dir", "d", "--compression", "gzip"]
    refused = CliRunner().invoke(NODE, given)
    assert refused.exit_code == 2
    assert "--compression (or REPLICATOR_NODE_COMPRESSION): " in refused.stderr
